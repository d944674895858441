"""The load of past planning intervals, as Prometheus remembers it.

The points lie on the planning grid, which depends on the policy alone, and each covers its own
interval. So an operator that was restarted reads the same history as one that ran through, and keeps
none of its own.
"""

from __future__ import annotations

import math
from typing import Final

from slaplanner.adapters.prometheus import batch, series
from slaplanner.adapters.prometheus.answers import Track
from slaplanner.adapters.prometheus.client import Prometheus
from slaplanner.adapters.prometheus.deadline import Deadline
from slaplanner.adapters.prometheus.proof import MOST_REQUESTS
from slaplanner.adapters.prometheus.selectors import Scope
from slaplanner.adapters.prometheus.series import Expressions, duration
from slaplanner.core.model import MetricsSource
from slaplanner.core.readings import Series

NEIGHBOURS: Final = 2
"""Intervals on either side that tell how many samples one holds; few, because scrape intervals change."""

COVERED_SHARE: Final = 0.75
"""Of the usual number of samples. An interval with less is not covered."""

LENGTHS: Final = {"isl": series.ISL, "osl": series.OSL}


def read_history(
    prometheus: Prometheus,
    scope: Scope,
    *,
    end_s: int,
    interval_s: int,
    points: int,
    deadline: Deadline,
) -> Series:
    """The *points* intervals up to *end_s*, one point each, leading gaps left out.

    A point is a gap (NaN) unless samples of every process that had any cover its interval: one that was
    scraped for half of it shows half of the load. So is a point at which a process could not be scraped or
    restarted, and one at which workers of a role were missing, because requests are refused then without
    being counted.
    Where a process was sampled through, had no counter yet and was registered, nothing came, and the point
    is zero.
    Lengths are NaN wherever no request showed one.

    Args:
        prometheus: the server.
        scope: whose traffic.
        end_s: Unix time of the last grid point.
        interval_s: planning interval; shorter than two scrapes, all points are gaps.
        points: how many intervals to go back.
        deadline: for all round trips; one for each 11,000 points.

    Raises:
        MetricsError: the history could not be had.
    """
    start_s = end_s - (points - 1) * interval_s
    answers = batch.ask_range(
        prometheus,
        _figures(scope, duration(interval_s)),
        start_s=start_s,
        end_s=end_s,
        step_s=interval_s,
        deadline=deadline,
    )
    columns = {name: _column(tracks, start_s, interval_s, points) for name, tracks in answers.items()}
    covered = [
        whole and not any(missed > 0 for missed in missing)
        for whole, *missing in zip(
            _covered(columns["samples"]),
            *(columns[name] for name in ("unscraped", "unready", "restarted")),
            strict=True,
        )
    ]
    requests = [
        _requests(*row) if whole else math.nan
        for whole, *row in zip(
            covered, columns["requests"], columns["counters"], columns["registered"], strict=True
        )
    ]
    first = next((index for index, value in enumerate(requests) if not math.isnan(value)), points)
    return Series(
        end_s=float(end_s),
        step_s=float(interval_s),
        requests=tuple(requests[first:]),
        isl_tokens=_means(columns, "isl")[first:],
        osl_tokens=_means(columns, "osl")[first:],
    )


def _figures(scope: Scope, window: str) -> dict[str, str]:
    expressions = Expressions(scope)
    registered = " or ".join(f"count_over_time({name}[{window}])" for name in expressions.registrations())
    figures = {
        "requests": expressions.requests(window),
        "samples": f"min({expressions.samples(window)})",
        "unscraped": expressions.unscraped(window),
        "unready": f"count({expressions.our_unready(window)})",
        "restarted": f"count({expressions.restarted(window)})",
        "counters": expressions.counting(window),
        "registered": f"count({registered})" if registered else expressions.counting(window),
    }
    for name, metric in LENGTHS.items():
        for part in ("sum", "count"):
            grown = expressions.growth(f"{metric}_{part}", window, by="")
            is_router = scope.source is MetricsSource.ROUTER
            # The output of a second leg is one token.
            figures[f"{name}_{part}"] = (
                f"{grown} - {expressions.second_legs(window)}"
                if is_router and metric == series.OSL
                else grown
            )
    return figures


def _column(tracks: list[Track], start_s: int, step_s: int, points: int) -> list[float]:
    """The values on the grid, NaN where there is none."""
    column = [math.nan] * points
    for track in tracks:
        for at_s, value in track.points:
            index = round((at_s - start_s) / step_s)
            if 0 <= index < points:
                column[index] = value
    return column


def _covered(samples: list[float]) -> list[bool]:
    """Whether each interval holds about as many samples of every process as its neighbours do.

    *samples*: those of the process that has the fewest. One sample more or less is chance. An interval without
    neighbours is not covered, because nothing tells whether the series began in the middle of it.
    """
    covered = []
    for index, found in enumerate(samples):
        around = samples[max(0, index - NEIGHBOURS) : index + NEIGHBOURS + 1]
        known = [value for value in around if math.isfinite(value)]
        covered.append(len(known) > 1 and found >= COVERED_SHARE * (max(known) - 1.0))
    return covered


def _requests(count: float, counters: float, registered: float) -> float:
    if 0 <= count <= MOST_REQUESTS:
        return count
    idle = math.isnan(counters) and registered > 0
    return 0.0 if idle else math.nan


def _means(columns: dict[str, list[float]], name: str) -> tuple[float, ...]:
    totals, counts = columns[f"{name}_sum"], columns[f"{name}_count"]
    return tuple(_ratio(total, count) for total, count in zip(totals, counts, strict=True))


def _ratio(total: float, count: float) -> float:
    ratio = total / count if count > 0 else math.nan
    return ratio if 0 <= ratio < math.inf else math.nan
