"""Damping: how fast one role may change, with the meaning of the HorizontalPodAutoscaler's `behavior`.

Three small functions act in this order: the tolerance (is the change large enough?), the stabilisation window (does
it last?) and the rate limits (is it slow enough?). Each returns a count and the limit that applied. Times are Unix
seconds and come in as arguments.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from slaplanner.core.model import Behavior, RateLimit, RateUnit, ScalingRules, SelectPolicy
from slaplanner.core.reasons import Reason

MAX_REMEMBERED = 20
"""Recommendations kept per direction and role; more are merged so that damping only gets slower.

Four full lists of two roles have to fit into the 4 KiB that the policy's status has for all of the
state: 20 take 3 KiB.
"""


@dataclass(frozen=True, slots=True)
class Stamped:
    """A count (of replicas, or of replicas added or removed) at a Unix time."""

    at_s: float
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DampingState:
    """What one role remembers: recommendations inside the windows, and its own changes.

    `highs` never rise and `lows` never fall with time: what a newer recommendation makes
    irrelevant is not kept.
    """

    highs: tuple[Stamped, ...] = ()
    lows: tuple[Stamped, ...] = ()
    added: tuple[Stamped, ...] = ()
    removed: tuple[Stamped, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Damped:
    """A count, the limits that bit, and what to remember."""

    replicas: int
    limits: tuple[Reason, ...] = ()
    state: DampingState = field(default_factory=DampingState)


def damp(
    *,
    current: int,
    wanted: int,
    need: float,
    behavior: Behavior,
    state: DampingState,
    now_s: float,
    sooner: int = 0,
    fewest: int = 0,
) -> Damped:
    """Turn a wanted count into one that may be asked for now.

    Args:
        current: replicas that the target's spec asks for.
        wanted: replicas that sizing and bounds ask for.
        need: what *wanted* was rounded from, for tolerance to compare with *current*.
        behavior: the rules of both directions.
        state: what was remembered; entries from the future (a clock that jumped back) are dropped.
        now_s: Unix seconds.
        sooner: replicas needed until ordered ones would serve; they keep what runs, and are not remembered.
        fewest: the role may shrink to at once; not remembered, or each step would last for a window.
    """
    tolerated = _within_tolerance(current=current, wanted=wanted, need=need, behavior=behavior)
    recommended = current if tolerated else wanted
    limits: list[Reason] = [Reason.WITHIN_TOLERANCE] if tolerated else []

    state = _remember(_seeded(state, current, behavior, now_s), recommended, behavior, now_s)
    replicas = recommended
    if recommended < current:
        replicas = min(current, max(entry.count for entry in state.highs))
        if replicas > recommended:
            limits.append(Reason.STABILIZED_DOWN)
        if replicas < min(current, sooner):
            replicas = min(current, sooner)
            limits.append(Reason.NEEDED_SOONER)
        if replicas < min(current, fewest):
            replicas = min(current, fewest)
            limits.append(Reason.SHRINKS_BY_STEPS)
    elif recommended > current:
        replicas = max(current, min(entry.count for entry in state.lows))
        if replicas < recommended:
            limits.append(Reason.STABILIZED_UP)

    limited, limit = _rate_limited(
        current=current, wanted=replicas, behavior=behavior, state=state, now_s=now_s
    )
    if limit is not None:
        limits.append(limit)
    return Damped(replicas=limited, limits=tuple(limits), state=state)


def notice_change(state: DampingState, *, before: int, after: int, at_s: float) -> DampingState:
    """Remember that the target's replicas changed, whoever did it, for the rate limits."""
    change = Stamped(at_s, abs(after - before))
    if after > before:
        return replace(state, added=(*state.added, change))
    if after < before:
        return replace(state, removed=(*state.removed, change))
    return state


def _within_tolerance(*, current: int, wanted: int, need: float, behavior: Behavior) -> bool:
    if wanted == current or not current:
        return False
    rules = behavior.scale_up if wanted > current else behavior.scale_down
    return rules.tolerance > 0 and abs(need / current - 1.0) <= rules.tolerance


