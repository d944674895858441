"""Local linear trend by a Kalman filter, equal to the one that Dynamo's users know.

State (level, trend), transition [[1, 1], [0, 1]], the level observed; the variances are the policy's.
Written out for the two-by-two case, because a step must cost microseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from slaplanner.core.arrays import Floats
from slaplanner.core.forecast.features import CHANNELS, Lookback
from slaplanner.core.model import KalmanTuning

_INITIAL_VARIANCE = 1000.0
"""Of level and trend at the first point: what Dynamo's forecasts imply."""


@dataclass(frozen=True, slots=True, eq=False)
class Kalman:
    """Each array has one figure per channel; `p` are the entries of the covariance."""

    tuning: KalmanTuning
    level: Floats
    trend: Floats
    p_level: Floats
    p_cross: Floats
    p_trend: Floats

    @staticmethod
    def fresh(tuning: KalmanTuning) -> Kalman:
        nothing = np.zeros(CHANNELS)
        start = np.full(CHANNELS, _INITIAL_VARIANCE)
        return Kalman(tuning, np.full(CHANNELS, np.nan), nothing, start, nothing, start)

    @property
    def names(self) -> tuple[str, ...]:
        return ("Kalman",)

    def seen(self, value: Floats) -> Self:
        first = np.isnan(self.level)
        gap = np.isnan(value)
        level = self.level + self.trend
        p_level = self.p_level + 2 * self.p_cross + self.p_trend + self.tuning.q_level
        p_cross = self.p_cross + self.p_trend
        p_trend = self.p_trend + self.tuning.q_trend
        gain_level = np.where(gap, 0.0, p_level / (p_level + self.tuning.r))
        gain_trend = np.where(gap, 0.0, p_cross / (p_level + self.tuning.r))
        surprise = np.where(gap, 0.0, value - level)
        return replace(
            self,
            level=np.where(first, value, level + gain_level * surprise),
            trend=np.where(first, 0.0, self.trend + gain_trend * surprise),
            p_trend=np.where(first, self.p_trend, p_trend - gain_trend * p_cross),
            p_cross=np.where(first, self.p_cross, p_cross - gain_level * p_cross),
            p_level=np.where(first, self.p_level, p_level - gain_level * p_level),
        )

    def paths(self, lookback: Lookback, steps: Floats) -> Floats:  # noqa: ARG002 - the protocol's
        return (self.level[:, None] + self.trend[:, None] * steps)[None]
