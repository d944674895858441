"""The conditions about the target: is it resolved, does anybody else scale it, is it moving?"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from slaplanner.adapters.deployment import Rival, Rivals, ScalingOutcome, TargetState
from slaplanner.core.decision import Decision, Finding
from slaplanner.core.model import Actuation
from slaplanner.core.reasons import ConditionType, Reason
from slaplanner.core.rebalance import ReplicaWrite
from slaplanner.core.rivalry import Rivalry


def resolved(target: TargetState, model: str | None) -> Finding:
    """What was found in the target; *model* is None while only Prometheus could name it and does not."""
    served = model or "a model that only its metrics name"
    roles = ", ".join(
        f"{role.role}{f' is {role.component}' if role.component else ''} with {role.gpus_per_replica} GPUs per replica"
        for role in target.fleet.roles
    )
    return Finding(
        type=ConditionType.TARGET_RESOLVED,
        status=True,
        reason=target.resolved_as,
        message=f"{target.identity.name} serves {served}: {roles}",
    )


def conflict(rivals: Rivals, *, actuation: Actuation = Actuation.ENFORCE) -> Finding:
    """Who else scales the same roles; the first one gives the reason. Who only observes fights with nobody."""
    unchecked = f" ({'; '.join(rivals.unchecked)})" if rivals.unchecked else ""
    if not rivals.found:
        return Finding(
            type=ConditionType.TARGET_CONFLICT,
            status=False,
            reason=Reason.NO_CONFLICT,
            message=f"nobody else scales the target{unchecked}",
        )
    named = ", ".join(f"{rival.name} ({rival.role})" if rival.role else rival.name for rival in rivals.found)
    if actuation is Actuation.OBSERVE:
        return Finding(
            type=ConditionType.TARGET_CONFLICT,
            status=False,
            reason=Reason.NO_CONFLICT,
            message=f"scaled by {named}; this policy only observes{unchecked}",
        )
    return Finding(
        type=ConditionType.TARGET_CONFLICT,
        status=True,
        reason=rivals.found[0].reason,
        message=f"also scaled by {named}; nothing is written{unchecked}",
    )


def fight(rivalry: Rivalry) -> tuple[Rival, ...]:
    """Field managers that keep writing our replicas back, as one rival."""
    if not rivalry.rivals:
        return ()
    named = ", ".join(repr(name) for name in rivalry.rivals)
    roles = ", ".join(rivalry.roles)
    return (
        Rival(
            reason=Reason.OTHER_FIELD_MANAGER,
            name=f"field manager {named}, which keeps writing the replicas of {roles} back "
            f"(we try again after {rivalry.pause_s:.0f} s, or when a plan is requested)",
        ),
    )


def progress(
    decision: Decision | None,
    target: TargetState,
    outcome: ScalingOutcome | None,
    *,
    actuation: Actuation = Actuation.ENFORCE,
) -> Finding:
    """Whether the target is on its way somewhere, and what it waits for."""
    written = _written(outcome) if outcome is not None else None
    return (
        _awaiting(target, outcome)
        or _refused(outcome)
        or _stalled(decision, target, written)
        or written
        or _fleet(target)
        or _stable(decision, actuation)
    )


def _refused(outcome: ScalingOutcome | None) -> Finding | None:
    if outcome is None or outcome.error is None:
        return None
    return _moving(outcome.error.reason, f"not all was written: {outcome.error}")


def _stalled(decision: Decision | None, target: TargetState, written: Finding | None) -> Finding | None:
    """The target has not become ready for long, and has not recovered since the plan that noticed it."""
    stall = decision.stall if decision is not None else None
    if stall is None or (target.settled and target.fleet.ready):
        return None
    since = datetime.fromtimestamp(stall.since_s, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    own = f"; the target says {target.ready_reason}: {target.ready_message}" if target.ready_reason else ""
    more = f"; {written.message}" if written is not None else ""
    return _moving(Reason.BLOCKED, f"blocked since {since} by {stall.by}{own}{more}")


def _awaiting(target: TargetState, outcome: ScalingOutcome | None) -> Finding | None:
    """A decision that is out and not yet acknowledged, and the one that waits behind it."""
    if outcome is not None and outcome.error is not None:
        return None
    awaiting = outcome.awaiting if outcome is not None else target.awaiting
    if awaiting is None:
        return None
    waiting = _moves(outcome.waiting) if outcome is not None else ""
    return _moving(awaiting.reason, awaiting.message + (f"; waiting to publish {waiting}" if waiting else ""))


def _written(outcome: ScalingOutcome) -> Finding | None:
    if outcome.waiting:
        return _moving(outcome.waiting_for or Reason.SCALING, f"waiting to write {_moves(outcome.waiting)}")
    if outcome.written:
        return _moving(Reason.SCALING, f"written: {_moves(outcome.written)}")
    return None


def _moves(writes: Sequence[ReplicaWrite]) -> str:
    return ", ".join(f"{write.role} {write.before} -> {write.replicas}" for write in writes)


def _fleet(target: TargetState) -> Finding | None:
    for role in target.fleet.roles:
        if role.rollout:
            return _moving(Reason.ROLLING_OUT, f"a rollout of {role.component} is under way")
        if role.waits_for is not None:
            why = target.waiting.get(role.role) or "the target has accepted the replicas"
            return _moving(
                role.waits_for, f"{role.component} waits at {_count(role.serving)} of {role.replicas}: {why}"
            )
        if role.unschedulable:
            return _moving(
                Reason.UNSCHEDULABLE,
                f"{role.component} asks for {role.replicas} replicas, {_count(role.serving)} serve; "
                f"the cluster has no room: {target.ready_message or target.ready_reason}",
            )
    if not target.fleet.observed:
        return _moving(
            Reason.NOT_OBSERVED,
            "the target's status is about an older generation of its spec; nothing shrinks until it is current",
        )
    unsettled = [role for role in target.fleet.roles if not role.settled]
    if unsettled:
        counts = ", ".join(
            f"{role.component} {_count(role.serving)} of {role.replicas}" for role in unsettled
        )
        return _moving(Reason.SCALING, f"serving: {counts}")
    return None


def _stable(decision: Decision | None, actuation: Actuation) -> Finding:
    if decision is not None and decision.changes and actuation is Actuation.OBSERVE:
        message = "the decision is only reported (Observe)"
    else:
        message = "spec, updated and serving replicas agree"
    return Finding(type=ConditionType.PROGRESSING, status=False, reason=Reason.STABLE, message=message)


def _moving(reason: Reason, message: str) -> Finding:
    return Finding(type=ConditionType.PROGRESSING, status=True, reason=reason, message=message)


def _count(value: int | None) -> str:
    return "an unreported number" if value is None else str(value)
