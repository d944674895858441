"""A profile for people (tables) and for programs (a document)."""

from __future__ import annotations

from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from slaplanner.adapters.profiles import LoadedProfile
from slaplanner.core.profiles import DecodeProfile, DecodeTable, PrefillTable
from slaplanner.core.wording import figure
from slaplanner_lab.cli.terminal import compact_table, console_for_tables


def print_profile(loaded: LoadedProfile, console: Console | None = None) -> None:
    """Print what was measured, what follows for sizing, and the faults."""
    console = console_for_tables(console)
    console.print(loaded.summary, highlight=False)
    if loaded.tables.prefill is not None:
        console.print(_prefill(loaded.tables.prefill.by_isl()))
    if loaded.tables.decode is not None:
        console.print(_decode(loaded.tables.decode, loaded.profile.decode))
    for fault in loaded.faults:
        console.print(f"[yellow]{fault.kind}[/yellow] {fault.stage}: {fault.message}", highlight=False)
    if not loaded.faults:
        console.print("[green]no faults found[/green]")


def profile_document(loaded: LoadedProfile) -> dict[str, Any]:
    """The measurements as plain JSON values."""
    document: dict[str, Any] = {
        "summary": loaded.summary,
        "interpolation": loaded.profile.interpolation.value,
    }
    prefill, decode = loaded.tables.prefill, loaded.tables.decode
    if prefill is not None:
        document["prefill"] = [
            {"islTokens": isl, "ttftMs": ttft, "throughputPerGpu": throughput}
            for isl, ttft, throughput in zip(
                prefill.isl_tokens.tolist(),
                prefill.ttft_ms.tolist(),
                prefill.throughput_per_gpu.tolist(),
                strict=True,
            )
        ]
    if decode is not None:
        document["maxKvTokens"] = decode.max_kv_tokens
        document["decode"] = [
            {
                "contextTokens": context,
                "kvUsage": kv,
                "concurrency": concurrency,
                "itlMs": itl,
                "throughputPerGpu": throughput,
            }
            for context, kv, concurrency, itl, throughput in zip(
                decode.context_tokens.tolist(),
                decode.kv_usage.tolist(),
                decode.concurrency.tolist(),
                decode.itl_ms.tolist(),
                decode.throughput_per_gpu.tolist(),
                strict=True,
            )
        ]
    return document


def _prefill(table: PrefillTable) -> Table:
    grid = compact_table("prefill")
    for heading in ("ISL (tokens)", "TTFT (ms)", "tokens/s/GPU"):
        grid.add_column(heading, justify="right")
    for isl, ttft, throughput in zip(table.isl_tokens, table.ttft_ms, table.throughput_per_gpu, strict=True):
        grid.add_row(f"{isl:,.0f}", figure(ttft), figure(throughput))
    return grid


def _decode(table: DecodeTable, profile: DecodeProfile) -> Table:
    """One line per context: the measured range, and the best throughput under round ITL targets."""
    targets = _round_targets(table)
    grid = compact_table(
        "decode: per context the measured range, and the best tokens/s/GPU under an ITL target"
    )
    for heading in ("context (tokens)", "points", "requests", "ITL (ms)"):
        grid.add_column(heading, justify="right")
    for target in targets:
        grid.add_column(f"{figure(target)} ms", justify="right")
    for context in np.unique(table.context_tokens).tolist():
        row = table.take(np.flatnonzero(table.context_tokens == context))
        best = [profile.best(itl_ms=target, context_tokens=context) for target in targets]
        grid.add_row(
            f"{context:,.0f}",
            str(len(row)),
            f"{row.concurrency.min():,.0f} to {row.concurrency.max():,.0f}",
            f"{figure(row.itl_ms.min())} to {figure(row.itl_ms.max())}",
            *(figure(point.throughput_per_gpu) if point.attained else "-" for point in best),
        )
    return grid


def _round_targets(table: DecodeTable) -> list[float]:
    """Four ITL targets that a reader might ask for, spread over what was measured."""
    low, high = float(table.itl_ms.min()), float(table.itl_ms.max())
    return sorted({float(f"{low + share * (high - low):.2g}") for share in (0.15, 0.35, 0.6, 1.0)})
