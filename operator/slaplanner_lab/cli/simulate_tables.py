"""A simulation as tables for people, and its plans as CSV."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence

from rich.console import Console

from slaplanner.core.model import Policy
from slaplanner_lab.cli.terminal import compact_table, console_for_tables
from slaplanner_lab.rivals.compare import Comparison
from slaplanner_lab.simulation.loop import Run
from slaplanner_lab.simulation.score import Percentiles, Score
from slaplanner_lab.simulation.sweep import SweepPoint


def print_score(
    score: Score, policy: Policy, *, price: float | None = None, console: Console | None = None
) -> None:
    """One run: the promise, the latencies, the cost, and the hours when there are several."""
    out = console_for_tables(console)
    sla, kept = policy.sla, score.attainment
    promise = compact_table("The promise")
    for column in ("", "target", "met", "p50", "p99"):
        promise.add_column(column, justify="left" if not column else "right")
    promise.add_row("TTFT", f"{sla.ttft_ms:g} ms", f"{kept.ttft:.2f} %", *_latency(score.ttft_ms))
    promise.add_row("ITL", f"{sla.itl_ms:g} ms", f"{kept.itl:.2f} %", *_latency(score.itl_ms))
    promise.add_row("both", f"{sla.attainment_percent:g} %", f"{kept.both:.2f} %", "", "")
    out.print(promise)
    cost = ", ".join(f"{role.value} {hours:.2f}" for role, hours in score.gpu_hours.items())
    money = "" if price is None else f", {price * score.total_gpu_hours:,.2f} at {price:g} per GPU-hour"
    out.print(f"GPU-hours {score.total_gpu_hours:.2f} ({cost}){money}, moves {score.moves}")
    out.print(
        f"requests {score.requests:,}, of which {score.unscored.requests:,} before scoring began "
        f"({score.unscored.both:.2f} % met both), unfinished {score.unfinished:,}, "
        f"preemptions {score.preempted:,}, budget violations {score.budget_violations}"
    )
    if len(score.hours) > 1:
        hours = compact_table("By hour")
        for column in ("hour", "requests", "both %", "TTFT %", "ITL %", "GPU-hours"):
            hours.add_column(column, justify="right")
        for hour in score.hours:
            at = hour.attainment
            hours.add_row(
                f"{hour.begin_s / 3600:g}",
                f"{at.requests:,}",
                f"{at.both:.2f}",
                f"{at.ttft:.2f}",
                f"{at.itl:.2f}",
                f"{hour.gpu_hours:.1f}",
            )
        out.print(hours)


def print_comparison(comparison: Comparison, *, console: Console | None = None) -> None:
    """Everybody's attainment and cost; below, the bound that nobody can pass."""
    table = compact_table("Compared")
    for column in ("who", "kept", "both %", "TTFT %", "ITL %", "GPU-hours", "moves", "runs"):
        table.add_column(column, justify="left" if column == "who" else "right", overflow="fold")
    for entry in comparison.entries:
        at = entry.score.attainment
        table.add_row(
            entry.name,
            "yes" if entry.feasible else "no",
            f"{at.both:.2f}",
            f"{at.ttft:.2f}",
            f"{at.itl:.2f}",
            f"{entry.score.total_gpu_hours:.2f}",
            str(entry.score.moves),
            str(entry.runs),
        )
    out = console_for_tables(console)
    out.print(table)
    out.print(f"No fleet can use fewer than {comparison.fluid_bound_gpu_hours:.2f} GPU-hours (fluid bound).")


def print_sweep(
    points: Sequence[SweepPoint], *, price: float | None = None, console: Console | None = None
) -> None:
    """What each promise costs; the policy's name only where there are several."""
    table = compact_table("What each promise costs")
    named = len({point.variant.name for point in points}) > 1
    headings = [*(["policy"] if named else []), "TTFT", "ITL", "GPUs", "kept", "both %", "GPU-hours"]
    for heading in [*headings, *([] if price is None else ["cost"])]:
        table.add_column(heading, justify="left" if heading == "policy" else "right", overflow="fold")
    for point in points:
        sla, budget = point.variant.policy.sla, point.variant.policy.gpu_budget
        table.add_row(
            *([point.variant.name] if named else []),
            f"{sla.ttft_ms:g}",
            f"{sla.itl_ms:g}",
            "any" if budget is None else str(budget),
            "yes" if point.kept else "no",
            f"{point.score.attainment.both:.2f}",
            f"{point.score.total_gpu_hours:.2f}",
            *([] if price is None else [f"{price * point.score.total_gpu_hours:,.2f}"]),
        )
    console_for_tables(console).print(table)


def print_csv(run: Run) -> None:
    """One line per plan: what was asked for, what was there, what waited."""
    writer = csv.writer(sys.stdout)
    names = ("asked", "ready", "present", "waiting")
    writer.writerow(
        [
            "t",
            "reason",
            *(f"{role.value}_{name}" for role in run.scenario.roles for name in names),
            "kv_usage",
        ]
    )
    for tick in run.ticks:
        figures = (
            counts[role]
            for role in tick.asked
            for counts in (tick.asked, tick.ready, tick.present, tick.waiting)
        )
        writer.writerow([f"{tick.at_s:g}", tick.verdict.reason, *figures, f"{tick.kv_usage:.3f}"])


def _latency(percentiles: Percentiles) -> tuple[str, str]:
    return f"{percentiles.p50:,.0f} ms", f"{percentiles.p99:,.0f} ms"
