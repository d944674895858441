"""The loads that were seen: how often each came, and what is usual.

A forecaster is careful where errors were large, and on a load of silence and bursts its upper bounds
end up at a multiple of the largest burst for a long while. Fleets sized by them cost as much as one
that never shrinks. But bursts that come without a sign are as likely as they were: the loads seen say
how likely that is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from struct import pack

import numpy as np

from slaplanner.core.model import Role
from slaplanner.core.readings import Series
from slaplanner.core.sizing.arrays import Floats

BELIEVED_RISE = 1.5
"""A forecast is believed up to so many times its own mean, whatever was seen before: loads that grow do
so by less within one start-up. What lies above is a burst."""

LEAST_ABOVE = 2.0
"""Loads above a level that the history must be long enough to hold, before it tells where the level is."""


@dataclass(frozen=True, eq=False)
class SeenLoads:
    """Loads of the history's intervals, from the first traffic on, lowest first; tokens per second.

    Without slots, because the cached property lives in the instance's dictionary.
    """

    tokens_s: Floats

    @staticmethod
    def of(history: Series | None, stage: Role) -> SeenLoads:
        """Prompt tokens for PREFILL, output tokens for DECODE; nothing is seen without a history."""
        if history is None:
            return SeenLoads(np.empty(0))
        lengths = history.isl_tokens if stage is Role.PREFILL else history.osl_tokens
        requests, each = _array(history.requests), _array(lengths)
        tokens = requests * each
        tokens[requests == 0.0] = 0.0
        is_load = tokens > 0.0
        if not is_load.any():
            return SeenLoads(np.empty(0))
        ranked = np.sort(tokens[is_load.argmax() :])
        # Gaps are NaN and stand last.
        return SeenLoads(ranked[: ranked.searchsorted(np.inf)] / history.step_s)

    @cached_property
    def usual_tokens_s(self) -> float:
        """The mean load; 0 when none was seen."""
        return float(self.tokens_s.sum()) / self.tokens_s.size if self.tokens_s.size else 0.0

    def held_to(self, told_tokens_s: Floats, levels: Floats, *, mean_tokens_s: float | Floats) -> Floats:
        """Forecast bounds of the load, at most as high as what was seen supports.

        Args:
            told_tokens_s: the forecast's bounds at *levels*; their last axis.
            levels: probabilities that the load stays below. One that is too near to 1 for the history's
                length to tell is left to the forecast.
            mean_tokens_s: the forecast's mean; one for each row of bounds, shape (rows, 1).
        """
        seen = self.tokens_s.size
        if not seen:
            return told_tokens_s
        rank = np.minimum(np.ceil((seen + 1) * levels).astype(int), seen) - 1
        supported = np.maximum(BELIEVED_RISE * mean_tokens_s, self.tokens_s.take(rank))
        held: Floats = np.where(
            seen * (1.0 - levels) >= LEAST_ABOVE, np.minimum(told_tokens_s, supported), told_tokens_s
        )
        return held


def _array(values: tuple[float, ...]) -> Floats:
    """As an array; packed first, which takes a third of the time that numpy takes for a tuple."""
    return np.frombuffer(pack(f"{len(values)}d", *values), dtype=np.float64)
