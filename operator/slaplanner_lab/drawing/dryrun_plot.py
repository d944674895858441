"""A dry-run as a picture of four panels: requests, lengths, and per role its load, room and replicas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from slaplanner.core.arrays import Floats
from slaplanner.core.model import Role
from slaplanner_lab.drawing.palette import (
    ARRIVED,
    ARRIVED_AREA,
    ARRIVED_WORD,
    BOUND_WORD,
    FORECAST,
    FORECAST_WORD,
    GRID,
    HIGHLIGHT,
    INK,
    LIMIT,
    PAPER,
    ROLE,
    SAFE,
)
from slaplanner_lab.dryrun import DryRun

_TITLES = {Role.PREFILL: "Prefill", Role.DECODE: "Decode", Role.AGG: "Aggregated workers"}
_TOKENS = {Role.PREFILL: "input tokens/s", Role.DECODE: "output tokens/s", Role.AGG: "tokens/s"}


LEAST_POINTS = 2
"""Of a picture; with more, the last interval is left out."""


def plot(run: DryRun, *, title: str, path: Path) -> None:
    """Draw *run*; the suffix of *path* is the format. Where the mode has one role, GPUs are the fourth panel.

    Raises:
        ImportError: matplotlib is not installed (the extra `plot`).
        ValueError: the suffix is no format of matplotlib's.
        OSError: the file cannot be written.
    """
    from matplotlib import rc_context  # noqa: PLC0415 - an extra

    # Without a date and with a salt the same run draws the same SVG.
    metadata = {"Date": None} if path.suffix.lower() == ".svg" else None
    with rc_context({"svg.hashsalt": "slaplanner"}):
        figure_of(run, title=title).savefig(path, dpi=130, metadata=metadata)


def figure_of(run: DryRun, *, title: str) -> Any:
    """The picture as matplotlib's figure, not written anywhere.

    The last interval is left out where others remain: the trace ends inside of it, so its load is no load.

    Raises:
        ImportError: matplotlib is not installed (the extra `plot`).
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra

    figure = Figure(figsize=(14, 8.4), facecolor=PAPER)
    grid = figure.add_gridspec(
        2, 2, left=0.06, right=0.985, bottom=0.065, top=0.855, wspace=0.15, hspace=0.34
    )
    told = _subtitle(run)
    if len(run.points) > LEAST_POINTS:
        run = replace(run, points=run.points[:-1])
    clock = _Clock(run)
    _draw_requests(figure.add_subplot(grid[0, 0]), run, clock)
    _draw_lengths(figure, grid[0, 1], run, clock)
    roles = run.policy.mode.roles
    for column, role in enumerate(roles):
        _draw_role(figure, grid[1, column], run, role, clock)
    if len(roles) == 1:
        _draw_gpus(figure.add_subplot(grid[1, 1]), run, clock)
    figure.text(0.012, 0.955, title, fontsize=15, fontweight="bold", color=INK)
    figure.text(0.012, 0.922, told, fontsize=10, color=INK)
    return figure


def _subtitle(run: DryRun) -> str:
    hours, policy = run.gpu_hours, run.policy
    each = ", ".join(f"{role.value} {figure:,.1f}" for role, figure in hours.items())
    most = max(point.gpus for point in run.points)
    budget = "" if policy.gpu_budget is None else f", budget {policy.gpu_budget}"
    return (
        f"TTFT {policy.sla.ttft_ms:g} ms, ITL {policy.sla.itl_ms:g} ms; planned every {_duration(run.interval_s)} "
        f"by {policy.sizing.value} with {policy.predictor.type.value}{budget}: {sum(hours.values()):,.1f} GPU-hours "
        f"({each}), at most {most} {'GPU' if most == 1 else 'GPUs'}"
    )


def _duration(seconds: float) -> str:
    return f"{seconds / 60:g} min" if seconds >= 60 else f"{seconds:g} s"


class _Clock:
    """Edges of the intervals in a unit that suits the length of the run; warm-up before 0."""

    def __init__(self, run: DryRun) -> None:
        before, after = len(run.warm_up), len(run.points)
        span_s = run.interval_s * (before + after)
        units = (("days", 86_400.0, 3), ("hours", 3600.0, 3), ("minutes", 60.0, 3), ("seconds", 1.0, 0))
        self.unit, length_s = next((name, unit) for name, unit, least in units if span_s >= least * unit)
        edges: Floats = np.arange(-before, after + 1, dtype=np.float64) * (run.interval_s / length_s)
        self.all = edges
        """With the warm-up."""
        self.run = edges[before:]

    def dress(self, axes: Any, *, last: bool = True) -> None:
        """Limits, grid, and the warm-up told apart."""
        axes.set_xlim(self.all[0], self.all[-1])
        axes.set_ylim(bottom=0)
        if self.all[0] < 0:
            axes.axvspan(self.all[0], 0, color=HIGHLIGHT, alpha=0.4, linewidth=0, zorder=0)
        axes.grid(visible=True, axis="y", color=GRID, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8.5, colors=INK, labelbottom=last)
        axes.xaxis.get_major_locator().set_params(nbins=9, steps=(1, 1.5, 3, 6, 10))
        axes.yaxis.set_major_formatter(lambda value, _: _short(value))
        if last:
            axes.set_xlabel(f"{self.unit} from the start of the trace", fontsize=8.5, color=INK)


