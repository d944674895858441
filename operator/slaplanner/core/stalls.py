"""Targets that do not become ready: how long that is normal, and which component blocks them after that.

While a start-up or a rollout takes place, no role shrinks. If the target never becomes ready (a replica that crashes at
each start, or counts that the target's own controller lost), idle GPUs would be held for ever. So after a while the
stall is reported, and roles that are complete may shrink again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from slaplanner.core.model import Fleet, RoleState
from slaplanner.core.reasons import Reason

PINNED_BY_STALLS = frozenset({Reason.ROLLOUT_BLOCKS, Reason.NOT_READY_BLOCKS_SHRINK})
"""Limits on a role that a stall keeps up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StallWatch:
    """Since when a role is incomplete without any progress."""

    since_s: float | None = None
    replicas: int = 0
    """What was asked for then."""
    updated: int | None = None
    """How many were of the newest revision then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stall:
    """What has kept the target from being ready for longer than its patience."""

    since_s: float
    culprits: tuple[str, ...] = field(default=())
    """Components with their counts; empty: all components agree, and the target says that it is not ready."""

    @property
    def by(self) -> str:
        return ", ".join(self.culprits) or "the target, whose components say nothing of it"


def watch_stall(watch: StallWatch, role: RoleState, *, now_s: float) -> StallWatch:
    """Look at the role once more, at every plan.

    A changed wish and each replica that a rollout has replaced are progress. What waits for room
    (`placement`) or for the target's leave (`RoleState.waits_for`) is told by other means.
    """
    if (role.settled and not role.rollout) or role.waits_for is not None or role.unschedulable:
        return StallWatch()
    advanced = role.updated is not None and watch.updated is not None and role.updated > watch.updated
    if watch.since_s is None or advanced or watch.replicas != role.replicas:
        return StallWatch(since_s=now_s, replicas=role.replicas, updated=role.updated)
    return StallWatch(since_s=min(watch.since_s, now_s), replicas=role.replicas, updated=role.updated)


def find_stall(
    fleet: Fleet,
    watches: Iterable[StallWatch],
    *,
    unready_since_s: float | None,
    patience_s: float,
    now_s: float,
) -> Stall | None:
    """The stall of *fleet*, if one has outlasted *patience_s*; *watches* are in the order of its roles."""
    stuck = [
        (watch.since_s, role)
        for watch, role in zip(watches, fleet.roles, strict=True)
        if watch.since_s is not None and now_s - watch.since_s >= patience_s
    ]
    if stuck:
        return Stall(
            since_s=min(since_s for since_s, _ in stuck), culprits=tuple(_counts(role) for _, role in stuck)
        )
    moving = any(not role.settled for role in fleet.roles)
    if unready_since_s is None or moving or now_s - unready_since_s < patience_s:
        return None
    return Stall(since_s=unready_since_s, culprits=fleet.incomplete)


def _counts(role: RoleState) -> str:
    """The role's component, with the count that is not as it was asked for."""
    name = role.component or role.role.value
    if role.serving is not None and role.serving < role.replicas:
        return f"{name} ({role.serving} of {role.replicas} replicas serve)"
    if role.updated is not None and role.updated != role.replicas:
        return f"{name} ({role.updated} replicas are of the newest revision, {role.replicas} are asked for)"
    if role.rollout:
        return f"{name} (a rollout does not end)"
    return f"{name} (its counts do not agree)"
