"""How bursty the arrivals are, smoothed over plans.

Requests arrive in clumps, and at twice the load a clump is twice as large. So the variance grows with the square of
the rate, and an index of dispersion that was measured at one rate is wrong at another. What is learnt is therefore the
length of a clump in seconds; `index(rate)` converts it to the index of dispersion at that rate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from slaplanner.core.arrays import Floats

LEAST_STEPS = 4
LEAST_REQUESTS = 20.0
"""Fewer show nothing."""
MOST_REQUESTS = 1e12
"""More are no count; their squares would overflow."""

MEMORY_PLANS = 10.0
"""One window is a dozen steps, whose variance is known to a factor of two; ten windows tell it to a fifth."""

_DIGITS = 6
"""Significant digits kept, in memory as in the status, so that a restart changes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Burstiness:
    """What is remembered: means over so many plans."""

    excess: float = 0.0
    """Variance of the arrivals beyond Poisson's, per second."""
    square: float = 0.0
    """Squared arrivals per second."""
    plans: float = 0.0

    @property
    def clump_s(self) -> float:
        """Seconds' worth of requests that come at once; 0 is Poisson."""
        return self.excess / self.square if self.square > 0.0 else 0.0

    def index(self, requests_per_s: Floats) -> Floats:
        """Variance over mean of the arrivals, at these rates; 1 is Poisson."""
        index: Floats = 1.0 + self.clump_s * requests_per_s
        return index

    def after(self, arrivals: Sequence[float], step_s: float) -> Self:
        """The memory after one more window of counts per *step_s* seconds.

        The variance is taken from neighbours, so that a slow rise is no burst. Steps that were not sampled
        are left out by the caller: a gap read as 0 would be a silence with a burst after it.

        >>> Burstiness().after((100.0,) * 12, 5.0).clump_s
        0.0
        >>> Burstiness().after((0.0, 200.0, 0.0, 200.0, 0.0, 200.0), 5.0).clump_s  # two steps' requests at once
        9.95
        """
        counts = np.asarray(arrivals, dtype=np.float64)
        total = float(counts.sum())
        if step_s <= 0.0 or counts.size < LEAST_STEPS or not LEAST_REQUESTS <= total <= MOST_REQUESTS:
            return self
        mean = total / counts.size
        rises = counts[1:] - counts[:-1]
        excess = max(0.0, 0.5 * float(rises @ rises) / rises.size - mean) / step_s
        plans = min(MEMORY_PLANS, self.plans + 1.0)
        return type(self)(
            excess=_rounded(self.excess + (excess - self.excess) / plans),
            square=_rounded(self.square + ((mean / step_s) ** 2 - self.square) / plans),
            plans=plans,
        )

    def to_document(self) -> list[float]:
        """Plain JSON values."""
        return [self.excess, self.square, self.plans]

    @classmethod
    def from_document(cls, document: Any) -> Self:
        """Read back what `to_document` wrote.

        Raises:
            TypeError, ValueError: it is not such a document.
        """
        excess, square, plans = (float(value) for value in document)
        if not (0.0 <= excess < math.inf and 0.0 <= square < math.inf and 0.0 <= plans <= MEMORY_PLANS):
            raise ValueError(f"burstiness is finite and not negative, found {document}")
        return cls(excess=excess, square=square, plans=plans)


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
