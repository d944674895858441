"""Requests in short steps of a window, to see how bursty they come.

Differences of the counters' own values, not `increase()`: that extrapolates from a few samples to the
edges of each step, which makes even arrivals look bursty.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Final

from slaplanner.adapters.prometheus import batch
from slaplanner.adapters.prometheus.answers import Track
from slaplanner.adapters.prometheus.client import Prometheus
from slaplanner.adapters.prometheus.deadline import Deadline
from slaplanner.adapters.prometheus.selectors import Scope
from slaplanner.adapters.prometheus.series import Expressions

MAX_STEPS: Final = 60
"""More steps would tell no more about the variance than they cost."""

USUAL_SCRAPES_S: Final = (1, 2, 3, 5, 10, 15, 20, 30, 60, 120, 300)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """Requests per step, oldest first; none when the samples are too few to tell."""

    counts: tuple[float, ...] = ()
    step_s: float = 0.0


def read_arrivals(
    prometheus: Prometheus,
    scope: Scope,
    *,
    at_s: float,
    window_s: float,
    scrapes: float,
    deadline: Deadline,
) -> Arrivals:
    """Requests per step of the *window_s* seconds before *at_s*.

    Args:
        prometheus: the server.
        scope: whose requests.
        at_s: Unix time of the end of the window.
        window_s: length of the window.
        scrapes: samples of one series in it. A step is a whole number of them, else some steps would
            hold one more than others.
        deadline: for the one round trip.

    Raises:
        MetricsError: the counters could not be had.
    """
    step_s = _step_s(window_s, scrapes)
    steps = int(window_s // step_s) if step_s else 0
    if steps < 2:
        return Arrivals()
    end_s = math.floor(at_s)
    start_s = end_s - steps * step_s
    answers = batch.ask_range(
        prometheus,
        {"counter": Expressions(scope).counter()},
        start_s=start_s,
        end_s=end_s,
        step_s=step_s,
        deadline=deadline,
    )
    growths = [_growth(track, start_s, step_s, steps) for track in answers["counter"]]
    if not growths:
        return Arrivals()
    return Arrivals(counts=tuple(map(sum, zip(*growths, strict=True))), step_s=float(step_s))


def _step_s(window_s: float, scrapes: float) -> int:
    """Whole seconds, the only ones that a range query has; 0: the samples are too few."""
    if not (math.isfinite(scrapes) and scrapes >= 2):
        return 0
    scrape_s = _scrape_s(window_s, scrapes)
    return scrape_s * math.ceil(window_s / MAX_STEPS / scrape_s)


def _scrape_s(window_s: float, scrapes: float) -> int:
    """The scrape interval, as usual as the count allows: a window holds one more or less by chance."""
    shortest, longest = window_s / (scrapes + 1), window_s / (scrapes - 1)
    usual = (scrape_s for scrape_s in USUAL_SCRAPES_S if shortest <= scrape_s <= longest)
    return next(usual, max(1, round(window_s / scrapes)))


def _growth(track: Track, start_s: int, step_s: int, steps: int) -> list[float]:
    """Growth of one counter per step. It begins anew after a fall, and a gap spreads over its steps."""
    growth = [0.0] * steps
    points = [
        (round((at_s - start_s) / step_s), value) for at_s, value in track.points if math.isfinite(value)
    ]
    for (first, before), (last, after) in itertools.pairwise(points):
        grown = after - before if after >= before else after
        for index in range(max(first, 0), min(last, steps)):
            growth[index] += grown / (last - first)
    return growth
