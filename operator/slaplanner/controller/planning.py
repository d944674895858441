"""One plan from start to end: read the target, observe, decide, act. The caller reports the result.

An error on the way becomes a finding and never an exception, because the next plan is the retry. A bug of the planner
counts as a failed observation, so that the policy's fallback takes effect in time. If the policy changes while its plan
runs, the plan is dropped before it writes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from slaplanner.adapters.deployment import (
    Claim,
    ScalingOutcome,
    TargetState,
    policy_rivals,
    require_gpus,
)
from slaplanner.adapters.profiles import LoadedProfile
from slaplanner.adapters.prometheus import nothing_known
from slaplanner.adapters.prometheus.attainment import HOUR_S
from slaplanner.api.annotations import pause_request
from slaplanner.api.policy import SLAPolicy
from slaplanner.controller.outside.ports import TrafficReading, World
from slaplanner.controller.schedule import Trigger
from slaplanner.controller.target_conditions import conflict, fight, progress, resolved
from slaplanner.core.decision import Decision, Finding
from slaplanner.core.errors import InternalError, MetricsError, PlanningError, TargetError, WarmUpError
from slaplanner.core.expected_latency import Expectation, expectations
from slaplanner.core.findings import metrics_finding
from slaplanner.core.glance import Alarm
from slaplanner.core.model import Actuation, Pause, Policy
from slaplanner.core.plan import decide, hold
from slaplanner.core.readings import Observation, Series, Unknown
from slaplanner.core.reasons import ConditionType, Reason, Remark
from slaplanner.core.rivalry import Rivalry, ended, let_go, looked, wrote
from slaplanner.core.sla_met import promise_finding
from slaplanner.core.state import PlannerState
from slaplanner.core.unserved import believed


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanTask:
    """What is to be planned, and for which time."""

    policy: SLAPolicy
    core: Policy
    """`policy` resolved, the operator-wide Observe included."""
    state: PlannerState
    at_s: float
    end_s: float
    """The grid time up to which history is read."""
    trigger: Trigger = Trigger.GRID
    """Why this plan is made now; for the log and the status."""
    alarm: Alarm | None = None
    """What a glance saw, where that is why."""
    known: TargetState | None = None
    """The target as it is, where a watch says that it has not changed; None: it has to be read."""
    profile_version: str | None = None
    """Of the profile's ConfigMap, as its watch told; None: not known."""
    history: Series | None
    claims: tuple[Claim, ...]
    """Of all policies that want the same target, this one included."""
    still_wanted: Callable[[], bool]


@dataclass(slots=True, kw_only=True)
class PlanResult:
    """What came of it, filled in from top to bottom as far as it got."""

    state: PlannerState
    findings: dict[ConditionType, Finding] = field(default_factory=dict)
    target: TargetState | None = None
    model: str | None = None
    profile: LoadedProfile | None = None
    traffic: TrafficReading | None = None
    decision: Decision | None = None
    expected: tuple[Expectation, ...] = ()
    """What the decided size should show."""
    outcome: ScalingOutcome | None = None
    failure: PlanningError | None = None
    """Why there is no decision."""
    defects: list[Exception] = field(default_factory=list)
    """What nobody foresaw; for the log, with their tracebacks."""
    may_write: bool = False
    """Nobody else scales the target, or a fight is old enough for one more try."""

    @property
    def all_defects(self) -> tuple[Exception, ...]:
        """Those of this plan, and the one that its forecaster carries."""
        forecast = self.decision.forecast if self.decision is not None else None
        failed = forecast.error if forecast is not None else None
        return (*self.defects, *(() if failed is None else (failed,)))

    def find(self, finding: Finding) -> None:
        self.findings[finding.type] = finding


async def make_plan(world: World, task: PlanTask) -> PlanResult:
    """Plan once. Nothing is raised but cancellation."""
    plan = PlanResult(state=task.state)
    pause = pause_request(task.policy.metadata.annotations)
    plan.find(
        Finding(
            type=ConditionType.PAUSED,
            status=pause.reason is not Reason.NOT_PAUSED,
            reason=pause.reason,
            message=pause.message,
        )
    )
    for step, condition in (
        (_look, ConditionType.TARGET_RESOLVED),
        (_load_profile, ConditionType.PROFILE_LOADED),
        (_observe, ConditionType.METRICS_AVAILABLE),
        (_decide, ConditionType.METRICS_AVAILABLE),
        (_act, ConditionType.TARGET_RESOLVED),
    ):
        try:
            await step(world, task, plan)
        except Exception as error:  # noqa: BLE001 - it is told and logged, and the fallback counts it
            _note_defect(task, plan, condition, error)
    _say_clock(plan)
    return plan


