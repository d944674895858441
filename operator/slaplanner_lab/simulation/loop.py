"""The closed loop: the planner acts on what it sees, and sees what its acts led to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from slaplanner.core.glance import Alarm
from slaplanner.core.model import DEFAULT_STARTUP_S, Fleet, Mode, Policy, Role, RoleState
from slaplanner.core.rebalance import next_step
from slaplanner_lab.engine import Engine, EngineTables, Requests
from slaplanner_lab.simulation.planners import Glancing, ObservationPlanner, SeesEngine, Verdict
from slaplanner_lab.simulation.telemetry import DEFAULT_BUCKETS, Buckets, Telemetry
from slaplanner_lab.simulation.traffic import Traffic

ROLES = Mode.DISAGG.roles
"""Of a disaggregated fleet."""

GRACE_S = 600.0
"""How long after the last arrival requests may still finish."""

LOOK_S = 15.0
"""How often the size of the fleet is noted: replicas come and go between plans."""

HEARTBEAT_S = 5.0
"""How often the operator looks whether the load is still the one that it planned for, and whether GPUs are
free for the rest of a move."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLost:
    """One worker of *role* (the oldest that serves) crashes; another is started in its place."""

    at_s: float
    role: Role


@dataclass(frozen=True, slots=True, kw_only=True)
class PrometheusSilent:
    """No figure can be had for a while."""

    at_s: float
    for_s: float = 600.0


Fault = WorkerLost | PrometheusSilent


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scenario:
    """What is simulated, whoever plans."""

    traffic: Traffic
    policy: Policy
    tables: EngineTables
    """What the fleet's workers can really do."""
    start: Mapping[Role, int]
    """Replicas that serve from the first second on."""
    unscored_s: float = 0.0
    """Requests that arrive earlier do not count."""
    faults: tuple[Fault, ...] = ()
    buckets: Buckets = DEFAULT_BUCKETS
    """Of the latency histograms that the planner sees."""

    @property
    def roles(self) -> tuple[Role, ...]:
        """The roles that are played, in the order in which they are always listed."""
        return self.policy.mode.roles

    @property
    def startup_s(self) -> float:
        return self.policy.startup_s if self.policy.startup_s is not None else DEFAULT_STARTUP_S

    def gpus(self, role: Role) -> int:
        """GPUs per replica; 1 when the policy does not say."""
        return self.policy.role(role).gpus_per_replica or 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """One plan, and the fleet that it met."""

    at_s: float
    verdict: Verdict
    asked: Mapping[Role, int]
    ready: Mapping[Role, int]
    present: Mapping[Role, int]
    waiting: Mapping[Role, int]
    kv_usage: float
    """Of the workers that decode; in mode `prefill` the share of them that is busy."""
    alarm: Alarm | None = None
    """What made it run between two intervals; None: its time had come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetSnapshot:
    """The fleet at one moment, after what was written then; it holds until the next look."""

    at_s: float
    asked: Mapping[Role, int]
    ready: Mapping[Role, int]
    present: Mapping[Role, int]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Run:
    """What happened."""

    scenario: Scenario
    requests: Requests
    ticks: tuple[Tick, ...]
    looks: tuple[FleetSnapshot, ...]
    """From 0 on, every `LOOK_S` or more often."""
    worker_hours: Mapping[Role, float]
    """Until the last arrival; starting and draining included."""
    moves: int
    """How often a role's replicas were changed."""
    budget_violations: int
    """Looks at which more GPUs were held than the budget has."""
    unfinished: int
    preempted: int

    @property
    def gpu_hours(self) -> dict[Role, float]:
        return {role: hours * self.scenario.gpus(role) for role, hours in self.worker_hours.items()}


def simulate(
    scenario: Scenario, planner: ObservationPlanner, *, progress: Callable[[float], None] | None = None
) -> Run:
    """Play the scenario with *planner* in charge.

    Plans come once per interval, and between two of them when a planner that glances asks for one. A move that the budget lets happen only in steps goes on at every
    heartbeat. The run ends when all requests are finished, at most `GRACE_S` past the last arrival.

    Args:
        scenario: the traffic, the fleet, the policy.
        planner: called at the end of every interval.
        progress: told the share of the trace that is played, once per interval.
    """
    return _Loop(scenario, planner).run(progress)


