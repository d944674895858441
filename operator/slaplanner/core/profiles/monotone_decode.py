"""`Monotone` for decode: ITL that never falls as load grows, never outside the measurements around.

The points were measured in rows: one context length c, rising concurrency n. On a row ITL is nearly
straight over the load while throughput bends; so ITL is what gets interpolated, linearly, and
throughput is computed from it: n / ITL / GPUs, where the GPUs are those that the neighbouring
measurements imply. Between two rows the same load is compared in both, where load is the share of
the KV cache in use beyond one request, (n - 1) c / max_kv_tokens. Reading the weights and the one
request costs what it costs at n = 1, which grows with c; every further request costs by load (its
cache) and by load / c (its own work). So the first part is interpolated over c and the excess over
1 / c, both exact for a replica that behaves so, and the sum is held between the two rows.

Outside the measured range `covers` is False. Above the last measured load of all rows around the
values hold: what does not fit into the cache waits, and the batch stays as it is. Below one request
ITL is that of one, and throughput shrinks with concurrency. Contexts shorter than the first row
read it at the same concurrency; longer than the last row, at the same load.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import lru_cache

from slaplanner.core.arrays import Floats
from slaplanner.core.profiles.completed_rows import completed
from slaplanner.core.profiles.grids import decode_grid
from slaplanner.core.profiles.load_curve import LoadCurve
from slaplanner.core.profiles.measured_row import measured_rows
from slaplanner.core.profiles.protocol import BestDecode, DecodeGrid
from slaplanner.core.profiles.row_pair import RowPair
from slaplanner.core.profiles.tables import DecodeTable

CURVES_KEPT = 128
"""Curves kept for the contexts asked last; a plan asks for a handful, a table for each row once."""


class MonotoneDecode:
    """ITL and throughput over (concurrency, context), from rows of measurements."""

    __slots__ = ("_contexts", "_curve", "_max_kv_tokens", "_pairs")

    def __init__(self, table: DecodeTable) -> None:
        rows = completed(measured_rows(table), max_kv_tokens=table.max_kv_tokens)
        self._max_kv_tokens = table.max_kv_tokens
        self._contexts = [row.context_tokens for row in rows]
        # The last row is also paired with itself, for contexts at and beyond it.
        self._pairs = [
            RowPair(low, high, max_kv_tokens=table.max_kv_tokens)
            for low, high in zip(rows, [*rows[1:], rows[-1]], strict=True)
        ]
        self._curve = lru_cache(maxsize=CURVES_KEPT)(self._curve_at)

    @property
    def max_kv_tokens(self) -> float:
        return self._max_kv_tokens

    @property
    def context_range(self) -> tuple[float, float]:
        return self._contexts[0], self._contexts[-1]

    def covers(self, *, concurrency: float, context_tokens: float) -> bool:
        inside = self._contexts[0] <= context_tokens <= self._contexts[-1]
        return inside and self._curve(context_tokens).covers(concurrency)

    def itl_ms(self, *, concurrency: float, context_tokens: float) -> float:
        return self._curve(context_tokens).itl_ms(concurrency)

    def itl_curve_ms(self, context_tokens: float) -> Callable[[float], float]:
        return self._curve(context_tokens).itl_ms

    def itl_row_ms(self, concurrency: Floats, *, context_tokens: float) -> Floats:
        return self._curve(context_tokens).itl_row_ms(concurrency)

    def throughput_per_gpu(self, *, concurrency: float, context_tokens: float) -> float:
        return self._curve(context_tokens).throughput_per_gpu(concurrency)

    def best(self, *, itl_ms: float, context_tokens: float) -> BestDecode:
        point = self._curve(context_tokens).best(itl_ms)
        return BestDecode(
            throughput_per_gpu=point.throughput_per_gpu,
            itl_ms=point.itl_ms,
            kv_usage=min(1.0, point.concurrency * context_tokens / self._max_kv_tokens),
            concurrency=point.concurrency,
            attained=point.itl_ms <= itl_ms,
        )

    def lowest_itl_ms(self, context_tokens: float) -> float:
        return self._curve(context_tokens).itl_ms(0.0)

    def tabulate(
        self,
        *,
        kv_usage: Sequence[float] | Floats | None = None,
        context_tokens: Sequence[float] | Floats | None = None,
    ) -> DecodeGrid:
        return decode_grid(self, kv_usage=kv_usage, context_tokens=context_tokens)

    def _curve_at(self, context_tokens: float) -> LoadCurve:
        """ITL and throughput over concurrency at one context."""
        context = max(context_tokens, self._contexts[0])
        return self._pairs[bisect_right(self._contexts, context) - 1].curve_at(context)
