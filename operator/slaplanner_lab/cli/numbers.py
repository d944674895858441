"""Numbers of the command line: finite ones, within what makes sense."""

from __future__ import annotations

import math
from typing import Any

import click

LONGEST_S = 366 * 86_400.0
"""A year; what is longer is a mistake of the unit."""

MOST_REPLICAS = 1_000_000


class FiniteRange(click.FloatRange):
    """A range that NaN is not in: no comparison with it is true, so click's own lets it pass."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number", param, ctx)
        return number


SECONDS = FiniteRange(0.0, LONGEST_S)
INTERVAL = FiniteRange(0.001, LONGEST_S)
"""Seconds of a planning interval."""
REPLICAS = click.IntRange(0, MOST_REPLICAS)
