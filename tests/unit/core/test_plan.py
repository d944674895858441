"""A plan: from what was seen to what is asked for, and every reason on the way."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slaplanner.api.status_schema import PLANNER_STATE_BYTES
from slaplanner.core.decision import Decision
from slaplanner.core.errors import TargetError
from slaplanner.core.model import (
    Behavior,
    Fallback,
    FallbackMode,
    Fleet,
    Mode,
    Pause,
    Policy,
    PredictorPolicy,
    Role,
    RolePolicy,
    Sizing,
)
from slaplanner.core.plan import decide
from slaplanner.core.readings import Known, Observation, Series
from slaplanner.core.reasons import ConditionType, Reason
from slaplanner.core.rounding import whole_replicas
from slaplanner.core.state import PlannerState, caught_up, from_document, to_document
from tests.planning import fleet, observation, policy, profile, role, unknown


def plan(
    seen: Observation | None = None,
    *,
    runs: Fleet | None = None,
    asked: Policy | None = None,
    state: PlannerState | None = None,
    now_s: float = 1_000.0,
) -> tuple[PlannerState, Decision]:
    return decide(
        state or PlannerState(),
        seen or observation(),
        runs or fleet(),
        asked or policy(),
        profile(),
        now_s=now_s,
    )


def desired(decision: Decision) -> tuple[int, ...]:
    return tuple(entry.desired for entry in decision.roles)


def finding(decision: Decision, kind: ConditionType):
    return next(entry for entry in decision.findings if entry.type is kind)


BUSY = observation(requests=1800.0)
"""60 requests/s: 60,000 input tokens/s, 12,000 output tokens/s."""


def test_each_role_gets_what_its_own_load_needs():
    _, decision = plan(BUSY)
    assert desired(decision) == (4, 2)
    assert decision.reason is Reason.SCALE_UP
    assert decision.message.startswith("prefill 2 -> 4, decode stays 2: 60 requests/s of 1,000 input")


def test_sizing_by_attainment_says_the_whole_sum():
    _, decision = plan(BUSY, asked=policy(sizing=Sizing.ATTAINMENT))
    for entry in decision.roles:
        assert entry.sized is not None
        assert f"; {entry.sized.message}" in decision.message
    assert "prefill: 60,000 tokens/s expected, " in decision.message
    assert " (learnt) / " in decision.message


@lru_cache
def plans_for_bursts() -> tuple[Decision, ...]:
    """Plans of 80 intervals whose loads are bursts: how likely one is falls with its size to the power 1.2."""
    chance = np.random.default_rng(0)
    loads = np.round(100.0 * (chance.pareto(1.2, size=80) + 1.0)).tolist()
    asked = policy(
        sizing=Sizing.ATTAINMENT,
        startup_s=120.0,
        predictor=PredictorPolicy(),
        behavior=Behavior(),
        gpu_budget=40,
    )
    state, decisions = PlannerState(), []
    for count in range(1, len(loads) + 1):
        past = tuple(loads[:count])
        history = Series(
            end_s=30.0 * count,
            step_s=30.0,
            requests=past,
            isl_tokens=(1000.0,) * count,
            osl_tokens=(200.0,) * count,
        )
        runs = fleet(*(desired(decisions[-1]) if decisions else (2, 2)))
        seen = observation(loads[count - 1], history=history)
        state, decision = plan(seen, runs=runs, asked=asked, state=state, now_s=30.0 * count)
        decisions.append(decision)
    return tuple(decisions)


def test_each_limit_says_what_it_made_of_the_need():
    limits = set()
    for decision in plans_for_bursts():
        for entry in decision.roles:
            assert entry.sized is not None
            said = decision.message.split(entry.sized.message)[1].split(f"; {Role.DECODE}: ")[0]
            counts = [whole_replicas(entry.sized.raw), *(made.replicas for made in entry.changed)]
            assert counts[-1] == entry.desired
            assert said == "".join(f"; {' and '.join(made.by)}: {made.replicas}" for made in entry.changed)
            assert all(before != then for before, then in pairwise(counts))
            limits.update(limit for made in entry.changed for limit in made.by)
    assert {Reason.STABILIZED_DOWN, Reason.GPU_BUDGET} <= limits


def test_a_queue_that_is_served_soon_keeps_what_serves_it_and_says_so():
    asked = policy(sizing=Sizing.ATTAINMENT, startup_s=0.0)
    _, decision = plan(observation(requests=900.0, queued=Known(3000.0)), runs=fleet(3, 2), asked=asked)
    (prefill, _) = decision.roles
    assert prefill.sized is not None
    assert prefill.desired > 3
    assert "(waiting requests)" in prefill.sized.message


def test_idle_falls_to_the_floor_though_means_of_nothing_are_not_numbers():
    _, decision = plan(observation(requests=0.0))
    assert desired(decision) == (1, 1)
    assert finding(decision, ConditionType.METRICS_AVAILABLE).reason is Reason.IDLE


def test_an_unknown_load_never_scales_down():
    _, decision = plan(observation(requests=unknown()))
    assert desired(decision) == (2, 2)
    assert decision.reason is Reason.HOLD_UNKNOWN
    metrics = finding(decision, ConditionType.METRICS_AVAILABLE)
    assert (metrics.status, metrics.reason) == (False, Reason.PROMETHEUS_UNAVAILABLE)


def test_a_stall_grows_on_the_last_known_lengths_and_shrinks_nothing():
    state, _ = plan(observation(requests=900.0))
    stalled = observation(
        requests=1800.0,
        isl_tokens=unknown(Reason.LENGTHS_UNKNOWN),
        osl_tokens=unknown(Reason.LENGTHS_UNKNOWN),
    )
    _, decision = plan(stalled, state=state, runs=fleet(2, 5), now_s=1_030.0)
    assert desired(decision) == (4, 5)
    assert finding(decision, ConditionType.METRICS_AVAILABLE).reason is Reason.LENGTHS_UNKNOWN
    assert decision.roles[1].limited_by is Reason.LOWER_BOUND_LOAD


def test_a_load_that_is_a_lower_bound_grows_and_does_not_shrink():
    _, decision = plan(observation(requests=Known(1800.0, lower_bound=True)), runs=fleet(2, 6))
    assert desired(decision) == (4, 6)


def test_lengths_are_kept_through_idle_time():
    state, _ = plan(BUSY)
    state, _ = plan(observation(requests=0.0), state=state, now_s=1_030.0)
    assert state.lengths is not None
    assert (state.lengths.isl_tokens, state.lengths.osl_tokens) == (1000.0, 200.0)


def test_a_gap_as_the_newest_point_of_history_is_filled_with_what_was_seen():
    nan = float("nan")
    history = Series(
        end_s=1_000.0, step_s=30.0, requests=(300.0, nan), isl_tokens=(1000.0, nan), osl_tokens=(200.0, nan)
    )
    _, decision = plan(replace(BUSY, history=history))
    assert decision.forecast is not None
    assert decision.forecast.requests[0] == 1800.0


def test_bounds_of_a_role_hold_and_are_named():
    roles = (
        RolePolicy(role=Role.PREFILL, min_replicas=1, max_replicas=3),
        RolePolicy(role=Role.DECODE, min_replicas=6),
    )
    _, decision = plan(BUSY, asked=policy(roles=roles))
    assert desired(decision) == (3, 6)
    assert [entry.limited_by for entry in decision.roles] == [
        Reason.TOO_MANY_REPLICAS,
        Reason.TOO_FEW_REPLICAS,
    ]


def test_the_budget_cuts_last_and_is_named():
    _, decision = plan(BUSY, asked=policy(gpu_budget=8), runs=fleet(1, 1))
    assert decision.gpus(desired=True) == 8
    limited = finding(decision, ConditionType.BUDGET_LIMITED)
    assert (limited.status, limited.reason) == (True, Reason.BUDGET_EXCEEDED)
    assert limited.message == "12 GPUs are wanted, the budget has 8; 8 are asked for"


def test_a_budget_below_the_floors_writes_nothing():
    _, decision = plan(BUSY, asked=policy(gpu_budget=3))
    assert not decision.changes
    limited = finding(decision, ConditionType.BUDGET_LIMITED)
    assert limited.reason is Reason.BUDGET_INFEASIBLE
    assert "need 4 GPUs, the budget has 3" in limited.message


def test_what_runs_over_the_budget_shrinks_now_whatever_damping_says():
    damped = policy(gpu_budget=8, behavior=Behavior())
    state, _ = plan(BUSY, asked=replace(damped, gpu_budget=None), runs=fleet(8, 8))
    _, decision = plan(BUSY, asked=damped, runs=fleet(8, 8), state=state, now_s=1_030.0)
    assert decision.gpus(desired=True) == 8
    assert decision.reason is Reason.OVER_BUDGET


def test_a_role_that_damping_keeps_high_does_not_push_the_sum_over_the_budget():
    damped = policy(gpu_budget=16, behavior=Behavior())
    state, _ = plan(observation(requests=300.0, osl_tokens=Known(1000.0)), asked=damped, runs=fleet(1, 5))
    _, decision = plan(BUSY, asked=damped, runs=fleet(1, 5), state=state, now_s=1_030.0)
    total = decision.gpus(desired=True)
    assert total is not None
    assert total <= 16


def test_unreadable_gpus_are_refused_and_never_counted_as_zero():
    runs = Fleet(roles=(role(Role.PREFILL), role(Role.DECODE, gpus_per_replica=None)))
    with pytest.raises(TargetError, match="GPUs per replica of decode are unknown") as refused:
        plan(BUSY, runs=runs)
    assert refused.value.reason is Reason.GPUS_UNKNOWN


@pytest.mark.parametrize(
    ("pause", "expected"),
    [
        pytest.param(Pause.ALL, (2, 9), id="all"),
        pytest.param(Pause.SCALE_IN, (4, 9), id="scale-in"),
        pytest.param(Pause.SCALE_OUT, (2, 2), id="scale-out"),
        pytest.param(Pause.NONE, (4, 2), id="none"),
    ],
)
def test_a_pause_holds_its_direction(pause: Pause, expected: tuple[int, int]):
    _, decision = plan(BUSY, asked=policy(pause=pause), runs=fleet(2, 9))
    assert desired(decision) == expected


def test_a_rollout_blocks_its_role_and_no_other():
    runs = Fleet(roles=(role(Role.PREFILL, 2, rollout=True), role(Role.DECODE, 9)))
    _, decision = plan(BUSY, runs=runs)
    assert desired(decision) == (2, 2)
    assert decision.roles[0].limited_by is Reason.ROLLOUT_BLOCKS


def test_one_crash_looping_replica_freezes_shrinking_and_not_growth():
    runs = Fleet(roles=(role(Role.PREFILL, 2), role(Role.DECODE, 9, serving=8, settled=False)), ready=False)
    _, decision = plan(BUSY, runs=runs)
    assert desired(decision) == (4, 9)


def test_starting_replicas_are_coming_capacity_so_decisions_do_not_stack():
    runs = Fleet(roles=(role(Role.PREFILL, 4, serving=1, settled=False), role(Role.DECODE, 2)), ready=False)
    _, decision = plan(BUSY, runs=runs)
    assert desired(decision) == (4, 2)


def test_growth_that_cannot_be_placed_is_cancelled_after_a_while():
    pending = Fleet(
        roles=(
            role(Role.PREFILL, 4),
            role(Role.DECODE, 6, serving=3, settled=False, unschedulable=True),
        ),
        ready=False,
        startup_s=60.0,
    )
    seen = observation(requests=5400.0)
    state, first = plan(seen, runs=pending)
    assert first.desired[Role.DECODE] >= 6
    state, later = plan(seen, runs=pending, state=state, now_s=1_130.0)
    assert later.desired[Role.DECODE] == 3
    assert later.roles[1].limited_by is Reason.UNSCHEDULABLE
    assert later.desired[Role.PREFILL] > 4


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        pytest.param(FallbackMode.HOLD, (2, 9), id="hold"),
        pytest.param(FallbackMode.STATIC, (5, 6), id="static goes either way"),
        pytest.param(FallbackMode.CURRENT_IF_HIGHER, (5, 9), id="current if higher"),
    ],
)
def test_after_enough_failures_the_users_word_holds(mode: FallbackMode, expected: tuple[int, int]):
    asked = policy(
        fallback=Fallback(after=2, mode=mode),
        roles=(
            RolePolicy(role=Role.PREFILL, fallback_replicas=5),
            RolePolicy(role=Role.DECODE, fallback_replicas=6),
        ),
    )
    blind = observation(requests=unknown())
    state, first = plan(blind, asked=asked, runs=fleet(2, 9))
    assert not first.changes
    assert finding(first, ConditionType.FALLBACK).status is False
    state, second = plan(blind, asked=asked, runs=fleet(2, 9), state=state, now_s=1_030.0)
    assert desired(second) == expected
    assert finding(second, ConditionType.FALLBACK).status is True
    _, healed = plan(BUSY, asked=asked, runs=fleet(*expected), state=state, now_s=1_060.0)
    assert finding(healed, ConditionType.FALLBACK).status is False


def test_one_role_may_be_planned_alone():
    asked = policy(mode=Mode.DECODE, gpu_budget=2)
    runs = Fleet(roles=(role(Role.DECODE, 1),))
    _, decision = plan(BUSY, asked=asked, runs=runs)
    assert decision.desired == {Role.DECODE: 1}
    assert finding(decision, ConditionType.BUDGET_LIMITED).status is True


def test_an_aggregated_worker_carries_both_needs():
    runs = Fleet(roles=(role(Role.AGG, 1),))
    _, decision = plan(BUSY, asked=policy(mode=Mode.AGG), runs=runs)
    (agg,) = decision.roles
    assert agg.sized is not None
    assert agg.desired == 6


def test_a_target_out_of_reach_says_the_best_and_keeps_planning():
    asked = policy()
    _, decision = plan(BUSY, asked=replace(asked, sla=replace(asked.sla, itl_ms=2.0)))
    attainable = finding(decision, ConditionType.SLA_ATTAINABLE)
    assert (attainable.status, attainable.reason) == (False, Reason.ITL_UNATTAINABLE)
    assert "target 2 ms" in attainable.message


def test_a_constant_load_settles_and_never_flaps():
    state, runs = PlannerState(), fleet(1, 1)
    sizes = []
    for index in range(30):
        state, decision = plan(BUSY, runs=runs, state=state, now_s=1_000.0 + 30 * index)
        runs = fleet(*desired(decision))
        sizes.append(desired(decision))
    assert set(sizes) == {(4, 2)}


loads = st.one_of(
    st.builds(unknown),
    st.floats(0, 20_000).map(Known),
    st.floats(0, 20_000).map(lambda value: Known(value, lower_bound=True)),
)


@given(
    loads=st.lists(loads, min_size=1, max_size=12),
    budget=st.one_of(st.none(), st.integers(1, 60)),
    start=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    pause=st.sampled_from(Pause),
    damped=st.booleans(),
)
@settings(deadline=None, max_examples=30)
def test_the_budget_holds_once_it_was_held_and_state_survives_a_restart(
    loads: list, budget: int | None, start: tuple[int, int], pause: Pause, damped: bool
):
    asked = policy(gpu_budget=budget, pause=pause, behavior=Behavior() if damped else Behavior.free())
    state = restarted = PlannerState()
    runs = fleet(*start)
    for index, load in enumerate(loads):
        now_s = 1_000.0 + 30 * index
        before = 2 * sum(entry.replicas for entry in runs.roles)
        seen = observation(requests=load)
        state, decision = plan(seen, runs=runs, asked=asked, state=state, now_s=now_s)
        restarted, again = plan(seen, runs=runs, asked=asked, state=restarted, now_s=now_s)
        total = decision.gpus(desired=True)
        assert total is not None
        assert budget is None or total <= max(budget, before)
        assert all(count >= 1 for count in desired(decision))
        assert desired(again) == desired(decision)
        text = json.dumps(to_document(restarted))
        assert len(text) <= PLANNER_STATE_BYTES
        restarted = from_document(json.loads(text))
        runs = fleet(*desired(decision))


def test_a_state_that_was_not_written_while_plans_repeated_themselves_still_stabilises():
    damped = policy(behavior=Behavior())
    state, _ = plan(BUSY, asked=damped, runs=fleet(4, 2))
    written = to_document(state)
    read_back = caught_up(from_document(written), to_s=1_000.0 + 600)
    _, decision = plan(
        observation(requests=0.0), asked=damped, runs=fleet(4, 2), state=read_back, now_s=1_630.0
    )
    assert desired(decision) == (4, 2)


@pytest.mark.parametrize(
    "document",
    [
        None,
        "",
        [],
        {},
        {"v": 99},
        {"v": 1},
        {"v": 1, "n": "x"},
        {"v": 1, "n": 1, "uid": "", "fail": 0, "corr": 7, "roles": {}},
    ],
    ids=repr,
)
def test_a_state_that_does_not_parse_is_a_fresh_one(document: object):
    assert from_document(document) == PlannerState()


@pytest.mark.parametrize("length", [0, 3], ids=["no-history", "the-last-point-lacks"])
@given(loads=st.lists(st.floats(10.0, 5000.0), min_size=2, max_size=4))
def test_a_load_that_stands_in_for_a_point_of_history_is_forgotten_with_its_plan(
    length: int, loads: list[float]
) -> None:
    """Plans between two times of the grid: each goes by what it observed, and not by what the first one did."""
    before = (700.0,) * length
    history = Series(
        end_s=960.0,
        step_s=30.0,
        requests=(*before, math.nan),
        isl_tokens=(*(1000.0 for _ in before), math.nan),
        osl_tokens=(*(200.0 for _ in before), math.nan),
    )
    state = PlannerState()
    for now_s, load in enumerate(loads, start=961):
        seen = observation(load, history=history if length else None)
        state, decision = decide(state, seen, fleet(), policy(), profile(), now_s=float(now_s))
        assert decision.forecast is not None
        assert decision.forecast.requests[0] == pytest.approx(load)
