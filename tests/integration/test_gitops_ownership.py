"""Whose replicas survive whose apply: the requests of Flux, kubectl and Helm on a real API server.

What `docs/how-to/gitops.md` says of them stands on these. A Kustomization of Flux is a forced
server-side apply as `kustomize-controller`; an upgrade of Helm 3 is, for custom resources, the merge
patch from the chart's last manifest to its new one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from slaplanner.controller.merge_patches import merge_patch
from slaplanner.core.model import Role
from tests.stored_graph import StoredGraph, without_replicas
from tests.testbed import Served

P, D = Role.PREFILL, Role.DECODE
FLUX = "kustomize-controller"
OURS = {"prefill": 2, "decode": 4}
GONE = {"prefill": None, "decode": None}


@pytest.fixture
def kept_by_merging(served: Served) -> Mapping[str, int | None]:
    """What a merge patch leaves of ours: a map is merged, a list is sent whole."""
    return OURS if served is Served.V1ALPHA1 else GONE


def silent(graph: StoredGraph, model: str = "meta/Llama-1") -> dict[str, Any]:
    """A manifest that leaves replicas out."""
    return without_replicas(graph.manifest(model=model))


def scale(graph: StoredGraph) -> None:
    """A plan's write."""
    connector = graph.connector()
    outcome = connector.set_replicas(connector.observe(), {P: OURS["prefill"], D: OURS["decode"]})
    assert outcome.error is None
    assert graph.replicas() == OURS


def own(graph: StoredGraph) -> None:
    """What a plan does first where the number is right and somebody else's."""
    connector = graph.connector()
    connector.set_replicas(connector.observe(), {})


def kubectl_apply(graph: StoredGraph, manifest: Mapping[str, Any], *flags: str) -> str:
    """What kubectl complains of, empty when it does not."""
    answer = graph.cluster.kubectl(
        "apply", *flags, "-f", "-", graph.where, stdin=yaml.safe_dump(dict(manifest)), check=False
    )
    assert bool(answer.returncode) == bool(answer.stderr), answer
    return answer.stderr


class TestFlux:
    def test_what_it_leaves_out_stays_ours_through_every_change(self, graph: StoredGraph) -> None:
        graph.apply(silent(graph), manager=FLUX)
        scale(graph)
        graph.apply(silent(graph, model="meta/Llama-2"), manager=FLUX)
        assert graph.replicas() == OURS
        assert graph.connector().observe().model == "meta/llama-2"

    def test_what_it_declares_it_takes_by_force(self, graph: StoredGraph) -> None:
        declared = graph.manifest(prefill=1, decode=1)
        graph.apply(declared, manager=FLUX)
        scale(graph)
        graph.apply(declared, manager=FLUX)
        assert graph.replicas() == {"prefill": 1, "decode": 1}
        assert graph.connector().observe().replica_writers == {P: (FLUX,), D: (FLUX,)}

    def test_replicas_that_leave_git_stay_once_the_policy_owns_them(self, graph: StoredGraph) -> None:
        declared = graph.manifest(**OURS)
        graph.apply(declared, manager=FLUX)
        own(graph)
        graph.apply(without_replicas(declared), manager=FLUX)
        assert graph.replicas() == OURS

    def test_the_other_way_round_they_are_gone(self, graph: StoredGraph) -> None:
        declared = graph.manifest(**OURS)
        graph.apply(declared, manager=FLUX)
        graph.apply(without_replicas(declared), manager=FLUX)
        assert graph.replicas() == GONE


class TestKubectl:
    def test_a_server_side_apply_that_declares_replicas_is_refused_and_names_us(
        self, graph: StoredGraph
    ) -> None:
        declared = graph.manifest(prefill=1, decode=1)
        kubectl_apply(graph, declared, "--server-side")
        scale(graph)
        assert 'with "slaplanner"' in kubectl_apply(graph, declared, "--server-side")
        assert graph.replicas() == OURS

    def test_one_that_leaves_them_out_is_not(self, graph: StoredGraph) -> None:
        kubectl_apply(graph, silent(graph), "--server-side")
        scale(graph)
        assert kubectl_apply(graph, silent(graph, model="meta/Llama-2"), "--server-side") == ""
        assert graph.replicas() == OURS

    def test_a_client_side_apply_merges_a_map_and_sends_a_list_whole(
        self, graph: StoredGraph, kept_by_merging: Mapping[str, int | None]
    ) -> None:
        kubectl_apply(graph, silent(graph))
        scale(graph)
        kubectl_apply(graph, silent(graph))
        assert graph.replicas() == kept_by_merging

    def test_who_took_replicas_away_is_known(self, graph: StoredGraph, served: Served) -> None:
        kubectl_apply(graph, silent(graph))
        scale(graph)
        kubectl_apply(graph, silent(graph))
        writers = graph.connector().observe().replica_writers
        taken = ("kubectl-client-side-apply",) if served is Served.V1BETA1 else ()
        assert writers == {P: taken, D: taken}


def test_an_upgrade_of_helm_merges_a_map_and_sends_a_list_whole(
    graph: StoredGraph, kept_by_merging: Mapping[str, int | None]
) -> None:
    last, new = silent(graph), silent(graph, model="meta/Llama-2")
    graph.cluster.kubectl(
        "create", "--field-manager=helm", "-f", "-", graph.where, stdin=yaml.safe_dump(last)
    )
    scale(graph)
    patch = json.dumps(merge_patch(last, new))
    graph.cluster.kubectl(
        "patch", graph.resource, graph.where, "--field-manager=helm", "--type=merge", f"--patch={patch}"
    )
    assert graph.replicas() == kept_by_merging
