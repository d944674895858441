"""How much more than Poisson the arrivals crowd: the index of dispersion, smoothed over plans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

LEAST_STEPS = 4
LEAST_REQUESTS = 20.0
"""Fewer show nothing."""

HIGHEST = 100.0
"""Beyond that all of a minute's requests come at once: more says nothing new."""

MEMORY_PLANS = 10.0
"""One window is a dozen steps, whose variance is known to a factor of two; ten windows tell it to a fifth."""


def dispersion(arrivals: Sequence[float]) -> float | None:
    """Variance over mean of the counts, from neighbours, so that a slow rise is no burst.

    >>> dispersion((100.0,) * 12)
    1.0
    >>> dispersion((0.0, 200.0, 0.0, 200.0, 0.0, 200.0))
    100.0

    Returns:
        1 (Poisson) to `HIGHEST`; None when the arrivals are too few to tell.
    """
    counts = np.asarray(arrivals, dtype=np.float64)
    if counts.size < LEAST_STEPS or counts.sum() < LEAST_REQUESTS:
        return None
    ratio = 0.5 * float(np.mean(np.diff(counts) ** 2)) / float(counts.mean())
    return min(HIGHEST, max(1.0, ratio))


@dataclass(frozen=True, slots=True, kw_only=True)
class Burstiness:
    """What is remembered: the mean index of dispersion, and how many plans it stands for."""

    index: float = 1.0
    plans: float = 0.0

    def after(self, arrivals: Sequence[float]) -> Self:
        """The memory after one more window."""
        seen = dispersion(arrivals)
        if seen is None:
            return self
        plans = min(MEMORY_PLANS, self.plans + 1.0)
        return type(self)(index=self.index + (seen - self.index) / plans, plans=plans)
