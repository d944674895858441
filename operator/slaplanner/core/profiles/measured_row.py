"""The decode measurements at one context length, read over load.

Load is the share of the KV cache in use beyond one request: (n - 1) c / max_kv_tokens for
concurrency n and context c. It is 0 for every row where one request runs alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from slaplanner.core.profiles.isotonic import never_falling
from slaplanner.core.profiles.tables import DecodeTable, FloatArray

ALONE = 1.5
"""Concurrency up to which a row's first point counts as one request alone."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeasuredRow:
    """One context length; arrays of shape (points,), load rising strictly, ITL never falling."""

    context_tokens: float
    concurrency: FloatArray
    load: FloatArray
    itl_ms: FloatArray
    throughput: FloatArray
    """Output tokens/s/GPU, as measured."""

    @property
    def gpus(self) -> FloatArray:
        """GPUs per replica that concurrency, ITL and throughput imply together."""
        return 1000 * self.concurrency / (self.itl_ms * self.throughput)

    def itl_at(self, load: FloatArray) -> FloatArray:
        """ITL at *load*; outside the row, that of its first or last point."""
        return np.interp(load, self.load, self.itl_ms)

    def gpus_at(self, load: FloatArray) -> FloatArray:
        """Implied GPUs at *load*; outside the row, those of its first or last point."""
        return np.interp(load, self.load, self.gpus)

    def throughput_at(self, load: FloatArray) -> FloatArray:
        """Throughput at *load*, between its neighbouring measurements; outside, the first or last one."""
        concurrency = np.interp(load, self.load, self.concurrency)
        throughput = 1000 * concurrency / (self.itl_at(load) * self.gpus_at(load))
        after = np.clip(np.searchsorted(self.load, load, side="left"), 0, self.load.size - 1)
        before = np.clip(np.searchsorted(self.load, load, side="right") - 1, 0, self.load.size - 1)
        low = np.minimum(self.throughput[before], self.throughput[after])
        high = np.maximum(self.throughput[before], self.throughput[after])
        return np.clip(throughput, low, high)


def measured_rows(table: DecodeTable) -> list[MeasuredRow]:
    """The rows of *table* by rising context, points of equal load replaced by their mean.

    A row that lacks one request alone gets it from the rows on both sides, where they have it, so
    that all rows start at the same load.
    """
    rows = [_row(table, context) for context in np.unique(table.context_tokens).tolist()]
    alone = [row for row in rows if row.concurrency[0] <= ALONE]
    return [_started_alone(row, alone) for row in rows]


def _row(table: DecodeTable, context: float) -> MeasuredRow:
    rows = table.take(np.flatnonzero(table.context_tokens == context))
    concurrency, group = np.unique(rows.concurrency, return_inverse=True)
    count = np.bincount(group)
    return MeasuredRow(
        context_tokens=context,
        concurrency=concurrency,
        load=(concurrency - 1) * context / table.max_kv_tokens,
        itl_ms=np.array(never_falling((np.bincount(group, rows.itl_ms) / count).tolist())),
        throughput=np.bincount(group, rows.throughput_per_gpu) / count,
    )


def _started_alone(row: MeasuredRow, alone: list[MeasuredRow]) -> MeasuredRow:
    if row in alone or not alone:
        return row
    contexts = [other.context_tokens for other in alone]
    if not contexts[0] < row.context_tokens < contexts[-1]:
        return row
    itl = float(np.interp(row.context_tokens, contexts, [other.itl_ms[0] for other in alone]))
    throughput = float(np.interp(row.context_tokens, contexts, [other.throughput[0] for other in alone]))
    return replace(
        row,
        concurrency=np.concatenate(([1.0], row.concurrency)),
        load=np.concatenate(([0.0], row.load)),
        itl_ms=np.concatenate(([min(itl, float(row.itl_ms[0]))], row.itl_ms)),
        throughput=np.concatenate(([throughput], row.throughput)),
    )
