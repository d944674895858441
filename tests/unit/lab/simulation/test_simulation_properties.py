"""What holds in every simulation, whatever is asked of the fleet and whatever breaks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaplanner.core.model import Fleet, Policy, Role, RolePolicy, Sizing, Sla
from slaplanner.core.readings import Observation
from slaplanner.core.reasons import Reason
from slaplanner_lab.engine import EngineTables
from slaplanner_lab.notebook import load_profile
from slaplanner_lab.simulation.loop import (
    ROLES,
    Fault,
    PrometheusSilent,
    Run,
    Scenario,
    WorkerLost,
    simulate,
)
from slaplanner_lab.simulation.miss_causes import causes
from slaplanner_lab.simulation.planners import PolicyPlanner, Verdict
from slaplanner_lab.simulation.score import met, score
from slaplanner_lab.simulation.telemetry import SCRAPE_S
from slaplanner_lab.simulation.timeline import timeline
from slaplanner_lab.simulation.traffic import Traffic
from tests.profile_data import LLAMA_8B, MODELLED_32B, PROFILES
from tests.theory import mean_wait_mdc

INTERVAL_S = 30.0
STARTUP_S = 45.0
LENGTH_S = 180.0
TTFT_S = 0.2
GPUS = {Role.PREFILL: 2, Role.DECODE: 3}
MAX_KV = 20_000.0
TABLES = EngineTables(
    ttft_ms=np.full(2, 1e3 * TTFT_S),
    isl_step_tokens=1e6,
    itl_ms=np.array([[10.0, 20.0, 40.0], [15.0, 30.0, 60.0]]),
    shortest_context_tokens=50.0,
    context_ratio=100.0,
    kv_step=0.5,
    max_kv_tokens=MAX_KV,
)
PROFILE = load_profile(PROFILES / LLAMA_8B).profile


@dataclass(frozen=True)
class Whim:
    """Asks for any sizes, in turn."""

    sizes: tuple[tuple[int, int], ...]

    def __call__(self, observation: Observation, fleet: Fleet, *, now_s: float) -> Verdict:  # noqa: ARG002
        prefill, decode = self.sizes[int(now_s / INTERVAL_S) % len(self.sizes)]
        return Verdict(replicas={Role.PREFILL: prefill, Role.DECODE: decode}, reason="Whim")


def policy(**fields: object) -> Policy:
    return Policy(
        **{
            "sla": Sla(ttft_ms=500.0, itl_ms=30.0),
            "roles": tuple(RolePolicy(role=role, gpus_per_replica=GPUS[role]) for role in ROLES),
            "interval_s": INTERVAL_S,
            "window_s": INTERVAL_S,
            "startup_s": STARTUP_S,
            **fields,
        }
    )  # type: ignore[arg-type]


def scenario(
    traffic: Traffic,
    *,
    start: tuple[int, int] = (2, 2),
    faults: tuple[Fault, ...] = (),
    tables: EngineTables = TABLES,
    **fields: object,
) -> Scenario:
    return Scenario(
        traffic=traffic,
        policy=policy(**fields),
        tables=tables,
        start=dict(zip(ROLES, start, strict=True)),
        faults=faults,
    )


def arrivals(rate: float, *, seed: int, isl: int = 500, osl: int = 60) -> Traffic:
    rng = np.random.default_rng(seed)
    at_s = np.sort(rng.uniform(0.0, LENGTH_S, max(1, int(rate * LENGTH_S))))
    return Traffic(
        arrival_s=at_s,
        isl_tokens=rng.integers(1, 2 * isl, at_s.size).astype(float),
        osl_tokens=rng.integers(1, 2 * osl, at_s.size).astype(float),
    )


traffics = st.builds(arrivals, st.floats(0.1, 4.0), seed=st.integers(0, 99))
sizes = st.tuples(st.integers(0, 5), st.integers(0, 5))
whims = st.builds(Whim, st.lists(sizes, min_size=1, max_size=8).map(tuple))
faults = st.lists(
    st.builds(WorkerLost, at_s=st.floats(1.0, LENGTH_S - 10), role=st.sampled_from(ROLES))
    | st.builds(PrometheusSilent, at_s=st.floats(1.0, LENGTH_S - 10), for_s=st.floats(1.0, 120.0)),
    max_size=4,
).map(tuple)
budgets = st.none() | st.integers(sum(GPUS.values()) * 2, 40)


@given(traffic=traffics, whim=whims, broken=faults, budget=budgets)
def test_requests_tokens_and_gpu_time_are_conserved(
    traffic: Traffic, whim: Whim, broken: tuple[Fault, ...], budget: int | None
) -> None:
    run = simulate(scenario(traffic, faults=broken, gpu_budget=budget), whim)
    requests = run.requests
    finished = np.isfinite(requests.last_token_s)
    assert len(requests.arrival_s) == len(traffic)
    assert finished.sum() + run.unfinished + requests.refused.sum() == len(traffic)
    np.testing.assert_array_equal(requests.isl_tokens, traffic.isl_tokens)
    np.testing.assert_array_equal(requests.osl_tokens, traffic.osl_tokens)
    moments = (requests.arrival_s, requests.prefill_start_s, requests.first_token_s, requests.last_token_s)
    for before, after in pairwise(moments):
        assert (before[finished] <= after[finished]).all()
    length_s = traffic.last_arrival_s
    busy_s = np.clip(np.minimum(requests.first_token_s, length_s) - requests.prefill_start_s, 0.0, TTFT_S)
    assert 3600.0 * run.worker_hours[Role.PREFILL] >= np.nansum(busy_s) - 1e-6, "nobody serves unpaid"
    most = max(prefill for prefill, _ in (*whim.sizes, (2, 2)))
    lost = sum(isinstance(fault, WorkerLost) for fault in broken)
    assert 3600.0 * run.worker_hours[Role.PREFILL] <= (2 * most + lost) * length_s + 1e-6


@given(traffic=traffics, whim=whims, broken=faults, budget=st.integers(sum(GPUS.values()) * 2, 24))
def test_a_budget_that_held_at_the_start_holds_at_every_moment(
    traffic: Traffic, whim: Whim, broken: tuple[Fault, ...], budget: int
) -> None:
    affordable = Whim(tuple(size for size in whim.sizes if _gpus(size) <= budget) or ((1, 1),))
    run = simulate(scenario(traffic, faults=broken, gpu_budget=budget), affordable)
    assert run.budget_violations == 0
    assert all(sum(GPUS[role] * tick.present[role] for role in ROLES) <= budget for tick in run.ticks)


def _gpus(size: tuple[int, int]) -> int:
    return sum(GPUS[role] * count for role, count in zip(ROLES, size, strict=True))


@given(traffic=traffics, whim=whims, broken=faults)
def test_the_same_scenario_is_the_same_run(traffic: Traffic, whim: Whim, broken: tuple[Fault, ...]) -> None:
    one, other = (simulate(scenario(traffic, faults=broken), whim) for _ in range(2))
    for mine, theirs in zip(one.requests, other.requests, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert one.ticks == other.ticks
    assert one.worker_hours == other.worker_hours


@given(interval_s=st.floats(1.0, 70.0))
def test_there_is_a_plan_at_the_end_of_every_interval(interval_s: float) -> None:
    """Also where its multiples are no round numbers in binary."""
    traffic = arrivals(0.5, seed=1)
    run = simulate(scenario(traffic, interval_s=interval_s, window_s=interval_s), Whim(((2, 2),)))
    planned = [tick.at_s for tick in run.ticks if tick.at_s <= traffic.last_arrival_s]
    assert planned == [interval_s * k for k in range(1, int(traffic.last_arrival_s // interval_s) + 1)]


@given(traffic=traffics, whim=whims, broken=faults, unscored_s=st.floats(0.0, 120.0))
def test_every_miss_has_one_cause(
    traffic: Traffic, whim: Whim, broken: tuple[Fault, ...], unscored_s: float
) -> None:
    played = scenario(traffic, faults=broken)
    run = simulate(
        Scenario(
            traffic=traffic,
            policy=played.policy,
            tables=played.tables,
            start=played.start,
            unscored_s=unscored_s,
            faults=broken,
        ),
        whim,
    )
    flags, counted = met(run), traffic.arrival_s >= unscored_s
    missed = int((counted & ~flags.both).sum())
    assert sum(cause.requests for cause in causes(run)) == missed
    if counted.any():
        told = score(run).attainment
        assert told.both == pytest.approx(100.0 * (1.0 - missed / counted.sum()))
        assert told.both <= min(told.ttft, told.itl)


@given(traffic=traffics, whim=whims, broken=faults)
def test_the_timeline_holds_every_request_once(
    traffic: Traffic, whim: Whim, broken: tuple[Fault, ...]
) -> None:
    run = simulate(scenario(traffic, faults=broken), whim)
    seen, told = timeline(run), score(run).attainment
    assert seen.edges_s.size == seen.requests.size + 1
    assert seen.requests.sum() == len(traffic)
    for curve, share in ((seen.ttft, told.ttft), (seen.itl, told.itl)):
        came = seen.requests > 0
        assert (np.isnan(curve.in_time) == ~came).all()
        assert (curve.in_time[came] * seen.requests[came]).sum() / len(traffic) == pytest.approx(share)
        known = np.isfinite(curve.p50_ms)
        assert (curve.p50_ms[known] <= curve.p99_ms[known]).all()


def test_more_replicas_are_never_later_on_average() -> None:
    traffic = arrivals(6.0, seed=3)
    waits = [
        float(simulate(scenario(traffic, start=(count, 4)), Whim(((count, 4),))).requests.ttft_ms.mean())
        for count in (2, 3, 4, 6)
    ]
    assert waits == sorted(waits, reverse=True)
    assert waits[-1] == pytest.approx(1e3 * TTFT_S, rel=0.05)


@pytest.mark.parametrize("load", [0.5, 0.8])
@pytest.mark.parametrize("workers", [1, 3])
def test_prompts_wait_as_in_m_d_c_through_the_whole_loop(workers: int, load: float) -> None:
    """Poisson arrivals on a constant size; plans, scrapes and looks in between change nothing."""
    count = 20_000
    gaps_s = np.random.default_rng(7).exponential(TTFT_S / (workers * load), count)
    traffic = Traffic(
        arrival_s=np.cumsum(gaps_s), isl_tokens=np.full(count, 100.0), osl_tokens=np.ones(count)
    )
    run = simulate(scenario(traffic, start=(workers, 1)), Whim(((workers, 1),)))
    waited_s = float(run.requests.ttft_ms.mean()) / 1e3 - TTFT_S
    assert waited_s == pytest.approx(TTFT_S * mean_wait_mdc(workers, load), rel=0.1)
    inside = float(run.requests.ttft_ms.sum()) / 1e3 / traffic.last_arrival_s
    assert inside == pytest.approx(workers * load * (TTFT_S + waited_s) / TTFT_S, rel=0.02), "Little's law"


def planned(traffic: Traffic, **options: object) -> Run:
    """Under slaplanner's own planner, gates included."""
    played = scenario(traffic, tables=EngineTables.of(PROFILE), sizing=Sizing.ATTAINMENT, **options)  # type: ignore[arg-type]
    return simulate(played, PolicyPlanner(policy=played.policy, profile=PROFILE))


