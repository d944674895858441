"""A backtest for people (a table) and for programs (a document)."""

from __future__ import annotations

import math
from typing import Any

from rich.console import Console

from slaplanner_lab.backtest import Backtest, MethodResult
from slaplanner_lab.cli.terminal import compact_table, console_for_tables

_LEVEL = 0.9


def document(result: Backtest, *, name: str) -> dict[str, Any]:
    """The scores as plain JSON values; what could not be scored is null."""
    return {
        "series": name,
        "interval": _plain(result.series.step_s),
        "points": len(result.series),
        "horizon": result.horizon_steps,
        "methods": [_method(outcome) for outcome in result.outcomes],
    }


def _method(outcome: MethodResult) -> dict[str, Any]:
    requests, prefill = outcome.scores["requests"], outcome.scores["prefill"]
    entry: dict[str, Any] = {
        "name": outcome.method.name,
        "wape": _plain(requests.wape),
        "wapeHorizon": _plain(requests.wape_horizon),
        "pinball": _plain(prefill.pinball[_LEVEL]),
        "coverage": _plain(prefill.coverage[_LEVEL]),
        "msMedian": _plain(outcome.ms_median),
        "msP99": _plain(outcome.ms_p99),
    }
    if outcome.sampled:
        entry["sampledPoints"] = outcome.sampled
    return entry


def _plain(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None


def print_table(result: Backtest, *, name: str, has_lengths: bool, console: Console | None = None) -> None:
    """Print one row per method, the best of each column in bold."""
    console = console_for_tables(console)
    rate = "prefill tokens" if has_lengths else "requests"
    end = f"{result.horizon_steps} step" + ("" if result.horizon_steps == 1 else "s")
    table = compact_table(
        f"{name}: {len(result.series)} points of {result.series.step_s:g} s, the first {result.first_scored} warm-up",
        caption=f"WAPE of requests; bound at 90 % for {rate}, {end} ahead; pinball loss as a share of the mean load",
    )
    table.add_column("method")
    for heading in ("WAPE 1 step", f"WAPE {end}", "pinball", "coverage", "ms median", "ms p99"):
        table.add_column(heading, justify="right")
    rows = [_method(outcome) for outcome in result.outcomes]
    best = {
        key: min((row[key] for row in rows if row[key] is not None), default=None)
        for key in ("wape", "wapeHorizon", "pinball")
    }
    for row, outcome in zip(rows, result.outcomes, strict=True):
        table.add_row(
            row["name"] + (" *" if outcome.sampled else ""),
            *(_cell(row[key], "{:.4f}", best=best.get(key)) for key in ("wape", "wapeHorizon", "pinball")),
            _cell(row["coverage"], "{:.1%}"),
            _cell(row["msMedian"], "{:.2f}"),
            _cell(row["msP99"], "{:.2f}"),
        )
    console.print(table)
    for outcome in result.outcomes:
        if outcome.sampled:
            console.print(
                f"* {outcome.method.name} ran on an evenly spaced sample of {outcome.sampled} points",
                highlight=False,
            )
        if outcome.refit_ms:
            console.print(
                f"{outcome.method.name}: {len(outcome.refit_ms)} refits outside of the plan, "
                f"{sum(outcome.refit_ms) / len(outcome.refit_ms):.0f} ms each",
                highlight=False,
            )


def _cell(value: float | None, form: str, *, best: float | None = None) -> str:
    if value is None:
        return "-"
    text = form.format(value)
    return f"[bold]{text}[/bold]" if best is not None and value <= best else text
