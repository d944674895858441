"""A profile as a picture: both stages, the measured points and what is read between them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from slaplanner.core.model import Role
from slaplanner.core.profiles import (
    DecodeProfile,
    DecodeTable,
    PrefillProfile,
    PrefillTable,
    Profile,
    ProfileTables,
)
from slaplanner.core.profiles.outliers import contradicted
from slaplanner_lab.drawing.palette import GRID, INK, LIMIT, PAPER, ROLE

POINTS = 400
"""Along a curve."""

MOST_CONTEXTS = 8
"""Curves that a reader can tell apart; of more contexts, so many are drawn."""


def draw_profile(profile: Profile, tables: ProfileTables, *, path: Path, title: str, faults: int) -> None:
    """Draw what there is of both stages into *path*; the suffix says the format.

    Raises:
        OSError: the file cannot be written.
        ValueError: the format is not known.
    """
    stages = [stage for stage in (tables.prefill, tables.decode) if stage is not None]
    figure = Figure(figsize=(12, 4.4 * len(stages) + 0.6), layout="constrained", facecolor=PAPER)
    axes = figure.subplots(len(stages), 2, squeeze=False)
    for row, stage in zip(axes, stages, strict=True):
        if isinstance(stage, PrefillTable):
            _draw_prefill(row[0], row[1], stage.by_isl(), profile.prefill)
        else:
            _draw_decode(row[0], row[1], stage, profile.decode)
    noted = {0: "no faults found", 1: "1 fault found"}.get(faults, f"{faults} faults found")
    figure.suptitle(
        f"{title}\ninterpolation {profile.interpolation}, {noted}", fontsize=12, color=INK, ha="left", x=0.02
    )
    figure.savefig(path, dpi=130)


def _draw_prefill(left: Axes, right: Axes, table: PrefillTable, profile: PrefillProfile) -> None:
    grid = profile.tabulate(np.linspace(table.isl_tokens[0], table.isl_tokens[-1], POINTS))
    aside = np.zeros(len(table), dtype=bool)
    if (np.diff(table.isl_tokens) > 0).all():
        aside[list(contradicted(table.isl_tokens.tolist(), table.ttft_ms.tolist()))] = True
    for axes, measured, curve, label in (
        (left, table.ttft_ms, grid.ttft_ms, "TTFT (ms)"),
        (right, table.throughput_per_gpu, grid.throughput_per_gpu, "input tokens/s per GPU"),
    ):
        axes.plot(
            grid.isl_tokens, curve, color=ROLE[Role.PREFILL], linewidth=1.8, label="read by the planner"
        )
        axes.plot(
            table.isl_tokens[~aside], measured[~aside], "o", color=INK, markersize=4.5, label="measured"
        )
        if aside.any():
            axes.plot(
                table.isl_tokens[aside],
                measured[aside],
                "o",
                markerfacecolor="none",
                markeredgecolor=LIMIT,
                markersize=8,
                label="contradicted by its neighbours",
            )
        _dress(axes, x="ISL (tokens)", y=label)
        axes.set_ylim(bottom=min(0.0, float(curve.min()) * 1.05))
    left.set_title("Prefill: time to first token of one prompt", loc="left", fontsize=10.5)
    right.set_title("Prefill: throughput", loc="left", fontsize=10.5)
    left.legend(frameon=False, fontsize=9, loc="upper left")


def _draw_decode(left: Axes, right: Axes, table: DecodeTable, profile: DecodeProfile) -> None:
    contexts = np.unique(table.context_tokens)
    left_out = f",\n{MOST_CONTEXTS} of {contexts.size}" if contexts.size > MOST_CONTEXTS else ""
    if contexts.size > MOST_CONTEXTS:
        contexts = contexts[np.linspace(0, contexts.size - 1, MOST_CONTEXTS).round().astype(int)]
    colors = colormaps["viridis"](np.linspace(0.0, 0.88, contexts.size))
    for context, color in zip(contexts.tolist(), colors, strict=True):
        rows = table.take(np.flatnonzero(table.context_tokens == context))
        usage = np.linspace(rows.kv_usage.min(), rows.kv_usage.max(), POINTS)
        grid = profile.tabulate(kv_usage=usage, context_tokens=[context])
        left.plot(100 * usage, grid.itl_ms[0], color=color, linewidth=1.6, label=f"{context:,.0f}")
        left.plot(100 * rows.kv_usage, rows.itl_ms, "o", color=color, markersize=4)
        targets = np.linspace(profile.lowest_itl_ms(context), rows.itl_ms.max() * 1.02, POINTS)
        best = [profile.best(itl_ms=target, context_tokens=context) for target in targets.tolist()]
        carried = np.array([max(point.throughput_per_gpu, np.nan) for point in best])
        right.plot(targets, np.where(carried > 0, carried, np.nan), color=color, linewidth=1.6)
        right.plot(rows.itl_ms, rows.throughput_per_gpu, "o", color=color, markersize=4)
    _dress(left, x="KV cache in use (%)", y="ITL (ms)")
    _dress(right, x="ITL target (ms)", y="output tokens/s per GPU")
    left.set_ylim(bottom=0)
    left.set_xlim(0, 100)
    right.set_yscale("log")
    right.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.4g}"))
    right.set_xlim(left=0.85 * float(table.itl_ms.min()))
    left.set_title("Decode: inter-token latency by load", loc="left", fontsize=10.5)
    right.set_title("Decode: best throughput under an ITL target", loc="left", fontsize=10.5)
    right.legend(
        handles=left.get_lines()[::2],
        title=f"context (tokens){left_out}",
        frameon=False,
        fontsize=9,
        title_fontsize=9,
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
    )


def _dress(axes: Axes, *, x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    if axes.get_yscale() == "linear":
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
