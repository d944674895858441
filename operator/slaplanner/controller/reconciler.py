"""The heartbeat of one policy: check whether anything is due, and do it.

A heartbeat runs every few seconds. Mostly nothing is due, and it only compares versions that the watches keep up to
date. If the target changed, it reads the target again: to measure start-up times, and to finish a move whose second
half waited for GPUs. If a plan is due, it makes one.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from slaplanner.adapters.deployment import ScalingOutcome, TargetState
from slaplanner.adapters.object_versions import WATCH_TIMEOUT_S, Watched
from slaplanner.api.annotations import PAUSED, PLAN_REQUESTED_AT
from slaplanner.api.policy import SLAPolicy
from slaplanner.controller.backoff import READY, Backoff
from slaplanner.controller.first_plans import Turns
from slaplanner.controller.health import Liveness
from slaplanner.controller.outside.ports import World
from slaplanner.controller.planning import PlanResult, PlanTask, clock_remark, make_plan, with_startup
from slaplanner.controller.records import PlanMemory, Record, Records, Resolved, Version
from slaplanner.controller.refits import RefitQueue
from slaplanner.controller.report import Reporter
from slaplanner.controller.restoring import restored
from slaplanner.controller.schedule import UNSEEN, Due, Fingerprint, due, last_slot_s
from slaplanner.controller.target_conditions import progress
from slaplanner.controller.unforeseen_errors import DefectLog
from slaplanner.controller.watches import Versions
from slaplanner.core.errors import PlanningError
from slaplanner.core.forecast import ForecastState, horizon_steps, refit
from slaplanner.core.model import Actuation
from slaplanner.core.plan import learnable, startup_seconds
from slaplanner.core.reasons import ConditionType, Reason
from slaplanner.core.rivalry import asked, wrote
from slaplanner.core.startup import watch_startup
from slaplanner.core.state import PlannerState
from slaplanner.settings import Settings

logger = logging.getLogger(__name__)

_GATED = frozenset(
    {
        Reason.ROLLOUT_BLOCKS,
        Reason.SCALING_DEFERRED,
        Reason.NOT_OBSERVED,
        Reason.NOT_READY_BLOCKS_SHRINK,
        Reason.UNSCHEDULABLE,
    }
)
"""Limits that end with the target's own moves: when it settles, a plan follows at once."""

_UNANSWERED = frozenset({Reason.API_UNAVAILABLE, Reason.ETCD_UNAVAILABLE, Reason.FORBIDDEN})
"""Failures that a repetition at every heartbeat would only make worse."""


