"""The budget holds at every version of the deployment, not only at the end of a move."""

from __future__ import annotations

from collections.abc import Callable

from tests.budget_watch import budget_watch
from tests.played_load import Load
from tests.scene import NAME, Scene, policy
from tests.testbed import wait_until

PREFILL_HEAVY = Load(requests_s=60.0, isl=1000.0, osl=200.0, ttft_s=0.12, itl_s=0.012)
"""Needs 4 prefill and 2 decode replicas, of 2 GPUs each."""
DECODE_HEAVY = {"requests_s": 30.0, "isl": 300.0, "osl": 1000.0}
"""Needs 1 prefill and 4 decode replicas."""
STEADY = {"scaleDown": {"stabilizationWindowSeconds": 300}}

Serve = Callable[..., Scene]


def budget(gpus: int) -> dict[str, object]:
    return {"spec": {"gpuBudget": {"max": gpus}}}


def test_a_budget_below_the_floors_keeps_what_runs(served_scene: Serve) -> None:
    scene = served_scene(PREFILL_HEAVY, replicas={"prefill": 3, "decode": 2})
    with budget_watch(scene) as watched:
        scene.apply(policy(gpuBudget={"max": 3}))
        said = scene.wait_condition("BudgetLimited", "True", "BudgetInfeasible")
        assert said["message"] == (
            "the floors (minReplicas) need 4 GPUs, the budget has 3; what runs is kept and nothing is written"
        )
        scene.wait_plans()
    assert watched.asked() == [{"prefill": 3, "decode": 2}]
    scene.wait_condition("Ready", "True")
    told = scene.events("BudgetInfeasible")
    assert {event["message"] for event in told} == {f"BudgetLimited is True: {said['message']}"}


def test_growth_stops_at_the_budget_and_says_what_was_wanted(served_scene: Serve) -> None:
    scene = served_scene(PREFILL_HEAVY)
    with budget_watch(scene) as watched:
        scene.apply(policy(gpuBudget={"max": 8}))
        scene.wait_replicas(prefill=2, decode=2)
        said = scene.wait_condition("BudgetLimited", "True", "BudgetExceeded")
    assert said["message"] == "12 GPUs are wanted, the budget has 8; 8 are asked for"
    watched.within(8)
    roles = {role["name"]: role for role in scene.status()["roles"]}
    assert roles["prefill"]["limitedBy"] == "GPUBudget"
    grown = {"current": 8, "desired": 8, "budget": 8}
    wait_until(lambda: scene.status()["gpus"] == grown, what="the fleet to have its eight GPUs")


def test_a_budget_lowered_under_what_runs_shrinks_at_once(served_scene: Serve) -> None:
    """Whatever the stabilisation says, and both roles in one write."""
    scene = served_scene(PREFILL_HEAVY, replicas={"prefill": 4, "decode": 2})
    scene.apply(policy(gpuBudget={"max": 12}, behavior=STEADY))
    scene.wait_condition("Ready", "True")
    with budget_watch(scene) as watched:
        scene.patch("slapolicy", NAME, budget(8))
        scene.wait_replicas(prefill=2, decode=2)
    assert watched.asked() == [{"prefill": 4, "decode": 2}, {"prefill": 2, "decode": 2}]
    said = scene.wait_condition("BudgetLimited", "True", "BudgetExceeded")
    assert said["message"] == "12 GPUs are wanted, the budget has 8; 8 are asked for"
    scene.wait_condition("Ready", "True")
    assert "OverBudget" in [decision["reason"] for decision in scene.status()["decisions"]]


def test_unreadable_gpus_change_nothing_until_the_policy_names_them(served_scene: Serve) -> None:
    scene = served_scene(PREFILL_HEAVY, gpus=None)
    with budget_watch(scene) as watched:
        scene.apply(policy(gpuBudget={"max": 12}))
        said = scene.wait_condition("TargetResolved", "False", "GPUsUnknown")
        assert "roles[].gpusPerReplica" in said["message"]
        assert scene.condition("Ready")["reason"] == "GPUsUnknown"
        scene.wait_graph_condition("SLAPlanned", "False", message="roles[].gpusPerReplica")
    assert watched.asked() == [{"prefill": 1, "decode": 1}]
    roles = [{"name": "prefill", "gpusPerReplica": 2}, {"name": "decode", "gpusPerReplica": 2}]
    scene.patch("slapolicy", NAME, {"spec": {"roles": roles}})
    scene.wait_replicas(prefill=4, decode=2)


def test_a_rebalance_waits_for_the_gpus_of_replicas_that_are_still_terminating(
    served_scene: Serve,
) -> None:
    scene = served_scene(PREFILL_HEAVY, replicas={"prefill": 4, "decode": 2})
    scene.apply(policy(gpuBudget={"max": 12}))
    scene.wait_condition("MetricsAvailable", "True")
    with budget_watch(scene) as watched:
        scene.loads.change(scene.dynamo_namespace, **DECODE_HEAVY)
        scene.wait_replicas(prefill=1, decode=2)
        scene.wait_condition("Progressing", "True", "GPUBudget", message="waiting to write decode 2 -> 4")
        scene.settle(prefill=3)
        scene.wait_replicas(prefill=1, decode=3)
        scene.settle(prefill=1, decode=3)
        scene.wait_replicas(prefill=1, decode=4)
        scene.settle()
    watched.within(12)
    scene.wait_condition("Progressing", "False", "Stable")
    moved = [event["message"] for event in scene.events("Scaled")]
    assert any("decode 3 -> 4" in message for message in moved), moved


def test_a_role_that_stabilisation_keeps_high_does_not_push_the_sum_over(served_scene: Serve) -> None:
    scene = served_scene(PREFILL_HEAVY, replicas={"prefill": 4, "decode": 2})
    scene.apply(policy(gpuBudget={"max": 12}, behavior=STEADY))
    scene.wait_condition("MetricsAvailable", "True")
    with budget_watch(scene) as watched:
        scene.loads.change(scene.dynamo_namespace, **DECODE_HEAVY)
        scene.wait_replicas(prefill=3, decode=2)
        scene.settle()
        scene.wait_replicas(prefill=3, decode=3)
        scene.settle()
    watched.within(12)
    scene.wait_condition("BudgetLimited", "True", "BudgetExceeded")
