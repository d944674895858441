"""A trace, interval by interval, as a planner would have seen it."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from slaplanner.adapters.traces.errors import TraceError
from slaplanner.adapters.traces.trace import IntArray, Trace, per_interval
from slaplanner.core.arrays import Floats
from slaplanner.core.readings import Histogram, Series
from slaplanner_lab.planner import Interval

MAX_INTERVALS = 100_000
"""A week of intervals of 6 s. A trace whose times count from 1970 would have thirty million."""

SHORT_STEP_S = 5.0
MOST_STEPS, LEAST_STEPS = 60, 4
"""Arrivals inside an interval are counted as finely as a usual scrape would show them."""

LENGTH_EDGES = (*(float(round(2 ** (half / 2))) for half in range(9, 46)), math.inf)
"""Half octaves from 23 tokens to 6 million."""

_TABLED_TOKENS = 1 << 20
"""Buckets of shorter lengths are looked up in a table, ten times as fast as by the edges."""


def intervals_of(trace: Trace, interval_s: float, *, shapes: bool, least: int = 2) -> Iterator[Interval]:
    """The trace as a planner would see it; *shapes*: lengths as histograms and arrivals in short steps too.

    Only sizing by attainment looks at those, and they take as long as reading a large trace's means.

    Raises:
        TraceError: it has less than *least* intervals, or more than `MAX_INTERVALS`.
    """
    most = trace.t_s[-1] // interval_s + 1
    if most > MAX_INTERVALS:
        raise TraceError(
            f"{trace.name}: found {most:,.0f} intervals of {interval_s:g} s up to {trace.t_s[-1]:,.0f} s, "
            f"wanted at most {MAX_INTERVALS:,}: a longer interval, or times that count from the trace's start"
        )
    load = per_interval(trace, interval_s=interval_s, least=least)
    if shapes:
        return _with_shapes(trace, load)
    return (Interval(requests=count, isl_tokens=isl, osl_tokens=osl) for count, isl, osl in _means(load))


def _means(load: Series) -> Iterator[tuple[float, float | None, float | None]]:
    """Requests, ISL and OSL of each interval; nothing has a length where nothing came."""
    for count, isl, osl in zip(load.requests, load.isl_tokens, load.osl_tokens, strict=True):
        yield (count, isl, osl) if count else (count, None, None)


def _with_shapes(trace: Trace, load: Series) -> Iterator[Interval]:
    index = (trace.t_s / load.step_s).astype(np.int64)
    isl, osl = (_histograms(index, lengths, len(load)) for lengths in (trace.isl_tokens, trace.osl_tokens))
    arrivals, step_s = _arrivals(trace, load)
    for at, (count, mean_isl, mean_osl) in enumerate(_means(load)):
        yield Interval(
            requests=count,
            isl_tokens=mean_isl,
            osl_tokens=mean_osl,
            isl_histogram=Histogram(edges=LENGTH_EDGES, counts=tuple(isl[at].tolist())),
            osl_histogram=Histogram(edges=LENGTH_EDGES, counts=tuple(osl[at].tolist())),
            arrivals=tuple(arrivals[at].tolist()),
            arrivals_step_s=step_s,
        )


def _histograms(index: IntArray, lengths: IntArray, intervals: int) -> Floats:
    """Counts per interval and bucket, shape (intervals, buckets)."""
    buckets, edges = len(LENGTH_EDGES), np.array(LENGTH_EDGES)
    if lengths.max() < _TABLED_TOKENS:
        bucket = np.searchsorted(edges, np.arange(lengths.max() + 1), side="left")[lengths]
    else:
        bucket = np.searchsorted(edges, lengths, side="left")
    cells = index * buckets + bucket
    counts = np.bincount(cells, minlength=intervals * buckets)
    return counts.reshape(intervals, buckets).astype(np.float64)


def _arrivals(trace: Trace, load: Series) -> tuple[Floats, float]:
    """Counts per interval and short step, shape (intervals, steps), and the step; no steps when too short."""
    steps = int(min(MOST_STEPS, load.step_s // SHORT_STEP_S))
    if steps < LEAST_STEPS:
        return np.empty((len(load), 0)), 0.0
    step_s = load.step_s / steps
    index = np.minimum((trace.t_s / step_s).astype(np.int64), len(load) * steps - 1)
    counts = np.bincount(index, minlength=len(load) * steps).reshape(len(load), steps)
    return counts.astype(np.float64), step_s
