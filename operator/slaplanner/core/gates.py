"""Gates: the range in which the next count of one role must lie, whatever the load would need.

A pause, a rollout, an observed load that is only a lower bound, or full nodes each narrow the range. A gate that
changes the count is named in the role's limits.
"""

from __future__ import annotations

from dataclasses import dataclass

from slaplanner.core.model import Fleet, Pause, RoleState
from slaplanner.core.placement import PlacementWatch, ceiling
from slaplanner.core.reasons import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """The range for one role's next count, and why it is narrow."""

    lowest: int = 0
    highest: int | None = None
    lowest_reason: Reason | None = None
    highest_reason: Reason | None = None
    firm: bool = False
    """Holds even over the budget: a pause, or a rollout that a change would disturb."""

    def apply(self, replicas: int) -> tuple[int, Reason | None]:
        """The nearest count inside the range, and the reason when that differs."""
        if self.highest is not None and replicas > self.highest:
            return self.highest, self.highest_reason
        if replicas < self.lowest:
            return self.lowest, self.lowest_reason
        return replicas, None


def gate(
    role: RoleState,
    *,
    fleet: Fleet,
    pause: Pause,
    placement: PlacementWatch,
    load_may_shrink: bool,
    unready_for_long: bool = False,
    carrying: int = 0,
    parked: bool = False,
) -> Gate:
    """What *role* may do now. The reasons that a user can lift at once come first.

    Where the target is *unready_for_long* a role that is complete itself may shrink. *carrying*: replicas
    that carry the requests that the role holds. *parked*: the whole fleet has no replicas and no load.
    """
    current = role.replicas
    if parked:
        return _fixed(current, Reason.PARKED)
    if pause is Pause.ALL:
        return _fixed(current, Reason.PAUSED)
    if role.rollout:
        return _fixed(current, Reason.ROLLOUT_BLOCKS)
    if role.waits_for is Reason.SCALING_DEFERRED:
        return _fixed(current, Reason.SCALING_DEFERRED)

    firm = pause is Pause.SCALE_IN
    lowest, lowest_reason = (
        (current, Reason.PAUSED_SCALE_IN)
        if firm
        else _least(role, fleet, load_may_shrink=load_may_shrink, unready_for_long=unready_for_long)
    )
    if (held := min(current, carrying)) > lowest:
        lowest, lowest_reason = held, Reason.WORK_IN_FLIGHT

    highest, highest_reason = None, None
    if pause is Pause.SCALE_OUT:
        highest, highest_reason = current, Reason.PAUSED_SCALE_OUT
    full = ceiling(placement, role)
    if full is not None and not firm and full <= current:
        # Cancelling wins over the gates against shrinking: it removes only what does not serve.
        highest, highest_reason = full, Reason.UNSCHEDULABLE
        lowest = min(lowest, full)
    return Gate(
        lowest=lowest,
        highest=highest,
        lowest_reason=lowest_reason,
        highest_reason=highest_reason,
        firm=firm,
    )


def _least(
    role: RoleState, fleet: Fleet, *, load_may_shrink: bool, unready_for_long: bool
) -> tuple[int, Reason | None]:
    """What keeps the role from shrinking without a user's word."""
    current = role.replicas
    if not load_may_shrink:
        return current, Reason.LOWER_BOUND_LOAD
    if not fleet.observed:
        return current, Reason.NOT_OBSERVED
    if fleet.ready or (unready_for_long and role.complete):
        return 0, None
    # Starting replicas are coming capacity, so growth goes on. What could not be placed or was not
    # granted may be given back: it serves nobody.
    idle = role.unschedulable or role.waits_for is Reason.NOT_COMMITTED
    lowest = min(current, role.serving) if idle and role.serving is not None else current
    return lowest, Reason.NOT_READY_BLOCKS_SHRINK


def _fixed(current: int, reason: Reason) -> Gate:
    return Gate(lowest=current, highest=current, lowest_reason=reason, highest_reason=reason, firm=True)
