"""ITL and throughput of one replica over concurrency, at one context length."""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple

import numpy as np

from slaplanner.core.arrays import Floats


class OperatingPoint(NamedTuple):
    """Where a replica runs on its curve."""

    concurrency: float
    itl_ms: float
    throughput_per_gpu: float


class LoadCurve:
    """Piecewise linear ITL over concurrency that never falls, and the throughput that follows from it.

    Between two knots throughput is concurrency / ITL / GPUs with the GPUs that the knots imply,
    held between the knots' throughputs. Beyond the last knot its values hold; below the first, ITL
    holds and throughput is in proportion to concurrency.
    """

    __slots__ = ("_concurrency", "_itl", "_last_measured", "_row", "_throughput")

    def __init__(
        self,
        *,
        concurrency: Floats,
        itl_ms: Floats,
        throughput_per_gpu: Floats,
        last_measured: float,
    ) -> None:
        """`concurrency` rises strictly, `itl_ms` never falls; equally many knots of each, at least one."""
        # One figure is found sooner in a list, many at once in arrays.
        self._row = concurrency, itl_ms
        self._concurrency: list[float] = concurrency.tolist()
        self._itl: list[float] = itl_ms.tolist()
        self._throughput: list[float] = throughput_per_gpu.tolist()
        self._last_measured = last_measured

    def covers(self, concurrency: float) -> bool:
        """Whether this concurrency lies within the measured loads."""
        return self._concurrency[0] <= concurrency <= self._last_measured

    def itl_ms(self, concurrency: float) -> float:
        if concurrency <= self._concurrency[0]:
            return self._itl[0]
        if concurrency >= self._concurrency[-1]:
            return self._itl[-1]
        # The segment is found here, not by a call: plans ask a hundred times each.
        i = bisect_right(self._concurrency, concurrency)
        before, itl = self._concurrency[i - 1], self._itl[i - 1]
        share = (concurrency - before) / (self._concurrency[i] - before)
        return itl + share * (self._itl[i] - itl)

    def itl_row_ms(self, concurrency: Floats) -> Floats:
        """`itl_ms` at many loads at once, which differs from it in the last digit at most."""
        return np.interp(concurrency, *self._row)

    def throughput_per_gpu(self, concurrency: float) -> float:
        if concurrency <= self._concurrency[0]:
            return self._throughput[0] * max(concurrency, 0.0) / self._concurrency[0]
        if concurrency >= self._concurrency[-1]:
            return self._throughput[-1]
        i, share = self._segment(concurrency)
        itl = self._itl[i] + share * (self._itl[i + 1] - self._itl[i])
        gpus, next_gpus = self._gpus(i), self._gpus(i + 1)
        gpus += share * (next_gpus - gpus)
        low, high = sorted(self._throughput[i : i + 2])
        return min(max(1000 * concurrency / (itl * gpus), low), high)

    def best(self, itl_ms: float) -> OperatingPoint:
        """The best throughput among measured loads whose ITL is at or under *itl_ms*.

        A looser target never lowers it. With no such load: the lightest one.
        """
        edge = self._heaviest_within(itl_ms)
        # At the crossing ITL is the target but for the last bit of a division.
        at_edge = OperatingPoint(
            edge, min(self.itl_ms(edge), max(itl_ms, self._itl[0])), self.throughput_per_gpu(edge)
        )
        knots = bisect_right(self._concurrency, edge)
        i = max(range(knots), key=self._throughput.__getitem__)
        if self._throughput[i] <= at_edge.throughput_per_gpu:
            return at_edge
        return OperatingPoint(self._concurrency[i], self._itl[i], self._throughput[i])

    def _heaviest_within(self, itl_ms: float) -> float:
        """The highest measured concurrency whose ITL meets the target; the lowest one if none does."""
        end = max(min(self._last_measured, self._concurrency[-1]), self._concurrency[0])
        i = bisect_right(self._itl, itl_ms) - 1
        if i < 0:
            return self._concurrency[0]
        if i == len(self._itl) - 1 or self._concurrency[i] >= end:
            return end
        share = (itl_ms - self._itl[i]) / (self._itl[i + 1] - self._itl[i])
        crossing = self._concurrency[i] + share * (self._concurrency[i + 1] - self._concurrency[i])
        return min(crossing, end)

    def _gpus(self, knot: int) -> float:
        """GPUs that a knot's concurrency, ITL and throughput imply."""
        return 1000 * self._concurrency[knot] / (self._itl[knot] * self._throughput[knot])

    def _segment(self, concurrency: float) -> tuple[int, float]:
        """The segment that holds *concurrency* (strictly inside the knots) and the share of it passed."""
        i = bisect_right(self._concurrency, concurrency) - 1
        width = self._concurrency[i + 1] - self._concurrency[i]
        return i, (concurrency - self._concurrency[i]) / width
