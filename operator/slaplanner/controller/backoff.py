"""When something that failed may be tried again: doubling pauses with jitter."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

LONGEST_BASES = 8.0
"""No pause is longer than this many of the shortest, so that an outage that ends is noticed soon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """The failures in a row, and the monotonic time before which nothing is tried again."""

    failures: int = 0
    not_before_s: float = 0.0

    def over(self, *, now_s: float) -> bool:
        """Whether the next try may be made."""
        return now_s >= self.not_before_s

    def failed(
        self, *, now_s: float, base_s: float, fraction: Callable[[], float] = random.random
    ) -> Backoff:
        """After one more failure.

        The pause is `min(base x 2^failures, 8 x base)`, of which *fraction* (0 to 1) takes away at most
        half: policies that failed in the same second do not come back in the same second.

        >>> once = Backoff().failed(now_s=100.0, base_s=5.0, fraction=lambda: 0.0)
        >>> once.not_before_s
        105.0
        >>> once.failed(now_s=105.0, base_s=5.0, fraction=lambda: 1.0).not_before_s
        110.0
        """
        pause_s = min(base_s * 2.0 ** min(self.failures, 10), LONGEST_BASES * base_s)
        return Backoff(failures=self.failures + 1, not_before_s=now_s + pause_s * (1.0 - 0.5 * fraction()))


READY = Backoff()
"""Nothing failed."""
