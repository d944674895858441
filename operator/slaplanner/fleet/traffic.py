"""A trace played in real time: which requests arrive until a moment. Pure: the caller has the clock."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """Requests in order of arrival: times in s, lengths in tokens; arrays of one length."""

    at_s: Floats
    isl_tokens: Floats
    osl_tokens: Floats

    def __len__(self) -> int:
        return self.at_s.size


def prepare(arrivals: Arrivals, *, from_s: float = 0.0, to_s: float = math.inf, amplify: int = 1) -> Arrivals:
    """The slice `from_s` <= t < `to_s`, shifted to begin at 0, with *amplify* requests for each.

    The copies are spread evenly over the time until the next request: the rate is multiplied, its
    rises and falls stay, and no artificial crowd arrives at one moment.

    Raises:
        ValueError: the slice is empty.
    """
    first, end = np.searchsorted(arrivals.at_s, [from_s, to_s])
    if first == end:
        raise ValueError(f"no request between {from_s:g} s and {to_s:g} s of the trace")
    at_s = arrivals.at_s[first:end] - from_s
    steps = np.arange(amplify) / amplify
    spread = at_s[:, None] + np.diff(at_s, append=at_s[-1])[:, None] * steps
    return Arrivals(
        at_s=spread.ravel(),
        isl_tokens=np.repeat(arrivals.isl_tokens[first:end], amplify),
        osl_tokens=np.repeat(arrivals.osl_tokens[first:end], amplify),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """Where a replay stands."""

    arrivals: Arrivals
    start_s: float
    """When the trace's second 0 is played."""
    length_s: float = 0.0
    """After so long the trace begins anew; 0: never."""
    played: int = 0
    round: int = 0

    @property
    def ended(self) -> bool:
        return not self.length_s and self.played >= len(self.arrivals)


def take(replay: Replay, until_s: float) -> tuple[Replay, Arrivals]:
    """The requests that arrive until *until_s* (on the caller's clock), and the replay after them."""
    chunks = []
    while True:
        origin_s = replay.start_s + replay.round * replay.length_s
        end = int(np.searchsorted(replay.arrivals.at_s, until_s - origin_s, side="right"))
        part = slice(replay.played, max(end, replay.played))
        chunks.append(
            (
                replay.arrivals.at_s[part] + origin_s,
                replay.arrivals.isl_tokens[part],
                replay.arrivals.osl_tokens[part],
            )
        )
        replay = replace(replay, played=part.stop)
        if not replay.length_s or until_s < origin_s + replay.length_s:
            break
        replay = replace(replay, played=0, round=replay.round + 1)
    at_s, isl, osl = (np.concatenate(parts) for parts in zip(*chunks, strict=True))
    return replay, Arrivals(at_s=at_s, isl_tokens=isl, osl_tokens=osl)


def skip(replay: Replay, until_s: float) -> Replay:
    """Let everything until *until_s* pass unplayed."""
    return take(replay, until_s)[0]
