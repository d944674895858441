"""What all plots of the report share: their style, their margins, their time axis, logarithmic labels."""

from __future__ import annotations

import html
import io
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from slaplanner.core.arrays import Floats
from slaplanner_lab.drawing.palette import DARK, FAINT, GRID, INK, PAPER, as_variable
from slaplanner_lab.simulation.loop import Run

STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 9,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": FAINT,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.axisbelow": True,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "axes.grid": True,
    "grid.color": GRID,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "slaplanner",
}
WIDTH_IN = 10.0
LEFT_IN, RIGHT_IN, TOP_IN, BOTTOM_IN, GAP_IN = 0.72, 0.15, 0.32, 0.5, 0.42
"""Margins of every figure, so that their time axes begin and end at the same place."""

LEGEND_IN = 0.28
"""More room at the top for each row of a legend that is too long to stand beside the title."""

LEAST_LABELLED = 0.07
"""Of the time axis: what is narrower has no room for its name."""


def styled() -> AbstractContextManager[None]:
    """Figures must be made and drawn inside of this."""
    style: AbstractContextManager[None] = mpl.rc_context(STYLE)
    return style


def svg(figure: Figure, *, title: str) -> str:
    """*figure* as an element of a page, in the page's colours; the same run draws the same text.

    Args:
        figure: drawn in the palette's colours.
        title: what it shows, for those who do not see it.
    """
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    drawn = text.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    for colour in DARK:
        drawn = drawn.replace(colour, as_variable(colour))
    words = html.escape(title)
    return drawn.replace("<svg", f'<svg role="img" aria-label="{words}"', 1)


def panels(rows: int, *, height_in: float, top_in: float = TOP_IN) -> tuple[Figure, list[Axes]]:
    """*rows* plots of that height above each other, with the margins of all figures."""
    total_in = top_in + rows * height_in + (rows - 1) * GAP_IN + BOTTOM_IN
    figure = Figure(figsize=(WIDTH_IN, total_in))
    found = figure.subplots(rows, 1, sharex=True, squeeze=False)
    figure.subplots_adjust(
        left=LEFT_IN / WIDTH_IN,
        right=1.0 - RIGHT_IN / WIDTH_IN,
        top=1.0 - top_in / total_in,
        bottom=BOTTOM_IN / total_in,
        hspace=GAP_IN / height_in,
    )
    return figure, list(found[:, 0])


def columns(count: int, *, height_in: float) -> tuple[Figure, list[Axes]]:
    """*count* plots of that height beside each other, each with axes of its own."""
    total_in = TOP_IN + height_in + BOTTOM_IN
    figure = Figure(figsize=(WIDTH_IN, total_in))
    found = figure.subplots(1, count, squeeze=False)
    figure.subplots_adjust(
        left=LEFT_IN / WIDTH_IN,
        right=1.0 - RIGHT_IN / WIDTH_IN,
        top=1.0 - TOP_IN / total_in,
        bottom=BOTTOM_IN / total_in,
        wspace=0.16,
    )
    return figure, list(found[0])


def finished(figure: Figure, axes: Sequence[Axes], run: Run) -> Figure:
    axes[-1].set_xlabel("hours" if unit_seconds(run) > 60.0 else "minutes")
    axes[-1].xaxis.set_major_locator(MaxNLocator(nbins=10, steps=(1, 2, 3, 5, 6, 10), integer=True))
    axes[-1].set_xlim(0, run.scenario.traffic.last_arrival_s / unit_seconds(run))
    unscored = run.scenario.unscored_s / unit_seconds(run)
    for axis in axes if unscored else ():
        axis.axvspan(0, unscored, color=FAINT, alpha=0.12, linewidth=0, zorder=0)
    if run.scenario.unscored_s >= LEAST_LABELLED * run.scenario.traffic.last_arrival_s:
        axes[0].annotate(
            "not scored",
            (unscored / 2, 0),
            xycoords=("data", "axes fraction"),
            xytext=(0, 4),
            textcoords="offset points",
            ha="center",
            fontsize=7.5,
            color=FAINT,
            bbox={"facecolor": PAPER, "alpha": 0.7, "edgecolor": "none", "pad": 1.5},
        )
    return figure


def legend(axis: Axes, *, left: bool = False, columns: int = 9) -> None:
    axis.legend(
        loc="lower left" if left else "lower right",
        bbox_to_anchor=(0.0, 1.025) if left else (1.0, 0.98),
        ncols=columns,
        borderaxespad=0.0,
        handlelength=1.6,
        columnspacing=1.5,
    )


def logarithmic(axis: Axes, values: Floats, target: float) -> None:
    shown = np.append(values[np.isfinite(values) & (values > 0.0)], target)
    low, high = float(shown.min()), float(shown.max())
    axis.set_yscale("log")
    axis.set_ylim(low / 1.15, high * 1.15)
    log_ticks(axis.yaxis, decades=float(np.log10(high / low)))


def log_ticks(axis: Any, *, decades: float) -> None:
    """So many labels that two or more are always there, and few enough to be read."""
    finer = (
        (0.5, (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)),
        (1.0, (1, 2, 3, 4, 5, 7)),
        (1.7, (1, 2, 5)),
        (3.2, (1, 3)),
    )
    subs = next((found for most, found in finer if decades < most), (1,))
    axis.set_major_locator(LogLocator(subs=subs, numticks=20))
    axis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axis.set_minor_formatter(NullFormatter())


def unit_seconds(run: Run) -> float:
    """Seconds of the time axis' unit: minutes for up to three hours, then hours."""
    return 60.0 if run.scenario.traffic.last_arrival_s <= 3 * 3600.0 else 3600.0
