"""What a look at the target says: who plays what, who else scales, where it is on its way to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from slaplanner.adapters.deployment import Rival, Rivals, ScalingOutcome, TargetState
from slaplanner.controller.target_conditions import conflict, progress, resolved
from slaplanner.core.errors import ActuationError
from slaplanner.core.model import Actuation, Fleet, Role
from slaplanner.core.plan import decide
from slaplanner.core.reasons import ConditionType, Reason
from slaplanner.core.rebalance import ReplicaWrite
from slaplanner.core.stalls import Stall
from slaplanner.core.state import PlannerState
from tests.planning import fleet, observation, policy, profile, role
from tests.reconciling import target

GROWTH = ReplicaWrite(role=Role.DECODE, before=1, replicas=4)
SHRINK = ReplicaWrite(role=Role.PREFILL, before=4, replicas=1)


def fleet_of(**fields: object) -> TargetState:
    """Decode as given, prefill at rest."""
    ready = {"ready_reason": "pods_not_ready", "ready_message": "no node has 2 free GPUs"}
    return target(fleet=Fleet(roles=(role(Role.PREFILL), role(Role.DECODE, 4, **fields))), **ready)


@pytest.mark.parametrize(
    ("outcome", "seen", "status", "reason", "message"),
    [
        pytest.param(
            None, target(), False, Reason.STABLE, "spec, updated and serving replicas agree", id="at-rest"
        ),
        pytest.param(ScalingOutcome(written=(SHRINK, GROWTH)), target(), True, Reason.SCALING,
                     "written: prefill 4 -> 1, decode 1 -> 4", id="just-written"),
        pytest.param(ScalingOutcome(written=(SHRINK,), waiting=(GROWTH,), waiting_for=Reason.GPU_BUDGET), target(), True,
                     Reason.GPU_BUDGET, "waiting to write decode 1 -> 4", id="half-written"),
        pytest.param(ScalingOutcome(error=ActuationError("stale", reason=Reason.CONFLICT)), target(), True,
                     Reason.CONFLICT, "not all was written: stale", id="refused"),
        pytest.param(ScalingOutcome(), fleet_of(settled=False, serving=3), True, Reason.SCALING,
                     "serving: decode 3 of 4", id="starting"),
        pytest.param(None, fleet_of(settled=False, serving=None), True, Reason.SCALING,
                     "serving: decode an unreported number of 4", id="unreported"),
        pytest.param(None, fleet_of(rollout=True), True, Reason.ROLLING_OUT,
                     "a rollout of decode is under way", id="rollout"),
        pytest.param(None, fleet_of(settled=False, serving=3, unschedulable=True), True, Reason.UNSCHEDULABLE,
                     "decode asks for 4 replicas, 3 serve; the cluster has no room: no node has 2 free GPUs",
                     id="unschedulable"),
    ],
)  # fmt: skip
def test_progressing(
    outcome: ScalingOutcome | None, seen: TargetState, status: bool, reason: Reason, message: str
):
    found = progress(None, seen, outcome)
    assert found.type is ConditionType.PROGRESSING
    assert (found.status, found.reason, found.message) == (status, reason, message)


SINCE_S = 1_764_525_600.0
STALLED = replace(
    decide(PlannerState(), observation(0.0), fleet(), policy(), profile(), now_s=0.0)[1],
    stall=Stall(since_s=SINCE_S, culprits=("decode (1 of 4 replicas serve)",)),
)


def test_a_stall_is_told_with_since_when_and_by_whom():
    seen = fleet_of(settled=False, serving=1)
    found = progress(STALLED, seen, None)
    assert (found.status, found.reason) == (True, Reason.BLOCKED)
    assert found.message == (
        "blocked since 2025-11-30T18:00:00Z by decode (1 of 4 replicas serve); the target says pods_not_ready: "
        "no node has 2 free GPUs"
    )
    written = progress(STALLED, seen, ScalingOutcome(written=(SHRINK,)))
    assert written.reason is Reason.BLOCKED
    assert written.message.endswith("; written: prefill 4 -> 1")


def test_a_target_that_recovered_since_the_plan_is_not_blocked():
    assert progress(STALLED, target(), None).reason is Reason.STABLE


def test_a_refused_write_is_told_before_a_stall():
    refused = ScalingOutcome(error=ActuationError("no", reason=Reason.FORBIDDEN))
    assert progress(STALLED, fleet_of(settled=False), refused).reason is Reason.FORBIDDEN


def test_a_target_of_an_older_generation_is_waited_for():
    found = progress(None, target(fleet=fleet(observed=False)), None)
    assert (found.status, found.reason) == (True, Reason.NOT_OBSERVED)


@pytest.mark.parametrize("reason", [Reason.SCALING_DEFERRED, Reason.NOT_COMMITTED])
def test_what_waits_for_the_targets_leave_says_so_in_its_words(reason: Reason):
    seen = replace(fleet_of(settled=False, serving=2, waits_for=reason), waiting={Role.DECODE: "not now"})
    found = progress(None, seen, None)
    assert (found.status, found.reason, found.message) == (True, reason, "decode waits at 2 of 4: not now")


def test_what_was_found_is_told_by_name():
    found = resolved(target(), "meta/llama-70b")
    assert found.message == (
        "llama serves meta/llama-70b: prefill is prefill with 2 GPUs per replica, decode is decode with 2 GPUs per "
        "replica"
    )


def test_nobody_else_scales():
    found = conflict(Rivals())
    assert (found.status, found.reason) == (False, Reason.NO_CONFLICT)


def test_who_only_observes_conflicts_with_nobody_and_still_names_who_scales():
    scaler = Rival(reason=Reason.OTHER_AUTOSCALER, name="ScaledObject 'llama-decode'", role=Role.DECODE)
    found = conflict(Rivals(found=(scaler,)), actuation=Actuation.OBSERVE)
    assert (found.status, found.reason) == (False, Reason.NO_CONFLICT)
    assert found.message == "scaled by ScaledObject 'llama-decode' (decode); this policy only observes"


def test_who_could_not_be_looked_for_is_said_and_no_conflict():
    found = conflict(Rivals(unchecked=("scaledobjects were not looked at: missing permission",)))
    assert found.status is False
    assert "scaledobjects were not looked at" in found.message


def test_every_rival_is_named_and_the_first_gives_the_reason():
    policy = Rival(reason=Reason.OTHER_POLICY, name="SLAPolicy 'old'", role=Role.PREFILL)
    planner = Rival(reason=Reason.OTHER_PLANNER, name="planner component 'Planner'")
    found = conflict(Rivals(found=(policy, planner)))
    assert (found.status, found.reason) == (True, Reason.OTHER_POLICY)
    assert found.message == (
        "also scaled by SLAPolicy 'old' (prefill), planner component 'Planner'; nothing is written"
    )
