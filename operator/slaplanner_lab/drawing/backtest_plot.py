"""A backtest as a picture: the load, what was forecast, how high it was said to go, and who was right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from slaplanner.core.arrays import Floats
from slaplanner_lab.backtest import Backtest, MethodResult
from slaplanner_lab.drawing.palette import (
    ARRIVED,
    ARRIVED_AREA,
    ARRIVED_WORD,
    ASIDE,
    FORECAST,
    FORECAST_BOUND,
    FORECAST_WORD,
    GRID,
    HIGHLIGHT,
    INK,
    LIMIT,
    PAPER,
)

_CLOSE_UP = 180
"""Points of the close-ups: more cannot be told apart."""

_MOST_ROOM = 1.6
"""Height of a close-up over the load that arrived and its 90 % bound."""

_TITLES = {"requests": "Requests", "prefill": "Prefill load", "decode": "Decode load"}


def plot(result: Backtest, *, title: str, path: Path, has_lengths: bool = True) -> None:
    """Draw the first method of *result* beside the errors of all; the suffix of *path* is the format.

    Raises:
        ImportError: matplotlib is not installed (the extra `plot`).
        ValueError: the suffix is no format of matplotlib's.
    """
    figure_of(result, title=title, has_lengths=has_lengths).savefig(path, dpi=130)


def figure_of(result: Backtest, *, title: str, has_lengths: bool = True) -> Any:
    """The picture as matplotlib's figure, not written anywhere.

    Raises:
        ImportError: matplotlib is not installed (the extra `plot`).
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra

    figure = Figure(figsize=(13.5, 8.6), layout="constrained", facecolor=PAPER)
    grid = figure.add_gridspec(3, 2, width_ratios=[3.4, 1], height_ratios=[1, 1, 1])
    shown = result.outcomes[0]
    _draw_whole(figure.add_subplot(grid[0, 0]), result, shown)
    targets = ("prefill", "decode") if has_lengths else ("prefill",)
    for row, target in enumerate(targets, start=1):
        _draw_close_up(figure.add_subplot(grid[row, 0]), result, shown, target, has_lengths=has_lengths)
    _draw_errors(figure.add_subplot(grid[0, 1]), result, "requests", "WAPE of requests")
    panels = [("prefill", "WAPE of prefill load"), ("decode", "WAPE of decode load")]
    for row, (target, label) in enumerate(panels[: len(targets)] if has_lengths else [], start=1):
        _draw_errors(figure.add_subplot(grid[row, 1]), result, target, label)
    figure.suptitle(
        f"{title}: every {_duration(result.series.step_s)}, seen {_steps(result.horizon_steps)} ahead by {shown.method.name}",
        fontsize=13,
        fontweight="bold",
        color=INK,
        x=0.01,
        ha="left",
    )
    return figure


def _steps(number: int) -> str:
    return "1 step" if number == 1 else f"{number} steps"


def _duration(seconds: float) -> str:
    return f"{seconds / 60:g} min" if seconds >= 60 else f"{seconds:g} s"


def _times(result: Backtest) -> tuple[Floats, str]:
    """When each point is, from the start of the series, and the unit."""
    seconds: Floats = result.series.step_s * np.arange(1.0, len(result.series) + 1)
    for unit, length_s, least in (("days", 86_400.0, 3), ("hours", 3600.0, 3), ("minutes", 60.0, 0)):
        if seconds[-1] >= least * length_s:
            times: Floats = seconds / length_s
            return times, unit
    return seconds, "s"


def _draw_whole(axes: Any, result: Backtest, shown: MethodResult) -> None:
    times, unit = _times(result)
    per_s = 1 / result.series.step_s
    truth = result.truth["requests"] * per_s
    axes.fill_between(times, 0, truth, color=ARRIVED_AREA, linewidth=0)
    axes.plot(times, truth, color=ARRIVED, linewidth=0.8, label=ARRIVED_WORD)
    axes.plot(
        times,
        shown.at_horizon["requests"] * per_s,
        color=FORECAST,
        linewidth=1.0,
        label=f"{shown.method.name}, {_steps(result.horizon_steps)} before",
    )
    close = _close_up(result)
    axes.axvspan(times[close][0], times[close][-1], color=HIGHLIGHT, alpha=0.45, linewidth=0)
    axes.axvline(times[result.first_scored], color=INK, linewidth=0.7, linestyle=":")
    axes.annotate(
        "warm-up",
        (times[result.first_scored], 0.0),
        xycoords=("data", "axes fraction"),
        xytext=(-4, 4),
        textcoords="offset points",
        ha="right",
        va="bottom",
        fontsize=8,
        color=INK,
    )
    _dress(axes, f"{_TITLES['requests']} per second, the whole series (shaded: below, close up)", unit)
    axes.set_xlim(times[0], times[-1])
    axes.set_ylim(0, 1.05 * max(float(np.nanmax(truth, initial=0.0)), 1e-9))


