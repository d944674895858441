"""A profile as the engine reads it: two dense tables, looked up in constant time."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from slaplanner.core.arrays import Floats
from slaplanner.core.model import Mode
from slaplanner.core.profiles import Profile

ISL_STEPS = 1024
KV_STEPS = 200
CONTEXT_ROWS = 80
SHORTEST_CONTEXT_TOKENS = 32.0
"""Batches of shorter requests are looked up here; no profile measures them apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineError:
    """How a true engine differs from its profile; the defaults are no difference.

    Its TTFT is `prefill` times the profile's. Its ITL is `decode` x (1 + `kv_growth` x u) times the
    profile's, where u is the share of the KV in use (0 to 1).
    """

    prefill: float = 1.0
    decode: float = 1.0
    kv_growth: float = 0.0

    def __post_init__(self) -> None:
        for name, least in (("prefill", 0.0), ("decode", 0.0), ("kv_growth", -1.0)):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > least):
                raise ValueError(f"{name} must be finite and above {least:g}, found {value}")

    @property
    def slowest(self) -> float:
        """The largest of its factors over both stages and every KV usage."""
        return max(self.prefill, self.decode * (1.0 + max(0.0, self.kv_growth)))


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineTables:
    """What one worker can do, on regular grids that are read linearly between their points.

    `ttft_ms[i]`: prefill time at an ISL of i x `isl_step_tokens`.
    `itl_ms[i, j]`: ITL of a batch whose mean context is `shortest_context_tokens` x
    `context_ratio` ^ i (the surface bends where contexts are short) and that fills j x `kv_step` of
    the KV. Outside the grids the edge holds.
    """

    ttft_ms: Floats
    isl_step_tokens: float
    itl_ms: Floats
    shortest_context_tokens: float
    context_ratio: float
    kv_step: float
    max_kv_tokens: float

    def __post_init__(self) -> None:
        if self.ttft_ms.ndim != 1 or self.ttft_ms.size < 2:
            raise ValueError(f"ttft_ms needs two or more points in a row, found shape {self.ttft_ms.shape}")
        if self.itl_ms.ndim != 2 or min(self.itl_ms.shape) < 2:
            raise ValueError(f"itl_ms needs a table of 2 x 2 or more, found shape {self.itl_ms.shape}")
        for name, table in (("ttft_ms", self.ttft_ms), ("itl_ms", self.itl_ms)):
            if not (np.isfinite(table).all() and (table > 0.0).all()):
                raise ValueError(f"{name} must be finite and positive, found {table.min()} to {table.max()}")
        for name in ("isl_step_tokens", "shortest_context_tokens", "kv_step", "max_kv_tokens"):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"{name} must be positive, found {getattr(self, name)}")
        if not self.context_ratio > 1.0:
            raise ValueError(f"context_ratio must be above 1, found {self.context_ratio}")

    @property
    def max_isl_tokens(self) -> float:
        """The longest prompt that the profile knows; longer ones are cut to it."""
        return float((self.ttft_ms.size - 1) * self.isl_step_tokens)

    @staticmethod
    def constant(*, ttft_ms: float, itl_ms: float, max_kv_tokens: float = 1e9) -> EngineTables:
        """Workers whose speed depends on nothing: what queueing theory speaks of.

        >>> EngineTables.constant(ttft_ms=100.0, itl_ms=20.0).max_isl_tokens
        1000000.0
        """
        return EngineTables(
            ttft_ms=np.full(2, float(ttft_ms)),
            isl_step_tokens=1e6,
            itl_ms=np.full((2, 2), float(itl_ms)),
            shortest_context_tokens=1.0,
            context_ratio=1e6,
            kv_step=1.0,
            max_kv_tokens=float(max_kv_tokens),
        )

    @staticmethod
    def of(profile: Profile, *, mode: Mode = Mode.DISAGG) -> EngineTables:
        """The tables of *profile*, fine enough to follow each of its measured points.

        Of a stage that *mode* does not play nothing is read; it gets a table that is never looked at.

        Raises:
            ProfileNotFound: the profile lacks a stage that *mode* plays.
        """
        if mode is Mode.PREFILL:
            return EngineTables._prefill(profile)
        decode = EngineTables._decode(profile)
        if mode is Mode.DECODE:
            return decode
        prefill = EngineTables._prefill(profile)
        return replace(decode, ttft_ms=prefill.ttft_ms, isl_step_tokens=prefill.isl_step_tokens)

    @staticmethod
    def _prefill(profile: Profile) -> EngineTables:
        longest_isl = profile.prefill.isl_range[1]
        prefill = profile.prefill.tabulate(np.linspace(0.0, longest_isl, ISL_STEPS + 1))
        return replace(
            EngineTables.constant(ttft_ms=1.0, itl_ms=1.0),
            ttft_ms=prefill.ttft_ms,
            isl_step_tokens=longest_isl / ISL_STEPS,
        )

    @staticmethod
    def _decode(profile: Profile) -> EngineTables:
        longest = profile.decode.context_range[1]
        contexts = np.geomspace(
            SHORTEST_CONTEXT_TOKENS, max(longest, 2 * SHORTEST_CONTEXT_TOKENS), CONTEXT_ROWS
        )
        decode = profile.decode.tabulate(
            kv_usage=np.linspace(0.0, 1.0, KV_STEPS + 1), context_tokens=contexts
        )
        return replace(
            EngineTables.constant(ttft_ms=1.0, itl_ms=1.0),
            isl_step_tokens=longest,
            itl_ms=decode.itl_ms,
            shortest_context_tokens=SHORTEST_CONTEXT_TOKENS,
            context_ratio=float(contexts[1] / contexts[0]),
            kv_step=1.0 / KV_STEPS,
            max_kv_tokens=float(profile.decode.max_kv_tokens),
        )

    def slowed(self, factor: float) -> EngineTables:
        """The same engine, *factor* times slower in both roles."""
        return self.erring(EngineError(prefill=factor, decode=factor))

    def erring(self, error: EngineError) -> EngineTables:
        """The true engine behind this profile, when it differs by *error*."""
        kv_usage = self.kv_step * np.arange(self.itl_ms.shape[1])
        return replace(
            self,
            ttft_ms=self.ttft_ms * error.prefill,
            itl_ms=self.itl_ms * (error.decode * (1.0 + error.kv_growth * kv_usage)),
        )

    def ttft_at(self, isl_tokens: Floats) -> Floats:
        """Prefill time in ms at these lengths."""
        grid = self.isl_step_tokens * np.arange(self.ttft_ms.size)
        return np.interp(isl_tokens, grid, self.ttft_ms)
