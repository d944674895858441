"""A trace played in real time: which requests arrive until a moment. Pure: the caller has the clock.

The requests, and how they are amplified, are the simulator's: the same traffic in both.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from slaplanner.core.arrays import Floats
from slaplanner_lab.simulation.traffic import Traffic


class Arrivals(NamedTuple):
    """Some requests in order of arrival, perhaps none: arrays of one length."""

    at_s: Floats
    isl_tokens: Floats
    osl_tokens: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """Where a replay stands."""

    traffic: Traffic
    start_s: float
    """When the trace's second 0 is played."""
    length_s: float = 0.0
    """After so long the trace begins anew; 0: never."""
    played: int = 0
    round: int = 0

    @property
    def ended(self) -> bool:
        return not self.length_s and self.played >= len(self.traffic)


def take(replay: Replay, until_s: float) -> tuple[Replay, Arrivals]:
    """The requests that arrive until *until_s* (on the caller's clock), and the replay after them."""
    traffic = replay.traffic
    chunks: list[Arrivals] = []
    while True:
        origin_s = replay.start_s + replay.round * replay.length_s
        end = int(np.searchsorted(traffic.arrival_s, until_s - origin_s, side="right"))
        part = slice(replay.played, max(end, replay.played))
        chunks.append(
            Arrivals(traffic.arrival_s[part] + origin_s, traffic.isl_tokens[part], traffic.osl_tokens[part])
        )
        replay = replace(replay, played=part.stop)
        if not replay.length_s or until_s < origin_s + replay.length_s:
            break
        replay = replace(replay, played=0, round=replay.round + 1)
    return replay, Arrivals(*(np.concatenate(columns) for columns in zip(*chunks, strict=True)))


def skip(replay: Replay, until_s: float) -> Replay:
    """Let everything until *until_s* pass unplayed."""
    return take(replay, until_s)[0]
