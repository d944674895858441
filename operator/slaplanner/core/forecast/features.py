"""One point of history as a vector of five channels, and a look back at earlier ones.

Requests, ISL and OSL are what the history holds. The two token rates are products of them, and are
channels of their own: bursts of short prompts and a few long ones look alike in the product.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np

from slaplanner.core.arrays import Floats
from slaplanner.core.readings import Series

REQUESTS, ISL, OSL, PREFILL, DECODE = range(5)
CHANNELS = 5

LARGEST = 1e15
"""Anything above is taken for this: squares of products must stay finite."""


def point(series: Series, index: int) -> Floats:
    """The vector at *index*: NaN where unknown; no requests make no tokens, whatever their length."""
    requests = _clean(series.requests[index])
    isl = _clean(series.isl_tokens[index])
    osl = _clean(series.osl_tokens[index])
    if requests == 0:
        return np.array([0.0, np.nan, np.nan, 0.0, 0.0])
    return np.array([requests, isl, osl, requests * isl, requests * osl])


def points(series: Series, start: int, stop: int) -> Floats:
    """The vectors from *start* to before *stop*, shape (points, channels)."""
    columns = (series.requests, series.isl_tokens, series.osl_tokens)
    raw = np.array([column[start:stop] for column in columns], dtype=float)
    raw = np.where((raw >= 0) & (raw < np.inf), np.minimum(raw, LARGEST), np.nan)
    requests, lengths = raw[0], np.where(raw[0] == 0, np.nan, raw[1:])
    tokens = np.where(requests == 0, 0.0, requests * lengths)
    vectors: Floats = np.concatenate([requests[None], lengths, tokens]).T
    return vectors


def _clean(value: float) -> float:
    if not 0 <= value < float("inf"):
        return float("nan")
    return min(float(value), LARGEST)


@dataclass(frozen=True, slots=True)
class Lookback:
    """The history up to a point, as far as it reaches, for methods that repeat a day or a week."""

    series: Series
    index: int
    """Of the newest point that may be seen."""
    log1p: bool = False

    @property
    def step_s(self) -> float:
        return self.series.step_s

    def slab(self, lag_from: int, lag_to: int) -> Floats | None:
        """Points from *lag_from* to *lag_to* steps ago (oldest first), shape (points, channels).

        None when the history does not reach that far. Nothing newer than `index` is ever shown.
        """
        start, stop = self.index - lag_from, min(self.index - lag_to, self.index) + 1
        if start < 0:
            return None
        values = points(self.series, start, stop)
        return np.log1p(values) if self.log1p else values


class Expert(Protocol):
    """One method, or a family of them, with what it remembers. Immutable: `seen` makes the next one."""

    @property
    def names(self) -> tuple[str, ...]:
        """One name for each member of the family."""

    def seen(self, value: Floats) -> Self:
        """After one more point, shape (channels,); NaN is a gap."""

    def paths(self, lookback: Lookback, steps: Floats) -> Floats:
        """Forecasts for *steps* ahead, shape (members, channels, steps); NaN where it has none."""
