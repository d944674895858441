"""Every shape of deployment: both versions of the API, adapters or none, and those that are refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from slaplanner_lab.fleet.options import Options
from tests.budget_watch import budget_watch
from tests.conversion import serving_conversion
from tests.fleet_program import TABLES, running_fleet
from tests.operator_program import OperatorProgram, install_operator, running_operator
from tests.played_load import Load, PlayedLoads
from tests.scene import Scene, graph, policy, wait_scraped
from tests.testbed import (
    Cluster,
    PrometheusServer,
    Served,
    dynamo_kubeconfig,
    install_dynamo,
    uninstall_dynamo,
    wait_until,
)

BUSY = Load(requests_s=60.0, isl=1000.0, osl=200.0, ttft_s=0.12, itl_s=0.012)
"""Needs 4 prefill replicas and 2 for decode."""
NEEDED = {"prefill": 4, "decode": 2}
BUDGET_GPUS = 12
BOTH_ROLES = frozenset({"prefill", "decode"})


@pytest.fixture(scope="module")
def operator(
    cluster: Cluster, prometheus_server: PrometheusServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OperatorProgram]:
    """Of a cluster that has never heard of Dynamo; its definitions come and go beneath the operator."""
    uninstall_dynamo(cluster)
    install_operator(cluster)
    scratch = tmp_path_factory.mktemp("operator")
    with running_operator(cluster, scratch, prometheus=prometheus_server.url) as program:
        yield program


@pytest.mark.usefixtures("operator")
def test_a_cluster_without_dynamo_is_told_so_until_it_has_it(scene: Scene):
    uninstall_dynamo(scene.cluster)
    scene.play(BUSY)
    scene.apply(policy())
    found = scene.wait_condition("TargetResolved", "False", "TargetKindNotServed")
    assert found["message"] == (
        "the API server serves no DynamoGraphDeployment in nvidia.com/v1beta1 or nvidia.com/v1alpha1; is "
        "Dynamo's operator installed?"
    )
    assert scene.condition("Ready")["reason"] == "TargetKindNotServed"
    install_dynamo(scene.cluster, Served.V1BETA1)
    scene.wait_condition("TargetResolved", "False", "TargetNotFound")
    scene.apply(graph())
    scene.settle()
    scene.wait_replicas(**NEEDED)


@pytest.fixture(
    scope="module", params=[Served.V1BETA1, Served.V1ALPHA1, Served.BOTH], ids=lambda one: one.name
)
def served(request: pytest.FixtureRequest, cluster: Cluster, operator: OperatorProgram) -> Iterator[Served]:
    """Of the module, so that all tests of one version come together: a change deletes the definitions."""
    assert operator.process.poll() is None
    versions: Served = request.param
    if versions is not Served.BOTH:
        install_dynamo(cluster, versions)
        yield versions
        return
    with serving_conversion() as webhook:
        install_dynamo(cluster, versions, webhook=webhook)
        yield versions
        uninstall_dynamo(cluster)  # while conversion still answers: deleting the objects needs it


@pytest.fixture
def played(
    cluster: Cluster,
    namespace: str,
    played_loads: PlayedLoads,
    prometheus_server: PrometheusServer,
    served: Served,
) -> Iterator[Scene]:
    """A scene in which the fleet plays Dynamo's operator: adapters, admission, status."""
    version = served.value[0]
    scene = Scene(cluster=cluster, namespace=namespace, loads=played_loads, version=version)
    scene.apply_profile()
    scene.play(BUSY)
    wait_scraped(scene, prometheus_server)
    options = Options(tables=TABLES, startup_s=0.2, tick_s=0.05, namespace=namespace, every_graph=True)
    with running_fleet(dynamo_kubeconfig(cluster), options):
        yield scene


