"""How likely each level of the coming load is, for a fleet that shrinks slowly.

A recommendation is held for the scale-down window, so the fleet at any moment is as large as the
largest of several recommendations, and it is too small only if all of them were. If k recommendations
whose horizons do not overlap erred independently, the chance that the load is above all their p-bounds
would not be 1 - p, but (1 - p)^k. They know much of the same past, so they count for fewer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from slaplanner.core.forecast import Demand, uppers
from slaplanner.core.sizing.arrays import Floats

_EDGES = np.array([0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975, 0.99, 0.995, 1.0])
"""Where the forecast learns its bounds; below the median nothing is decided."""

LEVELS = tuple((0.5 * (_EDGES[1:] + _EDGES[:-1])).tolist())
"""One level in each part of the distribution."""

INDEPENDENCE = 0.75
"""k recommendations count as k to this power that err independently. How it was chosen:
docs/benchmarks/sizing.md."""


@dataclass(frozen=True, slots=True, eq=False)
class Coverage:
    """The probability of each part of the load's distribution, one per level of `LEVELS`."""

    mass: Floats

    @staticmethod
    @lru_cache(maxsize=16)
    def held(*, window_s: float, horizon_s: float) -> Coverage:
        """For recommendations that are held for *window_s* and look *horizon_s* ahead: the same in every plan.

        >>> Coverage.held(window_s=0.0, horizon_s=150.0).mass.round(3).tolist()
        [0.5, 0.1, 0.1, 0.1, 0.1, 0.05, 0.025, 0.015, 0.005, 0.005]
        """
        looks = (1.0 + window_s / horizon_s) ** INDEPENDENCE
        above = (1.0 - _EDGES) ** looks
        return Coverage(above[:-1] - above[1:])

    def counted(self, load_tokens_s: Floats, *, usual: float) -> Counted:
        """The requests that come in each part, as a share of what usually comes.

        A high load has more requests than a low one. And a promise in percent is kept over the day: what
        is late in a quiet hour is few beside the requests of the others, so where less is expected than
        is usual, the shares sum to less than 1.
        """
        weight = self.mass * np.maximum(load_tokens_s, 1e-9)
        tokens_s = max(float(weight.sum()), usual)
        return Counted(share=weight / tokens_s, tokens_s=tokens_s)


@dataclass(frozen=True, slots=True, eq=False)
class Counted:
    """Requests as they count for the promise."""

    share: Floats
    """Of each part of the load's distribution; they sum to at most 1."""
    tokens_s: float
    """What all of it is, as a load: what is expected, or what is usual if that is more."""


def tokens_per_s(demands: Sequence[Demand], interval_s: float) -> Floats:
    """Each load at each step of the horizon and level of `LEVELS`, shape (demands, steps, levels)."""
    return uppers(demands, LEVELS) / interval_s