def _draw_close_up(
    axes: Any, result: Backtest, shown: MethodResult, target: str, *, has_lengths: bool
) -> None:
    times, unit = _times(result)
    close = _close_up(result)
    per_s = 1 / result.series.step_s
    mean = shown.at_horizon[target][close] * per_s
    truth = result.truth[target][close] * per_s
    bounds = {level: bound[close] * per_s for level, bound in shown.upper[target].items()}
    low, high = bounds[0.9], bounds[0.99]
    at = times[close]
    axes.fill_between(
        at, mean, low, color=FORECAST_BOUND, alpha=0.65, linewidth=0, label="up to the 90 % bound"
    )
    axes.fill_between(
        at, low, high, color=FORECAST_BOUND, alpha=0.28, linewidth=0, label="up to the 99 % bound"
    )
    axes.plot(at, mean, color=FORECAST, linewidth=1.3, label=FORECAST_WORD)
    axes.plot(at, truth, color=INK, linewidth=0.9, marker=".", markersize=2.6, label=ARRIVED_WORD)
    above = truth > low
    axes.plot(
        at[above], truth[above], linestyle="none", marker="o", markersize=4.2, color=LIMIT, label="above 90 %"
    )
    score = shown.scores[target]
    what = f"{_TITLES[target]} in tokens per second" if has_lengths else "Requests per second"
    _dress(
        axes,
        f"{what}: {score.coverage[0.9]:.1%} of all points under the 90 % bound, {score.coverage[0.99]:.1%} under the 99 %",
        unit,
    )
    axes.set_xlim(at[0], at[-1])
    top = np.nanmax(np.concatenate([truth, low, [0.0]]))
    # The 99 % bound may lie far above; then it is cut, so that the rest can be read.
    highest = min(1.05 * float(np.nanmax(high, initial=0.0)), _MOST_ROOM * top)
    axes.set_ylim(0, max(highest, 1.05 * top) if top > 0 else 1)


def _close_up(result: Backtest) -> slice:
    """The last points."""
    length = len(result.series)
    return slice(max(result.first_scored, length - _CLOSE_UP), length)


def _draw_errors(axes: Any, result: Backtest, target: str, title: str) -> None:
    outcomes = result.outcomes[::-1]
    names = [outcome.method.name + (" *" if outcome.sampled else "") for outcome in outcomes]
    at = np.arange(len(outcomes))
    one = [outcome.scores[target].wape for outcome in outcomes]
    end = [outcome.scores[target].wape_horizon for outcome in outcomes]
    colours = [FORECAST if outcome is result.outcomes[0] else ASIDE for outcome in outcomes]
    axes.barh(at + 0.2, one, height=0.36, color=colours)
    axes.barh(at - 0.2, end, height=0.36, color=colours, alpha=0.55)
    most = np.nanmax([*one, *end, 1e-9])
    for place, value in [*zip(at + 0.2, one, strict=True), *zip(at - 0.2, end, strict=True)]:
        axes.text(value + 0.015 * most, place, f"{value:.3f}", va="center", fontsize=7.5, color=INK)
    axes.set_yticks(at, names, fontsize=8.5)
    axes.set_xlim(0, 1.22 * most)
    axes.set_ylim(-0.6, len(outcomes) - 0.4)
    _dress(axes, title, "")
    axes.grid(visible=False)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    note = f"upper bar: 1 step ahead, lower: {result.horizon_steps}"
    if any(outcome.sampled for outcome in outcomes):
        note += "\n* on a sample of the points"
    axes.set_xlabel(note, fontsize=8, color=INK)


def _dress(axes: Any, title: str, unit: str) -> None:
    axes.set_title(title, loc="left", fontsize=10, color=INK, pad=22 if unit else 6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8.5, colors=INK)
    axes.grid(visible=True, axis="y", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    if unit:
        axes.set_xlabel(f"{unit} from the start", fontsize=8.5, color=INK)
        axes.yaxis.set_major_formatter(lambda value, _: _short(value))
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(-0.005, 0.99),
            fontsize=8,
            ncols=5,
            borderaxespad=0.2,
            handlelength=1.4,
            frameon=False,
        )


def _short(value: float) -> str:
    """A tick's label: 1500000 as 1.5 M."""
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{value / factor:g} {letter}"
    return f"{value:g}"
