"""Replicas that cannot be scheduled: how long to wait for room, and when to give up.

Pending replicas make a node autoscaler add nodes, so they stay pending for a while. After that they are withdrawn,
because they block rollouts and hold budget that another role could use. The role is then not grown again for as long
as it had waited.
"""

from __future__ import annotations

from dataclasses import dataclass

from slaplanner.core.model import RoleState


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementWatch:
    """Since when replicas are pending for want of room, and until when growth is not retried."""

    pending_since_s: float | None = None
    closed_until_s: float | None = None


def patience_s(*, startup_s: float, interval_s: float) -> float:
    """Seconds that pending replicas are given: two start-ups, at least two plans."""
    return 2 * max(startup_s, interval_s)


def watch_placement(
    watch: PlacementWatch, role: RoleState, *, patience_s: float, now_s: float
) -> PlacementWatch:
    """Look at the role once more, at every plan."""
    closed_until_s = watch.closed_until_s
    if closed_until_s is not None and not now_s < closed_until_s <= now_s + patience_s:
        closed_until_s = None
    if not role.unschedulable:
        return PlacementWatch(closed_until_s=closed_until_s)
    since_s = min(watch.pending_since_s, now_s) if watch.pending_since_s is not None else now_s
    if now_s - since_s >= patience_s:
        return PlacementWatch(closed_until_s=now_s + patience_s)
    return PlacementWatch(pending_since_s=since_s, closed_until_s=closed_until_s)


def ceiling(watch: PlacementWatch, role: RoleState) -> int | None:
    """The most replicas to ask for while growth is closed: those that serve. None: no such limit."""
    if watch.closed_until_s is None:
        return None
    return role.serving if role.serving is not None else role.replicas
