"""Raw measurements of a profile, valid by construction: finite, of equal length, in their ranges.

What a table holds is what was measured, in the order in which it was written. Faults that leave it
usable (an outlier, a wrong GPU count) are the business of `checks`; what cannot be used at all is
refused here, with what was found and what was wanted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from slaplanner.core.arrays import Floats
from slaplanner.core.errors import ProfileFormatError

MAX_POINTS = 2_000
"""Points per array; Dynamo's profiler writes some 10 to 100, and fits of many more cost seconds."""

LEAST = 1e-6
"""No column of a real profile has less than a thousandth of its unit; below this lies underflow."""

MAX_TOKENS = 1e12
"""No token count of a real profile is near it; beyond it lies overflow."""


def _column(name: str, values: Sequence[float] | Floats) -> Floats:
    """One validated column as a read-only array of floats."""
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as exc:
        raise ProfileFormatError(
            f"{name}: found something other than numbers, wanted a list of numbers"
        ) from exc
    if array.ndim != 1:
        raise ProfileFormatError(f"{name}: found {array.ndim} dimensions, wanted 1")
    if not 1 <= array.size <= MAX_POINTS:
        raise ProfileFormatError(f"{name}: found {array.size} points, wanted 1 to {MAX_POINTS}")
    if not np.isfinite(array).all():
        index = int(np.flatnonzero(~np.isfinite(array))[0])
        raise ProfileFormatError(f"{name}: found {array[index]} at index {index}, wanted finite numbers")
    if array.min() < LEAST:
        index = int(np.flatnonzero(array < LEAST)[0])
        raise ProfileFormatError(
            f"{name}: found {array[index]:g} at index {index}, wanted more than 0, at least {LEAST:g}"
        )
    if array.max() > MAX_TOKENS:
        raise ProfileFormatError(f"{name}: found {array.max():g}, wanted at most {MAX_TOKENS:g}")
    array.flags.writeable = False
    return array


def _equal_lengths(columns: dict[str, Floats]) -> None:
    if len({column.size for column in columns.values()}) != 1:
        found = ", ".join(f"{name} {column.size}" for name, column in columns.items())
        raise ProfileFormatError(
            f"columns of one stage differ in length: found {found}, wanted equally many points"
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PrefillTable:
    """One row per measured prompt length; all arrays of shape (points,)."""

    isl_tokens: Floats
    ttft_ms: Floats
    throughput_per_gpu: Floats
    """Input tokens/s/GPU."""

    @classmethod
    def of(
        cls,
        *,
        isl_tokens: Sequence[float] | Floats,
        ttft_ms: Sequence[float] | Floats,
        throughput_per_gpu: Sequence[float] | Floats,
    ) -> Self:
        """Validate and keep the three columns.

        Raises:
            ProfileFormatError: a column is empty, not finite, not positive, or differs in length.
        """
        columns = {
            "prefill_isl": _column("prefill_isl", isl_tokens),
            "prefill_ttft": _column("prefill_ttft", ttft_ms),
            "prefill_thpt_per_gpu": _column("prefill_thpt_per_gpu", throughput_per_gpu),
        }
        _equal_lengths(columns)
        isl, ttft, throughput = columns.values()
        return cls(isl_tokens=isl, ttft_ms=ttft, throughput_per_gpu=throughput)

    def __len__(self) -> int:
        return int(self.isl_tokens.size)

    def by_isl(self) -> PrefillTable:
        """The same rows, sorted by prompt length (stable)."""
        order = np.argsort(self.isl_tokens, kind="stable")
        return self.take(order)

    def take(self, rows: npt.NDArray[np.int64]) -> PrefillTable:
        """The rows of these indices, in this order."""
        return PrefillTable.of(
            isl_tokens=self.isl_tokens[rows],
            ttft_ms=self.ttft_ms[rows],
            throughput_per_gpu=self.throughput_per_gpu[rows],
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DecodeTable:
    """One row per measured (load, context); scattered, not a grid; all arrays of shape (points,)."""

    kv_usage: Floats
    """Share of the KV cache in use, 0 to 1."""
    context_tokens: Floats
    """Mean tokens in the cache per request (ISL + OSL / 2)."""
    itl_ms: Floats
    throughput_per_gpu: Floats
    """Output tokens/s/GPU."""
    max_kv_tokens: float
    """Tokens that the KV cache of one replica holds."""

    @classmethod
    def of(
        cls,
        *,
        kv_usage: Sequence[float] | Floats,
        context_tokens: Sequence[float] | Floats,
        itl_ms: Sequence[float] | Floats,
        throughput_per_gpu: Sequence[float] | Floats,
        max_kv_tokens: float,
    ) -> Self:
        """Validate and keep the four columns and the size of the KV cache.

        Raises:
            ProfileFormatError: a column is empty, not finite, out of its range, or differs in length.
        """
        columns = {
            "x_kv_usage": _column("x_kv_usage", kv_usage),
            "y_context_length": _column("y_context_length", context_tokens),
            "z_itl": _column("z_itl", itl_ms),
            "z_thpt_per_gpu": _column("z_thpt_per_gpu", throughput_per_gpu),
        }
        _equal_lengths(columns)
        kv, context, itl, throughput = columns.values()
        if kv.max() > 1:
            raise ProfileFormatError(
                f"x_kv_usage: found {kv.max():g}, wanted shares of the KV cache from 0 to 1"
            )
        size = _column("max_kv_tokens", [max_kv_tokens])
        return cls(
            kv_usage=kv,
            context_tokens=context,
            itl_ms=itl,
            throughput_per_gpu=throughput,
            max_kv_tokens=float(size[0]),
        )

    def __len__(self) -> int:
        return int(self.kv_usage.size)

    @property
    def concurrency(self) -> Floats:
        """Requests in flight on one replica, per row."""
        return self.kv_usage * self.max_kv_tokens / self.context_tokens

    def take(self, rows: npt.NDArray[np.int64]) -> DecodeTable:
        """The rows of these indices, in this order."""
        return DecodeTable.of(
            kv_usage=self.kv_usage[rows],
            context_tokens=self.context_tokens[rows],
            itl_ms=self.itl_ms[rows],
            throughput_per_gpu=self.throughput_per_gpu[rows],
            max_kv_tokens=self.max_kv_tokens,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProfileTables:
    """Both stages as measured; a stage that was not profiled is absent."""

    prefill: PrefillTable | None
    decode: DecodeTable | None

    def __post_init__(self) -> None:
        if self.prefill is None and self.decode is None:
            raise ProfileFormatError("found neither stage, wanted a prefill table, a decode table or both")