def _short(value: float) -> str:
    """Thousands and millions as k and M.

    >>> [_short(value) for value in (0, 950, 1500, 20000, 3000000)]
    ['0', '950', '1.5k', '20k', '3M']
    """
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def _title(axes: Any, text: str) -> None:
    axes.set_title(text, loc="left", fontsize=10.5, color=INK, pad=22)


def _legend(axes: Any) -> None:
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.008, 0.985),
        fontsize=8.5,
        frameon=False,
        ncols=5,
        handlelength=1.5,
        columnspacing=1.4,
        labelcolor=INK,
    )


def _arrived(axes: Any, edges: Floats, values: Sequence[float], label: str = ARRIVED_WORD) -> None:
    axes.stairs(values, edges, fill=True, color=ARRIVED_AREA)
    axes.stairs(values, edges, baseline=None, color=ARRIVED, linewidth=1.0, label=label)


def _forecast(axes: Any, edges: Floats, values: Sequence[float]) -> None:
    axes.stairs(
        values, edges, baseline=None, color=FORECAST, linewidth=1.2, label=FORECAST_WORD, linestyle="--"
    )


def _draw_requests(axes: Any, run: DryRun, clock: _Clock) -> None:
    per_s = 1 / run.interval_s
    loads = [*run.warm_up, *(point.seen for point in run.points)]
    _arrived(axes, clock.all, [load.requests * per_s for load in loads])
    _forecast(axes, clock.run, [point.forecast.requests * per_s for point in run.points])
    _title(axes, "Requests per second")
    clock.dress(axes)
    _legend(axes)
    if run.warm_up:
        axes.annotate(
            "warm-up",
            (clock.all[0] / 2, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, -11),
            textcoords="offset points",
            ha="center",
            fontsize=8.5,
            color=INK,
        )


def _draw_lengths(figure: Any, cell: Any, run: DryRun, clock: _Clock) -> None:
    upper, lower = _split(figure, cell, ratios=(1, 1))
    loads = [*run.warm_up, *(point.seen for point in run.points)]
    for axes, name, field in ((upper, "ISL", "isl_tokens"), (lower, "OSL", "osl_tokens")):
        _arrived(axes, clock.all, [_or_nan(getattr(load, field)) for load in loads])
        _forecast(axes, clock.run, [_or_nan(getattr(point.forecast, field)) for point in run.points])
        clock.dress(axes, last=axes is lower)
        axes.set_ylabel(name, fontsize=9, color=INK)
    _title(upper, "Mean lengths in tokens: input (ISL) and output (OSL)")
    _legend(upper)


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value


def _draw_role(figure: Any, cell: Any, run: DryRun, role: Role, clock: _Clock) -> None:
    axes, strip = _split(figure, cell, ratios=(2.6, 1))
    points = [point.roles[role] for point in run.points]
    load = np.array([point.load_tokens_s for point in points])
    safe = np.array([point.safe_tokens_s for point in points])
    before = [warm_up.tokens(role) / run.interval_s for warm_up in run.warm_up]
    _arrived(axes, clock.all, [*before, *load.tolist()])
    if (load > safe).any():
        axes.stairs(
            np.maximum(load, safe),
            clock.run,
            baseline=safe,
            fill=True,
            color=LIMIT,
            alpha=0.55,
            label="more than is safe",
        )
    bound = [_or_nan(point.sized_for_tokens_s) for point in points]
    if np.isfinite(bound).any():
        axes.stairs(
            bound,
            clock.run,
            baseline=None,
            color=FORECAST,
            linewidth=1.2,
            linestyle=":",
            label=BOUND_WORD,
        )
    axes.stairs(safe, clock.run, baseline=None, color=SAFE, linewidth=1.3, label="safe throughput")
    clock.dress(axes, last=False)
    short = run.short(role)
    told = "always within" if not short else f"{short} of {len(points)} intervals above"
    _title(axes, f"{_TITLES[role]}: {_TOKENS[role]}, {told} its safe throughput")
    _legend(axes)
    replicas = [point.replicas for point in points]
    strip.stairs(replicas, clock.run, fill=True, color=ROLE[role], alpha=0.22)
    strip.stairs(replicas, clock.run, baseline=None, color=ROLE[role], linewidth=1.3)
    clock.dress(strip)
    strip.set_ylabel("replicas", fontsize=9, color=INK)
    strip.set_ylim(0, 1.15 * max(1, *replicas))
    strip.yaxis.get_major_locator().set_params(integer=True, nbins=4)


def _draw_gpus(axes: Any, run: DryRun, clock: _Clock) -> None:
    gpus = [point.gpus for point in run.points]
    axes.stairs(gpus, clock.run, fill=True, color=INK, alpha=0.22)
    axes.stairs(gpus, clock.run, baseline=None, color=INK, linewidth=1.3, label="held")
    if run.policy.gpu_budget is not None:
        axes.axhline(run.policy.gpu_budget, color=INK, linewidth=1.0, linestyle="--", label="budget")
    _title(axes, "GPUs")
    clock.dress(axes)
    axes.set_ylim(0, 1.15 * max(*gpus, run.policy.gpu_budget or 1))
    axes.yaxis.get_major_locator().set_params(integer=True)
    _legend(axes)


def _split(figure: Any, cell: Any, *, ratios: tuple[float, float]) -> tuple[Any, Any]:
    """Two axes above each other in one panel, on the same time."""
    inner = cell.subgridspec(2, 1, height_ratios=ratios, hspace=0.12)
    upper = figure.add_subplot(inner[0])
    return upper, figure.add_subplot(inner[1], sharex=upper)
