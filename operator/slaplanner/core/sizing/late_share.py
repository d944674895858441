"""The share of requests that were late, read from a histogram whose buckets are wide.

A bucket says how many observations lie between its edges, not where. Dynamo's default edges lie a factor
of two apart, so inside the target's own bucket something has to be assumed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.special import ndtr, ndtri

from slaplanner.core.readings import Histogram

LEAST_SPREAD = 0.05
"""Standard deviation of the logarithm, of latencies that lie around a mean within one bucket: of the mean ITL of
requests in large batches. What the buckets beside it hold may tell of more."""

_TAIL = 0.1
"""So few observations in the buckets on one side are the tail of what lies between; more are another kind."""

_BEYOND = 2.0
"""A bucket without an upper edge is taken to end at so many times its lower edge, or the target."""


def share_late(histogram: Histogram, *, target: float, mean: float) -> float | None:
    """Share of the observations above *target*; None when there are none.

    Inside the target's bucket the tail falls as a power, from the share above the lower edge to the share
    above the upper one, but no quicker than that of latencies with the least spread. The power alone would say that
    nothing lies above the target where nothing lies beyond its bucket. Where the bucket holds more than half of all,
    its mean says more: that is what *mean* leaves when the other buckets count at their middles, and the latencies lie
    around it.

    Args:
        histogram: growth per bucket; a bucket counts what is above the edge before its own and at most its own.
        target: in the unit of the edges.
        mean: of all observations, exact.

    >>> wide = Histogram(edges=(5.0, 10.0, 20.0), counts=(0.0, 100.0, 0.0))
    >>> [round(share_late(wide, target=8.0, mean=mean), 3) for mean in (6.0, 8.0, 9.5)]
    [0.0, 0.49, 1.0]
    """
    total = histogram.total
    if total <= 0.0:
        return None
    bucket = _bucket(histogram, target)
    above = max(0.0, total - bucket.below)
    beyond = max(0.0, above - bucket.count)
    if target == bucket.upper or bucket.count <= 0.0 or above <= 0.0:
        return beyond / total
    if 2.0 * bucket.count > total:
        around = _mean_within(histogram, bucket, mean=mean)
        spread = _spread(bucket, around=around, total=total)
        return (beyond + bucket.count * float(ndtr(math.log(around / target) / spread - spread / 2))) / total
    low = max(bucket.lower, target / 10.0)
    high = bucket.upper if math.isfinite(bucket.upper) else _BEYOND * target
    # Half an observation stands for none, whose logarithm has no value.
    power = math.log(above / max(beyond, 0.5)) / math.log(high / low)
    falling = above / total * math.pow(low / target, max(0.0, power))
    ending = float(ndtr(ndtri(above / total) - math.log(target / low) / LEAST_SPREAD))
    return min(above / total, max(beyond / total, falling, ending))


@dataclass(frozen=True, slots=True)
class _Bucket:
    """Observations above `lower` and at most `upper`, and how many there are below."""

    lower: float
    upper: float
    count: float
    below: float


def _bucket(histogram: Histogram, target: float) -> _Bucket:
    lower = below = 0.0
    for upper, count in zip(histogram.edges, histogram.counts, strict=True):
        if target <= upper:
            return _Bucket(lower, upper, count, below)
        lower, below = upper, below + count
    return _Bucket(lower, math.inf, 0.0, below)


def _mean_within(histogram: Histogram, bucket: _Bucket, *, mean: float) -> float:
    """The mean of *bucket*, when all others count at their middles."""
    lower = rest = 0.0
    for upper, count in zip(histogram.edges, histogram.counts, strict=True):
        if upper != bucket.upper:
            rest += count * (0.5 * (lower + upper) if math.isfinite(upper) else _BEYOND * lower)
        lower = upper
    around = (mean * histogram.total - rest) / bucket.count
    return max(
        min(around, bucket.upper), bucket.lower, bucket.upper / 1e6 if math.isfinite(bucket.upper) else 1e-9
    )


def _spread(bucket: _Bucket, *, around: float, total: float) -> float:
    """How far latencies lie around a mean inside *bucket*, by how many lie outside of it."""
    spread = LEAST_SPREAD
    sides = (
        (bucket.below, around / bucket.lower if bucket.lower > 0.0 else math.inf),
        (total - bucket.below - bucket.count, bucket.upper / around),
    )
    for outside, ratio in sides:
        if 0.0 < outside < _TAIL * total and 1.0 < ratio < math.inf:
            spread = max(spread, math.log(ratio) / -float(ndtri(outside / total)))
    return spread
