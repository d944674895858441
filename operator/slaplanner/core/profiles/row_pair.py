"""Two neighbouring rows of decode measurements, and the curve at any context between them."""

from __future__ import annotations

import numpy as np

from slaplanner.core.profiles.load_curve import LoadCurve
from slaplanner.core.profiles.measured_row import MeasuredRow, room


class RowPair:
    """Two rows read at the loads of both, prepared so that a context costs few operations.

    Figures are kept as (of the lower row, what is added on the way to the upper one), arrays over load.
    """

    __slots__ = (
        "_excess",
        "_gpus",
        "_itl_bounds",
        "_last_measured",
        "_light",
        "_load",
        "_lower",
        "_max_kv_tokens",
        "_throughput_bounds",
        "_upper",
    )

    def __init__(self, lower: MeasuredRow, upper: MeasuredRow, *, max_kv_tokens: float) -> None:
        """*upper* has the longer context, or is *lower* itself: then the pair serves what lies beyond."""
        load = np.union1d(lower.load, upper.load)
        itl = lower.itl_at(load), upper.itl_at(load)
        excess = itl[0] - itl[0][0], itl[1] - itl[1][0]
        gpus = lower.gpus_at(load), upper.gpus_at(load)
        throughput = lower.throughput_at(load), upper.throughput_at(load)
        self._lower, self._upper = lower.context_tokens, upper.context_tokens
        self._max_kv_tokens = max_kv_tokens
        self._load = load
        self._light = float(itl[0][0]), float(itl[1][0] - itl[0][0])
        self._excess = excess[0], excess[1] - excess[0]
        self._gpus = gpus[0], gpus[1] - gpus[0]
        self._itl_bounds = np.minimum(*itl), np.maximum(*itl)
        self._throughput_bounds = np.minimum(*throughput), np.maximum(*throughput)
        self._last_measured = (
            lower.last_measured_load,
            upper.last_measured_load - lower.last_measured_load,
        )

    def curve_at(self, context_tokens: float) -> LoadCurve:
        """The curve at a context from the lower row's on; beyond the upper row, the upper row's.

        Between the rows no figure leaves the range that the two rows have at the same load. Beyond
        them ITL is the row's at the same load, carried by fewer requests.
        """
        by_length = by_rate = 0.0
        if self._lower < self._upper:
            by_length = (context_tokens - self._lower) / (self._upper - self._lower)
            by_rate = (1 / self._lower - 1 / context_tokens) / (1 / self._lower - 1 / self._upper)
        beside = room(context_tokens, max_kv_tokens=self._max_kv_tokens)
        concurrency = 1 + self._load * beside
        itl = self._light[0] + by_length * self._light[1] + self._excess[0] + by_rate * self._excess[1]
        itl = np.minimum(np.maximum(itl, self._itl_bounds[0]), self._itl_bounds[1])
        throughput = 1000 * concurrency / (itl * (self._gpus[0] + by_length * self._gpus[1]))
        throughput = np.minimum(throughput, self._throughput_bounds[1])
        if context_tokens <= self._upper:
            throughput = np.maximum(throughput, self._throughput_bounds[0])
        last = self._last_measured[0] + by_rate * self._last_measured[1]
        return LoadCurve(
            concurrency=concurrency,
            itl_ms=itl,
            throughput_per_gpu=throughput,
            last_measured=1 + last * beside,
        )