def _note_defect(task: PlanTask, plan: PlanResult, condition: ConditionType, error: Exception) -> None:
    """*error* as the condition of its step, and where nothing is decided yet as a failed observation."""
    told = error if isinstance(error, PlanningError) else InternalError.of(error)
    if told is not error:
        plan.defects.append(error)
    plan.failure = plan.failure or told
    if plan.decision is None:
        try:
            _hold(task, plan, told)
        except Exception as second:  # noqa: BLE001 - as above
            plan.defects.append(second)
            # The memory itself may be the cause, so the next plan starts afresh.
            plan.state = PlannerState(
                target=plan.state.target,
                decisions=plan.state.decisions,
                failures=plan.state.failures + 1,
            )
    plan.find(_failed(condition, told))


def _hold(task: PlanTask, plan: PlanResult, error: PlanningError) -> None:
    """Decide as for an observation that failed, if it is known what runs."""
    if plan.target is None:
        plan.state = replace(plan.state, failures=plan.state.failures + 1)
        return
    if any(role.gpus_per_replica is None for role in plan.target.fleet.roles):
        return
    unknown = nothing_known(MetricsError(str(error), reason=error.reason), window_s=task.core.window_s)
    plan.state, plan.decision = hold(plan.state, unknown, plan.target.fleet, task.core, now_s=task.at_s)
    for finding in plan.decision.findings:
        plan.find(finding)


async def _load_profile(world: World, task: PlanTask, plan: PlanResult) -> None:
    try:
        plan.profile = await world.documents.profile(task.policy, version=task.profile_version)
    except PlanningError as error:
        plan.failure = plan.failure or error
        plan.find(_failed(ConditionType.PROFILE_LOADED, error))
        return
    faults = plan.profile.faults
    gpus = {role.gpus_per_replica for role in plan.target.fleet.roles} if plan.target else set()
    if len(gpus) == 1 and (known := gpus.pop()) is not None:
        # Figures per GPU can only be checked against a replica whose GPUs are known.
        faults = await world.numerics.run(plan.profile.faults_on, known)
    plan.find(
        Finding(
            type=ConditionType.PROFILE_LOADED,
            status=True,
            reason=Reason.LOADED_WITH_FAULTS if faults else Reason.LOADED,
            message="; ".join(str(fault) for fault in faults) or plan.profile.summary,
        )
    )


async def _look(world: World, task: PlanTask, plan: PlanResult) -> None:
    try:
        target = task.known or await world.targets.look(task.policy)
        if task.state.target not in ("", target.identity.uid):
            # Recreated: what was learnt of the one before says nothing of this one.
            plan.state = PlannerState(decisions=task.state.decisions)
        plan.state = replace(plan.state, target=target.identity.uid)
        plan.target = with_startup(target, plan.state)
        require_gpus(target.fleet)
        await _name_model(world, task, plan, target)
        rivals = await world.targets.rivals(task.policy, target)
        plan.state = replace(plan.state, rivalry=_reverts(plan.state, target, task))
    except PlanningError as error:
        plan.failure = plan.failure or error
        plan.find(_failed(ConditionType.TARGET_RESOLVED, error))
        return
    plan.find(resolved(target, plan.model))
    mine = next((claim for claim in task.claims if claim.uid == task.policy.metadata.uid), None)
    others = policy_rivals(mine, task.claims) if mine is not None else ()
    rivalry = plan.state.rivalry
    found = replace(rivals, found=(*others, *rivals.found, *fight(rivalry)))
    plan.find(conflict(found, actuation=task.core.actuation))
    plan.may_write = not others and not rivals.found and rivalry.may_write(task.at_s)


async def _name_model(world: World, task: PlanTask, plan: PlanResult, target: TargetState) -> None:
    """The model that the target serves. Where only Prometheus knows it, silence is a failed observation."""
    try:
        plan.model = await world.targets.model(task.policy, target)
    except MetricsError as error:
        plan.traffic = TrafficReading(observation=nothing_known(error, window_s=task.core.window_s))


def _reverts(state: PlannerState, target: TargetState, task: PlanTask) -> Rivalry:
    """Whether what we wrote still stands, and who wrote over it."""
    watched = task.core.pause is not Pause.ALL and task.core.actuation is Actuation.ENFORCE
    return looked(
        state.rivalry if watched else let_go(state.rivalry),
        {role.role: role.replicas for role in target.fleet.roles},
        target.replica_writers,
        now_s=task.at_s,
        interval_s=task.core.interval_s,
    )


def with_startup(target: TargetState, state: PlannerState) -> TargetState:
    """The fleet with the start-up time that its slowest role was measured to take."""
    measured = [
        seconds
        for role in target.fleet.roles
        if (seconds := state.role(role.role).startup.seconds) is not None
    ]
    return replace(target, fleet=replace(target.fleet, startup_s=max(measured, default=None)))


