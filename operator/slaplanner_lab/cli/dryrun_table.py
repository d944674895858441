"""A dry-run as a table for people: one row per interval, what would have been short in red."""

from __future__ import annotations

from rich.console import Console

from slaplanner.core.model import Role
from slaplanner_lab.cli.terminal import compact_table, console_for_tables
from slaplanner_lab.dryrun import DryRun, Point

_TERMS = {Role.PREFILL: "prefill", Role.DECODE: "decode", Role.AGG: "agg"}


def print_table(run: DryRun, *, title: str, console: Console | None = None) -> None:
    """Print all intervals, then what the run comes to."""
    out = console_for_tables(console)
    roles = run.policy.mode.roles
    table = compact_table(
        f"{title}: {len(run.points)} intervals of {run.interval_s:g} s",
        caption="requests: arrived / forecast; load / safe throughput in thousand tokens/s, red and marked ! where more "
        "arrived than is safe; the trace ends inside the last interval",
    )
    for heading in ("t", "requests", "ISL", "OSL", *(_TERMS[role] for role in roles)):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("replicas", justify="right", no_wrap=True)
    table.add_column("GPUs", justify="right", no_wrap=True)
    table.add_column("reason", overflow="fold")
    for point in run.points:
        table.add_row(*_row(point, roles))
    out.print(table)
    for line in summary(run):
        out.print(line, highlight=False)


def summary(run: DryRun) -> list[str]:
    """GPU-hours, and how often the plan would have been too small."""
    hours = run.gpu_hours
    each = ", ".join(f"{role.value} {figure:,.2f}" for role, figure in hours.items())
    short = ", ".join(f"{role.value} {run.short(role)}" for role in hours)
    largest = max(point.gpus for point in run.points)
    return [
        f"GPU-hours {sum(hours.values()):,.2f} ({each}), the largest size {largest} GPUs",
        f"intervals with more load than is safe, of {len(run.points)}: {short}",
    ]


def _row(point: Point, roles: tuple[Role, ...]) -> tuple[str, ...]:
    seen, forecast = point.seen, point.forecast
    loads = []
    for role in roles:
        at = point.roles[role]
        text = f"{at.load_tokens_s / 1e3:,.1f}/{at.safe_tokens_s / 1e3:,.1f}"
        loads.append(f"[red]!{text}[/red]" if at.is_short else text)
    return (
        f"{point.t_s:g}",
        f"{seen.requests:,.0f}/{forecast.requests:,.0f}",
        _length(seen.isl_tokens),
        _length(seen.osl_tokens),
        *loads,
        "+".join(str(point.roles[role].replicas) for role in roles),
        str(point.gpus),
        point.reason,
    )


def _length(tokens: float | None) -> str:
    return "-" if tokens is None else f"{tokens:,.0f}"
