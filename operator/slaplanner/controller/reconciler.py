"""The heartbeat of one policy: look whether anything is due, and do it.

It runs every few seconds and mostly finds nothing to do: a comparison of versions that watches keep
up to date. When the target moved it looks again (to learn start-up times, to finish a move whose
second half waited for GPUs), and when a plan is due it makes one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from slaplanner.adapters.object_versions import Watched
from slaplanner.adapters.target import Outcome, TargetState
from slaplanner.api.annotations import PAUSED, PLAN_REQUESTED_AT
from slaplanner.api.policy import SLAPolicy
from slaplanner.controller.backoff import READY
from slaplanner.controller.defects import DefectLog
from slaplanner.controller.health import Liveness
from slaplanner.controller.planning import Task, clock_remark, make_plan, with_startup
from slaplanner.controller.progress import progress
from slaplanner.controller.records import Record, Records
from slaplanner.controller.refits import RefitQueue
from slaplanner.controller.report import Reporter
from slaplanner.controller.schedule import UNSEEN, Due, Fingerprint, due, last_slot_s
from slaplanner.controller.turns import Turns
from slaplanner.controller.watches import Watches
from slaplanner.controller.world import World
from slaplanner.core.errors import PlanningError
from slaplanner.core.forecast import ForecastState, horizon_steps, refit
from slaplanner.core.model import Actuation, Policy
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
    watches: Watches
    reporter: Reporter
    liveness: Liveness
    settings: Settings
    started_at_s: float = field(init=False)
    defects: DefectLog = field(default_factory=DefectLog)
    stopping: bool = False
    """Set when the operator ends: from then on nothing is written."""
    turns: Turns = field(default_factory=Turns)
    refits: RefitQueue = field(init=False)

    def __post_init__(self) -> None:
        self.started_at_s = self.world.monotonic_s()
        self.refits = RefitQueue(self._refit)

    async def tick(self, record: Record) -> None:
        """One heartbeat. Raises nothing but cancellation: `make_plan` and the reporter see to that."""
        policy = record.policy
        if policy is None:
            self.liveness.gone(record.uid)
            await self.reporter.invalid(record)
            return
        core = self._resolved(policy)
        self.liveness.seen(record.uid, interval_s=core.interval_s)
        self.liveness.began(record.uid)
        try:
            await self._tick(record, policy, core)
        finally:
            self.liveness.ended(record.uid)

    async def _tick(self, record: Record, policy: SLAPolicy, core: Policy) -> None:
        if self.world.api_server.resting():
            # Its plan waits, so it is not overdue.
            self.liveness.tried(record.uid)
            return
        await self.reporter.retry(record)
        if self.world.monotonic_s() - self.started_at_s < self.settings.settle_s:
            return
        if record.state is None:
            self.reporter.restore(record)
        now_s = self.world.now_s()
        await self._look_again(record, policy, core, now_s=now_s)
        fingerprint = self._fingerprint(record, policy)
        planned = due(
            now_s=now_s,
            uid=record.uid,
            interval_s=core.interval_s,
            planned_at_s=record.attempted_at_s,
            before=record.fingerprint,
            after=fingerprint,
        )
        if planned is not None and not self._may_begin(record):
            self.liveness.tried(record.uid)
        elif planned is not None:
            await self._plan(record, policy, core, planned, seen=fingerprint)
        else:
            record.fingerprint = fingerprint or record.fingerprint
            await self._finish_move(record, policy, core)
        self.reporter.age(record, now_s=now_s)

    def gone(self, uid: str) -> None:
        """The policy was deleted: nothing is waited for any more."""
        self.liveness.gone(uid)
        self.refits.drop(uid)

    def _may_begin(self, record: Record) -> bool:
        """Whether the policy's first plan in this process has its turn; later plans need none."""
        now_s = self.world.monotonic_s()
        if record.turn_at_s is None:
            record.turn_at_s = self.turns.take(now_s=now_s, policies=len(self.records))
        return now_s >= record.turn_at_s

    def forget(self) -> None:
        """End the watches that no policy needs any more."""
        wanted: set[Watched | None] = set()
        for record in self.records:
            if record.policy is not None:
                wanted.add(self.world.watched_profile(record.policy))
                wanted.add(self.world.watched_warm_up(record.policy))
            if record.target is not None:
                wanted.add(self.world.watched_target(record.target))
        self.watches.keep(watched for watched in wanted if watched is not None)

    def _resolved(self, policy: SLAPolicy) -> Policy:
        core = replace(policy.to_core(), replica_ceiling=self.settings.replica_ceiling)
        return replace(core, actuation=Actuation.OBSERVE) if self.settings.observe else core

    def _fingerprint(self, record: Record, policy: SLAPolicy) -> Fingerprint | None:
        """What the next plan would depend on; None while a watch has not answered yet."""
        profile = self._version(self.world.watched_profile(policy), "directory")
        warm_up = self._version(self.world.watched_warm_up(policy), "")
        if profile is None or warm_up is None:
            return None
        annotations = policy.metadata.annotations
        fingerprint = Fingerprint(
            generation=policy.metadata.generation,
            annotations=(annotations.get(PAUSED), annotations.get(PLAN_REQUESTED_AT)),
            target=_target_print(record, self.records.seniors(record)),
            profile=profile,
            warm_up=warm_up,
        )
        if record.seen_digest is not None and record.fingerprint is None:
            same = record.seen_digest == fingerprint.digest()
            record.fingerprint = fingerprint if same else replace(fingerprint, generation=UNSEEN)
            record.seen_digest = None
        return fingerprint

    def _version(self, watched: Watched | None, unwatched: str) -> str | None:
        return unwatched if watched is None else self.watches.version(watched)

    async def _look_again(self, record: Record, policy: SLAPolicy, core: Policy, *, now_s: float) -> None:
        """Read the target when it is not known or has changed, and learn from what it shows."""
        if record.attempted_at_s is None:
            return
        version = None
        if record.target is not None:
            version = self._target_version(policy, record.target)
            if version is None or version == record.target_version:
                return
        if not record.retry.over(now_s=self.world.monotonic_s()):
            return
        try:
            target = await self.world.look(policy)
        except PlanningError as error:
            # The next plan says why; until then the target counts as unknown.
            record.target = None
            if error.reason in _UNANSWERED:
                self._back_off(record)
            return
        record.retry = READY
        record.target, record.target_version = target, version
        self.reporter.remarked(record, policy)
        record.state = _learn_startup(record.state or PlannerState(), target, now_s=now_s)
        if record.decision is None:
            return
        if not _unfinished(record.outcome):
            record.outcome = None
            await self._own(record, policy, core, target)
        await self.reporter.progressed(record, policy, progress(record.decision, target, record.outcome))

    def _back_off(self, record: Record) -> None:
        record.retry = record.retry.failed(now_s=self.world.monotonic_s(), base_s=self.settings.heartbeat_s)

    def _target_version(self, policy: SLAPolicy, target: TargetState) -> str | None:
        polled = self.world.polled_version(policy)
        return polled or self.watches.version(self.world.watched_target(target))

    async def _own(self, record: Record, policy: SLAPolicy, core: Policy, target: TargetState) -> None:
        """Own replicas before whoever else owns them leaves them out: absent means 1."""
        if not target.droppable or record.contested or core.actuation is Actuation.OBSERVE:
            return
        outcome = await self.world.scale(
            policy, target, {}, still_wanted=self._still_wanted(record, record.planned_for)
        )
        if outcome.error is not None:
            logger.warning(
                "replicas are owned by others alone, who may drop them",
                extra={"policy": f"{record.namespace}/{record.name}", "error": str(outcome.error)},
            )

    async def _plan(
        self, record: Record, policy: SLAPolicy, core: Policy, planned: Due, *, seen: Fingerprint | None
    ) -> None:
        started = self.world.monotonic_s()
        planned_for = (policy.metadata.generation, policy.metadata.annotations.get(PAUSED))
        state = record.state or PlannerState()
        if record.fingerprint is not None and seen is not None and seen.asks_more_than(record.fingerprint):
            state = replace(state, rivalry=asked(state.rivalry))
        end_s = last_slot_s(now_s=planned.at_s, uid=record.uid, interval_s=core.interval_s)
        task = Task(
            policy=policy,
            core=core,
            state=state,
            at_s=planned.at_s,
            end_s=end_s,
            history=record.history,
            claims=tuple(self.records.claims()),
            still_wanted=self._still_wanted(record, planned_for),
        )
        plan = await make_plan(self.world, task)
        for error in plan.all_defects:
            self.defects.tell(error, policy=f"{record.namespace}/{record.name}", doing="planning")
        self.liveness.tried(record.uid)
        if not task.still_wanted() and not (plan.outcome and plan.outcome.written):
            # Discarded without a trace: whatever ended it asks for the next plan.
            return
        record.attempted_at_s, record.planned_for = planned.at_s, planned_for
        if plan.target is not None and record.target is None:
            record.target_version = self._target_version(policy, plan.target)
        record.target = plan.target
        record.clock_remark = clock_remark(plan.traffic) if plan.traffic is not None else None
        self.reporter.remarked(record, policy)
        record.state, record.outcome = plan.state, plan.outcome
        if plan.target is not None:
            record.state = _learn_startup(plan.state, plan.target, now_s=planned.at_s)
        record.decision = plan.decision
        if plan.traffic is not None and plan.traffic.observation.history is not None:
            record.history = plan.traffic.observation.history
        contested = plan.findings.get(ConditionType.TARGET_CONFLICT)
        record.contested = contested is not None and contested.status is True
        fingerprint = self._fingerprint(record, policy)
        if seen is not None and fingerprint is not None:
            # A profile or trace that was edited while this plan was made asks for another one.
            fingerprint = replace(fingerprint, profile=seen.profile, warm_up=seen.warm_up)
        record.fingerprint = fingerprint
        await self.reporter.planned(
            record,
            task,
            plan,
            digest=fingerprint.digest() if fingerprint is not None else None,
            took_s=self.world.monotonic_s() - started,
        )
        if _refit_due(record.state):
            self.refits.ask(record.uid)

    def _still_wanted(self, record: Record, planned_for: tuple[int, str | None]) -> Callable[[], bool]:
        def still_wanted() -> bool:
            return (
                not self.stopping
                and not record.deleted
                and (record.generation, record.annotations.get(PAUSED)) == planned_for
            )

        return still_wanted

    async def _finish_move(self, record: Record, policy: SLAPolicy, core: Policy) -> None:
        """Write the half of a move that had to wait, as far as it is safe by now."""
        outcome, target, decision = record.outcome, record.target, record.decision
        if target is None or decision is None or core.actuation is Actuation.OBSERVE:
            return
        still_wanted = self._still_wanted(record, record.planned_for)
        if (
            not _unfinished(outcome)
            or not still_wanted()
            or not record.retry.over(now_s=self.world.monotonic_s())
        ):
            return
        record.outcome = await self.world.scale(
            policy,
            target,
            decision.desired,
            still_wanted=still_wanted,
        )
        if record.outcome.error is not None:
            self._back_off(record)
        else:
            record.retry = READY
        if record.state is not None:
            record.state = replace(record.state, rivalry=wrote(record.state.rivalry, record.outcome.written))
        self.reporter.moved(record, policy, decision, record.outcome)
        await self.reporter.progressed(record, policy, progress(decision, target, record.outcome))

    async def _refit(self, uid: str) -> None:
        """Fit a policy's forecaster to what is known now, off the event loop, and put the fit in place."""
        record = self.records.get(uid)
        if record is None or record.policy is None or record.target is None or self.stopping:
            return
        state, history = record.state, record.history
        if state is None or history is None or not _refit_due(state):
            return
        core = self._resolved(record.policy)
        steps = horizon_steps(
            interval_s=core.interval_s,
            startup_s=startup_seconds(core, with_startup(record.target, state).fleet),
        )
        fitted = await self.world.refits.run(
            refit, learnable(state, history), policy=core.predictor, state=state.forecast, horizon_steps=steps
        )
        # Plans went on meanwhile; the next one learns the points since from this fit.
        if record.state is not None and _still_fits(record.state, state, fitted):
            record.state = replace(record.state, forecast=fitted)


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


def _unfinished(outcome: Outcome | None) -> bool:
    """There is more to write: a half that waits, or one that met somebody else's write."""
    if outcome is None:
        return False
    return bool(outcome.waiting) or (outcome.error is not None and outcome.error.reason is Reason.CONFLICT)


def _target_print(record: Record, seniors: tuple[str, ...]) -> str:
    """The target, and who goes before us there, as far as a change of them asks for a plan."""
    target = record.target
    if target is None:
        return "absent"
    roles = ",".join(f"{role.component}:{role.gpus_per_replica}" for role in target.fleet.roles)
    gated = record.decision is not None and any(
        limit in _GATED for role in record.decision.roles for limit in role.limits
    )
    waiting = "moving" if gated and not target.settled else ""
    return " ".join((target.identity.uid, roles, waiting, *seniors))
