"""What a role holds now, its floor, and a parked fleet: three things that no reading of the load overrides."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slaplanner.core.decision import Decision
from slaplanner.core.model import (
    DEFAULT_STARTUP_S,
    Behavior,
    Fallback,
    FallbackMode,
    Fleet,
    Mode,
    Pause,
    Policy,
    Role,
    RolePolicy,
    Sizing,
)
from slaplanner.core.plan import decide
from slaplanner.core.readings import Known, Observation, Reading, Unknown
from slaplanner.core.reasons import Reason
from slaplanner.core.state import MeanLengths, PlannerState
from slaplanner.core.work_in_flight import carrying_replicas
from tests.planning import GPUS, fleet, observation, policy, profile, role, unknown

BOTH_SIZINGS = pytest.mark.parametrize("sizing", Sizing)


def plans(seen: Observation, runs: Fleet, asked: Policy, *, count: int = 20) -> Decision:
    """The last of *count* plans, each carried out at once."""
    state, decision = PlannerState(), None
    for number in range(count):
        state, decision = decide(state, seen, runs, asked, profile(), now_s=1000.0 + 30.0 * number)
        runs = replace(
            runs,
            roles=tuple(
                replace(
                    entry,
                    replicas=decision.desired[entry.role],
                    serving=decision.desired[entry.role],
                    present=decision.desired[entry.role],
                )
                for entry in runs.roles
            ),
        )
    assert decision is not None
    return decision


def limits(decision: Decision, which: Role) -> tuple[Reason, ...]:
    return next(entry.limits for entry in decision.roles if entry.role is which)


def idle(**held: float) -> Observation:
    """A true zero with requests in flight."""
    readings: dict[str, Any] = {name: Known(value) for name, value in held.items()}
    return observation(0.0, **readings)


@BOTH_SIZINGS
def test_long_generations_keep_the_decoders_that_write_them(sizing: Sizing) -> None:
    """Finding F6: no arrivals, hundreds of answers under way; 7 decoders became 1."""
    asked = policy(sizing=sizing, behavior=Behavior())
    decision = plans(idle(inflight=364.0, queued=0.0), fleet(2, 7), asked)
    best = profile().decode.best(itl_ms=30.0, context_tokens=3075.0)
    assert decision.desired[Role.DECODE] * best.concurrency >= 364
    assert decision.desired[Role.DECODE] > 1
    assert decision.desired[Role.PREFILL] == 1
    assert Reason.WORK_IN_FLIGHT in limits(decision, Role.DECODE)


@BOTH_SIZINGS
@pytest.mark.parametrize("gauge", ["queued", "router_pending"])
def test_prompts_that_wait_keep_the_workers_that_read_them(sizing: Sizing, gauge: str) -> None:
    seen = idle(**{"inflight": 5_000.0, gauge: 5_000.0})
    decision = plans(seen, fleet(9, 1), policy(sizing=sizing))
    assert decision.desired[Role.PREFILL] > 1
    assert decision.desired[Role.DECODE] == 1


@BOTH_SIZINGS
def test_without_work_the_fleet_shrinks_to_its_floor(sizing: Sizing) -> None:
    decision = plans(idle(inflight=0.0, queued=0.0), fleet(9, 9), policy(sizing=sizing))
    assert decision.desired == {Role.PREFILL: 1, Role.DECODE: 1}


def test_held_work_never_makes_a_role_grow() -> None:
    decision = plans(idle(inflight=9_999.0, queued=999.0), fleet(2, 3), policy())
    assert decision.desired == {Role.PREFILL: 2, Role.DECODE: 3}


def test_the_budget_and_the_users_maximum_come_before_held_work() -> None:
    seen = idle(inflight=9_999.0, queued=999.0)
    asked = policy(gpu_budget=4 * GPUS)
    decision = plans(seen, fleet(4, 8), asked, count=1)
    assert sum(decision.desired.values()) * GPUS <= 4 * GPUS
    most = policy(roles=(RolePolicy(role=Role.PREFILL), RolePolicy(role=Role.DECODE, max_replicas=3)))
    assert plans(seen, fleet(4, 8), most, count=1).desired[Role.DECODE] == 3


READINGS = st.one_of(
    st.floats(0, 5_000).map(Known),
    st.floats(0, 5_000).map(lambda value: Known(value, lower_bound=True)),
    st.just(Unknown(Reason.NOT_REPORTED, "not reported")),
)


@settings(max_examples=60, deadline=None)
@given(
    sizing=st.sampled_from(Sizing),
    requests=READINGS,
    inflight=READINGS,
    queued=READINGS,
    pending=READINGS,
    replicas=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    most=st.none() | st.integers(1, 40),
    lengths=st.none() | st.tuples(st.floats(1, 30_000), st.floats(1, 4_000)),
    mode=st.sampled_from([Mode.DISAGG, Mode.AGG]),
)
def test_no_role_shrinks_below_what_carries_what_it_holds(
    *,
    sizing: Sizing,
    requests: Reading,
    inflight: Reading,
    queued: Reading,
    pending: Reading,
    replicas: tuple[int, int],
    most: int | None,
    lengths: tuple[float, float] | None,
    mode: Mode,
) -> None:
    """Whatever arrives, whatever is known of it, and however it is sized."""
    count = dict(zip(mode.roles, replicas, strict=False))
    asked = policy(
        sizing=sizing,
        mode=mode,
        roles=tuple(RolePolicy(role=kind, max_replicas=most) for kind in mode.roles),
    )
    runs = Fleet(roles=tuple(role(kind, number) for kind, number in count.items()))
    seen = observation(requests, inflight=inflight, queued=queued, router_pending=pending)
    if lengths is not None:
        seen = replace(seen, isl_tokens=Known(lengths[0]), osl_tokens=Known(lengths[1]))
    state, decision = decide(PlannerState(), seen, runs, asked, profile(), now_s=1000.0)
    if isinstance(requests, Unknown):
        assert all(decision.desired[kind] >= number for kind, number in count.items())
        return
    known = state.lengths or MeanLengths(isl_tokens=asked.sla.isl_tokens, osl_tokens=asked.sla.osl_tokens)
    for kind, number in count.items():
        carrying = carrying_replicas(
            kind,
            seen,
            lengths=known,
            policy=asked,
            profile=profile(),
            gpus_per_replica=GPUS,
            drain_s=DEFAULT_STARTUP_S + asked.interval_s,
        )
        assert decision.desired[kind] >= min(number, carrying)


def floors(prefill: int = 3, decode: int = 3, **fields: Any) -> Policy:
    return policy(
        roles=(
            RolePolicy(role=Role.PREFILL, min_replicas=prefill, fallback_replicas=2),
            RolePolicy(role=Role.DECODE, min_replicas=decode, fallback_replicas=2),
        ),
        **fields,
    )


@pytest.mark.parametrize("mode", [FallbackMode.HOLD, FallbackMode.CURRENT_IF_HIGHER])
def test_below_the_floor_a_role_is_lifted_though_nothing_is_known(mode: FallbackMode) -> None:
    """Finding F9: the floor is the user's word and needs no load."""
    decision = plans(observation(unknown()), fleet(1, 1), floors(fallback=Fallback(mode=mode)), count=10)
    assert decision.desired == {Role.PREFILL: 3, Role.DECODE: 3}


