"""The rivals: how their settings are found, and what nobody can beat."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaplanner.adapters.profiles import load_directory
from slaplanner.core.model import Interpolation, Policy, PredictorType, Role, RolePolicy, Sla
from slaplanner_lab.engine import EngineTables
from slaplanner_lab.rivals.compare import Kind, RivalTask, TaskRunner
from slaplanner_lab.rivals.planners import Clairvoyant
from slaplanner_lab.rivals.replica_capacity import best_tokens_s, fluid_bound_gpu_hours, work
from slaplanner_lab.rivals.search import Choice, SearchResult, cheapest
from slaplanner_lab.rivals.unavoidable import share_beyond_reach
from slaplanner_lab.simulation.loop import Scenario, simulate
from slaplanner_lab.simulation.score import AttainmentPercent, Percentiles, Score, score
from slaplanner_lab.simulation.traffic import Traffic
from tests.command_desk import PROFILE

TABLES = EngineTables.constant(ttft_ms=100.0, itl_ms=20.0, max_kv_tokens=10_000.0)
SLA = Sla(ttft_ms=500.0, itl_ms=30.0)


FINE = EngineTables(
    ttft_ms=np.full(2, 100.0),
    isl_step_tokens=1e6,
    itl_ms=np.full((100, 101), 20.0),
    shortest_context_tokens=10.0,
    context_ratio=1.1,
    kv_step=0.01,
    max_kv_tokens=10_000.0,
)


def traffic(*arrival_s: float) -> Traffic:
    count = len(arrival_s)
    return Traffic(
        arrival_s=np.array(arrival_s), isl_tokens=np.full(count, 50.0), osl_tokens=np.full(count, 100.0)
    )


def scored(both: float, gpu_hours: float) -> Score:
    nothing = Percentiles(p50=1.0, p99=1.0)
    return Score(
        attainment=AttainmentPercent(both=both, ttft=both, itl=both, requests=1),
        unscored=AttainmentPercent(both=100.0, ttft=100.0, itl=100.0, requests=0),
        ttft_ms=nothing,
        itl_ms=nothing,
        gpu_hours={Role.PREFILL: gpu_hours, Role.DECODE: 0.0},
        requests=1,
        unfinished=0,
        moves=0,
        budget_violations=0,
        preempted=0,
        hours=(),
    )


def best(axes: Sequence[Sequence[float]], evaluate: Callable[[Choice], Score]) -> SearchResult:
    """The search, told what everything costs."""
    return cheapest(
        axes,
        evaluate,
        attainment_percent=99.0,
        least_gpu_hours=lambda choice: evaluate(choice).total_gpu_hours,
    )


def test_the_search_finds_the_cheapest_corner_where_the_axes_do_not_interact() -> None:
    def evaluate(choice: Choice) -> Score:
        return scored(100.0 if choice[0] >= 4 and choice[1] >= 2 else 0.0, choice[0] + 2 * choice[1])

    found = best([range(9, 0, -1)] * 2, evaluate)
    assert found.choice == (4, 2)
    assert found.feasible
    assert found.runs < 20


def test_the_search_trades_one_axis_for_the_other() -> None:
    def evaluate(choice: Choice) -> Score:
        return scored(100.0 if choice[0] + 2 * choice[1] >= 12 else 0.0, choice[0] + 3 * choice[1])

    found = best([range(9, 0, -1)] * 2, evaluate)
    assert found.feasible
    assert found.score.total_gpu_hours == min(
        p + 3 * d for p in range(1, 10) for d in range(1, 10) if p + 2 * d >= 12
    )


@given(kept=st.sets(st.integers(0, 15)))
def test_an_attainment_that_does_not_fall_steadily_hides_nothing(kept: set[int]) -> None:
    found = best([range(15, -1, -1)], lambda choice: scored(99.0 if choice[0] in kept else 98.0, choice[0]))
    assert found.feasible == bool(kept)
    assert found.choice == (float(min(kept, default=15)),)


def test_a_promise_that_nothing_keeps_is_told_with_the_safest_settings() -> None:
    found = best([range(5, 0, -1)], lambda choice: scored(50.0, choice[0]))
    assert (found.feasible, found.choice) == (False, (5,))


def test_best_throughput_is_that_of_the_largest_batch_inside_the_kv() -> None:
    assert best_tokens_s(np.array([100.0]), FINE, SLA)[0] == pytest.approx(100 / 0.020, rel=0.02)


def test_no_batch_inside_the_target_leaves_a_batch_of_one() -> None:
    assert best_tokens_s(np.array([100.0]), FINE, Sla(itl_ms=10.0))[0] == pytest.approx(1 / 0.020)


def test_the_fluid_bound_is_the_work_itself() -> None:
    some = traffic(*np.linspace(0.0, 100.0, 1000))
    need = work(some, TABLES, SLA)
    hours = fluid_bound_gpu_hours(need, {Role.PREFILL: 2, Role.DECODE: 1})
    assert hours == pytest.approx((2 * 1000 * 0.1 + float(need.decode_s.sum())) / 3600.0)


def test_a_clairvoyant_has_its_replicas_before_the_crowd_comes() -> None:
    crowd = traffic(
        *np.concatenate([np.linspace(0.0, 600.0, 60), np.linspace(300.0, 330.0, 600)]).tolist()[:60]
    )
    late = traffic(*sorted([*crowd.arrival_s.tolist(), *np.linspace(300.0, 330.0, 600).tolist()]))
    policy = Policy(
        sla=SLA,
        roles=(RolePolicy(role=Role.PREFILL), RolePolicy(role=Role.DECODE)),
        interval_s=30.0,
        startup_s=120.0,
    )
    scenario = Scenario(traffic=late, policy=policy, tables=TABLES, start={Role.PREFILL: 1, Role.DECODE: 1})
    needs = Clairvoyant.needs_of(scenario, work(late, TABLES, SLA), busiest_s=15.0)
    planner = Clairvoyant(needs=needs, utilisation={Role.PREFILL: 1.0, Role.DECODE: 1.0}, interval_s=30.0)
    assert planner.at(120.0)[Role.PREFILL] == 1
    assert planner.at(180.0)[Role.PREFILL] == pytest.approx(2, abs=1)
    assert planner.at(180.0)[Role.PREFILL] >= 2
    assert planner.at(360.0)[Role.PREFILL] == 1


def test_copies_are_jittered_and_the_original_stays() -> None:
    some = traffic(*np.linspace(10.0, 100.0, 50))
    more = some.amplified(3, seed=1)
    assert len(more) == 150
    assert set(some.arrival_s.tolist()) <= set(more.arrival_s.tolist())
    assert (np.diff(more.arrival_s) >= 0.0).all()
    assert more.last_arrival_s <= some.last_arrival_s


def bursts(*at_s: float) -> Scenario:
    """A request per second for 20 minutes, and sixty within 15 s from each of these moments on."""
    crowd = [np.linspace(at, at + 14.0, 60) for at in at_s]
    arrivals = np.sort(np.concatenate([np.arange(1200.0), *crowd]))
    policy = Policy(
        sla=SLA,
        roles=(RolePolicy(role=Role.PREFILL), RolePolicy(role=Role.DECODE)),
        interval_s=30.0,
        startup_s=120.0,
    )
    return Scenario(
        traffic=traffic(*arrivals.tolist()),
        policy=policy,
        tables=EngineTables.constant(ttft_ms=400.0, itl_ms=20.0, max_kv_tokens=10_000.0),
        start={Role.PREFILL: 1, Role.DECODE: 1},
    )


def test_what_a_clairvoyant_takes_at_least_is_close_to_what_it_takes() -> None:
    scenario = bursts(300.0, 900.0)
    needs = Clairvoyant.needs_of(scenario, work(scenario.traffic, scenario.tables, SLA), busiest_s=15.0)
    planner = Clairvoyant(needs=needs, utilisation={Role.PREFILL: 0.5, Role.DECODE: 0.5}, interval_s=30.0)
    took = score(simulate(scenario, planner)).total_gpu_hours
    assert took * 0.95 < planner.least_gpu_hours(scenario) <= took


def test_steady_traffic_is_no_surprise() -> None:
    assert share_beyond_reach(bursts()) == 0.0


def test_the_first_burst_surprises_and_the_second_only_those_who_forget() -> None:
    once = share_beyond_reach(bursts(300.0))
    assert 0.01 < once < 60 / 1260
    twice = bursts(300.0, 900.0)
    requests = len(twice.traffic)
    assert share_beyond_reach(twice) * requests == pytest.approx(once * 1260)
    assert share_beyond_reach(twice, remembered_s=300.0) * requests == pytest.approx(
        2 * once * 1260, rel=0.01
    )


def test_a_row_whose_predictor_never_forecast_says_so() -> None:
    """Five intervals are too few for ARIMA: its row would be that of the last value under another name."""
    loaded = load_directory(PROFILE, allowed=None, interpolation=Interpolation.MONOTONE)
    short = bursts()
    short = replace(
        short, traffic=traffic(*np.arange(120.0).tolist()), tables=EngineTables.of(loaded.profile)
    )
    arena = TaskRunner(scenario=short, profile=loaded.profile)
    arima = RivalTask(
        kind=Kind.FORMULAS, name="formulas, ARIMA, no correction", predictor=PredictorType.ARIMA
    )
    assert arena.run(arima).name == "formulas, ARIMA, no correction (never forecast: the last value)"
    constant = replace(arima, name="formulas, Constant", predictor=PredictorType.CONSTANT)
    assert arena.run(constant).name == "formulas, Constant"
