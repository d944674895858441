"""`Cubic`: the profile as Dynamo's SLA planner reads it, equal to it in every figure.

Splines through the prefill points; for decode a cubic surface over the scattered points, sampled on
a 100 x 100 grid whose cells outside the hull take the nearest measurement, and looked up by nearest
cell. It overshoots where measurements bend sharply, down to negative throughput in Dynamo's own 70B
tables: it is here to compare with, and for users who want the planner they had.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.interpolate import griddata
from scipy.spatial import QhullError

from slaplanner.core.arrays import Floats
from slaplanner.core.errors import ProfileFormatError
from slaplanner.core.profiles.grids import decode_grid, prefill_grid
from slaplanner.core.profiles.piecewise import PiecewiseCubic
from slaplanner.core.profiles.protocol import BestDecode, DecodeGrid, PrefillGrid
from slaplanner.core.profiles.tables import DecodeTable, PrefillTable

RESOLUTION = 100
"""Cells per axis of Dynamo's decode grid."""

MIN_PREFILL_POINTS = 4
"""Of a cubic spline through points (not-a-knot)."""


class CubicPrefill:
    """Cubic splines over ISL, clipped to the measured range."""

    __slots__ = ("_isl_range", "_throughput", "_ttft")

    def __init__(self, table: PrefillTable) -> None:
        """Fit both splines.

        Raises:
            ProfileFormatError: fewer than four points, or two of the same length.
        """
        if len(table) < MIN_PREFILL_POINTS:
            raise ProfileFormatError(
                f"interpolation Cubic: found {len(table)} prefill points, wanted at least "
                f"{MIN_PREFILL_POINTS}; interpolation Monotone works with fewer"
            )
        rows = table.by_isl()
        if (np.diff(rows.isl_tokens) == 0).any():
            raise ProfileFormatError(
                "interpolation Cubic: found two prefill points of the same prefill_isl, wanted distinct "
                "lengths; interpolation Monotone takes their mean"
            )
        self._isl_range = (float(rows.isl_tokens[0]), float(rows.isl_tokens[-1]))
        self._ttft = PiecewiseCubic.not_a_knot(rows.isl_tokens, rows.ttft_ms)
        self._throughput = PiecewiseCubic.not_a_knot(rows.isl_tokens, rows.throughput_per_gpu)

    @property
    def isl_range(self) -> tuple[float, float]:
        return self._isl_range

    def covers(self, isl_tokens: float) -> bool:
        return self._isl_range[0] <= isl_tokens <= self._isl_range[1]

    def ttft_ms(self, isl_tokens: float) -> float:
        return self._ttft(self._clip(isl_tokens))

    def ttft_row_ms(self, isl_tokens: Floats) -> Floats:
        return self._ttft.row(np.minimum(np.maximum(isl_tokens, self._isl_range[0]), self._isl_range[1]))

    def throughput_per_gpu(self, isl_tokens: float) -> float:
        return self._throughput(self._clip(isl_tokens))

    def tabulate(self, isl_tokens: Sequence[float] | Floats | None = None) -> PrefillGrid:
        return prefill_grid(self, isl_tokens)

    def _clip(self, isl_tokens: float) -> float:
        return min(max(isl_tokens, self._isl_range[0]), self._isl_range[1])


