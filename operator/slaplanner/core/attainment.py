"""How many observations met a target, as far as a histogram can tell.

A bucket says how many observations lie between its edges, but not where. So unless the target is an edge, the share
that met it is known only to lie between two bounds. TTFT is observed once per request and ITL once per token, and the
metrics do not relate the two. So each share stands for itself, and no bound for both can be computed.
"""

from __future__ import annotations

from dataclasses import dataclass

from slaplanner.core.readings import Histogram


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Percent of the observations that met a target: at least `lower`, at most `upper`."""

    lower_percent: float
    upper_percent: float
    between: tuple[float, float] | None = None
    """The bucket edges around the target, in its unit, where they make the two figures differ."""

    def __post_init__(self) -> None:
        if not 0 <= self.lower_percent <= self.upper_percent <= 100:
            raise ValueError(
                f"found a share from {self.lower_percent} to {self.upper_percent} percent, "
                "wanted both in order within 0 to 100"
            )


def share_within(histogram: Histogram, target: float) -> Share | None:
    """The share of the observations that are at most *target*; None when there are none.

    Where the target lies inside a bucket that is not empty, `between` names the bucket's edges.

    Args:
        histogram: growth per bucket; a bucket counts what is above the edge before its own and at
            most its own.
        target: in the unit of the edges.

    >>> share_within(Histogram(edges=(100.0, 220.0, 470.0), counts=(60.0, 30.0, 10.0)), 200.0)
    Share(lower_percent=60.0, upper_percent=90.0, between=(100.0, 220.0))
    """
    total = histogram.total
    if total <= 0:
        return None
    within = reached = below = above = 0.0
    for edge, count in zip(histogram.edges, histogram.counts, strict=True):
        reached += count
        above = edge
        if edge <= target:
            within, below = reached, edge
        if edge >= target:
            break
    lower, upper = _percent(within, total), _percent(reached, total)
    return Share(lower_percent=lower, upper_percent=upper, between=None if lower == upper else (below, above))


@dataclass(frozen=True, slots=True, kw_only=True)
class Attainment:
    """Share of the requests within the TTFT target and of the tokens within the ITL target.

    None: nothing was observed. The two are not about the same things, so there is none for both.
    """

    ttft: Share | None = None
    itl: Share | None = None


def _percent(part: float, total: float) -> float:
    # Sums of the same figures in another order may pass the total by a rounding error.
    return min(100.0, 100.0 * part / total)
