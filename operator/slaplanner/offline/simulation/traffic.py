"""The requests that a simulation plays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

JITTER_S = 5.0
"""A copy arrives up to so much earlier or later than its original, as other users would."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Traffic:
    """Requests in order of arrival; seconds from the start, lengths in tokens, arrays of one length."""

    arrival_s: Floats
    isl_tokens: Floats
    osl_tokens: Floats

    def __post_init__(self) -> None:
        sizes = {self.arrival_s.size, self.isl_tokens.size, self.osl_tokens.size}
        if len(sizes) != 1 or 0 in sizes:
            raise ValueError(f"arrivals, ISL and OSL need equally many requests, found {sorted(sizes)}")
        if self.arrival_s[0] < 0.0 or not (np.diff(self.arrival_s) >= 0.0).all():
            raise ValueError("arrivals must not fall nor lie before the start")

    def __len__(self) -> int:
        return int(self.arrival_s.size)

    @property
    def last_arrival_s(self) -> float:
        return float(self.arrival_s[-1])

    def amplified(self, copies: int, *, seed: int) -> Traffic:
        """Each request *copies* times: the original, the others jittered by up to `JITTER_S`.

        Copies that would arrive before the start are mirrored into it, those after the last arrival
        come with it.

        Raises:
            ValueError: *copies* is below 1.
        """
        if copies < 1:
            raise ValueError(f"a trace is amplified 1 or more times, found {copies}")
        rng = np.random.default_rng(seed)
        jitter_s = rng.uniform(-JITTER_S, JITTER_S, (copies - 1, len(self)))
        arrival_s = np.concatenate([self.arrival_s, *np.abs(self.arrival_s + jitter_s)])
        arrival_s = np.minimum(arrival_s, self.last_arrival_s)
        order = np.argsort(arrival_s, kind="stable")
        return Traffic(
            arrival_s=arrival_s[order],
            isl_tokens=np.tile(self.isl_tokens, copies)[order],
            osl_tokens=np.tile(self.osl_tokens, copies)[order],
        )

    def between(self, from_s: float, to_s: float) -> Traffic:
        """The requests that arrive from *from_s* until before *to_s*, shifted to begin at 0."""
        first, last = np.searchsorted(self.arrival_s, (from_s, to_s))
        return Traffic(
            arrival_s=self.arrival_s[first:last] - from_s,
            isl_tokens=self.isl_tokens[first:last],
            osl_tokens=self.osl_tokens[first:last],
        )
