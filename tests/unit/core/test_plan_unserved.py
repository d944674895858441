"""While a role has no serving replica, frontends refuse requests and may count none: a zero proves nothing then."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slaplanner.core.decision import Decision
from slaplanner.core.model import Behavior, Fleet, Mode, Policy, Role, RolePolicy, RoleState, Sizing
from slaplanner.core.plan import decide
from slaplanner.core.readings import Known, Observation
from slaplanner.core.reasons import ConditionType, Reason
from slaplanner.core.state import PlannerState, read_back, to_document
from tests.planning import fleet, observation, policy, profile, role

BOTH_SIZINGS = pytest.mark.parametrize("sizing", Sizing)
STEP_S = 30.0
IDLE = observation(0.0)


def gone(kind: Role, replicas: int) -> RoleState:
    """A role whose replicas all crash: asked for, there, and none of them serves."""
    return role(kind, replicas, serving=0)


def plans(
    runs: Fleet,
    asked: Policy,
    *,
    seen: Observation = IDLE,
    count: int = 40,
    state: PlannerState | None = None,
) -> tuple[PlannerState, Decision, Fleet]:
    """*count* plans, each carried out at once by the roles that serve."""
    state, decision = state or PlannerState(), None
    begin_s = state.planned_at_s or 1000.0
    for number in range(1, count + 1):
        state, decision = decide(state, seen, runs, asked, profile(), now_s=begin_s + STEP_S * number)
        runs = replace(runs, roles=tuple(_carried_out(entry, decision) for entry in runs.roles))
    assert decision is not None
    return state, decision, runs


def _carried_out(entry: RoleState, decision: Decision) -> RoleState:
    count = decision.desired[entry.role]
    return replace(entry, replicas=count, present=count, serving=count if entry.serving else 0)


def metrics_message(decision: Decision) -> str:
    found = next(one for one in decision.findings if one.type is ConditionType.METRICS_AVAILABLE)
    assert found.reason is Reason.ZERO_UNPROVEN
    assert found.status is True
    return found.message


@BOTH_SIZINGS
@pytest.mark.parametrize("ready", [True, False])
@pytest.mark.parametrize("lost", [Role.PREFILL, Role.DECODE])
def test_the_other_role_keeps_its_replicas_and_the_message_says_why(
    sizing: Sizing, lost: Role, ready: bool
) -> None:
    """Dynamo 1.4.2 answers 503 and counts nothing then: its frontend looks exactly as if it were idle."""
    roles = tuple(gone(kind, 4) if kind is lost else role(kind, 4) for kind in Mode.DISAGG.roles)
    _, decision, _ = plans(Fleet(roles=roles, ready=ready), policy(sizing=sizing, behavior=Behavior()))
    assert decision.desired == {Role.PREFILL: 4, Role.DECODE: 4}
    assert f"no replica of {lost.value} serves" in metrics_message(decision)
    assert "roles may grow, not shrink" in metrics_message(decision)


@BOTH_SIZINGS
def test_an_idle_fleet_whose_roles_serve_shrinks_to_its_floor(sizing: Sizing) -> None:
    _, decision, _ = plans(fleet(4, 4), policy(sizing=sizing))
    assert decision.desired == {Role.PREFILL: 1, Role.DECODE: 1}


def test_a_worker_that_the_policy_does_not_size_is_needed_for_a_zero_too() -> None:
    alone = Fleet(roles=(role(Role.DECODE, 4),), unserved=("VllmPrefillWorker",))
    _, decision, _ = plans(alone, policy(mode=Mode.DECODE))
    assert decision.desired == {Role.DECODE: 4}
    assert "no replica of VllmPrefillWorker serves" in metrics_message(decision)


def test_a_role_that_came_back_within_the_window_may_have_been_asked_before() -> None:
    asked = policy(window_s=180.0)
    seen = replace(IDLE, window_s=180.0)
    state, _, _ = plans(Fleet(roles=(gone(Role.PREFILL, 2), role(Role.DECODE, 4))), asked, seen=seen, count=3)
    state, decision, runs = plans(fleet(2, 4), asked, seen=seen, count=6, state=state)
    assert decision.desired == {Role.PREFILL: 2, Role.DECODE: 4}
    assert "had no serving replica for some of that time" in metrics_message(decision)
    _, decision, _ = plans(runs, asked, seen=seen, count=2, state=state)
    assert decision.desired == {Role.PREFILL: 1, Role.DECODE: 1}


def test_an_operator_that_restarts_remembers_that_a_role_was_gone() -> None:
    asked = policy(window_s=180.0)
    seen = replace(IDLE, window_s=180.0)
    state, _, _ = plans(Fleet(roles=(gone(Role.PREFILL, 2), role(Role.DECODE, 4))), asked, seen=seen, count=3)
    restored = read_back(to_document(state))
    assert restored.unserved_at_s == state.unserved_at_s
    _, decision, _ = plans(fleet(2, 4), asked, seen=seen, count=1, state=restored)
    assert decision.desired == {Role.PREFILL: 2, Role.DECODE: 4}


@BOTH_SIZINGS
def test_a_fleet_that_starts_cold_is_lifted_to_its_floors(sizing: Sizing) -> None:
    floors = (RolePolicy(role=Role.PREFILL, min_replicas=2), RolePolicy(role=Role.DECODE, min_replicas=3))
    cold = Fleet(roles=(gone(Role.PREFILL, 1), role(Role.DECODE, 0, serving=None)), ready=False)
    _, decision, _ = plans(cold, policy(sizing=sizing, roles=floors), count=1)
    assert decision.desired == {Role.PREFILL: 2, Role.DECODE: 3}


def test_requests_that_are_seen_all_the_same_make_roles_grow() -> None:
    cold = Fleet(roles=(gone(Role.PREFILL, 1), gone(Role.DECODE, 1)), ready=False)
    _, decision, _ = plans(cold, policy(), seen=observation(9_000.0), count=1)
    assert decision.desired[Role.PREFILL] > 1
    assert decision.desired[Role.DECODE] > 1


def test_a_parked_fleet_stays_parked() -> None:
    parked = Fleet(roles=(role(Role.PREFILL, 0), role(Role.DECODE, 0)))
    _, decision, _ = plans(parked, policy(), count=3)
    assert decision.desired == {Role.PREFILL: 0, Role.DECODE: 0}


def test_a_count_of_serving_replicas_that_is_not_reported_accuses_nobody() -> None:
    silent = Fleet(roles=(role(Role.PREFILL, 4, serving=None), role(Role.DECODE, 4, serving=None)))
    _, decision, _ = plans(silent, policy(), count=1)
    assert decision.desired == {Role.PREFILL: 1, Role.DECODE: 1}


COUNTS = st.integers(1, 30)


@settings(max_examples=60, deadline=None)
@given(
    sizing=st.sampled_from(Sizing),
    requests=st.just(0.0) | st.floats(0, 20_000),
    counts=st.tuples(COUNTS, COUNTS),
    serving=st.tuples(st.integers(0, 30), st.integers(0, 30)),
    ready=st.booleans(),
    behavior=st.sampled_from((Behavior(), Behavior.free())),
)
def test_no_role_shrinks_while_any_role_has_no_serving_replica(
    *,
    sizing: Sizing,
    requests: float,
    counts: tuple[int, int],
    serving: tuple[int, int],
    ready: bool,
    behavior: Behavior,
) -> None:
    serves = [min(have, count) for have, count in zip(serving, counts, strict=True)]
    serves[0 if requests % 2 < 1 else 1] = 0
    runs = Fleet(
        roles=tuple(
            role(kind, count, serving=have)
            for kind, count, have in zip(Mode.DISAGG.roles, counts, serves, strict=True)
        ),
        ready=ready,
    )
    state, before = PlannerState(), dict(zip(Mode.DISAGG.roles, counts, strict=True))
    for number in range(12):
        seen = observation(requests)
        state, decision = decide(state, seen, runs, policy(sizing=sizing, behavior=behavior), profile(), now_s=1e6 + 300.0 * number)  # fmt: skip
        assert all(decision.desired[kind] >= before[kind] for kind in before)
    assert isinstance(decision.observation.requests, Known)
    assert decision.observation.requests.lower_bound
