"""A target that never becomes ready: named after a patience, and no reason to hold idle GPUs for ever."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaplanner.core.decision import Decision
from slaplanner.core.model import DEFAULT_STARTUP_S, Fleet, Policy, Role, RoleState
from slaplanner.core.plan import decide
from slaplanner.core.readings import Observation
from slaplanner.core.reasons import Reason
from slaplanner.core.state import PlannerState, from_document, to_document
from tests.planning import fleet, observation, policy, profile, role

P, D = Role.PREFILL, Role.DECODE
IDLE = observation(0.0)
BUSY = observation(1800.0)
"""Needs 4 prefill and 2 decode replicas."""
PATIENCE_S = 2 * DEFAULT_STARTUP_S
INTERVAL_S = 30.0


def unready(prefill: RoleState, decode: RoleState, **fields: object) -> Fleet:
    return replace(fleet(), roles=(prefill, decode), ready=False, **fields)


HALF_UPDATED = role(D, 4, updated=1, rollout=True, settled=False)
"""F10a: `updatedReplicas` drifted from what serves, and stays."""
ONE_TOO_MANY = role(P, 4, updated=5, settled=False)
"""F10b: the gang was rolled by rapid patches; one more is updated than is asked for."""
CRASH_LOOPING = role(D, 20, serving=19, updated=20, settled=False)


def plans(
    runs: Fleet, seen: Observation = IDLE, *, count: int = 20, asked: Policy | None = None
) -> Iterator[tuple[float, Decision]]:
    """Plans of a fleet that carries decisions out at once, for complete roles, and changes in nothing else."""
    state = PlannerState()
    for index in range(count):
        now_s = 1_000.0 + index * INTERVAL_S
        state, decision = decide(state, seen, runs, asked or policy(), profile(), now_s=now_s)
        yield now_s - 1_000.0, decision
        runs = replace(runs, roles=tuple(_moved(entry, decision.desired[entry.role]) for entry in runs.roles))


def _moved(state: RoleState, desired: int) -> RoleState:
    missing = 0 if state.serving is None else state.replicas - state.serving
    shift = desired - state.replicas
    return replace(
        state,
        replicas=desired,
        serving=None if state.serving is None else desired - missing,
        present=desired,
        updated=None if state.updated is None else state.updated + shift,
    )


@pytest.mark.parametrize("stuck", [HALF_UPDATED, CRASH_LOOPING], ids=["half-updated", "crash-looping"])
def test_a_stuck_role_does_not_pin_the_other_for_ever(stuck: RoleState):
    took = dict(plans(unready(role(P, 2), stuck)))
    for at_s, decision in took.items():
        assert decision.desired[D] == stuck.replicas
        assert decision.desired[P] == (2 if at_s < PATIENCE_S else 1)
        if at_s < PATIENCE_S:
            assert (decision.reason, decision.stall) == (Reason.STEADY, None)
    last = took[max(took)]
    assert last.reason is Reason.BLOCKED
    assert last.stall is not None
    assert last.stall.since_s == 1_000.0
    assert last.stall.by.startswith("decode (")


def test_whose_replicas_all_serve_gives_them_back_though_a_count_is_odd():
    """F10b: 4 and 2 stayed for 200 plans."""
    *_, (_, last) = plans(unready(ONE_TOO_MANY, role(D, 2)), count=40)
    assert last.desired == {P: 1, D: 1}
    assert last.stall is not None
    assert last.stall.by == "prefill (2 replicas are of the newest revision, 1 are asked for)"


def test_growth_goes_on_beside_a_stuck_role():
    *_, (_, last) = plans(unready(role(P, 1), HALF_UPDATED), BUSY)
    assert last.desired == {P: 4, D: 4}


def test_one_crash_looping_replica_of_twenty_does_not_freeze_its_own_growth():
    stuck = replace(CRASH_LOOPING, replicas=2, serving=1, updated=2)
    *_, (_, last) = plans(unready(role(P, 4), stuck), observation(5400.0))
    assert last.desired[D] > 2


def test_a_target_that_says_no_more_than_that_it_is_not_ready_is_named_too():
    took = list(plans(unready(role(P, 2), role(D, 2), incomplete=("Frontend (1 of 2 replicas serve)",))))
    assert took[0][1].desired == {P: 2, D: 2}
    assert took[-1][1].desired == {P: 1, D: 1}
    stall = took[-1][1].stall
    assert stall is not None
    assert stall.by == "Frontend (1 of 2 replicas serve)"


def test_a_rollout_that_advances_is_no_stall():
    state, now_s = PlannerState(), 1_000.0
    for updated in range(20):
        runs = unready(role(P, 2), role(D, 20, updated=updated, rollout=True, settled=False))
        state, decision = decide(state, IDLE, runs, policy(), profile(), now_s=now_s)
        assert decision.stall is None
        assert decision.desired[D] == 20
        now_s += PATIENCE_S / 2


def test_a_target_that_recovers_is_forgotten():
    state, _ = decide(
        PlannerState(), IDLE, unready(role(P), HALF_UPDATED), policy(), profile(), now_s=1_000.0
    )
    state, decision = decide(state, BUSY, fleet(2, 4), policy(), profile(), now_s=2_000.0)
    assert decision.stall is None
    assert state.unready_since_s is None
    _, decision = decide(state, IDLE, unready(role(P), HALF_UPDATED), policy(), profile(), now_s=2_030.0)
    assert decision.stall is None
    assert decision.desired[P] == 2


def test_since_when_survives_a_restart():
    runs = unready(role(P), HALF_UPDATED)
    state, _ = decide(PlannerState(), IDLE, runs, policy(), profile(), now_s=1_000.0)
    read_back = from_document(json.loads(json.dumps(to_document(state))))
    _, decision = decide(read_back, IDLE, runs, policy(), profile(), now_s=1_000.0 + PATIENCE_S)
    assert decision.stall is not None
    assert decision.stall.since_s == 1_000.0
    assert decision.desired[P] == 1


def test_a_clock_set_back_starts_no_stall_early():
    runs = unready(role(P), HALF_UPDATED)
    state, _ = decide(PlannerState(), IDLE, runs, policy(), profile(), now_s=9_000.0)
    _, decision = decide(state, IDLE, runs, policy(), profile(), now_s=1_000.0)
    assert decision.stall is None


COUNTS = st.none() | st.integers(0, 8)


@st.composite
def role_states(draw: st.DrawFn, kind: Role) -> RoleState:
    replicas = draw(st.integers(1, 6))
    return role(
        kind,
        replicas,
        serving=draw(COUNTS),
        updated=draw(COUNTS),
        present=draw(COUNTS),
        rollout=draw(st.booleans()),
        settled=draw(st.booleans()),
        unschedulable=draw(st.booleans()),
        waits_for=draw(st.sampled_from([None, Reason.SCALING_DEFERRED, Reason.NOT_COMMITTED])),
    )


@given(prefill=role_states(P), decode=role_states(D), ready=st.booleans(), observed=st.booleans())
def test_only_complete_roles_of_an_observed_target_shrink_below_what_serves(
    prefill: RoleState, decode: RoleState, *, ready: bool, observed: bool
):
    runs = Fleet(roles=(prefill, decode), ready=ready, observed=observed)
    state = PlannerState()
    for index in range(30):
        state, decision = decide(state, IDLE, runs, policy(), profile(), now_s=1_000.0 + index * INTERVAL_S)
        for entry in runs.roles:
            desired = decision.desired[entry.role]
            if entry.rollout or entry.waits_for is Reason.SCALING_DEFERRED:
                assert desired == entry.replicas
            elif not observed or (not ready and not entry.complete):
                assert desired >= min(
                    entry.replicas, entry.serving if entry.serving is not None else entry.replicas
                )


class TestATargetThatWaits:
    """ScalingDeferred, an adapter that has not committed, a status of an older generation."""

    def test_deferred_scaling_is_left_alone_and_is_no_stall(self):
        deferred = role(D, 4, serving=2, settled=False, waits_for=Reason.SCALING_DEFERRED)
        for seen in (IDLE, BUSY):
            for _, decision in plans(unready(role(P, 2), deferred), seen):
                assert decision.desired[D] == 4
                assert decision.stall is None

    def test_what_a_power_budget_does_not_grant_may_be_given_back_at_once(self):
        waiting = role(D, 4, serving=2, present=2, settled=False, waits_for=Reason.NOT_COMMITTED)
        (_, first), *_ = plans(unready(role(P, 1), waiting))
        assert first.desired == {P: 1, D: 2}

    def test_counts_of_an_older_generation_shrink_nothing_and_growth_goes_on(self):
        for seen, desired in ((IDLE, (2, 2)), (BUSY, (4, 2))):
            *_, (_, last) = plans(fleet(2, 2, observed=False), seen)
            assert tuple(last.desired.values()) == desired
        limits = [entry.limited_by for entry in next(plans(fleet(2, 2, observed=False)))[1].roles]
        assert limits == [Reason.NOT_OBSERVED, Reason.NOT_OBSERVED]
