"""The operator before a fleet whose replicas start slowly, crash, or find no room."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from slaplanner_lab.fleet import names
from slaplanner_lab.fleet.options import Options
from tests.budget_watch import budget_watch
from tests.fleet_program import TABLES, FleetProgram, running_fleet, steady
from tests.operator_program import OperatorProgram
from tests.scene import NAME, PATIENCE_S, Scene, graph, policy, small_profile
from tests.testbed import Cluster, PrometheusServer, Target, dynamo_kubeconfig, wait_until

STARTUP_S = 3.0
REQUESTS_S = 10.0
PLANNING = {
    "intervalSeconds": 5,
    "startupSeconds": 5,
    "sizing": "Throughput",
    "predictor": {"type": "Constant"},
    "correction": "Disabled",
}

Serve = Callable[..., Scene]


@pytest.fixture(scope="module")
def fleet(
    cluster: Cluster,
    operator: OperatorProgram,
    prometheus_server: PrometheusServer,
) -> Iterator[FleetProgram]:
    """Plays every deployment that says it is simulated."""
    options = Options(tables=TABLES, traffic=steady(REQUESTS_S), startup_s=STARTUP_S)
    with running_fleet(dynamo_kubeconfig(cluster), options) as program:
        target = Target(job="fleet", address=program.target)
        prometheus_server.add_target(target)
        yield program
        prometheus_server.remove_target(target)


@pytest.fixture
def played(scene: Scene, fleet: FleetProgram) -> Serve:
    """A function that applies a simulated deployment with annotations, and its policy."""

    def serve(annotations: Mapping[str, str] | None = None, *, planning: object = None, **spec: Any) -> Scene:
        deployment = graph(replicas=spec.pop("replicas", {}))
        deployment["metadata"]["labels"] = {names.SIMULATED_LABEL: "true"}
        deployment["metadata"]["annotations"] = dict(annotations or {})
        profile = {"configMapRef": {"name": "small"}}
        scene.apply(
            small_profile(), deployment, policy(profile=profile, planning=planning or PLANNING, **spec)
        )
        return scene

    return serve


def test_one_crash_looping_pod_does_not_freeze_growth(played: Serve) -> None:
    annotations = {names.CRASH_ANNOTATION: "decode=1"}
    scene = played(annotations, gpuBudget={"max": 12}, replicas={"prefill": 2, "decode": 2})
    with budget_watch(scene) as watched:
        scene.wait_replicas(prefill=2, decode=4)
    watched.within(12)
    wait_until(
        lambda: scene.get(scene.graph_kind)["status"]["components"]["decode"].get("readyReplicas") == 3,
        what="three of the four to serve",
    )
    scene.wait_plans()
    assert scene.replicas() == {"prefill": 2, "decode": 4}
    scene.wait_condition("Progressing", "True", "Scaling", message="decode 3 of 4")
    assert scene.graph_conditions()["Ready"]["status"] == "False"
    scene.wait_condition("Ready", "True")


def test_growth_that_finds_no_room_is_cancelled_and_says_so(played: Serve) -> None:
    """Two prefill and two decode replicas take all eight GPUs. Only Grove's kinds say why one is not ready."""
    annotations = {names.KIND_ANNOTATION: "PodClique", names.CAPACITY_ANNOTATION: "8"}
    scene = played(annotations, replicas={"prefill": 2, "decode": 1})
    scene.wait_replicas(prefill=2, decode=4)
    scene.wait_condition(
        "Progressing", "True", "Unschedulable", message="decode asks for 4 replicas, 2 serve"
    )
    scene.wait_replicas(prefill=2, decode=2)

    def said() -> bool:
        roles = scene.status()["roles"]
        return any(role["name"] == "decode" and role["limitedBy"] == "Unschedulable" for role in roles)

    wait_until(said, what="decode to be limited by Unschedulable")
    limited = [event["message"] for event in scene.events("Unschedulable")]
    assert any("decode" in message for message in limited), limited


def test_the_start_up_time_is_measured_at_the_targets_own_scale_up(played: Serve) -> None:
    planning = {key: value for key, value in PLANNING.items() if key != "startupSeconds"}
    scene = played(planning=planning, replicas={"prefill": 1, "decode": 1})
    scene.wait_replicas(prefill=2, decode=4)
    wait_until(
        lambda: scene.status()["startup"]["source"] == "Measured",
        what="a measured start-up",
        timeout_s=PATIENCE_S,
    )
    # How exactly it is measured says tests/unit/core/test_startup_and_placement.py: here both sides may be late.
    assert scene.status()["startup"]["seconds"] > 0


def test_a_whole_life_keeps_the_budget_at_every_version(played: Serve) -> None:
    """From more decode than the budget has, through draining replicas, to what fits."""
    scene = played(gpuBudget={"max": 16}, replicas={"prefill": 6, "decode": 2})
    with budget_watch(scene) as watched:
        scene.wait_replicas(prefill=2, decode=4)
        scene.wait_condition("Progressing", "False", "Stable")
    watched.within(16)
    moves = watched.asked()
    assert moves[0] == {"prefill": 6, "decode": 2}
    assert moves[-1] == {"prefill": 2, "decode": 4}
    assert NAME in scene.condition("TargetResolved")["message"]
