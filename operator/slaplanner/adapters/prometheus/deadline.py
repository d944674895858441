"""A point in time by which everything must be done, however many requests that takes."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Deadline:
    """An instant of the monotonic clock."""

    at_s: float

    @staticmethod
    def after(seconds: float) -> Deadline:
        """*seconds* from now."""
        return Deadline(time.monotonic() + seconds)

    @property
    def remaining_s(self) -> float:
        """Seconds that are left; negative when it has passed."""
        return self.at_s - time.monotonic()
