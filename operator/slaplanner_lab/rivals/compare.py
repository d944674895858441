"""The planner beside its rivals, on one scenario, each in its own simulation.

The planner, the formulas, the HPA and the token rule know the profile that the user gave; the constant
size, the clairvoyant and the fluid bound know what the fleet can really do and every request to come.
HPAs and KEDA rules act every 15 s on the last minute, as Kubernetes and llm-d's guides have them,
whatever the policy's interval is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from importlib.util import find_spec
from multiprocessing import get_context

import numpy as np

from slaplanner.core.model import PredictorPolicy, PredictorType, Role, Sizing
from slaplanner.core.profiles import Profile, ProfileTables, build
from slaplanner_lab.engine import EngineTables
from slaplanner_lab.rivals.formulas import Formulas
from slaplanner_lab.rivals.planners import Clairvoyant, Constant, Hpa
from slaplanner_lab.rivals.replica_capacity import fluid_bound_gpu_hours, work
from slaplanner_lab.rivals.scaled_objects import SloRule, TokenRule
from slaplanner_lab.rivals.search import Choice, cheapest
from slaplanner_lab.simulation.loop import Scenario, simulate
from slaplanner_lab.simulation.planners import ObservationPlanner, PolicyPlanner
from slaplanner_lab.simulation.score import HOUR_S, Score, score

HPA_TARGETS = tuple(round(0.2 + 0.05 * step, 2) for step in range(15))
SLO_BANDS = (0.55, 0.7, 0.85, 0.95)
"""Of its target, where the rule on latency grows; the guide has 0.55."""
TOKEN_BACKLOGS = (0.05, 0.1, 0.25, 0.5, 1.0)
"""Share of the TTFT that queueing may take, the safest first; the guide has 1."""
TOKEN_KV_USAGES = (0.1, 0.2, 0.4, 0.6, 0.8)
"""KV in use that one replica is for, the safest first; the guide has 0.8."""
REACT_S, REACT_WINDOW_S = 15.0, 60.0
"""How often an HPA and KEDA look, and how far back their queries go."""
CHUNK_TOKENS = 8192.0
"""The prompt at which llm-d's guide measures prefill throughput."""
CLAIRVOYANT_WINDOWS_S = (15.0, 60.0, 180.0)
CLAIRVOYANT_UTILISATIONS = tuple(round(0.2 + 0.05 * step, 2) for step in range(16))
PREDICTORS = (PredictorType.CONSTANT, PredictorType.ARIMA, PredictorType.KALMAN, PredictorType.PROPHET)


def predictors() -> tuple[PredictorType, ...]:
    """Those of the formulas that can run here: without its package Prophet would only repeat Constant."""
    installed = find_spec("prophet") is not None
    return tuple(kind for kind in PREDICTORS if installed or kind is not PredictorType.PROPHET)


class Kind(StrEnum):
    """Who competes."""

    PLANNER = "planner"
    FORMULAS = "formulas"
    HPA = "hpa"
    SLO_RULE = "keda-slo"
    TOKEN_RULE = "keda-tokens"  # noqa: S105 - a kind of rival, and no password
    CONSTANT = "constant"
    CLAIRVOYANT = "clairvoyant"