@dataclass(slots=True)
class _Loop:
    scenario: Scenario
    planner: ObservationPlanner
    engine: Engine = field(init=False)
    telemetry: Telemetry = field(init=False)
    asked: dict[Role, int] = field(init=False)
    desired: dict[Role, int] = field(init=False)
    ticks: list[Tick] = field(default_factory=list)
    looks: list[FleetSnapshot] = field(default_factory=list)
    moves: int = 0
    budget_violations: int = 0
    plans: frozenset[float] = field(init=False)
    """When plans are due."""

    def __post_init__(self) -> None:
        scenario, policy = self.scenario, self.scenario.policy
        self.engine = Engine(scenario.tables, gap_edges_s=scenario.buckets.itl_s, mode=policy.mode)
        self.telemetry = Telemetry(
            self.engine,
            scenario.traffic,
            interval_s=policy.interval_s,
            window_s=policy.window_s,
            buckets=scenario.buckets,
        )
        self.plans = frozenset(_multiples(policy.interval_s, scenario.traffic.last_arrival_s + GRACE_S))
        self.asked = {role: scenario.start[role] for role in scenario.roles}
        self.desired = dict(self.asked)
        for role in scenario.roles:
            self.engine.set_workers(role, self.asked[role])
        traffic = scenario.traffic
        self.engine.submit(
            arrival_s=traffic.arrival_s, isl_tokens=traffic.isl_tokens, osl_tokens=traffic.osl_tokens
        )

    def run(self, progress: Callable[[float], None] | None) -> Run:
        engine, last_s = self.engine, self.scenario.traffic.last_arrival_s
        worker_hours: dict[Role, float] = {}
        self._look(0.0)
        for at_s in self._moments():
            if at_s > last_s and not worker_hours:
                engine.advance(last_s)
                worker_hours = {role: engine.gauges(role).worker_s / 3600.0 for role in self.scenario.roles}
            if at_s > last_s and engine.unfinished == 0:
                break
            engine.advance(at_s)
            self._at(at_s)
            if progress is not None and at_s in self.plans:
                progress(min(1.0, at_s / last_s))
        return Run(
            scenario=self.scenario,
            requests=engine.requests(),
            ticks=tuple(self.ticks),
            looks=tuple(self.looks),
            worker_hours=worker_hours,
            moves=self.moves,
            budget_violations=self.budget_violations,
            unfinished=engine.unfinished,
            preempted=engine.preempted,
        )

    def _moments(self) -> Sequence[float]:
        """When the world is looked at: plans, window edges, faults, heartbeats where a budget needs them."""
        policy = self.scenario.policy
        end_s = self.scenario.traffic.last_arrival_s + GRACE_S
        often = policy.gpu_budget is not None or isinstance(self.planner, Glancing)
        moments = {end_s, *(fault.at_s for fault in self.scenario.faults)}
        for plan_s in self.plans:
            moments |= {plan_s, plan_s - policy.window_s}
        moments.update(_multiples(HEARTBEAT_S if often else LOOK_S, end_s))
        return sorted(at_s for at_s in moments if 0.0 < at_s <= end_s)

    def _at(self, now_s: float) -> None:
        for fault in self.scenario.faults:
            if isinstance(fault, WorkerLost) and fault.at_s == now_s:
                self._lose(fault.role)
        self.telemetry.scrape()
        if now_s in self.plans:
            self.telemetry.close_interval()
            self._plan(now_s)
        elif isinstance(self.planner, Glancing) and not self._silent(now_s):
            alarm = self.planner.glance(self.telemetry.glance(), self._fleet())
            if alarm is not None:
                self._plan(now_s, alarm=alarm)
        self._move()
        self._look(now_s)

    def _look(self, now_s: float) -> None:
        gauges = {role: self.engine.gauges(role) for role in self.scenario.roles}
        self.looks.append(
            FleetSnapshot(
                at_s=now_s,
                asked=dict(self.asked),
                ready={role: gauge.ready for role, gauge in gauges.items()},
                present={role: gauge.present for role, gauge in gauges.items()},
            )
        )
        budget = self.scenario.policy.gpu_budget
        held = sum(gauges[role].present * self.scenario.gpus(role) for role in self.scenario.roles)
        if budget is not None and held > budget:
            self.budget_violations += 1

    def _silent(self, now_s: float) -> bool:
        return any(
            isinstance(fault, PrometheusSilent) and fault.at_s <= now_s < fault.at_s + fault.for_s
            for fault in self.scenario.faults
        )

    def _plan(self, now_s: float, *, alarm: Alarm | None = None) -> None:
        observation = (
            self.telemetry.silent("the simulated Prometheus is silent")
            if self._silent(now_s)
            else self.telemetry.observe()
        )
        if isinstance(self.planner, SeesEngine):
            self.planner.see(self.telemetry.engine_reading())
        verdict = self.planner(observation, self._fleet(), now_s=now_s)
        self.desired = {role: verdict.replicas.get(role, self.asked[role]) for role in self.scenario.roles}
        gauges = {role: self.engine.gauges(role) for role in self.scenario.roles}
        self.ticks.append(
            Tick(
                at_s=now_s,
                verdict=verdict,
                asked=dict(self.desired),
                ready={role: gauge.ready for role, gauge in gauges.items()},
                present={role: gauge.present for role, gauge in gauges.items()},
                waiting={role: gauge.waiting for role, gauge in gauges.items()},
                kv_usage=gauges[self.scenario.roles[-1]].kv_usage,
                alarm=alarm,
            )
        )

    def _move(self) -> None:
        """Write what the budget lets be written now; the same question as the operator's."""
        budget = self.scenario.policy.gpu_budget
        for write in next_step(self._fleet(), self.desired, budget).writes:
            self.engine.set_workers(write.role, write.replicas, startup_s=self.scenario.startup_s)
            self.asked[write.role] = write.replicas
            self.moves += 1

    def _lose(self, role: Role) -> None:
        serving = [slot for slot in self.engine.workers(role) if self.engine.is_ready(slot)]
        if serving:
            self.engine.fail_worker(serving[0])
            self.engine.set_workers(role, self.asked[role], startup_s=self.scenario.startup_s)

    def _fleet(self) -> Fleet:
        states = []
        for role in self.scenario.roles:
            gauges = self.engine.gauges(role)
            states.append(
                RoleState(
                    role=role,
                    component=role.value,
                    replicas=self.asked[role],
                    serving=gauges.ready,
                    present=gauges.present,
                    gpus_per_replica=self.scenario.gpus(role),
                    settled=gauges.ready == self.asked[role] == gauges.present,
                )
            )
        return Fleet(roles=tuple(states), startup_s=self.scenario.startup_s)


def _multiples(step_s: float, end_s: float) -> list[float]:
    return [step_s * k for k in range(1, int(end_s // step_s) + 1)]