@dataclass(slots=True, kw_only=True)
class Reconciler:
    """Beats for every policy of this operator."""

    world: World
    records: Records
    watches: Versions
    reporter: Reporter
    liveness: Liveness
    settings: Settings
    started_at_s: float = field(init=False)
    defects: DefectLog = field(default_factory=DefectLog)
    stopping: bool = False
    """Set when the operator ends: from then on nothing is written."""
    turns: Turns = field(default_factory=Turns)
    refits: RefitQueue = field(init=False)
    _fits: dict[str, _Fit] = field(default_factory=dict)
    """By uid: fits that are ready for the next plan."""

    def __post_init__(self) -> None:
        self.started_at_s = self.world.clock.monotonic_s()
        self.refits = RefitQueue(self._refit)

    async def tick(self, record: Record) -> None:
        """One heartbeat. Raises nothing but cancellation: `make_plan` and the reporter see to that."""
        resolved = record.manifest.resolved
        if resolved is None:
            self.liveness.gone(record.uid)
            await self.reporter.invalid(record)
            return
        self.liveness.seen(record.uid, interval_s=resolved.core.interval_s)
        self.liveness.began(record.uid)
        try:
            await self._tick(record, resolved)
        finally:
            self.liveness.ended(record.uid)
            self._keep_watches(record)

    async def _tick(self, record: Record, resolved: Resolved) -> None:
        if self.world.api_server.resting():
            # Its plan waits, so it is not overdue.
            self.liveness.tried(record.uid)
            return
        await self.reporter.retry(record)
        if self.world.clock.monotonic_s() - self.started_at_s < self.settings.settle_s:
            return
        if record.memory.state is None:
            self._restore(record, resolved)
        now_s = self.world.clock.now_s()
        await self._look_again(record, resolved, now_s=now_s)
        fingerprint = self._fingerprint(record, resolved.policy)
        self._compare_with_earlier(record, fingerprint)
        planned = due(
            now_s=now_s,
            uid=record.uid,
            interval_s=resolved.core.interval_s,
            planned_at_s=record.memory.attempted_at_s,
            before=record.memory.fingerprint,
            after=fingerprint,
            alarm=record.memory.alarm,
        )
        if planned is not None and not self._may_begin(record):
            self.liveness.tried(record.uid)
        elif planned is not None:
            await self._plan(record, resolved, planned, seen=fingerprint)
        else:
            if fingerprint is not None:
                record.memory = replace(record.memory, fingerprint=fingerprint)
            await self._finish_move(record, resolved)

    def gone(self, uid: str) -> None:
        """The policy was deleted: nothing is waited for any more."""
        self.liveness.gone(uid)
        self.refits.drop(uid)
        self._fits.pop(uid, None)
        self.watches.keep(uid, ())

    def broke(self, record: Record) -> None:
        """A heartbeat met a defect. A plan that broke was a plan: the next slot is the retry."""
        record.memory = replace(record.memory, attempted_at_s=self.world.clock.now_s())
        self.liveness.tried(record.uid)

    def _restore(self, record: Record, resolved: Resolved) -> None:
        """Go on from what the operator before this one left in the status."""
        status = record.manifest.document.get("status") or {}
        self.reporter.begin(record, status)
        found = restored(
            status.get("plannerState"),
            uid=record.uid,
            interval_s=resolved.core.interval_s,
            now_s=self.world.clock.now_s(),
        )
        if found.problem:
            self.reporter.state_dropped(record, resolved.policy, found.problem)
        record.memory = replace(
            record.memory,
            state=found.state,
            attempted_at_s=found.state.planned_at_s,
            earlier_digest=found.digest,
        )

    def _may_begin(self, record: Record) -> bool:
        """Whether the policy's first plan in this process has its turn; later plans need none."""
        now_s = self.world.clock.monotonic_s()
        if record.memory.turn_at_s is None:
            turn_at_s = self.turns.take(now_s=now_s, policies=len(self.records))
            record.memory = replace(record.memory, turn_at_s=turn_at_s)
        return record.memory.turn_at_s is not None and now_s >= record.memory.turn_at_s

    def _keep_watches(self, record: Record) -> None:
        """Watch what the policy names, and nothing that it named before."""
        resolved, target = record.manifest.resolved, record.memory.target
        if record.manifest.deleted or resolved is None:
            self.watches.keep(record.uid, ())
            return
        wanted = (
            self.world.documents.watched_profile(resolved.policy),
            self.world.documents.watched_warm_up(resolved.policy),
            self.world.targets.watched(target) if target is not None else None,
        )
        self.watches.keep(record.uid, [watched for watched in wanted if watched is not None])

    def _fingerprint(self, record: Record, policy: SLAPolicy) -> Fingerprint | None:
        """What the next plan would depend on; None while a watch has not answered yet."""
        profile = self._version(self.world.documents.watched_profile(policy), "directory")
        warm_up = self._version(self.world.documents.watched_warm_up(policy), "")
        if profile is None or warm_up is None:
            return None
        annotations = policy.metadata.annotations
        return Fingerprint(
            generation=policy.metadata.generation,
            annotations=(annotations.get(PAUSED), annotations.get(PLAN_REQUESTED_AT)),
            target=_target_print(record.memory, self.records.seniors(record)),
            profile=profile,
            warm_up=warm_up,
        )

    def _compare_with_earlier(self, record: Record, fingerprint: Fingerprint | None) -> None:
        """Once after a start: whether the operator before this one planned with the same."""
        memory = record.memory
        if fingerprint is None or memory.earlier_digest is None or memory.fingerprint is not None:
            return
        same = memory.earlier_digest == fingerprint.digest()
        record.memory = replace(
            memory,
            fingerprint=fingerprint if same else replace(fingerprint, generation=UNSEEN),
            earlier_digest=None,
        )

    def _version(self, watched: Watched | None, unwatched: str) -> str | None:
        return unwatched if watched is None else self.watches.version(watched)

    async def _look_again(self, record: Record, resolved: Resolved, *, now_s: float) -> None:
        """Read the target when it is not known or has changed, and learn from what it shows."""
        memory = record.memory
        if memory.attempted_at_s is None:
            return
        version = None
        if memory.target is not None:
            version = self._target_version(resolved.policy, memory.target)
            if version is None or version == memory.target_version:
                return
        if not memory.retry.over(now_s=self.world.clock.monotonic_s()):
            return
        try:
            target = await self.world.targets.look(resolved.policy)
        except PlanningError as error:
            # The next plan says why; until then the target counts as unknown.
            retry = self._later(record) if error.reason in _UNANSWERED else memory.retry
            record.memory = replace(record.memory, target=None, retry=retry)
            return
        state = _learn_startup(memory.state or PlannerState(), target, now_s=now_s)
        record.memory = replace(
            record.memory,
            retry=READY,
            target=target,
            target_read_at_s=self.world.clock.monotonic_s(),
            target_version=version,
            state=state,
        )
        self.reporter.remarked(record, resolved.policy)
        decision = record.memory.decision
        if decision is None:
            return
        if not _unfinished(record.memory.outcome):
            record.memory = replace(record.memory, outcome=None)
            await self._own(record, resolved, target)
        found = progress(decision, target, record.memory.outcome)
        await self.reporter.progressed(record, resolved.policy, found)

    def _later(self, record: Record) -> Backoff:
        return record.memory.retry.failed(
            now_s=self.world.clock.monotonic_s(), base_s=self.settings.heartbeat_s
        )

    def _known_target(self, record: Record, resolved: Resolved) -> TargetState | None:
        """The target as it was read, where its watch says that it is still that very object.

        What a scaling adapter keeps is another object, and so is read with every plan.
        """
        memory = record.memory
        target = memory.target
        if target is None or target.adapters or memory.planned_for != record.manifest.version:
            return None
        if self.world.clock.monotonic_s() - memory.target_read_at_s > WATCH_TIMEOUT_S:
            return None
        version = self._target_version(resolved.policy, target)
        return target if version and version == target.identity.resource_version else None

    def _target_version(self, policy: SLAPolicy, target: TargetState) -> str | None:
        polled = self.world.targets.polled_version(policy)
        return polled or self.watches.version(self.world.targets.watched(target))

    async def _own(self, record: Record, resolved: Resolved, target: TargetState) -> None:
        """Own replicas before whoever else owns them leaves them out: absent means 1."""
        if not target.droppable or record.memory.contested or resolved.core.actuation is Actuation.OBSERVE:
            return
        outcome = await self.world.targets.scale(
            resolved.policy,
            target,
            {},
            still_wanted=self._still_wanted(record, record.memory.planned_for),
        )
        if outcome.error is not None:
            logger.warning(
                "replicas are owned by others alone, who may drop them",
                extra={"policy": record.who, "error": str(outcome.error)},
            )

    async def _plan(
        self, record: Record, resolved: Resolved, planned: Due, *, seen: Fingerprint | None
    ) -> None:
        started_s = self.world.clock.monotonic_s()
        policy, before = resolved.policy, record.memory
        version = record.manifest.version
        state = self._with_fit(record.uid, before.state or PlannerState())
        if before.fingerprint is not None and seen is not None and seen.asks_more_than(before.fingerprint):
            state = replace(state, rivalry=asked(state.rivalry))
        task = PlanTask(
            policy=policy,
            core=resolved.core,
            state=state,
            at_s=planned.at_s,
            end_s=last_slot_s(now_s=planned.at_s, uid=record.uid, interval_s=resolved.core.interval_s),
            trigger=planned.trigger,
            alarm=planned.alarm,
            known=self._known_target(record, resolved),
            profile_version=seen.profile if seen is not None else None,
            history=before.history,
            claims=self.records.claims(record),
            still_wanted=self._still_wanted(record, version),
        )
        plan = await make_plan(self.world, task)
        for error in plan.all_defects:
            self.defects.tell(error, policy=record.who, doing="planning")
        self.liveness.tried(record.uid)
        if not task.still_wanted() and not (plan.outcome and plan.outcome.written):
            # Discarded without a trace: whatever ended it asks for the next plan.
            return
        record.memory = self._after(record.memory, task, plan, version)
        self.reporter.remarked(record, policy)
        fingerprint = self._fingerprint(record, policy)
        if seen is not None and fingerprint is not None:
            # A profile or trace that was edited while this plan was made asks for another one.
            fingerprint = replace(fingerprint, profile=seen.profile, warm_up=seen.warm_up)
        record.memory = replace(record.memory, fingerprint=fingerprint)
        await self.reporter.planned(
            record,
            task,
            plan,
            digest=fingerprint.digest() if fingerprint is not None else None,
            took_s=self.world.clock.monotonic_s() - started_s,
        )
        if record.uid not in self._fits and _refit_due(record.memory.state):
            self.refits.ask(record.uid)

    def _after(self, before: PlanMemory, task: PlanTask, plan: PlanResult, version: Version) -> PlanMemory:
        """What a plan leaves behind."""
        target, state = plan.target, plan.state
        target_version = before.target_version
        if target is not None:
            state = _learn_startup(state, target, now_s=task.at_s)
            if before.target is None:
                target_version = self._target_version(task.policy, target)
        history = plan.traffic.observation.history if plan.traffic is not None else None
        contested = plan.findings.get(ConditionType.TARGET_CONFLICT)
        read_at_s = before.target_read_at_s if task.known else self.world.clock.monotonic_s()
        return replace(
            before,
            attempted_at_s=task.at_s,
            planned_for=version,
            target=target,
            target_read_at_s=_read_before(plan.outcome, read_at_s),
            target_version=target_version,
            clock_remark=clock_remark(plan.traffic) if plan.traffic is not None else None,
            state=state,
            outcome=plan.outcome,
            decision=plan.decision,
            history=history if history is not None else before.history,
            scope=plan.traffic.scope if plan.traffic is not None else None,
            alarm=None,
            alarmed_at_s=task.at_s if task.alarm is not None else before.alarmed_at_s,
            contested=contested is not None and contested.status is True,
        )

    def _still_wanted(self, record: Record, version: Version) -> Callable[[], bool]:
        def still_wanted() -> bool:
            manifest = record.manifest
            return not self.stopping and not manifest.deleted and manifest.version == version

        return still_wanted

    async def _finish_move(self, record: Record, resolved: Resolved) -> None:
        """Write the half of a move that had to wait, as far as it is safe by now."""
        memory = record.memory
        target, decision = memory.target, memory.decision
        if target is None or decision is None or resolved.core.actuation is Actuation.OBSERVE:
            return
        still_wanted = self._still_wanted(record, memory.planned_for)
        if not _unfinished(memory.outcome) or not still_wanted():
            return
        if not memory.retry.over(now_s=self.world.clock.monotonic_s()):
            return
        outcome = await self.world.targets.scale(
            resolved.policy, target, decision.desired, still_wanted=still_wanted
        )
        state = record.memory.state
        if state is not None:
            state = replace(state, rivalry=wrote(state.rivalry, outcome.written))
        retry = READY if outcome.error is None else self._later(record)
        read_at_s = _read_before(outcome, record.memory.target_read_at_s)
        record.memory = replace(
            record.memory, outcome=outcome, state=state, retry=retry, target_read_at_s=read_at_s
        )
        self.reporter.moved(record, resolved.policy, decision, outcome)
        await self.reporter.progressed(record, resolved.policy, progress(decision, target, outcome))

    async def _refit(self, uid: str) -> None:
        """Fit a policy's forecaster to what is known now, off the event loop; the next plan takes the fit."""
        record = self.records.get(uid)
        resolved = record.manifest.resolved if record is not None else None
        if record is None or resolved is None or record.memory.target is None or self.stopping:
            return
        state, history = record.memory.state, record.memory.history
        if state is None or history is None or not _refit_due(state):
            return
        core = resolved.core
        steps = horizon_steps(
            interval_s=core.interval_s,
            startup_s=startup_seconds(core, with_startup(record.memory.target, state).fleet),
        )
        fitted = await self.world.refits.run(
            refit, learnable(state, history), policy=core.predictor, state=state.forecast, horizon_steps=steps
        )
        if self.records.get(uid) is not None:
            self._fits[uid] = _Fit(before=state, forecast=fitted)

    def _with_fit(self, uid: str, state: PlannerState) -> PlannerState:
        """*state* with the fit that is ready for it, if there is one.

        Plans went on while it was made; the next one learns the points since from the fit.
        """
        fit = self._fits.pop(uid, None)
        if fit is None or not _still_fits(state, fit.before, fit.forecast):
            return state
        return replace(state, forecast=fit.forecast)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fit:
    """A forecaster that was fitted beside the plans, and the state that it was made from."""

    before: PlannerState
    forecast: ForecastState


