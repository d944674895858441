"""Exponential smoothing: the last value, its smoothed relatives, damped trends, an adaptive gain.

Formulas after Gardner, Exponential smoothing: the state of the art II (2006). Every family is one
array operation for all of its members and channels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from slaplanner.core.arrays import Floats
from slaplanner.core.forecast.features import CHANNELS, Lookback


def unknown(members: int) -> Floats:
    """Nothing is known yet, shape (members, channels)."""
    return np.full((members, CHANNELS), np.nan)


def flat(level: Floats, steps: Floats) -> Floats:
    """The same level at every step."""
    path: Floats = np.repeat(level[..., None], len(steps), axis=-1)
    return path


@dataclass(frozen=True, slots=True, eq=False)
class Smoothing:
    """Simple exponential smoothing; a weight of 1 is the last value."""

    weights: tuple[float, ...]
    level: Floats

    @staticmethod
    def of(*weights: float) -> Smoothing:
        return Smoothing(weights, unknown(len(weights)))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple("last value" if weight == 1 else f"smoothed {weight:g}" for weight in self.weights)

    def seen(self, value: Floats) -> Self:
        weight = np.array(self.weights)[:, None]
        moved = np.where(np.isnan(self.level), value, self.level + weight * (value - self.level))
        return replace(self, level=np.where(np.isnan(value), self.level, moved))

    def paths(self, lookback: Lookback, steps: Floats) -> Floats:  # noqa: ARG002 - the protocol's
        return flat(self.level, steps)


@dataclass(frozen=True, slots=True, eq=False)
class DampedTrend:
    """Level and trend, the trend dying away: (weight of the level, of the trend, damping) each."""

    tunings: tuple[tuple[float, float, float], ...]
    level: Floats
    trend: Floats

    @staticmethod
    def of(*tunings: tuple[float, float, float]) -> DampedTrend:
        return DampedTrend(tunings, unknown(len(tunings)), np.zeros((len(tunings), CHANNELS)))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(
            f"damped trend {level:g}/{trend:g}/{damping:g}" for level, trend, damping in self.tunings
        )

    def seen(self, value: Floats) -> Self:
        alpha, beta, phi = np.array(self.tunings).T[:, :, None]
        expected = self.level + phi * self.trend
        error = np.where(np.isnan(value), 0.0, value - expected)
        first = np.isnan(self.level)
        return replace(
            self,
            level=np.where(first, value, expected + alpha * error),
            trend=np.where(first, 0.0, phi * self.trend + alpha * beta * error),
        )

    def paths(self, lookback: Lookback, steps: Floats) -> Floats:  # noqa: ARG002 - the protocol's
        phi = np.array(self.tunings)[:, 2, None]
        reach: Floats = phi * (1 - phi**steps) / (1 - phi)
        path: Floats = self.level[:, :, None] + self.trend[:, :, None] * reach[:, None, :]
        return path


@dataclass(frozen=True, slots=True, eq=False)
class AdaptiveGain:
    """Smoothing whose weight is the tracking signal: errors of one sign make it quick.

    After Trigg and Leach, Exponential smoothing with an adaptive response rate (1967).
    """

    level: Floats
    error: Floats
    size: Floats

    MEMORY = 0.3
    LEAST = 0.2

    @staticmethod
    def fresh() -> AdaptiveGain:
        zeros = np.zeros((1, CHANNELS))
        return AdaptiveGain(unknown(1), zeros, zeros)

    @property
    def names(self) -> tuple[str, ...]:
        return ("adaptive gain",)

    def seen(self, value: Floats) -> Self:
        gone = np.isnan(value) | np.isnan(self.level)
        miss = np.where(gone, 0.0, value - self.level)
        error = np.where(gone, self.error, self.error + self.MEMORY * (miss - self.error))
        size = np.where(gone, self.size, self.size + self.MEMORY * (np.abs(miss) - self.size))
        signal = np.abs(error) / np.maximum(size, np.finfo(float).tiny)
        weight = np.clip(signal, self.LEAST, 1.0)
        level = np.where(np.isnan(self.level), value, self.level + weight * miss)
        return replace(self, level=level, error=error, size=size)

    def paths(self, lookback: Lookback, steps: Floats) -> Floats:  # noqa: ARG002 - the protocol's
        return flat(self.level, steps)
