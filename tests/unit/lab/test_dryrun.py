"""A dry-run without a golden file: what it promises on any trace."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slaplanner.adapters.traces.errors import TraceError
from slaplanner.adapters.traces.trace import Trace
from slaplanner.core.model import (
    Behavior,
    Mode,
    Pause,
    PredictorPolicy,
    PredictorType,
    Role,
    RolePolicy,
    Sizing,
)
from slaplanner_lab.dryrun import Assumptions, DryRun, dry_run
from slaplanner_lab.trace_intervals import MAX_INTERVALS
from tests import planning

T = 60.0


def _trace(*counts: int, isl: int = 1000, osl: int = 200) -> Trace:
    """So many requests in each interval, evenly spread."""
    times = [(at + (number + 0.5) / count) * T for at, count in enumerate(counts) for number in range(count)]
    return Trace(
        name="made",
        t_s=np.array(times),
        isl_tokens=np.full(len(times), isl),
        osl_tokens=np.full(len(times), osl),
    )


def _run(
    trace: Trace, *, warm_up: Trace | None = None, assumptions: Assumptions | None = None, **fields: Any
) -> DryRun:
    policy = planning.policy(interval_s=T, behavior=Behavior(), **fields)
    gpus = Assumptions(gpus_per_replica=dict.fromkeys(Role, planning.GPUS))
    return dry_run(policy, planning.profile(), trace, assumptions=assumptions or gpus, warm_up=warm_up)


def _replicas(run: DryRun, role: Role) -> list[int]:
    return [point.roles[role].replicas for point in run.points]


def test_the_first_interval_runs_at_the_start_replicas_and_seeds_its_own_forecast() -> None:
    run = _run(_trace(600, 600), assumptions=Assumptions(start={Role.PREFILL: 7, Role.DECODE: 3}))
    first = run.points[0]
    assert (_replicas(run, Role.PREFILL)[0], _replicas(run, Role.DECODE)[0]) == (7, 3)
    assert first.forecast == first.seen
    assert first.reason == "Start"


def test_each_interval_is_forecast_from_those_before_it_alone() -> None:
    run = _run(_trace(100, 900, 300, 500))
    assert [point.forecast.requests for point in run.points] == [100, 100, 900, 300]
    again = _run(_trace(100, 900, 300, 7))
    assert [point.roles for point in again.points[:-1]] == [point.roles for point in run.points[:-1]]


def test_intervals_without_requests_count_as_zero() -> None:
    run = _run(_trace(3000, 0, 0, 3000), assumptions=Assumptions(start={Role.PREFILL: 4}))
    seen = [point.seen.requests for point in run.points]
    assert seen == [3000, 0, 0, 3000]
    assert run.points[1].seen.isl_tokens is None
    assert [point.forecast.requests for point in run.points] == [3000, 3000, 0, 0]
    assert run.points[2].forecast.isl_tokens == 1000, "lengths are kept through idle time"
    assert _replicas(run, Role.PREFILL)[2:] == [1, 1], "a true zero scales down to the floor"
    idle = run.points[1].roles[Role.PREFILL]
    assert idle.load_tokens_s == 0
    assert idle.safe_tokens_s > 0


def test_silence_before_the_first_request_counts_too() -> None:
    run = _run(_trace(0, 0, 60, 60))
    assert [point.seen.requests for point in run.points] == [0, 0, 60, 60]


def test_nothing_damps_the_plan_unless_asked_for() -> None:
    trace = _trace(6000, 6000, 60, 60, 60)
    free = _run(trace)
    held = _run(trace, assumptions=Assumptions(behavior=True))
    assert _replicas(free, Role.PREFILL)[3] == 1
    assert _replicas(held, Role.PREFILL)[3] > 1, "the default behavior stabilises for five minutes"


def test_correction_factors_hold_throughout_where_they_are_given() -> None:
    trace = _trace(6000, 6000, 6000)
    gpus = dict.fromkeys(Role, planning.GPUS)
    plain = _run(trace, assumptions=Assumptions(gpus_per_replica=gpus))
    slow = _run(
        trace,
        assumptions=Assumptions(gpus_per_replica=gpus, factors={Role.PREFILL: 0.5, Role.DECODE: 1.5}),
    )
    assert _replicas(slow, Role.PREFILL)[-1] < _replicas(plain, Role.PREFILL)[-1]
    assert _replicas(slow, Role.DECODE)[-1] > _replicas(plain, Role.DECODE)[-1]
    for role in Mode.DISAGG.roles:
        assert not slow.points[-1].roles[role].is_short, "what is safe is corrected too"


def test_a_pause_is_not_obeyed() -> None:
    assert _replicas(_run(_trace(9000, 9000), pause=Pause.ALL), Role.PREFILL)[1] > 1


def test_the_other_roles_of_the_mode_are_not_there() -> None:
    run = _run(_trace(60, 60), mode=Mode.PREFILL)
    assert set(run.points[1].roles) == {Role.PREFILL}
    assert set(run.gpu_hours) == {Role.PREFILL}


def test_aggregated_workers_carry_both_kinds_of_tokens() -> None:
    run = _run(_trace(6000, 6000), mode=Mode.AGG)
    worker = run.points[1].roles[Role.AGG]
    assert worker.load_tokens_s == pytest.approx(6000 * 1200 / T)
    assert worker.load_tokens_s <= worker.safe_tokens_s


def test_gpu_hours_count_each_interval_whole() -> None:
    run = _run(
        _trace(60, 60, 60), assumptions=Assumptions(gpus_per_replica={Role.PREFILL: 8, Role.DECODE: 4})
    )
    assert run.gpu_hours == pytest.approx({Role.PREFILL: 3 * 8 / 60, Role.DECODE: 3 * 4 / 60})
    assert [point.gpus for point in run.points] == [12, 12, 12]


def test_gpus_are_the_policys_where_nothing_else_says_and_one_where_it_does_not() -> None:
    roles = (RolePolicy(role=Role.PREFILL, gpus_per_replica=4), RolePolicy(role=Role.DECODE))
    run = _run(_trace(60, 60), assumptions=Assumptions(), roles=roles)
    assert run.gpus_per_replica == {Role.PREFILL: 4, Role.DECODE: 1}


def test_warm_up_is_learnt_before_the_first_interval() -> None:
    trend = PredictorPolicy(type=PredictorType.KALMAN)
    cold = _run(_trace(600, 700), predictor=trend)
    warm = _run(_trace(600, 700), warm_up=_trace(100, 200, 300, 400, 500), predictor=trend)
    assert cold.points[1].forecast.requests == 600
    assert warm.points[1].forecast.requests == pytest.approx(700, rel=0.02)
    assert [load.requests for load in warm.warm_up] == [100, 200, 300, 400, 500]


def test_a_warm_up_of_one_interval_is_enough() -> None:
    assert len(_run(_trace(60, 60), warm_up=_trace(60)).warm_up) == 1


def test_sizing_by_attainment_runs_too() -> None:
    run = _run(_trace(6000, 6000, 6000), sizing=Sizing.ATTAINMENT)
    formulas = _run(_trace(6000, 6000, 6000))
    assert _replicas(run, Role.PREFILL)[-1] >= _replicas(formulas, Role.PREFILL)[-1]


def test_slow_predictors_are_fitted_on_the_way() -> None:
    counts = [1000 + 500 * (-1) ** at + at % 7 for at in range(24)]
    run = _run(_trace(*counts), predictor=PredictorPolicy(type=PredictorType.ARIMA))
    forecasts = [point.forecast.requests for point in run.points[1:]]
    assert forecasts[:4] == counts[:4], "the last value stands in before there is enough history"
    fitted = [at for at, forecast in enumerate(forecasts) if forecast != counts[at]]
    errors = [abs(forecasts[at] - counts[at + 1]) for at in fitted]
    last_value_errors = [abs(counts[at] - counts[at + 1]) for at in fitted]
    assert fitted
    assert sum(errors) < sum(last_value_errors)


def test_a_single_interval_leaves_nothing_to_predict() -> None:
    with pytest.raises(TraceError, match=r"found 1 interval of 60 s.*wanted at least two"):
        _run(_trace(5))


def test_times_that_count_from_1970_are_refused_before_they_fill_the_memory() -> None:
    trace = _trace(5, 5)
    since_1970 = replace(trace, t_s=trace.t_s + 1.7e9)
    with pytest.raises(TraceError, match=f"wanted at most {MAX_INTERVALS:,}"):
        _run(since_1970)


@settings(max_examples=20, deadline=None)
@given(
    counts=st.lists(st.integers(0, 4000), min_size=2, max_size=12).filter(lambda counts: counts[-1] > 0),
    budget=st.none() | st.integers(4, 40),
    mode=st.sampled_from(Mode),
)
def test_every_plan_is_within_the_budget_and_above_the_floors(
    counts: list[int], budget: int | None, mode: Mode
) -> None:
    run = _run(_trace(*counts), gpu_budget=budget, mode=mode)
    assert len(run.points) == len(counts)
    for point in run.points:
        assert point.gpus == sum(planning.GPUS * role.replicas for role in point.roles.values())
        assert budget is None or point.gpus <= budget
        assert all(role.replicas >= 1 for role in point.roles.values())


@settings(max_examples=20, deadline=None)
@given(count=st.integers(1, 5000), isl=st.integers(100, 8000), osl=st.integers(1, 2000))
def test_under_a_constant_load_what_is_sized_is_safe(count: int, isl: int, osl: int) -> None:
    run = _run(_trace(count, count, count, isl=isl, osl=osl))
    for role in Mode.DISAGG.roles:
        last = run.points[-1].roles[role]
        assert last.load_tokens_s <= last.safe_tokens_s * (1 + 1e-9) or last.safe_tokens_s == 0
