"""Requests drawn from what a Prometheus remembers: counts by interval, and histograms of lengths.

A frontend's metrics have no single request. Their counts by interval are kept exactly. Inside an interval requests
arrive at random times. Lengths are drawn from the histogram of their hour, whose mean is kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slaplanner.core.readings import Histogram, Series

MOST_REQUESTS: Final = 20_000_000
"""Of one trace: about a gigabyte of text."""
OPEN_BUCKET: Final = 2.0
"""The last bucket has no upper edge; its requests are taken to be at most this many times its lower one."""
LEAST_SHARE, MOST_SHARE = 0.02, 0.98
"""Of a bucket's width at which its mean may lie."""

Lengths = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthWindow:
    """Lengths of the requests of one hour: two histograms in tokens, and their means."""

    isl: Histogram | None
    osl: Histogram | None
    isl_mean_tokens: float
    osl_mean_tokens: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnTrace:
    """Requests in the order of arrival."""

    arrivals_ms: NDArray[np.int64]
    """Since the first interval's start."""
    isl_tokens: Lengths
    osl_tokens: Lengths
    unknown_intervals: int
    """Intervals that Prometheus could not tell of: no request is drawn in them."""
    known_intervals: int


class DrawError(ValueError):
    """Nothing can be drawn."""


def draw(history: Series, windows: Mapping[int, LengthWindow], *, window_s: int, seed: int) -> DrawnTrace:
    """Requests whose counts by interval are those of *history*.

    Args:
        history: requests by interval; NaN is an interval that is not known.
        windows: lengths by the number of the window: Unix time of an interval's start, divided by *window_s*.
        window_s: seconds of a window of lengths.
        seed: the same one draws the same requests.

    Raises:
        DrawError: no interval is known, none has requests, there are too many, or no length is known.
    """
    counts = np.asarray(history.requests, dtype=float)
    known = np.isfinite(counts)
    if not known.any():
        raise DrawError("found no interval of which Prometheus can tell, wanted at least one")
    whole = _rounded(np.where(known, counts, 0.0))
    total = int(whole.sum())
    if total == 0:
        raise DrawError(f"found no request in {int(known.sum())} intervals")
    if total > MOST_REQUESTS:
        raise DrawError(f"found {total:,} requests, wanted at most {MOST_REQUESTS:,}: take fewer days")
    generator = np.random.default_rng(seed)
    step_ms = history.step_s * 1000.0
    interval = np.repeat(np.arange(len(whole)), whole)
    arrivals = np.sort((interval + generator.random(total)) * step_ms).astype(np.int64)
    start_s = history.end_s - len(counts) * history.step_s
    window_of = ((start_s + interval * history.step_s) // window_s).astype(np.int64)
    fallback = _all_together(windows)
    isl, osl = np.empty(total, np.int64), np.empty(total, np.int64)
    for number in np.unique(window_of):
        mine = window_of == number
        window = windows.get(int(number), fallback)
        isl[mine] = _lengths(window.isl or fallback.isl, window.isl_mean_tokens, int(mine.sum()), generator)
        osl[mine] = _lengths(window.osl or fallback.osl, window.osl_mean_tokens, int(mine.sum()), generator)
    return DrawnTrace(
        arrivals_ms=arrivals,
        isl_tokens=isl,
        osl_tokens=osl,
        unknown_intervals=int((~known).sum()),
        known_intervals=int(known.sum()),
    )


def _rounded(counts: NDArray[np.float64]) -> NDArray[np.int64]:
    """Whole counts whose running sum is never off by one or more: fractions are carried over."""
    return np.diff(np.floor(np.cumsum(counts) + 0.5), prepend=0.0).astype(np.int64)


def _all_together(windows: Mapping[int, LengthWindow]) -> LengthWindow:
    """What stands in for a window without lengths: the one with the most requests."""
    for name in ("isl", "osl"):
        if not any(getattr(window, name) for window in windows.values()):
            raise DrawError(
                f"found no histogram of {name.upper()}, wanted buckets of the frontend's sequence tokens"
            )

    def busiest(name: str) -> LengthWindow:
        return max(windows.values(), key=lambda window: h.total if (h := getattr(window, name)) else 0.0)

    inputs, outputs = busiest("isl"), busiest("osl")
    return LengthWindow(
        isl=inputs.isl,
        osl=outputs.osl,
        isl_mean_tokens=inputs.isl_mean_tokens,
        osl_mean_tokens=outputs.osl_mean_tokens,
    )


def _lengths(
    histogram: Histogram | None, mean_tokens: float, count: int, generator: np.random.Generator
) -> Lengths:
    """*count* lengths of at least 1 token, whose expected mean is *mean_tokens* where the buckets allow it.

    Inside a bucket from `low` to `high` a length is `low + (high - low) * u ** power` with uniform `u`: its mean lies at
    `1 / (1 + power)` of the width, and one power for all buckets is solved for.
    """
    assert histogram is not None, "the stand-in has one"
    edges = np.asarray(histogram.edges, dtype=float)
    low = np.concatenate(([0.0], edges[:-1]))
    high = np.where(np.isfinite(edges), edges, np.maximum(low * OPEN_BUCKET, 1.0))
    shares = np.asarray(histogram.counts) / histogram.total
    width = float(shares @ (high - low))
    if not math.isfinite(mean_tokens) or width <= 0:
        share = 0.5
    else:
        share = float(np.clip((mean_tokens - 0.5 - shares @ low) / width, LEAST_SHARE, MOST_SHARE))
    bucket = generator.choice(len(edges), size=count, p=shares)
    drawn = low[bucket] + (high - low)[bucket] * generator.random(count) ** (1.0 / share - 1.0)
    # Up, because a bucket holds what is above its lower edge.
    return np.maximum(np.ceil(drawn), np.floor(low[bucket]) + 1.0).astype(np.int64)
