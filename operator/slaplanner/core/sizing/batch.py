"""Decode: how large a batch may be, and how many replicas keep it so.

ITL is a promise to each request, so what counts is not the mean batch but how far it swings: the
sequences in flight are counted like customers of a service without a queue, whose number varies with
the burstiness of the arrivals. Their mean context is not that of the mean request: long answers stay
longer, so a batch at any moment holds ISL + E[OSL^2] / (2 E[OSL]).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from slaplanner.core.arrays import Floats
from slaplanner.core.profiles import DecodeProfile
from slaplanner.core.sizing.lengths import LengthDistribution

KV_LIMIT = 0.97
"""Share of the KV that a steady batch may fill: engines keep some free for the growth of what runs."""

IMBALANCE = 0.5
"""Sequences by which the fullest of equally loaded replicas exceeds the mean: requests are whole."""

LIFE_SHARE = 2.0 * math.exp(-1.0)
"""Variance of the mean over a sequence's life, of the variance at one moment: the number in flight
forgets within about one life, and for an exponential memory of length T the mean over T keeps
2 (1 / e) of the variance. A request's ITL is its mean over its life."""

_SIZES = np.arange(1, 61) / 60
"""Of the largest batch, where throughput is worked out."""
_PARTS = np.arange(1, 65) / 64
_ROUNDS = 4
"""Each divides what is left by 64: known to a millionth of a sequence in the end."""


def mean_context_tokens(isl: LengthDistribution, osl: LengthDistribution) -> float:
    """Tokens that a sequence of the batch holds, seen at any moment."""
    return isl.mean + osl.second_moment / (2.0 * osl.mean)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """One replica's batches inside the ITL target: the largest, and throughput over size."""

    largest: float
    sizes: Floats
    tokens_per_s: Floats

    @staticmethod
    def within(
        decode: DecodeProfile, *, itl_ms: float, context_tokens: float, slowdown: float = 1.0
    ) -> Batch:
        """Batches whose ITL, *slowdown* times the profile's, is at most *itl_ms*; at least a batch of 1."""
        low, room = 0.0, KV_LIMIT * decode.max_kv_tokens / context_tokens
        for _ in range(_ROUNDS):
            loads = low + room * _PARTS
            above = slowdown * decode.itl_row_ms(loads, context_tokens=context_tokens) > itl_ms
            first = int(above.argmax())
            if not above[first]:
                low += room  # the KV is full before the ITL is at its target
                break
            room /= loads.size
            low += first * room
        largest = max(1.0, low)
        sizes = largest * _SIZES
        itl = decode.itl_row_ms(sizes, context_tokens=context_tokens)
        return Batch(largest, sizes, np.maximum.accumulate(1e3 * sizes / (slowdown * itl)))

    @property
    def room(self) -> float:
        """Sequences per replica that the mean over all replicas may reach."""
        return max(IMBALANCE, self.largest - IMBALANCE)

    def itl_s(self, size: float) -> float:
        """Seconds between two tokens of each sequence, in a batch of this size or the nearest there is."""
        return float(np.interp(size, self.sizes, self.sizes / self.tokens_per_s))