class CubicDecode:
    """A cubic surface over (KV usage, context), looked up by nearest cell."""

    __slots__ = ("_context_range", "_itl", "_max_kv_tokens", "_throughput")

    def __init__(self, table: DecodeTable) -> None:
        """Fit both surfaces and sample them.

        Raises:
            ProfileFormatError: the points span no area.
        """
        self._max_kv_tokens = table.max_kv_tokens
        self._context_range = (float(table.context_tokens.min()), float(table.context_tokens.max()))
        surfaces = _sampled(table, np.column_stack((table.itl_ms, table.throughput_per_gpu)))
        self._itl, self._throughput = surfaces[..., 0], surfaces[..., 1]

    @property
    def max_kv_tokens(self) -> float:
        return self._max_kv_tokens

    @property
    def context_range(self) -> tuple[float, float]:
        return self._context_range

    def covers(self, *, concurrency: float, context_tokens: float) -> bool:
        return (
            self._context_range[0] <= context_tokens <= self._context_range[1]
            and 0 <= concurrency * context_tokens <= self._max_kv_tokens
        )

    def itl_ms(self, *, concurrency: float, context_tokens: float) -> float:
        return float(self._itl[self._cell(concurrency, context_tokens)])

    def itl_curve_ms(self, context_tokens: float) -> Callable[[float], float]:
        return lambda concurrency: self.itl_ms(concurrency=concurrency, context_tokens=context_tokens)

    def itl_row_ms(self, concurrency: Floats, *, context_tokens: float) -> Floats:
        kv_usage = np.clip(concurrency * context_tokens / self._max_kv_tokens, 0.0, 1.0)
        row: Floats = self._itl[self._row(context_tokens)]
        return row[np.rint(kv_usage * (RESOLUTION - 1)).astype(np.intp)]

    def throughput_per_gpu(self, *, concurrency: float, context_tokens: float) -> float:
        return float(self._throughput[self._cell(concurrency, context_tokens)])

    def best(self, *, itl_ms: float, context_tokens: float) -> BestDecode:
        row = self._row(context_tokens)
        within = np.flatnonzero(self._itl[row] <= itl_ms)
        cell = int(within[-1]) if within.size else 0
        kv_usage = cell / (RESOLUTION - 1)
        return BestDecode(
            throughput_per_gpu=float(self._throughput[row, cell]),
            itl_ms=float(self._itl[row, cell]),
            kv_usage=kv_usage,
            concurrency=kv_usage * self._max_kv_tokens / context_tokens if context_tokens > 0 else 0.0,
            attained=bool(within.size),
        )

    def lowest_itl_ms(self, context_tokens: float) -> float:
        return float(self._itl[self._row(context_tokens)].min())

    def tabulate(
        self,
        *,
        kv_usage: Sequence[float] | Floats | None = None,
        context_tokens: Sequence[float] | Floats | None = None,
    ) -> DecodeGrid:
        return decode_grid(self, kv_usage=kv_usage, context_tokens=context_tokens)

    def _cell(self, concurrency: float, context_tokens: float) -> tuple[int, int]:
        kv_usage = concurrency * context_tokens / self._max_kv_tokens
        return self._row(context_tokens), _nearest(kv_usage)

    def _row(self, context_tokens: float) -> int:
        return _nearest(context_tokens / self._context_range[1])


def _nearest(share: float) -> int:
    """The cell nearest to *share* of an axis; shares outside 0 to 1 take the edge."""
    return round(min(max(share, 0.0), 1.0) * (RESOLUTION - 1))


def _sampled(table: DecodeTable, values: Floats) -> Floats:
    """The cubic surfaces through *values* on the grid; holes take the nearest point.

    *values* has the shape (points, quantities), the result (context, kv, quantities).
    """
    points = np.column_stack((table.kv_usage, table.context_tokens))
    kv, context = np.meshgrid(
        np.linspace(0.0, 1.0, RESOLUTION), np.linspace(0.0, table.context_tokens.max(), RESOLUTION)
    )
    try:
        surfaces = griddata(points, values, (kv, context), method="cubic")
    except (QhullError, ValueError) as exc:
        raise ProfileFormatError(
            f"interpolation Cubic: found {len(table)} decode points that span no area, wanted several KV "
            "usages at several contexts; interpolation Monotone works with one context"
        ) from exc
    holes = np.isnan(surfaces[..., 0])
    surfaces[holes] = griddata(points, values, (kv[holes], context[holes]), method="nearest")
    return np.asarray(surfaces, dtype=np.float64)
