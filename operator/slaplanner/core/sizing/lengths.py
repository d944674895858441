"""Request lengths as a distribution: from a histogram and the exact mean beside it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from slaplanner.core.arrays import Floats
from slaplanner.core.readings import Histogram

LEAST_COUNT = 20.0
"""Requests below which the mean alone is believed: a handful shows no shape."""


@dataclass(frozen=True, eq=False)
class LengthDistribution:
    """Lengths in tokens and the share of requests that has each.

    Without slots, because the cached property lives in the instance's dictionary.
    """

    tokens: Floats
    share: Floats

    @cached_property
    def mean(self) -> float:
        return float(self.share @ self.tokens)

    @property
    def second_moment(self) -> float:
        return float(self.share @ self.tokens**2)

    def longest(self, share: float) -> float:
        """The length that so large a *share* of the requests does not exceed."""
        order = np.argsort(self.tokens)
        place = int(np.searchsorted(np.cumsum(self.share[order]), share))
        return float(self.tokens[order[min(place, order.size - 1)]])


def lengths(mean_tokens: float, histogram: Histogram | None) -> LengthDistribution:
    """One length per bucket, all at the same share of their buckets, so that the mean is *mean_tokens*.

    >>> some = lengths(120.0, Histogram(edges=(100.0, 200.0, float("inf")), counts=(50.0, 50.0, 0.0)))
    >>> some.tokens.round(1).tolist(), round(some.mean, 6)
    ([70.0, 170.0], 120.0)
    """
    if histogram is None or histogram.total < LEAST_COUNT:
        return LengthDistribution(np.array([mean_tokens]), np.array([1.0]))
    lowers, widths = _buckets(histogram.edges)
    counts = np.asarray(histogram.counts, dtype=np.float64)
    seen = np.flatnonzero(counts > 0.0)
    share, lower, width = counts.take(seen) / counts.sum(), lowers.take(seen), widths.take(seen)
    mean_lower, mean_width = float(share @ lower), float(share @ width)
    within = (mean_tokens - mean_lower) / mean_width if mean_width > 0.0 else 0.5
    tokens = lower + min(1.0, max(0.0, within)) * width
    mean = float(share @ tokens)
    if not mean > 0.0:
        # No finite edge above zero: the buckets say nothing of a shape.
        return LengthDistribution(np.array([mean_tokens]), np.array([1.0]))
    # A forecast mean may lie outside what the buckets allow: then the whole shape is stretched.
    return LengthDistribution(tokens * (mean_tokens / mean), share)


@lru_cache(maxsize=16)
def _buckets(edges: tuple[float, ...]) -> tuple[Floats, Floats]:
    """Lower edges and widths; engines report the same edges in every plan. Not to be written to."""
    upper = np.asarray(edges, dtype=np.float64)
    lower = np.concatenate([[0.0], upper[:-1]])
    return lower, np.where(np.isfinite(upper), upper, 2.0 * lower) - lower
