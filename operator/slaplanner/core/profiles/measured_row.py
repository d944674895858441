"""The decode measurements at one context length, read over load.

Load is how full the KV cache is between one request alone and no room for another: with
concurrency n and context c, (n - 1) / (max_kv_tokens / c - 1). It runs from 0 to 1 at every context,
so rows of short and of long contexts can be compared over all of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from slaplanner.core.arrays import Floats
from slaplanner.core.profiles.isotonic import never_falling
from slaplanner.core.profiles.tables import DecodeTable

SAME_CONTEXT = 0.05
"""Relative difference up to which contexts belong to one row. Sweeps step by 10 % and more."""

LEAST_ROOM = 0.01
"""Requests beside one; keeps load defined for contexts that fill the whole cache."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeasuredRow:
    """One context length; arrays of shape (points,), load rising strictly, ITL never falling."""

    context_tokens: float
    concurrency: Floats
    load: Floats
    itl_ms: Floats
    throughput: Floats
    """Output tokens/s/GPU."""
    last_measured_load: float
    """The highest load that was measured; points beyond it were completed from other rows."""

    @property
    def gpus(self) -> Floats:
        """GPUs per replica that concurrency, ITL and throughput imply together."""
        return 1000 * self.concurrency / (self.itl_ms * self.throughput)

    def itl_at(self, load: Floats) -> Floats:
        """ITL at *load*; outside the row, that of its first or last point."""
        return np.interp(load, self.load, self.itl_ms)

    def gpus_at(self, load: Floats) -> Floats:
        """Implied GPUs at *load*; outside the row, those of its first or last point."""
        return np.interp(load, self.load, self.gpus)

    def throughput_at(self, load: Floats) -> Floats:
        """Throughput at *load*, between its neighbouring points; outside, that of the first or last one."""
        concurrency = np.interp(load, self.load, self.concurrency)
        throughput = 1000 * concurrency / (self.itl_at(load) * self.gpus_at(load))
        after = np.clip(np.searchsorted(self.load, load, side="left"), 0, self.load.size - 1)
        before = np.clip(np.searchsorted(self.load, load, side="right") - 1, 0, self.load.size - 1)
        low = np.minimum(self.throughput[before], self.throughput[after])
        high = np.maximum(self.throughput[before], self.throughput[after])
        return np.clip(throughput, low, high)


def room(context_tokens: float, *, max_kv_tokens: float) -> float:
    """How many further requests fit beside one; at least a hundredth, also where not even one fits."""
    return max(max_kv_tokens / context_tokens - 1, LEAST_ROOM)


def measured_rows(table: DecodeTable) -> list[MeasuredRow]:
    """The rows of *table* by rising context; points of equal load are replaced by their mean."""
    contexts = np.sort(table.context_tokens)
    rows = []
    first = 0
    for last in range(len(contexts)):
        if last + 1 == len(contexts) or contexts[last + 1] > contexts[first] * (1 + SAME_CONTEXT):
            inside = (table.context_tokens >= contexts[first]) & (table.context_tokens <= contexts[last])
            rows.append(_row(table.take(np.flatnonzero(inside))))
            first = last + 1
    return rows


def _row(points: DecodeTable) -> MeasuredRow:
    context = float(points.context_tokens.mean())
    beside = room(context, max_kv_tokens=points.max_kv_tokens)
    # From the KV usage, which is what costs time, where the contexts of a row differ a little. Less
    # than one request cannot have run: such a point is one that ran alone, now and then.
    concurrency = np.maximum(points.kv_usage * points.max_kv_tokens / context, 1.0)
    load, group = np.unique((concurrency - 1) / beside, return_inverse=True)
    count = np.bincount(group)
    return MeasuredRow(
        context_tokens=context,
        concurrency=1 + load * beside,
        load=load,
        itl_ms=np.array(never_falling((np.bincount(group, points.itl_ms) / count).tolist())),
        throughput=np.bincount(group, points.throughput_per_gpu) / count,
        last_measured_load=float(load[-1]),
    )
