"""One self-contained HTML page about a simulation: figures, plots, and where the misses come from."""

from __future__ import annotations

import html
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, StrMethodFormatter

from slaplanner.core.engine.state import Integers
from slaplanner.core.model import Role
from slaplanner.offline.simulation.compare import Comparison, Kind
from slaplanner.offline.simulation.loop import ROLES, Run
from slaplanner.offline.simulation.misses import Cause, causes
from slaplanner.offline.simulation.score import Met, Score, met, score
from slaplanner.offline.simulation.traffic import Floats

INK, FAINT, GRID = "#1c2733", "#6b7785", "#e3e8ee"
COLOURS = {Role.PREFILL: "#2a6fbb", Role.DECODE: "#d9772b"}
GOOD, BAD = "#2f9e5f", "#c8443a"
KIND_COLOURS = {
    Kind.PLANNER: "#c8443a",
    Kind.FORMULAS: "#9a6fb0",
    Kind.HPA: "#6b7785",
    Kind.CONSTANT: "#d9a32b",
    Kind.CLAIRVOYANT: "#2f9e5f",
}
STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.edgecolor": GRID,
    "axes.labelcolor": FAINT,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
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

PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>
body{{font:15px/1.5 system-ui,sans-serif;color:#1c2733;background:#f6f8fa;margin:0}}
main{{max-width:1060px;margin:0 auto;padding:28px 20px 60px}}
h1{{font-size:24px;margin:0 0 4px}} h2{{font-size:17px;margin:34px 0 10px}} p{{margin:4px 0;color:#4a5665}}
.cards{{display:flex;flex-wrap:wrap;gap:12px;margin:18px 0}}
.card{{background:#fff;border:1px solid #e3e8ee;border-radius:8px;padding:12px 16px;flex:1 1 150px}}
.card b{{display:block;font-size:24px}} .card span{{color:#6b7785;font-size:13px}}
.good b{{color:#2f9e5f}} .bad b{{color:#c8443a}}
figure{{background:#fff;border:1px solid #e3e8ee;border-radius:8px;margin:0 0 14px;padding:8px}}
svg{{width:100%;height:auto;display:block}}
table{{border-collapse:collapse;background:#fff;border:1px solid #e3e8ee;border-radius:8px;width:100%;font-size:13px}}
th,td{{padding:4px 10px;text-align:right;border-top:1px solid #eef1f4}} th{{color:#6b7785;font-weight:600;border-top:0}}
th:first-child,td:first-child{{text-align:left}} tr.missed td{{color:#98a2ad}} tr.ours td{{font-weight:600}}
</style></head><body><main>
<h1>{title}</h1><p>{subtitle}</p>
{body}
</main></body></html>
"""


def write_report(path: Path, run: Run, comparison: Comparison | None, *, title: str) -> None:
    """Write the page; it refers to nothing outside of itself.

    Raises:
        OSError: it cannot be written.
    """
    path.write_text(page(run, comparison, title=title), encoding="utf-8")


def page(run: Run, comparison: Comparison | None, *, title: str) -> str:
    """The page's text."""
    result, flags = score(run), met(run)
    sla = run.scenario.policy.sla
    with mpl.rc_context(STYLE):
        parts = [
            _cards(result, sla.attainment_percent),
            "<h2>Load and replicas</h2>",
            *(_figure(figure) for figure in (_load(run), _replicas(run))),
            "<h2>Latencies against their targets</h2>",
            *(_figure(figure) for figure in (_latencies(run), _attainment(run, flags))),
            "<h2>Where the misses come from</h2>",
            _causes(causes(run)),
        ]
        if len(result.hours) > 1:
            parts += ["<h2>By hour</h2>", _hours(result)]
        if comparison is not None:
            parts += [
                "<h2>Compared</h2>",
                _figure(_rivals(comparison, sla.attainment_percent)),
                _table(comparison),
            ]
    subtitle = (
        f"{result.requests:,} requests in {_span(run.scenario.traffic.last_arrival_s)}; TTFT {sla.ttft_ms:g} ms, "
        f"ITL {sla.itl_ms:g} ms for {sla.attainment_percent:g} % of the requests; a plan every "
        f"{run.scenario.policy.interval_s:g} s, start-up {run.scenario.startup_s:g} s; the first "
        f"{run.scenario.unscored_s:g} s are not scored"
    )
    return PAGE.format(title=html.escape(title), subtitle=html.escape(subtitle), body="\n".join(parts))


def _cards(result: Score, promised: float) -> str:
    at = result.attainment

    def card(figure: str, words: str, kind: str = "") -> str:
        return f'<div class="card {kind}"><b>{figure}</b><span>{words}</span></div>'

    def share(value: float, words: str) -> str:
        return card(f"{value:.2f} %", words, "good" if value >= promised else "bad")

    hours = " + ".join(f"{result.gpu_hours[role]:.1f} {role.value}" for role in ROLES)
    return (
        '<div class="cards">'
        + "".join(
            (
                share(at.both, "met both targets"),
                share(at.ttft, f"met TTFT, p99 {result.ttft_ms.p99:,.0f} ms"),
                share(at.itl, f"met ITL, p99 {result.itl_ms.p99:,.0f} ms"),
                card(f"{result.total_gpu_hours:.1f}", f"GPU-hours, {hours}"),
                card(f"{result.moves}", "moves"),
            )
        )
        + "</div>"
    )


def _load(run: Run) -> Figure:
    """Arrivals, and what was forecast for the same interval one interval before."""
    figure, axes = _axes(2, height_in=4.2)
    interval_s, unit_s = run.scenario.policy.interval_s, _unit(run)
    traffic = run.scenario.traffic
    steps = int(traffic.last_arrival_s // interval_s) + 1
    index = np.minimum((traffic.arrival_s // interval_s).astype(int), steps - 1)
    begins = np.arange(steps) * interval_s / unit_s
    for axis, weights, name, role in (
        (axes[0], traffic.isl_tokens, "prompt tokens/s", Role.PREFILL),
        (axes[1], traffic.osl_tokens, "output tokens/s", Role.DECODE),
    ):
        actual = np.bincount(index, weights, minlength=steps) / interval_s
        axis.fill_between(begins, actual, step="post", color=COLOURS[role], alpha=0.25, linewidth=0)
        axis.step(begins, actual, where="post", color=COLOURS[role], linewidth=1.2, label="arrived")
        told = [
            (tick.at_s / unit_s, path.requests[0] * lengths[0] / interval_s)
            for tick in run.ticks
            if tick.verdict.decision is not None and (path := tick.verdict.decision.forecast) is not None
            for lengths in ((path.isl_tokens if role is Role.PREFILL else path.osl_tokens),)
            if tick.at_s <= traffic.last_arrival_s
        ]
        if told:
            axis.step(
                *zip(*told, strict=True),
                where="post",
                color=INK,
                linewidth=0.8,
                linestyle="--",
                label="forecast",
            )
        axis.set_title(name)
        axis.set_ylim(bottom=0)
        axis.legend(loc="lower right", bbox_to_anchor=(1.0, 0.97), ncols=2, borderaxespad=0.0)
    return _finished(figure, axes, run)


def _replicas(run: Run) -> Figure:
    figure, axes = _axes(2, height_in=4.2)
    ticks = [tick for tick in run.ticks if tick.at_s <= run.scenario.traffic.last_arrival_s]
    times = [tick.at_s / _unit(run) for tick in ticks]
    for axis, role in zip(axes, ROLES, strict=True):
        ready = [tick.ready[role] for tick in ticks]
        present = [tick.present[role] for tick in ticks]
        asked = [tick.asked[role] for tick in ticks]
        axis.fill_between(
            times,
            ready,
            present,
            step="post",
            color=COLOURS[role],
            alpha=0.2,
            linewidth=0,
            label="starting or draining",
        )
        axis.step(times, ready, where="post", color=COLOURS[role], linewidth=1.4, label="ready")
        axis.step(times, asked, where="post", color=INK, linewidth=0.8, linestyle=":", label="asked for")
        axis.set_title(f"{role.value} replicas")
        axis.set_ylim(bottom=0)
        axis.yaxis.set_major_locator(MaxNLocator(integer=True))
        axis.legend(loc="lower right", bbox_to_anchor=(1.0, 0.97), ncols=3, borderaxespad=0.0)
    return _finished(figure, axes, run)


def _latencies(run: Run) -> Figure:
    figure, axes = _axes(2, height_in=4.6)
    sla, requests = run.scenario.policy.sla, run.requests
    for axis, values, target, name, role in (
        (axes[0], requests.ttft_ms, sla.ttft_ms, "TTFT, ms", Role.PREFILL),
        (
            axes[1],
            np.where(requests.osl_tokens > 1, requests.itl_ms, np.nan),
            sla.itl_ms,
            "ITL, ms",
            Role.DECODE,
        ),
    ):
        begins, p50, p99 = _quantiles(run, values)
        axis.fill_between(begins, p50, p99, color=COLOURS[role], alpha=0.2, linewidth=0, label="p50 to p99")
        axis.plot(begins, p50, color=COLOURS[role], linewidth=1.2, label="p50")
        axis.axhline(target, color=BAD, linewidth=1.0, linestyle="--", label=f"target {target:g} ms")
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
        axis.yaxis.set_minor_formatter(NullFormatter())
        axis.set_title(name)
        axis.legend(loc="lower right", bbox_to_anchor=(1.0, 0.97), ncols=3, borderaxespad=0.0)
    return _finished(figure, axes, run)


def _attainment(run: Run, flags: Met) -> Figure:
    figure, axes = _axes(1, height_in=2.5)
    axis = axes[0]
    index, steps, begins = _binned(run)
    total = np.bincount(index, minlength=steps)
    for kept, colour, name in (
        (flags.ttft, COLOURS[Role.PREFILL], "TTFT"),
        (flags.itl, COLOURS[Role.DECODE], "ITL"),
    ):
        late = np.bincount(index, ~kept, minlength=steps)
        with np.errstate(invalid="ignore"):
            axis.plot(begins, 100.0 * (1.0 - late / total), color=colour, linewidth=1.1, label=name)
    axis.axhline(
        run.scenario.policy.sla.attainment_percent, color=BAD, linewidth=1.0, linestyle="--", label="promise"
    )
    axis.set_title("requests in time, %, by arrival")
    axis.set_ylim(-3, 103)
    axis.legend(loc="lower right", bbox_to_anchor=(1.0, 0.97), ncols=3, borderaxespad=0.0)
    return _finished(figure, axes, run)


def _rivals(comparison: Comparison, promised: float) -> Figure:
    figure, axes = _axes(1, height_in=4.4)
    axis = axes[0]
    for kind in Kind:
        mine = [entry for entry in comparison.entries if entry.kind is kind]
        if not mine:
            continue
        axis.scatter(
            [entry.score.total_gpu_hours for entry in mine],
            [entry.score.attainment.both for entry in mine],
            s=70 if kind is Kind.PLANNER else 34,
            marker="D" if kind is Kind.PLANNER else "o",
            color=KIND_COLOURS[kind],
            edgecolor="white",
            linewidth=0.6,
            zorder=3,
            label=kind.value,
        )
    axis.axhline(promised, color=BAD, linewidth=1.0, linestyle="--")
    axis.axvline(comparison.fluid_bound_gpu_hours, color=GOOD, linewidth=1.0, linestyle=":")
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_formatter("{x:g}")
    axis.set_xlabel("GPU-hours (log); dotted: fluid bound")
    axis.set_title("requests that met both targets, %")
    axis.set_ylim(-3, 103)
    axis.legend(loc="lower right")
    figure.tight_layout()
    return figure


def _causes(found: Sequence[Cause]) -> str:
    if not found:
        return "<p>Every request that counts met both targets.</p>"
    rows = "".join(
        f"<tr><td>{html.escape(cause.words)}</td><td>{cause.requests:,}</td><td>{cause.percent:.2f} %</td></tr>"
        for cause in found
    )
    return f"<table><tr><th>what happened</th><th>requests</th><th>of all that count</th></tr>{rows}</table>"


def _hours(result: Score) -> str:
    rows = "".join(
        f"<tr><td>{hour.begin_s / 3600:g}</td><td>{hour.attainment.requests:,}</td><td>{hour.attainment.both:.2f}</td>"
        f"<td>{hour.attainment.ttft:.2f}</td><td>{hour.attainment.itl:.2f}</td><td>{hour.gpu_hours:.1f}</td></tr>"
        for hour in result.hours
    )
    head = "".join(
        f"<th>{name}</th>" for name in ("hour", "requests", "both %", "TTFT %", "ITL %", "GPU-hours")
    )
    return f"<table><tr>{head}</tr>{rows}</table>"


def _table(comparison: Comparison) -> str:
    names = ("who", "both %", "TTFT %", "ITL %", "GPU-hours", "moves", "simulations")
    head = "".join(f"<th>{name}</th>" for name in names)
    rows = []
    for entry in comparison.entries:
        at = entry.score.attainment
        kind = "ours" if entry.kind is Kind.PLANNER else "" if entry.feasible else "missed"
        rows.append(
            f'<tr class="{kind}"><td>{html.escape(entry.name)}</td><td>{at.both:.2f}</td><td>{at.ttft:.2f}</td>'
            f"<td>{at.itl:.2f}</td><td>{entry.score.total_gpu_hours:.2f}</td><td>{entry.score.moves}</td>"
            f"<td>{entry.runs}</td></tr>"
        )
    return (
        f"<table><tr>{head}</tr>{''.join(rows)}</table>"
        f"<p>No fleet can use fewer than {comparison.fluid_bound_gpu_hours:.2f} GPU-hours (fluid bound).</p>"
    )


def _axes(rows: int, *, height_in: float) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(WIDTH_IN, height_in))
    found = figure.subplots(rows, 1, sharex=True, squeeze=False)
    return figure, list(found[:, 0])


def _finished(figure: Figure, axes: Sequence[Axes], run: Run) -> Figure:
    axes[-1].set_xlabel("hours" if _unit(run) > 60.0 else "minutes")
    axes[-1].set_xlim(0, run.scenario.traffic.last_arrival_s / _unit(run))
    figure.tight_layout()
    return figure


def _figure(figure: Figure) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    svg = text.getvalue()
    return f"<figure>{svg[svg.index('<svg') :]}</figure>"


def _unit(run: Run) -> float:
    """Seconds of the time axis' unit: minutes for up to three hours, then hours."""
    return 60.0 if run.scenario.traffic.last_arrival_s <= 3 * 3600.0 else 3600.0


def _binned(run: Run) -> tuple[Integers, int, Floats]:
    """The bin of each request by arrival, the number of bins, and where they begin on the time axis."""
    interval_s = run.scenario.policy.interval_s
    bins = max(1, min(240, int(run.scenario.traffic.last_arrival_s // interval_s) + 1))
    width_s = run.scenario.traffic.last_arrival_s / bins or 1.0
    index = np.minimum((run.requests.arrival_s // width_s).astype(np.int64), bins - 1)
    begins: Floats = np.arange(bins, dtype=np.float64) * float(width_s / _unit(run))
    return index, bins, begins


def _quantiles(run: Run, values: Floats) -> tuple[Floats, Floats, Floats]:
    index, bins, begins = _binned(run)
    edges = np.searchsorted(index, np.arange(bins + 1))
    found = np.full((bins, 2), np.nan)
    for k, part in enumerate(_parts(values, edges)):
        if part.size:
            found[k] = np.percentile(part, (50, 99))
    return begins, found[:, 0], found[:, 1]


def _parts(values: Floats, edges: Integers) -> Iterator[Floats]:
    for first, last in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        part = values[first:last]
        yield part[np.isfinite(part)]


def _span(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds <= 3 * 3600.0 else f"{seconds / 3600:.1f} hours"
