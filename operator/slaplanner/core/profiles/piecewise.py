"""Piecewise cubics with look-ups of a microsecond: scipy's cost ten, and a plan asks for hundreds."""

from __future__ import annotations

from bisect import bisect_right

import numpy as np
from scipy.interpolate import CubicSpline, PchipInterpolator

from slaplanner.core.arrays import Floats


class PiecewiseCubic:
    """A scipy piecewise cubic, evaluated inside its knots."""

    __slots__ = ("_arrays", "_coefficients", "_knots")

    def __init__(self, spline: CubicSpline | PchipInterpolator) -> None:
        self._knots: list[float] = spline.x.tolist()
        self._coefficients: list[list[float]] = spline.c.T.tolist()
        self._arrays: tuple[Floats, Floats] = spline.x, spline.c
        """The same, for many look-ups at once."""

    @classmethod
    def shape_preserving(cls, x: Floats, y: Floats) -> PiecewiseCubic:
        """PCHIP: keeps rises and falls, never leaves the range of two neighbours; at least two points."""
        return cls(PchipInterpolator(x, y))

    @classmethod
    def not_a_knot(cls, x: Floats, y: Floats) -> PiecewiseCubic:
        """The cubic spline of `interp1d(kind="cubic")`; at least four points."""
        return cls(CubicSpline(x, y, bc_type="not-a-knot"))

    def __call__(self, x: float) -> float:
        """The value at *x*, which must lie within the knots."""
        return self.on(min(max(bisect_right(self._knots, x) - 1, 0), len(self._coefficients) - 1), x)

    def row(self, x: Floats) -> Floats:
        """The values at many *x*, which lie within the knots or go on with the last piece."""
        knots, coefficients = self._arrays
        piece = np.minimum(knots.searchsorted(x, side="right") - 1, knots.size - 2)
        t = x - knots.take(piece)
        c3, c2, c1, c0 = coefficients.take(piece, axis=1)
        values: Floats = ((c3 * t + c2) * t + c1) * t + c0
        return values

    def on(self, piece: int, x: float) -> float:
        """The value at *x* by the cubic of *piece*, which begins with the knot of this number."""
        t = x - self._knots[piece]
        c3, c2, c1, c0 = self._coefficients[piece]
        return ((c3 * t + c2) * t + c1) * t + c0
