"""`Monotone` for prefill: TTFT that never falls as prompts grow, throughput that follows from it.

Between two measured lengths TTFT is nearly straight while throughput bends sharply, so TTFT is what
gets interpolated (PCHIP, which keeps the shape of the points), and throughput is computed from it:
ISL / TTFT / GPUs, where the GPUs are those that the neighbouring measurements imply. Both stay
between their neighbouring measurements. A point that its neighbours contradict is set aside (see
`outliers`), not averaged in.

Outside the measured range `covers` is False. Shorter prompts take the TTFT of the shortest; longer
ones go on with the slope between the last two points, at least in proportion to their length.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np

from slaplanner.core.arrays import Floats
from slaplanner.core.profiles.grids import prefill_grid
from slaplanner.core.profiles.isotonic import never_falling
from slaplanner.core.profiles.outliers import contradicted
from slaplanner.core.profiles.piecewise import PiecewiseCubic
from slaplanner.core.profiles.protocol import PrefillGrid
from slaplanner.core.profiles.tables import PrefillTable


class MonotonePrefill:
    """Shape-preserving TTFT over ISL, and the throughput that follows from it."""

    __slots__ = ("_curve", "_gpus", "_isl", "_slope_beyond", "_throughput", "_ttft", "set_aside_isl_tokens")

    set_aside_isl_tokens: tuple[float, ...]
    """Measured lengths that were not used, because their neighbours contradict them."""

    def __init__(self, table: PrefillTable) -> None:
        rows = _distinct(table)
        aside = contradicted(rows.isl_tokens.tolist(), rows.ttft_ms.tolist())
        self.set_aside_isl_tokens = tuple(float(rows.isl_tokens[i]) for i in aside)
        rows = rows.take(np.array([i for i in range(len(rows)) if i not in aside]))
        self._isl: list[float] = rows.isl_tokens.tolist()
        self._ttft: list[float] = never_falling(rows.ttft_ms.tolist())
        self._throughput: list[float] = rows.throughput_per_gpu.tolist()
        self._gpus: list[float] = [
            1000 * isl / (ttft * throughput)
            for isl, ttft, throughput in zip(self._isl, self._ttft, self._throughput, strict=True)
        ]
        self._slope_beyond: float = self._ttft[-1] / self._isl[-1]
        self._curve: PiecewiseCubic | None = None
        if len(self._isl) > 1:
            self._curve = PiecewiseCubic.shape_preserving(rows.isl_tokens, np.array(self._ttft))
            last = (self._ttft[-1] - self._ttft[-2]) / (self._isl[-1] - self._isl[-2])
            self._slope_beyond = max(self._slope_beyond, last)

    @property
    def isl_range(self) -> tuple[float, float]:
        return self._isl[0], self._isl[-1]

    def covers(self, isl_tokens: float) -> bool:
        return self._isl[0] <= isl_tokens <= self._isl[-1]

    def ttft_ms(self, isl_tokens: float) -> float:
        if self._curve is None or isl_tokens <= self._isl[0]:
            return self._ttft[0] + self._slope_beyond * max(0.0, isl_tokens - self._isl[0])
        if isl_tokens >= self._isl[-1]:
            return self._ttft[-1] + self._slope_beyond * (isl_tokens - self._isl[-1])
        i = bisect_right(self._isl, isl_tokens) - 1
        # PCHIP keeps within the two knots but for the last bit.
        return min(max(self._curve.on(i, isl_tokens), self._ttft[i]), self._ttft[i + 1])

    def ttft_row_ms(self, isl_tokens: Floats) -> Floats:
        first, last = self.isl_range
        beyond = self._ttft[-1] + self._slope_beyond * np.maximum(isl_tokens - last, 0.0)
        if self._curve is None:
            return beyond
        return np.where(isl_tokens < last, self._curve.row(np.maximum(isl_tokens, first)), beyond)

    def throughput_per_gpu(self, isl_tokens: float) -> float:
        if isl_tokens <= self._isl[0]:
            return self._throughput[0] * max(isl_tokens, 0.0) / self._isl[0]
        if isl_tokens >= self._isl[-1]:
            return 1000 * isl_tokens / (self.ttft_ms(isl_tokens) * self._gpus[-1])
        i = bisect_right(self._isl, isl_tokens) - 1
        share = (isl_tokens - self._isl[i]) / (self._isl[i + 1] - self._isl[i])
        gpus = self._gpus[i] + share * (self._gpus[i + 1] - self._gpus[i])
        throughput = 1000 * isl_tokens / (self.ttft_ms(isl_tokens) * gpus)
        low, high = sorted(self._throughput[i : i + 2])
        return min(max(throughput, low), high)

    def tabulate(self, isl_tokens: Sequence[float] | Floats | None = None) -> PrefillGrid:
        return prefill_grid(self, isl_tokens)


def _distinct(table: PrefillTable) -> PrefillTable:
    """The rows sorted by length, those of one length replaced by their mean."""
    lengths, group = np.unique(table.isl_tokens, return_inverse=True)
    count = np.bincount(group)
    return PrefillTable.of(
        isl_tokens=lengths,
        ttft_ms=np.bincount(group, table.ttft_ms) / count,
        throughput_per_gpu=np.bincount(group, table.throughput_per_gpu) / count,
    )
