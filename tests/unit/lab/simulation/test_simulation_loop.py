"""The closed loop: what the planner sees, what its acts cost, what is scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from slaplanner.core.model import Fleet, Policy, Role, RolePolicy, Sla
from slaplanner.core.readings import Known, Observation, Unknown
from slaplanner_lab.engine import EngineTables
from slaplanner_lab.rivals.planners import Constant, Hpa
from slaplanner_lab.simulation.loop import PrometheusSilent, Run, Scenario, WorkerLost, simulate
from slaplanner_lab.simulation.miss_causes import causes
from slaplanner_lab.simulation.planners import Verdict
from slaplanner_lab.simulation.score import score
from slaplanner_lab.simulation.traffic import Traffic

SIZE = {Role.PREFILL: 2, Role.DECODE: 1}
INTERVAL_S = 60.0


def steady(*, rate: float = 2.0, for_s: float = 1200.0, seed: int = 1) -> Traffic:
    rng = np.random.default_rng(seed)
    arrivals = np.sort(rng.uniform(0.0, for_s, int(rate * for_s)))
    return Traffic(
        arrival_s=arrivals, isl_tokens=np.full(arrivals.size, 1000.0), osl_tokens=np.full(arrivals.size, 51.0)
    )


def policy(**changes: object) -> Policy:
    roles = (
        RolePolicy(role=Role.PREFILL, gpus_per_replica=2),
        RolePolicy(role=Role.DECODE, gpus_per_replica=4),
    )
    base = Policy(
        sla=Sla(ttft_ms=500.0, itl_ms=30.0),
        roles=roles,
        interval_s=INTERVAL_S,
        window_s=60.0,
        startup_s=120.0,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def scenario(**changes: object) -> Scenario:
    base = Scenario(
        traffic=steady(),
        policy=policy(),
        tables=EngineTables.constant(ttft_ms=200.0, itl_ms=20.0, max_kv_tokens=1e6),
        start=SIZE,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


@dataclass
class Scripted:
    """Asks for what its script says at each time, and keeps what it saw."""

    script: Mapping[float, Mapping[Role, int]] = field(default_factory=dict)
    seen: dict[float, tuple[Observation, Fleet]] = field(default_factory=dict)

    def __call__(self, observation: Observation, fleet: Fleet, *, now_s: float) -> Verdict:
        self.seen[now_s] = (observation, fleet)
        running = {role.role: role.replicas for role in fleet.roles}
        return Verdict(replicas={**running, **self.script.get(now_s, {})}, reason="Scripted")


def played(planner: object = None, **changes: object) -> Run:
    return simulate(scenario(**changes), planner or Constant(replicas=SIZE))  # type: ignore[arg-type]


def test_a_constant_size_costs_its_gpus_until_the_last_arrival() -> None:
    run = played()
    hours = run.scenario.traffic.last_arrival_s / 3600.0
    assert run.gpu_hours == pytest.approx({Role.PREFILL: 2 * 2 * hours, Role.DECODE: 1 * 4 * hours})
    assert run.moves == 0


def test_the_same_seed_gives_the_same_run_and_another_one_another() -> None:
    def last_tokens(seed: int) -> list[float]:
        run = played(traffic=steady(rate=0.5).amplified(4, seed=seed))
        return run.requests.last_token_s.tolist()

    assert last_tokens(1) == last_tokens(1)
    assert last_tokens(1) != last_tokens(2)


def test_the_planner_sees_the_load_the_lengths_and_the_latencies() -> None:
    planner = Scripted()
    played(planner)
    observation, fleet = planner.seen[600.0]
    assert isinstance(observation.requests, Known)
    assert observation.requests.value == pytest.approx(2.0 * INTERVAL_S, rel=0.3)
    assert observation.isl_tokens == Known(1000.0)
    assert observation.osl_tokens == Known(51.0)
    assert isinstance(observation.itl_ms, Known)
    assert observation.itl_ms.value == pytest.approx(20.0, rel=1e-6)
    assert isinstance(observation.ttft_ms, Known)
    assert observation.ttft_ms.value >= 200.0
    assert sum(observation.arrivals) == observation.requests.value
    assert observation.history is not None
    assert len(observation.history) == 10
    assert fleet.role(Role.PREFILL).serving == 2


def test_a_window_that_reaches_before_the_start_is_a_lower_bound() -> None:
    planner = Scripted()
    played(planner, policy=policy(window_s=180.0))
    assert planner.seen[60.0][0].requests == Known(
        planner.seen[60.0][0].history.requests[0] * INTERVAL_S / 180.0,  # type: ignore[union-attr]
        lower_bound=True,
    )
    assert not planner.seen[180.0][0].requests.lower_bound  # type: ignore[union-attr]


def test_new_replicas_cost_at_once_and_serve_after_their_start() -> None:
    planner = Scripted({300.0: {Role.DECODE: 3}})
    run = played(planner)
    ready = {tick.at_s: (tick.ready[Role.DECODE], tick.present[Role.DECODE]) for tick in run.ticks}
    assert ready[360.0] == (1, 3)
    assert ready[420.0] == (3, 3)
    assert run.moves == 1


def test_the_fleet_tells_how_many_replicas_are_on_their_way() -> None:
    planner = Scripted({300.0: {Role.DECODE: 3}})
    played(planner)
    state = planner.seen[360.0][1].role(Role.DECODE)
    assert (state.replicas, state.serving, state.present, state.settled) == (3, 1, 3, False)


def test_a_lost_worker_is_replaced_after_a_start() -> None:
    run = played(faults=(WorkerLost(at_s=250.0, role=Role.PREFILL),))
    ready = {tick.at_s: tick.ready[Role.PREFILL] for tick in run.ticks}
    assert (ready[240.0], ready[300.0], ready[420.0]) == (2, 1, 2)
    assert run.unfinished == 0


def test_a_silent_prometheus_makes_everything_unknown_for_ten_minutes() -> None:
    planner = Scripted()
    played(planner, faults=(PrometheusSilent(at_s=300.0),))
    silent = [at_s for at_s, (seen, _) in planner.seen.items() if isinstance(seen.requests, Unknown)]
    assert silent == [300.0 + INTERVAL_S * k for k in range(10)]


def test_a_move_between_roles_never_passes_over_the_budget() -> None:
    planner = Scripted({300.0: {Role.PREFILL: 1, Role.DECODE: 2}, 600.0: {Role.PREFILL: 3, Role.DECODE: 1}})
    run = played(planner, policy=policy(gpu_budget=10))
    assert run.budget_violations == 0
    assert run.ticks[-1].ready == {Role.PREFILL: 3, Role.DECODE: 1}


def test_requests_before_scoring_begins_do_not_count() -> None:
    result = score(played(start={Role.PREFILL: 1, Role.DECODE: 1}, unscored_s=300.0))
    assert result.attainment.requests + result.unscored.requests == result.requests
    assert result.unscored.requests == pytest.approx(600, rel=0.15)


def test_what_is_late_while_replicas_start_is_told_from_what_nobody_saw_coming() -> None:
    crowd = steady(rate=12.0, for_s=900.0)
    run = played(Scripted({300.0: {Role.PREFILL: 4}}), traffic=crowd)
    words = {cause.words: cause.requests for cause in causes(run)}
    assert set(words) == {
        "waited for prefill while replicas that were asked for still started",
        "waited for prefill, and no replica was under way",
    }
    assert sum(words.values()) == pytest.approx(
        (1.0 - score(run).attainment.both / 100.0) * len(crowd), rel=1e-6
    )


def test_the_hours_add_up_to_the_whole() -> None:
    result = score(played(traffic=steady(rate=0.3, for_s=9000.0)))
    assert [hour.begin_s for hour in result.hours] == [0.0, 3600.0, 7200.0]
    assert sum(hour.attainment.requests for hour in result.hours) == result.requests
    assert sum(hour.gpu_hours for hour in result.hours) == pytest.approx(result.total_gpu_hours, rel=0.02)


def test_an_hpa_holds_its_utilisation() -> None:
    hpa = Hpa(target=0.5, interval_s=INTERVAL_S, tokens_s={Role.PREFILL: 1000.0, Role.DECODE: 200.0})
    run = played(hpa)
    last = run.ticks[15]
    assert last.asked[Role.PREFILL] == pytest.approx(2.0 * 1000.0 / 1000.0 / 0.5, abs=1)
    assert last.asked[Role.DECODE] == pytest.approx(2.0 * 51.0 / 200.0 / 0.5, abs=1)
