"""The loads that were seen: how often each came, and what is usual.

A forecaster is careful where errors were large, and on a load of silence and bursts its upper bounds
end up at a multiple of the largest burst for a long while. Fleets sized by them cost as much as one
that never shrinks. But bursts that come without a sign are as likely as they were: the loads seen say
how likely that is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from struct import pack

import numpy as np
from numpy.typing import NDArray

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
    def of(history: Series | None) -> dict[Role, SeenLoads]:
        """Prompt tokens for PREFILL, output tokens for DECODE; nothing is seen without a history."""
        if history is None:
            return dict.fromkeys((Role.PREFILL, Role.DECODE), SeenLoads(np.empty(0)))
        requests, step_s = _array(history.requests), history.step_s
        is_idle = requests == 0.0

        def ranked(lengths: tuple[float, ...]) -> SeenLoads:
            tokens = requests * _array(lengths)
            tokens[is_idle] = 0.0
            is_load = tokens > 0.0
            begin = int(is_load.argmax()) if is_load.any() else tokens.size
            loads = np.sort(tokens[begin:])
            # Gaps are NaN and stand last.
            return SeenLoads(loads[: loads.searchsorted(np.inf)] / step_s)

        return {Role.PREFILL: ranked(history.isl_tokens), Role.DECODE: ranked(history.osl_tokens)}

    @cached_property
    def usual_tokens_s(self) -> float:
        """The mean load; 0 when none was seen."""
        return float(self.tokens_s.sum()) / self.tokens_s.size if self.tokens_s.size else 0.0

    def supported(self, levels: tuple[float, ...]) -> Floats:
        """The load that stayed below with each of these probabilities, which rise; in tokens per second.

        Infinite where the history is too short to tell.
        """
        loads = np.full(len(levels), np.inf)
        places = _places(self.tokens_s.size, levels)
        loads[: places.size] = self.tokens_s.take(places)
        return loads


def held_to(supported: Floats, told: Floats, *, mean: Floats | float) -> Floats:
    """Forecast bounds of the load, at most as high as what was seen supports; shapes that go together.

    Args:
        supported: see `SeenLoads.supported`.
        told: the forecast's bounds at the same levels.
        mean: the forecast's mean.
    """
    held: Floats = np.minimum(told, np.maximum(BELIEVED_RISE * mean, supported))
    return held


@lru_cache(maxsize=8)
def _places(seen: int, levels: tuple[float, ...]) -> NDArray[np.intp]:
    """Where the levels lie among so many loads, as far as those are enough to tell."""
    told = [level for level in levels if seen * (1.0 - level) >= LEAST_ABOVE]
    return np.array([min(math.ceil((seen + 1) * level), seen) - 1 for level in told], dtype=np.intp)


def _array(values: tuple[float, ...]) -> Floats:
    """As an array; packed first, which takes a third of the time that numpy takes for a tuple."""
    return np.frombuffer(pack(f"{len(values)}d", *values), dtype=np.float64)
