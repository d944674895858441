"""The status that Dynamo's operator would report."""

from __future__ import annotations

from typing import Any

import pytest

from slaplanner.core.model import Role
from slaplanner_lab.fleet.graph import ComponentKind, Graph, PlayedComponent
from slaplanner_lab.fleet.replicas import ComponentReplicas, Replica, adopt
from slaplanner_lab.fleet.status import graph_status, merge_condition

NOW_S = 1_000_000.0
LATER_S = NOW_S + 60.0


def component(
    name: str = "decode", *, replicas: int = 2, kind: ComponentKind = ComponentKind.DEPLOYMENT
) -> PlayedComponent:
    return PlayedComponent(name=name, role=Role.DECODE, replicas=replicas, kind=kind, revision="a")


def graph(*components: PlayedComponent) -> Graph:
    return Graph(
        namespace="serving",
        name="llama",
        uid="1",
        generation=7,
        dynamo_namespace="serving-llama",
        components=components,
    )


def serving(count: int) -> ComponentReplicas:
    return adopt(serving=count, revision="a", now_s=0.0)


def rolling(pool: ComponentReplicas) -> ComponentReplicas:
    return ComponentReplicas(replicas=pool.replicas, next_id=pool.next_id, revisions=("old", "a"))


def unplaced(count: int) -> ComponentReplicas:
    return ComponentReplicas(replicas=tuple(Replica(id=n, revision="a", created_s=0.0) for n in range(count)))


def status(
    pools: dict[str, ComponentReplicas],
    *components: PlayedComponent,
    previous: dict[str, Any] | None = None,
    version: str = "v1beta1",
    now_s: float = NOW_S,
) -> dict[str, Any]:
    return graph_status(graph(*components), pools, previous or {}, version=version, now_s=now_s)


def ready(found: dict[str, Any]) -> tuple[str, str]:
    (condition,) = found["conditions"]
    return condition["status"], condition["reason"]


@pytest.mark.parametrize(
    ("kind", "reported"),
    [
        (ComponentKind.DEPLOYMENT, {"readyReplicas", "availableReplicas"}),
        (ComponentKind.POD_CLIQUE, {"readyReplicas", "scheduledReplicas"}),
        (ComponentKind.POD_CLIQUE_SCALING_GROUP, {"availableReplicas", "scheduledReplicas"}),
        (ComponentKind.LEADER_WORKER_SET, {"readyReplicas"}),
    ],
)
def test_a_count_that_a_kind_does_not_report_is_absent_not_zero(
    kind: ComponentKind, reported: set[str]
) -> None:
    counts = status({"decode": serving(2)}, component(kind=kind))["components"]["decode"]
    always = {"componentKind", "componentNames", "replicas", "updatedReplicas"}
    assert counts.keys() == always | reported
    assert {counts[name] for name in reported} == {2}


def test_a_draining_replica_is_still_there_and_serves_no_more() -> None:
    going = Replica(id=2, revision="a", created_s=0.0, placed_s=0.0, ready_s=0.0, draining=True)
    pool = serving(2)
    found = status(
        {"decode": ComponentReplicas(replicas=(*pool.replicas, going), revisions=("a",))}, component()
    )
    counts = found["components"]["decode"]
    assert counts["replicas"] == 3
    assert counts["updatedReplicas"] == counts["readyReplicas"] == 2
    assert ready(found) == ("True", "all_resources_are_ready")


@pytest.mark.parametrize(
    ("kind", "pool", "reason"),
    [
        pytest.param(ComponentKind.POD_CLIQUE, unplaced(2), "insufficient_capacity", id="no GPUs"),
        pytest.param(ComponentKind.POD_CLIQUE, serving(1), "pods_not_ready", id="starting"),
        pytest.param(ComponentKind.POD_CLIQUE, rolling(serving(2)), "updating", id="rolling out"),
        pytest.param(ComponentKind.DEPLOYMENT, rolling(serving(2)), "updating", id="deployment rolls out"),
        pytest.param(ComponentKind.DEPLOYMENT, unplaced(2), "some_resources_are_not_ready", id="deployment"),
    ],
)
def test_ready_is_false_for_dynamos_reasons(
    kind: ComponentKind, pool: ComponentReplicas, reason: str
) -> None:
    found = status({"decode": pool}, component(kind=kind))
    assert ready(found) == ("False", reason)
    assert found["state"] == "pending"


def test_two_reasons_at_once_are_mixed() -> None:
    clique = ComponentKind.POD_CLIQUE
    pools = {"prefill": unplaced(2), "decode": serving(1)}
    found = status(pools, component("prefill", kind=clique), component("decode", kind=clique))
    assert ready(found) == ("False", "mixed_not_ready_reasons")
    assert "decode: desired=2 updated=1 ready=1" in found["conditions"][0]["message"]


def test_conditions_of_others_stay_where_they_are() -> None:
    ours = {"type": "SLAMet", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    first = status({"decode": serving(1)}, component(), previous={"conditions": [ours]})
    assert [one["type"] for one in first["conditions"]] == ["SLAMet", "Ready"]
    second = status({"decode": serving(2)}, component(), previous=first, now_s=LATER_S)
    assert second["conditions"][0] == ours
    assert second["conditions"][1]["lastTransitionTime"] > first["conditions"][1]["lastTransitionTime"]


def test_the_time_of_a_condition_moves_with_its_status_alone() -> None:
    old = {"type": "Ready", "status": "False", "reason": "updating", "lastTransitionTime": "then"}
    new = {"type": "Ready", "status": "False", "reason": "pods_not_ready", "lastTransitionTime": "now"}
    assert merge_condition([old], new) == [{**new, "lastTransitionTime": "then"}]


def test_when_nothing_changes_the_clock_alone_changes_nothing() -> None:
    first = status({"decode": serving(2)}, component())
    assert status({"decode": serving(2)}, component(), previous=first, now_s=LATER_S) == first


def test_a_component_that_is_gone_is_taken_out() -> None:
    previous = {"components": {"old": {"replicas": 1}}}
    assert status({"decode": serving(2)}, component(), previous=previous)["components"]["old"] is None


@pytest.mark.parametrize(
    ("version", "updated"), [("v1alpha1", "updatedServices"), ("v1beta1", "updatedComponents")]
)
def test_a_rollout_is_told_from_its_begin_to_its_end(version: str, updated: str) -> None:
    parts = (component("prefill"), component("decode"))
    pools = {"prefill": serving(2), "decode": rolling(serving(2))}
    begun = status(pools, *parts, version=version)
    assert begun["rollingUpdate"]["phase"] == "InProgress"
    assert begun["rollingUpdate"][updated] == ["prefill"]
    going = status(pools, *parts, previous=begun, version=version, now_s=LATER_S)
    assert going["rollingUpdate"] == begun["rollingUpdate"]
    pools["decode"] = serving(2)
    ended = status(pools, *parts, previous=going, version=version, now_s=LATER_S)
    assert ended["rollingUpdate"]["phase"] == "Completed"
    assert ended["rollingUpdate"][updated] == ["prefill", "decode"]
    assert ended["rollingUpdate"]["endTime"] > ended["rollingUpdate"]["startTime"]


def test_only_single_node_deployments_tell_of_a_rollout() -> None:
    found = status({"decode": rolling(serving(2))}, component(kind=ComponentKind.LEADER_WORKER_SET))
    assert found["rollingUpdate"] is None