def _seeded(state: DampingState, current: int, behavior: Behavior, now_s: float) -> DampingState:
    """Before the first recommendation the windows hold what runs, as the HPA's do.

    Whoever chose that count had reasons; the first look alone takes nothing away.
    """
    if state.highs or state.lows:
        return state
    here = (Stamped(now_s, current),)
    return replace(
        state,
        highs=here if behavior.scale_down.stabilization_window_s > 0 else (),
        lows=here if behavior.scale_up.stabilization_window_s > 0 else (),
    )


def _remember(state: DampingState, recommended: int, behavior: Behavior, now_s: float) -> DampingState:
    entry = Stamped(now_s, recommended)
    down_from = now_s - behavior.scale_down.stabilization_window_s
    up_from = now_s - behavior.scale_up.stabilization_window_s
    highs = [old for old in _between(state.highs, down_from, now_s) if old.count > recommended]
    lows = [old for old in _between(state.lows, up_from, now_s) if old.count < recommended]
    longest = max(
        (limit.period_s for rules in (behavior.scale_up, behavior.scale_down) for limit in rules.policies),
        default=0.0,
    )
    return DampingState(
        highs=_merged((*highs, entry)),
        lows=_merged((*lows, entry)),
        added=_merged_changes(_between(state.added, now_s - longest, now_s)),
        removed=_merged_changes(_between(state.removed, now_s - longest, now_s)),
    )


def _between(entries: Iterable[Stamped], from_s: float, to_s: float) -> list[Stamped]:
    """As for the HPA, what is as old as the window has left it; on the planning grid that is one plan fewer."""
    return [entry for entry in entries if from_s < entry.at_s <= to_s]


def _merged(entries: tuple[Stamped, ...]) -> tuple[Stamped, ...]:
    """Bound the length: of the two oldest, the more cautious count lives on with the later time."""
    while len(entries) > MAX_REMEMBERED:
        first, second, *rest = entries
        entries = (Stamped(second.at_s, first.count), *rest)
    return entries


def _merged_changes(entries: list[Stamped]) -> tuple[Stamped, ...]:
    """Bound the length: the two oldest changes count together, with the later time."""
    while len(entries) > MAX_REMEMBERED:
        first, second, *rest = entries
        entries = [Stamped(second.at_s, first.count + second.count), *rest]
    return tuple(entries)


def _rate_limited(
    *, current: int, wanted: int, behavior: Behavior, state: DampingState, now_s: float
) -> tuple[int, Reason | None]:
    if wanted > current:
        rules = behavior.scale_up
        if rules.select is SelectPolicy.DISABLED:
            return current, Reason.SCALE_UP_DISABLED
        ceiling = _ceiling(rules, current=current, state=state, now_s=now_s)
        if ceiling is not None and wanted > ceiling:
            return max(current, ceiling), Reason.SCALE_UP_LIMIT
    elif wanted < current:
        rules = behavior.scale_down
        if rules.select is SelectPolicy.DISABLED:
            return current, Reason.SCALE_DOWN_DISABLED
        bottom = _bottom(rules, current=current, state=state, now_s=now_s)
        if bottom is not None and wanted < bottom:
            return min(current, bottom), Reason.SCALE_DOWN_LIMIT
    return wanted, None


def _ceiling(rules: ScalingRules, *, current: int, state: DampingState, now_s: float) -> int | None:
    ceilings = []
    for limit in rules.policies:
        start = _count_at_period_start(limit, current=current, state=state, now_s=now_s)
        step = limit.value if limit.unit is RateUnit.REPLICAS else -(-start * limit.value // 100)
        ceilings.append(start + step)
    if not ceilings:
        return None
    return max(ceilings) if rules.select is SelectPolicy.MAX else min(ceilings)


def _bottom(rules: ScalingRules, *, current: int, state: DampingState, now_s: float) -> int | None:
    bottoms = []
    for limit in rules.policies:
        start = _count_at_period_start(limit, current=current, state=state, now_s=now_s)
        kept = start - limit.value if limit.unit is RateUnit.REPLICAS else start * (100 - limit.value) // 100
        bottoms.append(max(0, kept))
    if not bottoms:
        return None
    return min(bottoms) if rules.select is SelectPolicy.MAX else max(bottoms)


def _count_at_period_start(limit: RateLimit, *, current: int, state: DampingState, now_s: float) -> int:
    from_s = now_s - limit.period_s
    added = sum(entry.count for entry in state.added if entry.at_s > from_s)
    removed = sum(entry.count for entry in state.removed if entry.at_s > from_s)
    return current - added + removed
