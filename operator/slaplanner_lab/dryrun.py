"""Dry-run: what a policy would have decided on a trace, interval by interval, before it touches a GPU.

Predict, decide, observe; nothing comes back from a fleet, so nothing is measured here but the plan:
`slaplanner_lab.simulation` closes the loop. The decision is the operator's own `decide`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from slaplanner.adapters.traces.trace import Trace
from slaplanner.core.correction import Correction, CorrectionState, Factor, Learnt
from slaplanner.core.model import Behavior, Pause, Policy, Role, Sizing
from slaplanner.core.profiles import Profile
from slaplanner.core.sizing.safe_throughput import safe_throughput_tokens_s
from slaplanner.core.state import PlannerState
from slaplanner_lab.planner import Interval, Plan, Planner
from slaplanner_lab.trace_intervals import intervals_of

START_REASON = "Start"
"""Of the first interval, whose replicas were given and not decided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Requests of one interval and their mean lengths, seen or forecast; None without a request."""

    requests: float
    isl_tokens: float | None
    osl_tokens: float | None

    def tokens(self, role: Role) -> float:
        """What the interval asks of *role*: input tokens for prefill, output tokens for decode, both for agg."""
        isl, osl = self.isl_tokens or 0.0, self.osl_tokens or 0.0
        each = {Role.PREFILL: isl, Role.DECODE: osl, Role.AGG: isl + osl}
        return self.requests * each[role]


@dataclass(frozen=True, slots=True, kw_only=True)
class RolePoint:
    """One role in one interval."""

    replicas: int
    load_tokens_s: float
    """What came."""
    safe_tokens_s: float
    """What the replicas carry within the targets, at the lengths that came."""
    sized_for_tokens_s: float | None = None
    """The forecast's bound that the plan was sized for; None: nothing was sized."""

    @property
    def is_short(self) -> bool:
        """More came than could be served within the targets."""
        return self.load_tokens_s > self.safe_tokens_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One interval."""

    t_s: float
    """Its start, from the start of the trace."""
    seen: Load
    forecast: Load
    """Made before the interval; that of the first interval, which seeds the predictor, is what came."""
    roles: Mapping[Role, RolePoint]
    gpus: int
    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """A whole dry-run."""

    policy: Policy
    """As it was run: on this interval, and without behavior and correction unless they were asked for."""
    gpus_per_replica: Mapping[Role, int]
    points: tuple[Point, ...]
    warm_up: tuple[Load, ...] = ()
    """The intervals before the first point, oldest first."""

    @property
    def interval_s(self) -> float:
        return self.policy.interval_s

    @property
    def gpu_hours(self) -> dict[Role, float]:
        """GPU-hours of each role, each interval counted whole."""
        hours = self.interval_s / 3600.0
        return {
            role: sum(point.roles[role].replicas for point in self.points) * each * hours
            for role, each in self.gpus_per_replica.items()
        }

    def short(self, role: Role) -> int:
        """Intervals in which more came for *role* than its safe throughput."""
        return sum(point.roles[role].is_short for point in self.points)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumptions:
    """What a dry-run takes as given where a fleet would show it."""

    gpus_per_replica: Mapping[Role, int] = field(default_factory=dict)
    """A role that is left out takes the policy's word, else 1."""
    start: Mapping[Role, int] = field(default_factory=dict)
    """Replicas of the first interval; 1 where left out."""
    behavior: bool = False
    """Whether the policy's `behavior` damps the plan."""
    factors: Mapping[Role, float] = field(default_factory=dict)
    """Correction factors of PREFILL and DECODE that hold throughout: a fleet that is known to be slower
    or faster than its profile."""