def _still_fits(latest: PlannerState, before: PlannerState, fitted: ForecastState) -> bool:
    """Whether *fitted*, made from *before*, is about the target, past and settings of *latest*."""
    same_use = latest.forecast is None or latest.forecast.fits(
        policy=fitted.policy, step_s=fitted.step_s, horizon_steps=fitted.horizon_steps
    )
    return same_use and latest.target == before.target and latest.warm_up is before.warm_up


def _refit_due(state: PlannerState | None) -> bool:
    return state is not None and (state.forecast is None or state.forecast.refit_due)


def _learn_startup(state: PlannerState, target: TargetState, *, now_s: float) -> PlannerState:
    memories = [(state.role(role.role), role) for role in target.fleet.roles]
    return state.with_roles(
        replace(memory, startup=watch_startup(memory.startup, role, now_s=now_s)) for memory, role in memories
    )


def _unfinished(outcome: ScalingOutcome | None) -> bool:
    """There is more to write: a half that waits, or one that met somebody else's write."""
    if outcome is None:
        return False
    return bool(outcome.waiting) or (outcome.error is not None and outcome.error.reason is Reason.CONFLICT)


def _read_before(outcome: ScalingOutcome | None, read_at_s: float) -> float:
    """When the target was read; never, if we have written to it since.

    Its watch may be late to say so, and the replicas from before our write would look like somebody's revert.
    """
    return -math.inf if outcome is not None and outcome.written else read_at_s


def _target_print(memory: PlanMemory, seniors: tuple[str, ...]) -> str:
    """The target, and who goes before us there, as far as a change of them asks for a plan."""
    target = memory.target
    if target is None:
        return "absent"
    roles = ",".join(f"{role.component}:{role.gpus_per_replica}" for role in target.fleet.roles)
    gated = memory.decision is not None and any(
        limit in _GATED for role in memory.decision.roles for limit in role.limits
    )
    waiting = "moving" if gated and not target.settled else ""
    return " ".join((target.identity.uid, roles, waiting, *seniors))
