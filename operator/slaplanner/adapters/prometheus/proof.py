"""What may be said of the arrivals, from what each scraped process shows: a count, a true zero, or unknown.

A wrong zero costs most: it scales a busy fleet to its floor. So a zero needs proof, process by process.
One proof is the counter of arrivals, sampled through the window, that did not rise. The other is a
registration gauge of a process that never had such a counter and shows no work of any kind. A counter
that stands at 0 since ever proves nothing beside work. A process that shows neither may hide any load,
so it makes the sum of the others a lower bound.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from slaplanner.core.readings import Known, Reading, Unknown
from slaplanner.core.reasons import Reason

MOST_REQUESTS = 1e12
"""In one window. A larger count is no count, and sums of such counts would overflow."""

REFUSED_SHARE = 0.05
"""Of the counted requests. So many more would hardly change a plan."""

MAX_SHOWN = 3
"""Causes in one message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """What one process's request counters of one name show, all their labels together."""

    grown: float | None = None
    """Growth within the window; None: no series has two samples in it."""
    total: float | None = None
    """The counters' value now; None: no recent sample."""
    sampled: bool = False
    """Some series has a sample within the window."""
    born: bool = False
    """Some series began within the window, or began anew at 0 because its process restarted. Requests between the
    last sample before and the first one after are not in `grown`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """One scraped process, and all that it shows of the traffic that was asked for."""

    name: str
    started: Counter = field(default_factory=Counter)
    """Counters of arrivals."""
    completed: Counter = field(default_factory=Counter)
    """Counters of completions, of a process that does not count arrivals the best there is."""
    registered: bool = False
    """A recent registration gauge bears the labels that the counters would bear."""
    work: float = 0.0
    """Requests that it holds now by its gauges: in flight, queued, in a stage, pending in the router."""
    moved: bool = False
    """Tokens or completions were counted within the window."""
    scraped: bool = True
    """Something of it was sampled recently; False: within the past hour, and not now."""
    ready: bool | None = None
    """It said throughout the window that workers of every role serve the model (True), or at some time
    that they do not (False); None: it does not say."""
    refused: float = 0.0
    """Requests for this model that it answered with not_found."""
    strange: float = 0.0
    """Requests for models that it does not know. It does not know a model whose workers are all gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Share:
    """What one process adds: requests, and why there may be more (empty: there are not)."""

    count: float = 0.0
    doubt: str = ""
    reason: Reason | None = None
    """Why it says nothing at all; None: `count` stands."""


def arrivals(witnesses: Sequence[Witness], *, missing: Sequence[str] = (), asked: str) -> Reading:
    """Requests within the window, by the processes that were found.

    Args:
        witnesses: all processes with series of the traffic; at least one.
        missing: what else may hold a part of the traffic, a cause each.
        asked: whose series were looked for, for messages.
    """
    return _pooled([_share(witness) for witness in witnesses], missing=missing, asked=asked)


def routed(
    routers: Sequence[Witness], frontends: Sequence[Witness], *, missing: Sequence[str] = (), asked: str
) -> Reading:
    """Requests within the window, as routers count them.

    Frontends register the router's counters at 0 and never count there unless they route by KV cache. So
    a router's zero needs a second witness: the frontend of the same process, else the other frontends.
    """
    shares = [_share(router) for router in routers]
    someone_counts = any(share.count > 0 for share in shares)
    judged = []
    for router, share in zip(routers, shares, strict=True):
        beside = [one for one in frontends if one.name == router.name]
        if not beside and not someone_counts:
            beside = list(frontends)
        still = share.reason is None and not share.doubt and not share.count
        judged.append((_seconded(router, beside, alone=not someone_counts) if still else None) or share)
    counted = sum(share.count for share in judged)
    unheard = [doubt for one in frontends if (doubt := _unheard(one, counted=counted))]
    return _pooled(judged, missing=[*missing, *unheard], asked=asked)


def _seconded(router: Witness, frontends: Sequence[Witness], *, alone: bool) -> _Share | None:
    """What a router's zero becomes beside its frontends; None: it stands."""
    has_counted = bool(router.started.total or router.completed.total)
    if any(_arrived(one) or (not has_counted and (one.work > 0 or one.moved)) for one in frontends):
        doubt = (
            f"the router's counter of {router.name} stands still while a frontend counts requests, so it does "
            "not route by KV cache; metrics.source Frontend counts them"
        )
        return _Share(doubt=doubt, reason=Reason.COUNTER_SILENT)
    if not frontends and not has_counted and alone:
        doubt = (
            f"the router's counter of {router.name} never counted, and no frontend's series are beside it "
            "to show that no request came"
        )
        return _Share(doubt=doubt, reason=Reason.COUNTER_SILENT)
    return None


