"""How large the errors of one token rate are just now, told in several ways.

A handful of figures per point: plain numbers, of which a hundred are worked out in the time of ten
operations on arrays.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

YARDSTICKS = 5
"""Ways to tell how large errors are: quick, steady, slow, and two that know the load."""

PRIOR_ERROR = 0.1
"""Usual error before any was seen, as a share of the load."""

_MEMORIES = (0.1, 0.03, 0.003)
"""Per point, of the usual errors: quick, steady, slow."""
_PRIOR_POINTS = 4.0
_LEAST_SHARE = 0.1
"""Of the slow usual error: a quiet hour does not make errors impossible."""
_LEAST_LOAD = 0.02
"""Of the peak: nor does a quiet hour's load."""
_MOST_TIMES = 6.0
"""One error counts at most so many usual ones when the usual error is learnt."""
_SURPRISE = 2.5
"""Quick usual error over the slow one, from which models are fitted again."""
_PEAK_MEMORY = 0.9995


@dataclass(frozen=True, slots=True)
class Errors:
    """`usual`: one figure per memory, quick first, NaN before the first forecast; `by_step`: usual errors at
    each step of the horizon; `peak`: the largest rate of the past; `count`: errors seen.
    """

    usual: tuple[float, ...]
    by_step: tuple[float, ...]
    peak: float = 0.0
    count: int = 0

    @staticmethod
    def fresh(steps: int) -> Errors:
        return Errors(usual=(math.nan,) * len(_MEMORIES), by_step=(math.nan,) * steps)

    @property
    def is_assumed(self) -> bool:
        """Whether the usual error is more the prior than what was seen."""
        return self.count < _PRIOR_POINTS

    @property
    def is_surprised(self) -> bool:
        """Whether errors have lately grown so much that the series must have changed."""
        return self.usual[0] > _SURPRISE * self.usual[-1]

    def tells_of(self, error: float) -> bool:
        """Whether *error*, of the forecast for the end of the horizon, is known and can be compared."""
        return math.isfinite(error) and all(map(math.isfinite, self.usual))

    def learnt(self, truth: float, told: Sequence[float]) -> Self:
        """After the true rate; *told*: what was forecast for it, one step ahead first; NaN is unknown."""
        if not math.isfinite(truth):
            return self
        memory = [max(each, 1 / (_PRIOR_POINTS + self.count)) for each in _MEMORIES]
        by_step = tuple(
            _towards(usual, abs(truth - forecast), memory[-1])
            for usual, forecast in zip(self.by_step, told, strict=True)
        )
        peak = max(self.peak * _PEAK_MEMORY, truth)
        error = abs(truth - told[-1])
        if not self.tells_of(error):
            return replace(self, by_step=by_step, peak=peak)
        most = math.inf if self.is_assumed else _MOST_TIMES
        usual = tuple(
            each + weight * (min(error, most * each) - each)
            for each, weight in zip(self.usual, memory, strict=True)
        )
        return type(self)(usual=usual, by_step=by_step, peak=peak, count=self.count + 1)

    def assuming(self, end: float) -> Self:
        """With the prior's share of the load *end* where nothing was seen; of no load it says nothing."""
        if all(each > 0 for each in self.usual):
            return self
        usual = tuple(PRIOR_ERROR * end if math.isnan(each) else each for each in self.usual)
        usual = tuple(each if each > 0 else math.nan for each in usual)
        return replace(self, usual=usual)

    def yardsticks(self, end: float) -> tuple[float, ...]:
        """How large errors are at the load *end*; NaN where that is unknown."""
        least = _LEAST_SHARE * self.usual[-1]
        floored = tuple(max(each, least) for each in self.usual)
        load = max(end, _LEAST_LOAD * self.peak)
        return *floored, math.sqrt(load * floored[1]), math.sqrt(load * max(end, self.peak))

    def shares(self) -> list[float]:
        """The usual error at each step over that at the last, between 0 and 1; 1 where either is unknown."""
        last = self.by_step[-1]
        if not last > 0:
            return [1.0] * len(self.by_step)
        return [1.0 if math.isnan(each) else min(each / last, 1.0) for each in self.by_step]


def _towards(usual: float, error: float, weight: float) -> float:
    if math.isnan(error):
        return usual
    return error if math.isnan(usual) else usual + weight * (error - usual)
