"""Copies of the load's history, so that a plan reads only the points that are new.

Prometheus keeps the history, and reading thousands of points with every plan would be slow. Past points do not change,
so a copy equals a fresh reading.
"""

from __future__ import annotations

import math

from slaplanner.core.readings import Series

MOST_POINTS = 4096
"""Two weeks of ten-minute points, a week of three-minute ones; beyond that forecasts gain nothing."""

LONGEST_S = 14 * 86400

OVERLAP_POINTS = 2
"""Read again at the seam: the newest points may have been read before their last samples arrived."""


def points_to_read(kept: Series | None, *, end_s: float, interval_s: float) -> int:
    """How many points before *end_s* are missing from the copy."""
    most = max(1, min(MOST_POINTS, int(LONGEST_S // interval_s)))
    if kept is None or not len(kept) or kept.step_s != interval_s:
        return most
    missing = round((end_s - kept.end_s) / interval_s)
    if missing < 0 or abs(kept.end_s + missing * interval_s - end_s) > 0.5:
        return most
    return min(most, missing + OVERLAP_POINTS)


def joined(kept: Series | None, read: Series) -> Series:
    """The copy with what was read in its place; at most `MOST_POINTS`, gaps stay NaN.

    Readings leave out their leading gaps, so what lies between the copy and the reading is a gap.
    """
    if kept is None or kept.step_s != read.step_s or not len(kept):
        return read
    behind = round((read.end_s - kept.end_s) / read.step_s)
    kept_until = len(kept) + behind - len(read)
    if behind < 0 or kept_until < 0:
        return read
    gap = (math.nan,) * max(0, kept_until - len(kept))

    def column(old: tuple[float, ...], new: tuple[float, ...]) -> tuple[float, ...]:
        return (*old[:kept_until], *gap, *new)[-MOST_POINTS:]

    return Series(
        end_s=read.end_s,
        step_s=read.step_s,
        requests=column(kept.requests, read.requests),
        isl_tokens=column(kept.isl_tokens, read.isl_tokens),
        osl_tokens=column(kept.osl_tokens, read.osl_tokens),
    )
