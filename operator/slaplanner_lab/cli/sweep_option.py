"""`--sweep ttft=500,1000,itl=20,30,budget=16`: which policies a simulation tries."""

from __future__ import annotations

import math

import click

from slaplanner_lab.simulation.sweep import Axis

Axes = dict[Axis, tuple[float, ...]]


def _axes(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> Axes:
    """Figures up to the next name belong to the name before them."""
    axes: dict[Axis, list[float]] = {}
    figures: list[float] | None = None
    for part in ",".join(values).split(",") if values else ():
        name, named, figure = part.strip().rpartition("=")
        if named:
            if name not in list(Axis) or Axis(name) in axes:
                raise click.BadParameter(
                    f"found {part!r}, wanted each of ttft=, itl= and budget= at most once"
                )
            figures = axes.setdefault(Axis(name), [])
        try:
            number = float(figure)
        except ValueError:
            number = math.nan
        if figures is None or not (math.isfinite(number) and number > 0.0):
            raise click.BadParameter(f"found {part!r}, wanted numbers above 0 as in ttft=500,1000,itl=20,30")
        figures.append(number)
    return {axis: tuple(dict.fromkeys(found)) for axis, found in axes.items()}


sweep_option = click.option(
    "--sweep",
    multiple=True,
    callback=_axes,
    metavar="AXES",
    help="Try every combination, as in ttft=500,1000,2000,itl=20,30,budget=16,32 (ms and GPUs): what each costs.",
)
against_option = click.option(
    "--against",
    "other_files",
    multiple=True,
    metavar="POLICY.yaml",
    help="Another policy on the same trace and fleet, in one table with -f; may be repeated.",
)
price_option = click.option(
    "--gpu-hour-price",
    "price",
    type=click.FloatRange(min=0.0, min_open=True),
    help="What a GPU costs per hour: GPU-hours are shown in money, too.",
)
