"""Methods for a load that stays level, then jumps, and for one that is mostly noise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from slaplanner.core.arrays import Floats
from slaplanner.core.forecast.features import CHANNELS, Lookback
from slaplanner.core.forecast.smoothing import flat, unknown

_GAUSSIAN = 1.25
"""A Gaussian's standard deviation over its mean absolute error."""


@dataclass(frozen=True, slots=True, eq=False)
class RunMean:
    """The mean since the last jump.

    A jump is a point further from the mean than so many deviations, which are learnt from the errors
    between the jumps. Tunings: (deviations that make a jump, most points that the mean remembers).
    """

    tunings: tuple[tuple[float, float], ...]
    mean: Floats
    count: Floats
    deviation: Floats

    MEMORY = 0.05

    @staticmethod
    def of(*tunings: tuple[float, float]) -> RunMean:
        members = len(tunings)
        return RunMean(tunings, unknown(members), np.ones((members, CHANNELS)), unknown(members))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"run mean {jump:g}/{most:g}" for jump, most in self.tunings)

    def seen(self, value: Floats) -> Self:
        jump, most = np.array(self.tunings).T[:, :, None]
        error = np.abs(value - self.mean)
        usual = np.where(np.isnan(self.deviation), error, self.deviation)
        restart = np.isnan(self.mean) | (error > jump * _GAUSSIAN * usual)
        count = np.where(restart, 1.0, np.minimum(self.count + 1, most))
        mean = np.where(restart, value, self.mean + (value - self.mean) / count)
        deviation = usual + self.MEMORY * (np.minimum(error, 3 * usual) - usual)
        gap = np.isnan(value)
        return replace(
            self,
            mean=np.where(gap, self.mean, mean),
            count=np.where(gap, self.count, count),
            deviation=np.where(gap, self.deviation, deviation),
        )

    def paths(self, lookback: Lookback, steps: Floats) -> Floats:  # noqa: ARG002 - the protocol's
        return flat(self.mean, steps)


@dataclass(frozen=True, slots=True, eq=False)
class RecentWindow:
    """Mean and median of the last 5 and the last 20 known points."""

    values: Floats
    """Newest last; filled with the first point at the start."""

    @staticmethod
    def fresh() -> RecentWindow:
        return RecentWindow(np.full((20, CHANNELS), np.nan))

    @property
    def names(self) -> tuple[str, ...]:
        return ("mean of 5", "mean of 20", "median of 5", "median of 20")

    def seen(self, value: Floats) -> Self:
        moved = np.concatenate([self.values[1:], value[None]])
        moved = np.where(np.isnan(moved), value, moved)
        return replace(self, values=np.where(np.isnan(value), self.values, moved))

    def paths(self, lookback: Lookback, steps: Floats) -> Floats:  # noqa: ARG002 - the protocol's
        recent, ranked = self.values[-5:], np.sort(self.values, axis=0)
        level = np.stack(
            [
                recent.mean(axis=0),
                self.values.mean(axis=0),
                np.sort(recent, axis=0)[2],
                (ranked[9] + ranked[10]) / 2,
            ]
        )
        return flat(level, steps)
