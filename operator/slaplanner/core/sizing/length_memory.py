"""The lengths of requests over several windows, because the few longest of a single window are chance.

One prompt in a hundred can occupy a worker for as long as thirty others, and long answers fill the KV cache. A size that
followed their share in each window would jump without a reason.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from slaplanner.core.readings import Histogram

MEMORY_S = 600.0
"""Time constant: ten windows of a minute."""

_DIGITS = 3
"""Significant digits kept, in memory as in the status, so that a restart changes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """What is remembered of one length: requests per bucket, the older the less."""

    counts: tuple[float, ...] = ()
    at_s: float = 0.0

    def after(self, histogram: Histogram | None, *, window_s: float, now_s: float) -> Self:
        """The memory after one more window; other buckets than before begin afresh."""
        if histogram is None or histogram.total <= 0.0:
            return self
        seen: Sequence[float] = histogram.counts
        if len(self.counts) == len(seen):
            elapsed_s = max(0.0, now_s - self.at_s)
            kept, news = math.exp(-elapsed_s / MEMORY_S), min(1.0, elapsed_s / window_s)
            seen = [kept * old + news * new for old, new in zip(self.counts, seen, strict=True)]
        return type(self)(counts=tuple(map(_rounded, seen)), at_s=round(now_s))

    def histogram(self, newest: Histogram | None) -> Histogram | None:
        """All that is remembered, with the edges of the newest window; without one there is no shape."""
        if newest is None or len(newest.edges) != len(self.counts):
            return newest
        return Histogram(edges=newest.edges, counts=self.counts)

    def to_document(self) -> list[float]:
        """Plain JSON values."""
        return [self.at_s, *self.counts]

    @classmethod
    def from_document(cls, document: Any) -> Self:
        """Read back what `to_document` wrote.

        Raises:
            TypeError, ValueError: it is not such a document.
        """
        at_s, *counts = (float(value) for value in document)
        if not all(0.0 <= value < math.inf for value in (at_s, *counts)):
            raise ValueError(f"counts are finite and not negative, found {document}")
        return cls(counts=tuple(counts), at_s=at_s)


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