def test_the_first_plan_lifts_and_says_so() -> None:
    decision = plans(observation(unknown()), fleet(1, 5), floors(), count=1)
    assert decision.desired == {Role.PREFILL: 3, Role.DECODE: 5}
    assert decision.reason is Reason.SCALE_UP
    assert limits(decision, Role.PREFILL) == (Reason.HOLD_UNKNOWN, Reason.TOO_FEW_REPLICAS)


def test_the_users_fallback_may_lie_below_the_floor() -> None:
    static = floors(fallback=Fallback(after=1, mode=FallbackMode.STATIC))
    assert plans(observation(unknown()), fleet(3, 3), static, count=1).desired == {
        Role.PREFILL: 2,
        Role.DECODE: 2,
    }


def test_a_lift_stays_within_the_budget_and_waits_for_a_pause() -> None:
    unknown_load = observation(unknown())
    asked = floors(gpu_budget=5 * GPUS)
    decision = plans(unknown_load, fleet(1, 1), asked, count=1)
    assert decision.desired == {Role.PREFILL: 1, Role.DECODE: 1}, "the floors do not fit: what runs is kept"
    asked = floors(prefill=2, gpu_budget=5 * GPUS)
    assert plans(unknown_load, fleet(1, 1), asked, count=1).desired == {Role.PREFILL: 2, Role.DECODE: 3}
    paused = floors(pause=Pause.SCALE_OUT)
    assert plans(unknown_load, fleet(1, 1), paused, count=1).desired == {Role.PREFILL: 1, Role.DECODE: 1}


@BOTH_SIZINGS
@pytest.mark.parametrize("load", [0.0, unknown()], ids=["idle", "unknown"])
def test_a_parked_fleet_stays_parked(sizing: Sizing, load: Reading | float) -> None:
    """Finding F21: somebody has set all roles to 0, and no request asks for them."""
    decision = plans(observation(load), fleet(0, 0), floors(sizing=sizing), count=10)
    assert decision.desired == {Role.PREFILL: 0, Role.DECODE: 0}
    assert Reason.PARKED in limits(decision, Role.PREFILL)


@BOTH_SIZINGS
def test_requests_start_a_parked_fleet(sizing: Sizing) -> None:
    decision = plans(observation(900.0), fleet(0, 0), policy(sizing=sizing), count=1)
    assert min(decision.desired.values()) >= 1


def test_one_role_at_0_beside_one_that_runs_is_not_parked() -> None:
    assert plans(observation(0.0), fleet(0, 2), floors(), count=1).desired == {
        Role.PREFILL: 3,
        Role.DECODE: 3,
    }