def dry_run(
    policy: Policy,
    profile: Profile,
    trace: Trace,
    *,
    assumptions: Assumptions | None = None,
    warm_up: Trace | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> DryRun:
    """Run *policy* over *trace*, one plan per interval, from time 0 of the trace on.

    The first interval runs at the start replicas and seeds the predictor. Intervals without requests
    count as zero. A pause that is annotated on the policy is not obeyed: it would show nothing.

    Args:
        policy: `interval_s` is the planning interval.
        profile: what one replica can carry.
        trace: the requests.
        assumptions: see there; None: its defaults.
        warm_up: an earlier trace, from its time 0 on, that the predictor learns first.
        progress: told how many intervals of how many are planned.

    Raises:
        TraceError: the trace has less than two intervals, or too many.
        ProfileError: the profile lacks a stage of the mode.
    """
    assumed = assumptions or Assumptions()
    policy = replace(
        policy,
        behavior=policy.behavior if assumed.behavior else Behavior.free(),
        correction=bool(assumed.factors),
        pause=Pause.NONE,
    )
    learnt = {stage: Learnt(factor=factor) for stage, factor in assumed.factors.items()}
    planner = Planner(
        policy=policy,
        profile=profile,
        gpus_per_replica=assumed.gpus_per_replica,
        replicas=assumed.start,
        state=PlannerState(correction=CorrectionState(stages=learnt)),
    )
    run = _Run(
        policy=policy,
        profile=profile,
        gpus_per_replica=planner.gpus_per_replica,
        correction=Correction(
            stages={stage: Factor(applied=factor) for stage, factor in assumed.factors.items()}
        ),
    )
    shapes = policy.sizing is Sizing.ATTAINMENT
    intervals = list(intervals_of(trace, policy.interval_s, shapes=shapes))
    before = [] if warm_up is None else list(intervals_of(warm_up, policy.interval_s, shapes=False, least=1))
    for seen in before:
        planner.learn(seen)
    first = intervals[0]
    points = [run.point(0, first, _load(first), replicas=planner.replicas, plan=None)]
    for index, seen in enumerate(intervals[1:], start=1):
        plan = planner(intervals[index - 1])
        points.append(run.point(index, seen, _expected(plan), replicas=plan.replicas, plan=plan))
        if progress is not None:
            progress(index + 1, len(intervals))
    return DryRun(
        policy=policy,
        gpus_per_replica=planner.gpus_per_replica,
        points=tuple(points),
        warm_up=tuple(_load(seen) for seen in before),
    )


@dataclass(slots=True, kw_only=True)
class _Run:
    """What points are made with."""

    policy: Policy
    profile: Profile
    gpus_per_replica: Mapping[Role, int]
    correction: Correction
    lengths: tuple[float, float] | None = None
    """Of the last interval that had requests: idle ones have none of their own."""

    def point(
        self, index: int, seen: Interval, expected: Load, *, replicas: Mapping[Role, int], plan: Plan | None
    ) -> Point:
        load, sla = _load(seen), self.policy.sla
        if load.isl_tokens is not None and load.osl_tokens is not None:
            self.lengths = load.isl_tokens, load.osl_tokens
        isl, osl = self.lengths or (sla.isl_tokens, sla.osl_tokens)
        roles = {
            role: RolePoint(
                replicas=count,
                load_tokens_s=load.tokens(role) / self.policy.interval_s,
                safe_tokens_s=safe_throughput_tokens_s(
                    role,
                    replicas=count,
                    gpus_per_replica=self.gpus_per_replica[role],
                    sla=sla,
                    isl_tokens=isl,
                    osl_tokens=osl,
                    profile=self.profile,
                    correction=self.correction,
                ),
            )
            for role, count in replicas.items()
        }
        if plan is not None:
            roles = {
                role: replace(point, sized_for_tokens_s=_sized_for(plan, role))
                for role, point in roles.items()
            }
        return Point(
            t_s=index * self.policy.interval_s,
            seen=load,
            forecast=expected,
            roles=roles,
            gpus=sum(point.replicas * self.gpus_per_replica[role] for role, point in roles.items()),
            reason=START_REASON if plan is None else plan.reason.value,
            message="" if plan is None else plan.message,
        )


def _sized_for(plan: Plan, role: Role) -> float | None:
    """Replicas before rounding times what one carries: the load that these replicas were sized for."""
    sized = next((one.sized for one in plan.decision.roles if one.role is role), None)
    if sized is None or sized.capacity_per_replica_tokens_s <= 0.0:
        return None
    return sized.raw * sized.capacity_per_replica_tokens_s


def _load(seen: Interval) -> Load:
    return Load(requests=seen.requests or 0.0, isl_tokens=seen.isl_tokens, osl_tokens=seen.osl_tokens)


def _expected(plan: Plan) -> Load:
    demand = plan.decision.demand
    if demand is None:
        raise AssertionError("a trace tells the load of every interval, so each plan has a demand")
    return Load(
        requests=demand.requests_per_interval, isl_tokens=demand.isl_tokens, osl_tokens=demand.osl_tokens
    )
