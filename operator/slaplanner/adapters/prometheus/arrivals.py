"""Requests in short steps of a window, to see how bursty they come.

Differences of the counters' own values, not `increase()`: that extrapolates from a few samples to the
edges of each step, which makes even arrivals look bursty.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from slaplanner.adapters.prometheus import batch
from slaplanner.adapters.prometheus.client import Prometheus
from slaplanner.adapters.prometheus.deadline import Deadline
from slaplanner.adapters.prometheus.demand import process_of
from slaplanner.adapters.prometheus.proof import MOST_REQUESTS
from slaplanner.adapters.prometheus.selectors import Scope
from slaplanner.adapters.prometheus.series import Expressions, duration

MAX_STEPS: Final = 60
"""More steps would tell no more about the variance than they cost."""

USUAL_SCRAPES_S: Final = (1, 2, 3, 5, 10, 15, 20, 30, 60, 120, 300)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivalCounts:
    """Requests per step, oldest first, of the steps that samples of all processes cover.

    None when these are too few to tell. A step without a sample is left out, because a gap in the samples
    would read as a silence and a burst after it.
    """

    counts: tuple[float, ...] = ()
    step_s: float = 0.0


def read_arrivals(
    prometheus: Prometheus,
    scope: Scope,
    *,
    at_s: float,
    window_s: float,
    scrapes: float,
    counted_once: float = 1.0,
    deadline: Deadline,
) -> ArrivalCounts:
    """Requests per step of the *window_s* seconds before *at_s*.

    Args:
        prometheus: the server.
        scope: whose requests.
        at_s: Unix time of the end of the window.
        window_s: length of the window.
        scrapes: samples of one series in it. A step is a whole number of them, else some steps would
            hold one more than others.
        counted_once: the share of the counters' growth that is requests, and no second count of one.
        deadline: for the one round trip.

    Raises:
        MetricsError: the counters could not be had.
    """
    scrape_s = _scrape_s(window_s, scrapes)
    step_s = scrape_s * math.ceil(window_s / MAX_STEPS / scrape_s) if scrape_s else 0
    steps = int(window_s // step_s) if step_s else 0
    if steps < 2:
        return ArrivalCounts()
    end_s = math.floor(at_s)
    start_s = end_s - steps * step_s
    expressions = Expressions(scope)
    answers = batch.ask_range(
        prometheus,
        {
            "counter": expressions.counter(duration(window_s)),
            "stamped": expressions.stamped(duration(window_s)),
        },
        start_s=start_s,
        end_s=end_s,
        step_s=step_s,
        deadline=deadline,
    )
    stamps = {process_of(track): dict(track.points) for track in answers["stamped"]}
    grid = [float(start_s + index * step_s) for index in range(steps + 1)]
    oldest_s = min(step_s, 2 * scrape_s)
    growths = [
        _growth(dict(track.points), stamps.get(process_of(track), {}), grid, oldest_s=oldest_s)
        for track in answers["counter"]
    ]
    whole = [
        counted_once * sum(step) for step in zip(*growths, strict=True) if not any(map(math.isnan, step))
    ]
    return ArrivalCounts(counts=tuple(whole), step_s=float(step_s)) if whole else ArrivalCounts()


def _scrape_s(window_s: float, scrapes: float) -> int:
    """The scrape interval, as usual as the count allows: a window holds one more or less by chance.

    Whole seconds, the only ones that a range query has; 0: the samples are too few.
    """
    if not (math.isfinite(scrapes) and scrapes >= 2):
        return 0
    shortest, longest = window_s / (scrapes + 1), window_s / (scrapes - 1)
    usual = [scrape_s for scrape_s in USUAL_SCRAPES_S if shortest <= scrape_s <= longest]
    mean_s = window_s / scrapes
    return min(usual, key=lambda scrape_s: abs(scrape_s - mean_s), default=max(1, round(mean_s)))


def _growth(
    values: Mapping[float, float], stamps: Mapping[float, float], grid: list[float], *, oldest_s: float
) -> list[float]:
    """Growth of one counter per step of *grid*, NaN where no sample of its own ends the step or the one before.

    Prometheus repeats a value for minutes when samples are missing, so each is held against its *stamps*:
    the growth between two samples counts over the time between them. A counter begins anew after a fall.
    """
    step_s = grid[1] - grid[0]
    samples = []
    for at_s in grid:
        value, stamp_s = values.get(at_s, math.nan), stamps.get(at_s, at_s)
        usable = 0 <= value <= MOST_REQUESTS and at_s - oldest_s < stamp_s <= at_s
        samples.append((stamp_s, value if usable else math.nan))
    return [
        (after if after < before else after - before) * step_s / (end_s - begin_s)
        if end_s > begin_s
        else math.nan
        for (begin_s, before), (end_s, after) in itertools.pairwise(samples)
    ]