async def _observe(world: World, task: PlanTask, plan: PlanResult) -> None:
    if plan.target is not None and plan.model is not None:
        plan.traffic = await world.metrics.traffic(
            task.policy,
            plan.target,
            plan.model,
            at_s=task.at_s,
            end_s=task.end_s,
            kept=task.history,
        )
    if plan.traffic is not None:
        warm_up = await _warm_up(world, task.policy)
        observation = replace(plan.traffic.observation, warm_up=warm_up)
        plan.traffic = replace(plan.traffic, observation=observation)
        plan.find(metrics_finding(task.core, _believed(plan, task, observation)))
        if plan.traffic.attainment is not None:
            plan.find(promise_finding(task.core, plan.traffic.attainment[HOUR_S]))


def _believed(plan: PlanResult, task: PlanTask, observation: Observation) -> Observation:
    """As the decision will take it: the count is a lower bound where a role had no serving replica."""
    if plan.target is None:
        return observation
    return believed(
        observation,
        plan.target.fleet,
        unserved_at_s=plan.state.unserved_at_s,
        interval_s=task.core.interval_s,
        now_s=task.at_s,
    )


CLOCK_OFF_AT_LEAST_S = 15.0
"""Below this, delays of scraping and rounding of dates hide the difference."""


def clock_remark(traffic: TrafficReading) -> Remark | None:
    """That the clocks of Prometheus and the operator differ, if they do."""
    offset_s = traffic.clock_offset_s
    if offset_s is None or abs(offset_s) < CLOCK_OFF_AT_LEAST_S:
        return None
    side = "ahead of" if offset_s > 0 else "behind"
    return Remark(
        reason=Reason.CLOCK_OFF,
        message=f"the clock of Prometheus is {abs(offset_s):.0f} s {side} the operator's, wanted the same time",
    )


def _say_clock(plan: PlanResult) -> None:
    """Add to MetricsAvailable that the clocks differ: its figures may be old ones."""
    remark = clock_remark(plan.traffic) if plan.traffic is not None else None
    finding = plan.findings.get(ConditionType.METRICS_AVAILABLE)
    if remark is not None and finding is not None:
        plan.find(replace(finding, message=f"{finding.message}; {remark.message}"))


async def _warm_up(world: World, policy: SLAPolicy) -> Series | Unknown | None:
    """What cannot be read costs the forecast its head start, never the plan."""
    try:
        return await world.documents.warm_up(policy)
    except WarmUpError as error:
        return Unknown(error.reason, str(error))


async def _decide(world: World, task: PlanTask, plan: PlanResult) -> None:
    if plan.failure is not None or plan.target is None or plan.traffic is None or plan.profile is None:
        return
    try:
        plan.state, decision = await world.numerics.run(
            decide,
            plan.state,
            plan.traffic.observation,
            plan.target.fleet,
            task.core,
            plan.profile.profile,
            now_s=task.at_s,
        )
    except PlanningError as error:
        plan.failure = error
        kind = (
            ConditionType.TARGET_RESOLVED if isinstance(error, TargetError) else ConditionType.PROFILE_LOADED
        )
        plan.find(_failed(kind, error))
        return
    plan.decision = decision
    plan.expected = expectations(decision, policy=task.core, profile=plan.profile.profile)
    for finding in decision.findings:
        plan.find(finding)


async def _act(world: World, task: PlanTask, plan: PlanResult) -> None:
    """Carry the decision out, unless something speaks against it."""
    if plan.decision is None or plan.target is None:
        return
    if task.core.actuation is Actuation.ENFORCE and plan.may_write and task.still_wanted():
        # Where nothing moves, replicas that another manager may drop become ours first, and a first
        # decision is published.
        if plan.decision.changes or plan.target.droppable:
            plan.outcome = await world.targets.scale(
                task.policy, plan.target, plan.decision.desired, still_wanted=task.still_wanted
            )
        plan.state = replace(plan.state, rivalry=_after_writing(plan.state.rivalry, plan))
    refused = plan.outcome.error if plan.outcome else None
    if refused is not None and refused.reason is not Reason.CONFLICT:
        plan.find(_failed(ConditionType.TARGET_RESOLVED, refused))
    plan.find(progress(plan.decision, plan.target, plan.outcome, actuation=task.core.actuation))


def _after_writing(rivalry: Rivalry, plan: PlanResult) -> Rivalry:
    if plan.decision is not None and not plan.decision.changes:
        # Both sides want the same: nothing is left to fight about.
        return ended(rivalry)
    return wrote(rivalry, plan.outcome.written) if plan.outcome is not None else rivalry


def _failed(kind: ConditionType, error: PlanningError) -> Finding:
    return Finding(type=kind, status=False, reason=error.reason, message=str(error))
