"""Buckets as Prometheus has them (cumulative, one series per edge) made into the core's histograms."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping

from slaplanner.adapters.prometheus.answers import Sample
from slaplanner.adapters.prometheus.series import Expressions
from slaplanner.core.readings import Histogram

EDGE = "le"


def bucket_figures(name: str, metric: str, window: str, expressions: Expressions) -> dict[str, str]:
    """The two figures of a histogram's growth: observations per edge, and series per edge."""
    bucket = f"{metric}_bucket"
    return {
        f"{name}_bucket": expressions.growth(bucket, window, by=EDGE),
        f"{name}_series": expressions.edges(bucket, window),
    }


def read_histogram(name: str, answers: Mapping[str, list[Sample]], *, scale: float = 1.0) -> Histogram | None:
    """The histogram of `bucket_figures`, its edges times *scale*; None when nothing was observed.

    None, too, where a count is no count: negative, infinite or not a number.

    Processes may differ in their edges, for a while after these were changed. Only edges that all of
    them have are kept: at another one the sum lacks those that do not have it.
    """
    reached = _by_edge(answers[f"{name}_bucket"])
    series = _by_edge(answers[f"{name}_series"])
    total = reached.get(math.inf, 0.0)
    if not 0 < total < math.inf or any(not 0 <= value < math.inf for value in reached.values()):
        return None
    if any(math.isnan(edge) for edge in reached):
        return None
    common = [edge for edge in sorted(reached) if series.get(edge, 0) >= series.get(math.inf, 0)]
    # Each edge is extrapolated by itself, so a higher one can come out lower by a little.
    heights = list(itertools.accumulate((min(reached[edge], total) for edge in common), max))
    # Two edges may become one when scaled; what lies between them then counts as at the edge.
    upto = {_scaled(edge, scale): height for edge, height in zip(common, heights, strict=True)}
    counts = [high - low for low, high in itertools.pairwise([0.0, *upto.values()])]
    return Histogram(edges=tuple(upto), counts=tuple(counts))


def without_lowest(histogram: Histogram, observations: float) -> Histogram:
    """*histogram* without its *observations* lowest ones.

    >>> without_lowest(Histogram(edges=(1.0, 2.0), counts=(3.0, 5.0)), 4).counts
    (0.0, 4.0)
    """
    counts = []
    for count in histogram.counts:
        taken = min(count, observations)
        observations -= taken
        counts.append(count - taken)
    return Histogram(edges=histogram.edges, counts=tuple(counts))


def _by_edge(samples: Iterable[Sample]) -> dict[float, float]:
    """Values by edge. Prometheus 3 writes `1.0` where 2 wrote `1`: in one window both are one edge."""
    found: dict[float, float] = {}
    for sample in samples:
        try:
            edge = float(sample.labels[EDGE])
        except (KeyError, ValueError):
            edge = math.nan
        # Latencies and lengths are never negative, so an edge below 0 tells nothing.
        if not edge < 0:
            found[edge] = found.get(edge, 0.0) + sample.value
    return found


def _scaled(edge: float, scale: float) -> float:
    # 0.047 s must be 47 ms, or a target on an edge would no longer lie on it.
    return round(edge * scale, 6) if math.isfinite(edge) else edge