def test_a_silent_prometheus_moves_nothing_under_the_planner() -> None:
    silent_s = 90.0
    run = planned(
        arrivals(40.0, seed=2), faults=(PrometheusSilent(at_s=silent_s, for_s=120.0),), start=(4, 2)
    )
    during = [tick for tick in run.ticks if silent_s <= tick.at_s < silent_s + 120.0]
    before = next(tick for tick in reversed(run.ticks) if tick.at_s < silent_s)
    assert len(during) == 4
    assert {tick.verdict.reason for tick in during} == {Reason.HOLD_UNKNOWN.value}
    assert all(tick.asked == before.asked for tick in during)


def test_a_lost_worker_under_the_planner_is_replaced_and_loses_no_request() -> None:
    run = planned(arrivals(40.0, seed=2), faults=(WorkerLost(at_s=100.0, role=Role.DECODE),), start=(4, 2))
    ready = {tick.at_s: tick.ready[Role.DECODE] for tick in run.ticks}
    assert ready[90.0] == ready[120.0] + 1
    assert ready[150.0] == ready[90.0]
    assert run.unfinished == 0


@pytest.mark.parametrize("after_plan_s", [40.0, 75.0, 110.0, 145.0])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_load_that_doubles_between_two_plans_is_ordered_for_within_20_s(
    after_plan_s: float, seed: int
) -> None:
    """At Dynamo's interval of 180 s; without glances the order waits for the next plan."""
    interval_s, base, rng = 180.0, 10 * 180.0, np.random.default_rng(seed)
    step_s = base + after_plan_s
    times = [rng.uniform(0.0, step_s, int(20 * step_s)), rng.uniform(step_s, step_s + 400.0, 40 * 400)]
    arrival_s = np.sort(np.concatenate(times))
    traffic = Traffic(
        arrival_s=arrival_s,
        isl_tokens=np.full(arrival_s.size, 2000.0),
        osl_tokens=np.full(arrival_s.size, 200.0),
    )
    profile = load_profile(PROFILES / MODELLED_32B).profile
    asked = policy(
        sla=Sla(ttft_ms=1000.0, itl_ms=30.0), interval_s=interval_s, window_s=interval_s, startup_s=120.0
    )
    played = replace(scenario(traffic, start=(3, 2)), policy=asked, tables=EngineTables.of(profile))

    def first_order_s(*, glances: bool) -> float:
        run = simulate(played, PolicyPlanner(policy=asked, profile=profile, glances=glances))
        asked_at = [(look.at_s, sum(look.asked.values())) for look in run.looks if look.at_s >= base]
        before = asked_at[0][1]
        assert run.budget_violations == 0
        return next(at_s for at_s, count in asked_at if at_s > step_s and count > before)

    visible_s = step_s + SCRAPE_S
    assert first_order_s(glances=True) <= visible_s + 20.0
    assert first_order_s(glances=False) >= base + interval_s
