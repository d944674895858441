"""A forecaster that the user brings. It is judged like the built-in ones and gets bounds of the same kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self, runtime_checkable

import numpy as np

from slaplanner.core.arrays import Floats
from slaplanner.core.errors import ForecastError
from slaplanner.core.forecast.features import CHANNELS, OSL, Lookback


@runtime_checkable
class Forecaster(Protocol):
    """What a user writes: one series in, its coming values out; keeps nothing between calls.

    Called once for requests per interval, once for mean ISL and once for mean OSL.
    """

    def forecast(self, values: Floats, horizon: int) -> Sequence[float]:
        """The next *horizon* values.

        Args:
            values: the history, oldest first, shape (points,), at most 2,500; NaN is a gap.
            horizon: steps wanted, at least 1.
        """


@dataclass(frozen=True, slots=True, eq=False)
class Own:
    """A user's forecaster as an expert; negative and unknown answers are left to the last value."""

    name: str
    forecaster: Forecaster

    MOST_POINTS = 2500

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name,)

    def seen(self, value: Floats) -> Self:  # noqa: ARG002 - the history holds it
        return self

    def paths(self, lookback: Lookback, steps: Floats) -> Floats:
        """Raises ForecastError when the answer has the wrong length or is no list of numbers."""
        horizon = int(steps[-1])
        history = lookback.slab(min(lookback.index, self.MOST_POINTS - 1), 0)
        path = np.full((1, CHANNELS, len(steps)), np.nan)
        if history is None:
            return path
        for channel in range(OSL + 1):
            answer = np.asarray(self.forecaster.forecast(history[:, channel].copy(), horizon), dtype=float)
            if answer.shape != (horizon,):
                raise ForecastError(
                    f"{self.name} answered an array of shape {answer.shape}, wanted ({horizon},)"
                )
            path[0, channel] = answer[steps.astype(int) - 1]
        return np.where(np.isfinite(path) & (path >= 0), path, np.nan)