def _unheard(witness: Witness, *, counted: float) -> str:
    """Why there may be more requests than *counted*: those that are refused are counted elsewhere, or nowhere.

    Some clients ask for models that nobody serves, so a few of these are no sign of load.
    """
    if witness.ready is False:
        return (
            f"{witness.name} says that workers of some role are missing (model_ready is 0), and refuses "
            "requests without counting them"
        )
    if witness.refused > REFUSED_SHARE * counted:
        return f"{witness.name} answered {witness.refused:g} requests for the model with not_found"
    if witness.ready is None and witness.strange > REFUSED_SHARE * counted:
        return (
            f"{witness.name} counts {witness.strange:g} requests for models that it does not know, as it does "
            "with a model that has lost its workers"
        )
    return ""


def _share(witness: Witness) -> _Share:
    share = _counted(witness)
    if share.reason is None and not share.doubt and (doubt := _unheard(witness, counted=share.count)):
        return replace(share, doubt=doubt)
    return share


def _counted(witness: Witness) -> _Share:
    counter = witness.started if witness.started.sampled else witness.completed
    grown = counter.grown or 0.0
    if not (math.isfinite(grown) and 0 <= grown <= MOST_REQUESTS):
        return _Share(
            doubt=f"found {grown:g} requests of {witness.name}, wanted a count", reason=Reason.NOT_A_NUMBER
        )
    if not witness.scraped:
        doubt = f"{witness.name} was scraped within the past hour and is not now"
        return _Share(count=grown, doubt=doubt, reason=Reason.STALE)
    if counter.total is None:
        return _without_counter(witness, grown)
    if counter.born or counter.grown is None:
        return _Share(
            count=grown, doubt=f"a series of {witness.name} began, or began anew, inside the window"
        )
    if grown > 0:
        return _Share(count=grown)
    return _standing_still(witness, counter)


def _without_counter(witness: Witness, grown: float) -> _Share:
    """A process whose counter is absent now: restarted, never asked, or counting elsewhere."""
    if witness.work > 0:
        doubt = f"{witness.name} holds {witness.work:g} requests and shows no counter of them"
        return _Share(count=grown, doubt=doubt, reason=Reason.COUNTER_SILENT)
    if witness.ready is False:
        return _Share(count=grown, doubt=_unheard(witness, counted=grown))
    if not witness.registered:
        doubt = f"{witness.name} shows neither a counter of requests nor a registration of the model"
        return _Share(count=grown, doubt=doubt, reason=Reason.STALE)
    if witness.moved and not (witness.started.sampled or witness.completed.sampled):
        doubt = f"{witness.name} counts tokens and shows no counter of requests"
        return _Share(doubt=doubt, reason=Reason.COUNTER_SILENT)
    return _Share(count=grown)


def _standing_still(witness: Witness, counter: Counter) -> _Share:
    """A process whose counter was sampled through the window and did not rise."""
    completed = witness.completed.grown or 0.0
    if not counter.total and (witness.work > 0 or witness.moved or completed > 0):
        doubt = f"the counter of {witness.name} stands at 0 while it works"
        count = completed if math.isfinite(completed) and 0 <= completed <= MOST_REQUESTS else 0.0
        return _Share(count=count, doubt=doubt, reason=None if count else Reason.COUNTER_SILENT)
    if witness.work > 0 and not witness.moved:
        return _Share(doubt=f"all of {witness.name} stands still with {witness.work:g} requests in it")
    return _Share()


def _pooled(shares: Sequence[_Share], *, missing: Sequence[str], asked: str) -> Reading:
    """The sum, if any process tells something; a lower bound if a part may be missing."""
    doubts = [*(share.doubt for share in shares if share.doubt), *missing]
    total = sum(share.count for share in shares)
    odd = next((share for share in shares if share.reason is Reason.NOT_A_NUMBER), None)
    if odd is not None:
        return Unknown(Reason.NOT_A_NUMBER, f"{odd.doubt} ({asked})")
    if total > MOST_REQUESTS:
        return Unknown(Reason.NOT_A_NUMBER, f"found {total:g} requests of {asked}, wanted a count")
    reasons = [share.reason for share in shares]
    first = next((reason for reason in reasons if reason is not None), None)
    # Nobody can be asked how much came since the last sample.
    all_gone = set(reasons) == {Reason.STALE}
    if first is not None and None not in reasons and (all_gone or not total):
        return Unknown(first, f"asked for {asked}: {_listed(doubts)}")
    return Known(total, lower_bound=bool(doubts), because=_listed(doubts))


def _arrived(frontend: Witness) -> bool:
    counter = frontend.started if frontend.started.sampled else frontend.completed
    return bool(counter.grown) or (counter.sampled and counter.grown is None)


def _listed(causes: Iterable[str]) -> str:
    told = list(dict.fromkeys(causes))
    more = len(told) - MAX_SHOWN
    return "; ".join(told[:MAX_SHOWN]) + (f" and {more} more" if more > 0 else "")