@pytest.mark.parametrize(
    "adapters",
    [
        pytest.param(frozenset(), id="no-adapters"),
        pytest.param(BOTH_ROLES, id="adapters"),
        pytest.param(frozenset({"decode"}), id="one-of-each"),
    ],
)
def test_replicas_are_written_where_they_are_kept(played: Scene, adapters: frozenset[str]):
    played.apply(graph(version=played.version, replicas={"prefill": 1, "decode": 3}, adapters=adapters))
    with budget_watch(played) as watched:
        played.apply(policy(gpuBudget={"max": BUDGET_GPUS}))
        played.wait_replicas(**NEEDED)
        played.wait_condition("Ready", "True", "Planned")
        played.wait_condition("Progressing", "False", "Stable")
    watched.within(BUDGET_GPUS)
    for role in adapters:
        spec = played.get("dynamographdeploymentscalingadapters", f"llama-{role}")["spec"]
        assert spec["replicas"] == NEEDED[role]
    assert writers(played) == BOTH_ROLES - adapters
    assert played.status()["target"]["model"] == "meta/llama-70b"
    played.wait_graph_condition("SLAPlanned", "True")
    assert played.graph_conditions()["Ready"]["status"] == "True"


def writers(scene: Scene) -> set[str]:
    """Workers whose replicas in the deployment are ours, in the version that was applied."""
    found = scene.get(scene.graph_kind, "llama", show_managed_fields=True)
    ours = [
        entry
        for entry in found["metadata"]["managedFields"]
        if entry["manager"] == "slaplanner" and entry.get("subresource") != "status"
    ]
    assert all(entry["apiVersion"] == f"nvidia.com/{scene.version}" for entry in ours)
    return {role for role in BOTH_ROLES for entry in ours if _owns(entry["fieldsV1"]["f:spec"], role)}


def _owns(fields: dict[str, Any], role: str) -> bool:
    if "f:services" in fields:
        return "f:replicas" in fields["f:services"].get(f"f:{role}", {})
    return "f:replicas" in fields["f:components"].get(f'k:{{"name":"{role}"}}', {})


def component(manifest: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in manifest["spec"]["components"] if one["name"] == name)
    return found


def duplicate_roles(manifest: dict[str, Any]) -> None:
    manifest["spec"]["components"].append(component(manifest, "decode") | {"name": "decode-2"})


def missing_role(manifest: dict[str, Any]) -> None:
    manifest["spec"]["components"].remove(component(manifest, "prefill"))


def disagreeing_models(manifest: dict[str, Any]) -> None:
    component(manifest, "decode")["podTemplate"]["spec"]["containers"][0]["args"] = ["--model", "other/model"]


def component_groups(manifest: dict[str, Any]) -> None:
    manifest["spec"]["experimental"] = {
        "componentGroups": [{"name": "pair", "components": ["prefill", "decode"]}]
    }


def unknown_gpus(manifest: dict[str, Any]) -> None:
    component(manifest, "decode")["podTemplate"]["spec"]["containers"][0].pop("resources")


def adapter_that_is_absent(manifest: dict[str, Any]) -> None:
    component(manifest, "decode")["scalingAdapter"] = {}


class TestRefusedTargets:
    @pytest.fixture(autouse=True)
    def _one_version(self, cluster: Cluster) -> None:
        install_dynamo(cluster, Served.V1BETA1)

    @pytest.mark.parametrize(
        ("spoil", "reason", "message"),
        [
            pytest.param(duplicate_roles, "DuplicateRole", "decode, decode-2", id="duplicate-roles"),
            pytest.param(missing_role, "RoleNotFound", "plays prefill", id="missing-role"),
            pytest.param(disagreeing_models, "ModelMismatch", "other/model", id="models-that-disagree"),
            pytest.param(component_groups, "ComponentGroupsUnsupported", "pair", id="component-groups"),
            pytest.param(unknown_gpus, "GPUsUnknown", "decode", id="unknown-gpus"),
            pytest.param(adapter_that_is_absent, "AdapterNotFound", "llama-decode", id="absent-adapter"),
        ],
    )
    def test_it_is_named_and_left_alone_until_it_is_mended(
        self,
        served_scene: Callable[..., Scene],
        spoil: Callable[[dict[str, Any]], None],
        reason: str,
        message: str,
    ):
        scene = served_scene(BUSY)
        spoilt = graph()
        spoil(spoilt)
        scene.apply(spoilt)
        before = scene.replicas()
        scene.apply(policy())
        found = scene.wait_condition("TargetResolved", "False", reason)
        assert message in found["message"]
        assert scene.condition("Ready")["reason"] == reason
        scene.wait_graph_condition("SLAPlanned", "False", message=message)
        assert scene.replicas() == before
        scene.apply(graph())
        scene.settle()
        scene.wait_condition("TargetResolved", "True", "Resolved")
        wait_until(lambda: scene.replicas() == NEEDED, what="replicas of the mended deployment")
