"""Both versions served, with conversion between them: written where others write, read in one shape."""

from collections.abc import Iterator

import pytest

from slaplanner.core.model import Role
from slaplanner_lab.fleet.install import ConversionWebhook
from tests.conversion import serving_conversion
from tests.graphs import ALPHA, BETA
from tests.stored_graph import StoredGraph, without_replicas
from tests.testbed import Cluster, Served, install_dynamo, uninstall_dynamo

P, D = Role.PREFILL, Role.DECODE


@pytest.fixture(scope="module")
def conversion() -> Iterator[ConversionWebhook]:
    """The conversion between the versions, served beside the test."""
    with serving_conversion() as webhook:
        yield webhook


@pytest.fixture(scope="module", autouse=True)
def _both_versions(cluster: Cluster, conversion: ConversionWebhook) -> Iterator[None]:
    install_dynamo(cluster, Served.BOTH, webhook=conversion)
    yield
    uninstall_dynamo(cluster)


@pytest.fixture(params=[ALPHA, BETA], ids=["applied-in-v1alpha1", "applied-in-v1beta1"])
def graph(cluster: Cluster, namespace: str, request: pytest.FixtureRequest) -> StoredGraph:
    return StoredGraph(cluster, namespace, Served.BOTH, version=request.param)


def test_the_newer_version_is_read(graph: StoredGraph) -> None:
    graph.apply(graph.manifest(prefill=2, decode=3))
    state = graph.connector().observe()
    assert state.identity.api_version == BETA
    assert [role.replicas for role in state.fleet.roles] == [2, 3]


def test_the_version_that_others_apply_is_written(graph: StoredGraph) -> None:
    graph.apply(graph.manifest(prefill=2, decode=3))
    connector = graph.connector()
    connector.set_replicas(connector.observe(), {P: 3, D: 1})
    ours = [e for e in graph.read()["metadata"]["managedFields"] if e["manager"] == "slaplanner"]
    assert {entry["apiVersion"] for entry in ours} == {graph.version}
    assert graph.replicas() == {"prefill": 3, "decode": 1}


def test_dropping_replicas_from_the_manifest_keeps_ours(graph: StoredGraph) -> None:
    manifest = graph.manifest(prefill=2, decode=3)
    graph.apply(manifest)
    connector = graph.connector()
    connector.set_replicas(connector.observe(), {P: 2, D: 5})
    graph.apply(without_replicas(manifest))
    assert graph.replicas() == {"prefill": 2, "decode": 5}


def test_both_adapters_are_found_and_scaled(graph: StoredGraph) -> None:
    graph.apply(graph.manifest(decode=2, adapters=("decode",)))
    graph.create_adapter("decode", 2)
    connector = graph.connector()
    outcome = connector.set_replicas(connector.observe(), {P: 1, D: 4})
    assert outcome.error is None
    assert graph.adapter_replicas("decode") == 4