@dataclass(frozen=True, slots=True, kw_only=True)
class RivalResult:
    """One rival's result."""

    kind: Kind
    name: str
    score: Score
    feasible: bool
    """It kept the promise."""
    runs: int = 1
    """Simulations that finding its settings took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All results, in the order in which they are shown."""

    entries: tuple[RivalResult, ...]
    fluid_bound_gpu_hours: float

    def best(self, kind: Kind) -> RivalResult | None:
        """The cheapest of *kind* that kept the promise."""
        kept = [entry for entry in self.entries if entry.kind is kind and entry.feasible]
        return min(kept, key=lambda entry: entry.score.total_gpu_hours, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class RivalTask:
    """What one process computes."""

    kind: Kind
    name: str
    target: float = 0.0
    """HPA: utilisation. SLO rule: of the target. Clairvoyant: seconds of the busiest moment."""
    predictor: PredictorType = PredictorType.AUTO
    raw_correction: bool = False
    sizing: Sizing = Sizing.ATTAINMENT


def tasks() -> tuple[RivalTask, ...]:
    """Every rival, the slow ones first, so that no process is left with one at the end."""
    clairvoyants = [
        RivalTask(kind=Kind.CLAIRVOYANT, name=f"clairvoyant, busiest {window_s:g} s", target=window_s)
        for window_s in CLAIRVOYANT_WINDOWS_S
    ]
    formulas = [
        RivalTask(
            kind=Kind.FORMULAS,
            name=f"formulas, {predictor.value}, {'raw correction' if raw else 'no correction'}",
            predictor=predictor,
            raw_correction=raw,
        )
        for predictor in predictors()
        for raw in (False, True)
    ]
    hpas = [
        RivalTask(kind=Kind.HPA, name=f"HPA at {100 * target:.0f} %", target=target) for target in HPA_TARGETS
    ]
    planners = [
        RivalTask(kind=Kind.PLANNER, name=f"sizing {sizing.value}", sizing=sizing) for sizing in Sizing
    ]
    slo_rules = [
        RivalTask(kind=Kind.SLO_RULE, name=f"KEDA SLO rule, above {100 * band:.0f} %", target=band)
        for band in SLO_BANDS
    ]
    searched = [
        RivalTask(kind=Kind.CONSTANT, name="best constant size"),
        RivalTask(kind=Kind.TOKEN_RULE, name="KEDA token rule"),
    ]
    return (*clairvoyants, *planners, *formulas, *searched, *hpas, *slo_rules)


def at_size(scenario: Scenario, replicas: Mapping[Role, int]) -> Score:
    """The same size from the first second to the last."""
    return score(simulate(replace(scenario, start=replicas), Constant(replicas=replicas)))


@dataclass(frozen=True, kw_only=True)
class TaskRunner:
    """Runs tasks on one scenario; each process has its own, made once."""

    scenario: Scenario
    profile: Profile
    """What the planner, the formulas and the HPA believe."""

    def run(self, task: RivalTask) -> RivalResult:
        searches = {
            Kind.CLAIRVOYANT: self._clairvoyant,
            Kind.CONSTANT: self._constant,
            Kind.TOKEN_RULE: self._token_rule,
        }
        if task.kind in searches:
            return searches[task.kind](task)
        planner = self._planner(task)
        scenario = self._reacting if task.kind in {Kind.HPA, Kind.SLO_RULE} else self.scenario
        run = simulate(scenario, planner)
        forecast_ever = not isinstance(planner, Formulas) or planner.forecasts > 0
        name = task.name if forecast_ever else f"{task.name} (never forecast: the last value)"
        result = score(run)
        return RivalResult(kind=task.kind, name=name, score=result, feasible=self._kept(result))

    @property
    def _reacting(self) -> Scenario:
        """The scenario as an HPA and KEDA live it."""
        policy = replace(self.scenario.policy, interval_s=REACT_S, window_s=REACT_WINDOW_S)
        return replace(self.scenario, policy=policy)

    def _planner(self, task: RivalTask) -> ObservationPlanner:
        policy = self.scenario.policy
        if task.kind is Kind.HPA:
            return Hpa(target=task.target, interval_s=REACT_S, tokens_s=self._tokens_s())
        if task.kind is Kind.SLO_RULE:
            return SloRule(sla=policy.sla, grow_above=task.target, most=self._most)
        if task.kind is Kind.FORMULAS:
            predictor = PredictorPolicy(type=task.predictor)
            return Formulas(
                policy=replace(policy, predictor=predictor),
                profile=self.profile,
                raw_correction=task.raw_correction,
            )
        return PolicyPlanner(policy=replace(policy, sizing=task.sizing), profile=self.profile)

    @cached_property
    def _most(self) -> dict[Role, int]:
        """Twice what the busiest moment takes: the most that anybody may need, and that KEDA may ask for."""
        scenario = self.scenario
        need = work(scenario.traffic, scenario.tables, scenario.policy.sla)
        busiest = Clairvoyant.needs_of(scenario, need, busiest_s=CLAIRVOYANT_WINDOWS_S[0])
        return {role: max(2, int(np.ceil(2.0 * busiest[role].max()))) for role in scenario.roles}

    def _token_rule(self, task: RivalTask) -> RivalResult:
        scenario, target_s = self._reacting, self.scenario.policy.sla.ttft_ms / 1e3
        tables = EngineTables.of(self.profile, mode=self.scenario.policy.mode)
        chunk = min(CHUNK_TOKENS, tables.max_isl_tokens)
        tokens_s = 1e3 * chunk / float(tables.ttft_at(np.array([chunk]))[0])
        idle_s = float(scenario.traffic.isl_tokens.mean()) / tokens_s
        queue_s = max(target_s - idle_s, 0.1 * target_s)

        def planner(choice: Choice) -> TokenRule:
            backlog, kv_usage = choice
            return TokenRule(
                prefill_tokens_s=tokens_s, backlog_s=backlog * queue_s, kv_usage=kv_usage, most=self._most
            )

        found = cheapest(
            [TOKEN_BACKLOGS, TOKEN_KV_USAGES],
            lambda choice: score(simulate(scenario, planner(choice))),
            attainment_percent=scenario.policy.sla.attainment_percent,
            least_gpu_hours=lambda choice: 1.0 / (choice[0] * choice[1]),
        )
        backlog, kv_usage = found.choice
        return RivalResult(
            kind=task.kind,
            name=f"{task.name}, {backlog * queue_s:.2g} s and KV {100 * kv_usage:.0f} %",
            score=found.score,
            feasible=found.feasible,
            runs=found.runs,
        )

    def _tokens_s(self) -> dict[Role, float]:
        """Tokens per second of one replica inside the SLA, by the believed profile, over all requests."""
        traffic = self.scenario.traffic
        believed = work(
            traffic, EngineTables.of(self.profile, mode=self.scenario.policy.mode), self.scenario.policy.sla
        )
        isl, osl = float(traffic.isl_tokens.sum()), float(traffic.osl_tokens.sum())
        tokens = {Role.PREFILL: isl, Role.DECODE: osl, Role.AGG: isl + osl}
        return {role: tokens[role] / float(believed.of(role).sum()) for role in self.scenario.roles}

    def _kept(self, result: Score) -> bool:
        return result.attainment.both >= self.scenario.policy.sla.attainment_percent

    def _constant(self, task: RivalTask) -> RivalResult:
        scenario = self.scenario
        need, most = work(scenario.traffic, scenario.tables, scenario.policy.sla), self._most
        hours = scenario.traffic.last_arrival_s / HOUR_S
        # Fewer than the work itself takes cannot keep the promise, and such overload is slow to simulate.
        kept = scenario.policy.sla.attainment_percent / 100.0
        least = {role: max(1, int(kept * need.of(role).sum() / HOUR_S / hours)) for role in scenario.roles}

        def evaluate(choice: Choice) -> Score:
            replicas = {role: int(count) for role, count in zip(scenario.roles, choice, strict=True)}
            return at_size(scenario, replicas)

        def least_gpu_hours(choice: Choice) -> float:
            return hours * sum(
                count * scenario.gpus(role) for role, count in zip(scenario.roles, choice, strict=True)
            )

        found = cheapest(
            [list(range(most[role], least[role] - 1, -1)) for role in scenario.roles],
            evaluate,
            attainment_percent=scenario.policy.sla.attainment_percent,
            least_gpu_hours=least_gpu_hours,
        )
        size = " + ".join(f"{count:.0f}" for count in found.choice)
        return RivalResult(
            kind=task.kind,
            name=f"{task.name}, {size}",
            score=found.score,
            feasible=found.feasible,
            runs=found.runs,
        )

    def _clairvoyant(self, task: RivalTask) -> RivalResult:
        scenario = self.scenario
        need = work(scenario.traffic, scenario.tables, scenario.policy.sla)
        needs = Clairvoyant.needs_of(scenario, need, busiest_s=task.target)

        def planner(choice: Choice) -> Clairvoyant:
            utilisation = dict(zip(scenario.roles, choice, strict=True))
            return Clairvoyant(needs=needs, utilisation=utilisation, interval_s=scenario.policy.interval_s)

        found = cheapest(
            [CLAIRVOYANT_UTILISATIONS] * len(scenario.roles),
            lambda choice: score(simulate(scenario, planner(choice))),
            attainment_percent=scenario.policy.sla.attainment_percent,
            least_gpu_hours=lambda choice: planner(choice).least_gpu_hours(scenario),
        )
        shares = " and ".join(f"{100 * share:.0f} %" for share in found.choice)
        return RivalResult(
            kind=task.kind,
            name=f"{task.name} at {shares}",
            score=found.score,
            feasible=found.feasible,
            runs=found.runs,
        )


_arena: list[TaskRunner] = []
"""The process's own; a pool's initialiser has no other way to hand something to its tasks."""


def _start(scenario: Scenario, measured: ProfileTables) -> None:
    _arena[:] = [_new_arena(scenario, measured)]


def _new_arena(scenario: Scenario, measured: ProfileTables) -> TaskRunner:
    return TaskRunner(scenario=scenario, profile=build(measured, scenario.policy.interpolation))


def _run(task: RivalTask) -> RivalResult:
    return _arena[0].run(task)


def compare(
    scenario: Scenario,
    measured: ProfileTables,
    *,
    processes: int | None = None,
    only: tuple[RivalTask, ...] | None = None,
    done: Callable[[RivalResult], None] = lambda _: None,
) -> Comparison:
    """Run every rival.

    Args:
        scenario: with the fleet's true tables.
        measured: the profile that the planner, the formulas and the HPA believe.
        processes: how many at once; default: one per core. 1 stays in this process.
        only: these tasks instead of all.
        done: told each result as it comes.
    """
    todo = only if only is not None else tasks()
    results: dict[RivalTask, RivalResult] = {}
    for task, entry in _results(todo, scenario, measured, processes or os.cpu_count() or 1):
        results[task] = entry
        done(entry)
    order = list(Kind)
    entries = sorted((results[task] for task in todo), key=lambda entry: order.index(entry.kind))
    gpus: Mapping[Role, int] = {role: scenario.gpus(role) for role in scenario.roles}
    bound = fluid_bound_gpu_hours(work(scenario.traffic, scenario.tables, scenario.policy.sla), gpus)
    return Comparison(entries=tuple(entries), fluid_bound_gpu_hours=bound)


def _results(
    todo: tuple[RivalTask, ...], scenario: Scenario, measured: ProfileTables, processes: int
) -> Iterator[tuple[RivalTask, RivalResult]]:
    if processes == 1:
        arena = _new_arena(scenario, measured)
        for task in todo:
            yield task, arena.run(task)
        return
    with ProcessPoolExecutor(
        processes, mp_context=get_context("spawn"), initializer=_start, initargs=(scenario, measured)
    ) as pool:
        futures = {pool.submit(_run, task): task for task in todo}
        for future in as_completed(futures):
            yield futures[future], future.result()
