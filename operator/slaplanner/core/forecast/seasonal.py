"""Repeating yesterday and last week: as they were, and as changes that are added to today's level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from slaplanner.core.arrays import Floats
from slaplanner.core.forecast.features import CHANNELS, Lookback
from slaplanner.core.forecast.smoothing import flat

DAY_S = 86_400.0
WEEK_S = 7 * DAY_S

_REACHES = (3, 8)
"""Points on either side over which the seasonal change is smoothed."""


@dataclass(frozen=True, slots=True, eq=False)
class Seasonal:
    """Silent until the history reaches back one period and a little more."""

    label: str
    period_s: float
    last: Floats

    @staticmethod
    def of(label: str, period_s: float) -> Seasonal:
        return Seasonal(label, period_s, np.full(CHANNELS, np.nan))

    @property
    def names(self) -> tuple[str, ...]:
        return (
            f"same time last {self.label}",
            *(f"change of last {self.label} {reach}" for reach in _REACHES),
        )

    def seen(self, value: Floats) -> Self:
        return type(self)(self.label, self.period_s, np.where(np.isnan(value), self.last, value))

    def paths(self, lookback: Lookback, steps: Floats) -> Floats:
        period = round(self.period_s / lookback.step_s)
        ahead, reach = int(steps[-1]), max(_REACHES)
        silent = np.full((1 + len(_REACHES), CHANNELS, len(steps)), np.nan)
        if period <= ahead + reach:
            return silent
        slab = lookback.slab(period + reach, period - ahead - reach)
        if slab is None:
            return silent
        at = reach + steps.astype(int)
        known = np.isfinite(slab)
        sums = np.cumsum(np.where(known, slab, 0.0), axis=0)
        counts = np.cumsum(known, axis=0)
        paths = [slab[at].T]
        level = flat(self.last, steps)
        for width in _REACHES:
            around = _mean(sums, counts, at, width)
            now = _mean(sums, counts, np.array([reach]), width)
            paths.append(level + (around - now).T)
        return np.stack(paths)


def _mean(sums: Floats, counts: Floats, at: Floats, width: int) -> Floats:
    """Mean of the known points within *width* of each index, shape (indices, channels)."""
    first, last = at - width - 1, at + width
    started = (first >= 0)[:, None]
    total = sums[last] - np.where(started, sums[first], 0.0)
    number = counts[last] - np.where(started, counts[first], 0)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)
