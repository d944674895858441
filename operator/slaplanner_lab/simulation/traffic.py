"""The requests that a simulation plays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from slaplanner.adapters.traces.amplify import jittered
from slaplanner.core.arrays import Floats


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
        """Each request *copies* times, jittered (see `offline.amplify`).

        Raises:
            ValueError: *copies* is below 1.
        """
        arrival_s, original = jittered(self.arrival_s, copies, seed=seed)
        return Traffic(
            arrival_s=arrival_s,
            isl_tokens=self.isl_tokens[original],
            osl_tokens=self.osl_tokens[original],
        )
