"""One self-contained HTML page about a simulation: figures, plots, and where the misses come from."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from slaplanner_lab.drawing.palette import (
    FAINT,
    GRID,
    GROUND,
    INK,
    LIMIT,
    PAPER,
    SAFE,
    as_variable,
    css_variables,
)
from slaplanner_lab.drawing.report_axes import styled, svg
from slaplanner_lab.drawing.report_plots import (
    histogram_figure,
    latency_figure,
    load_figure,
    miss_figure,
    replica_figure,
    rival_figure,
    sweep_figure,
    waiting_figure,
)
from slaplanner_lab.rivals.compare import Comparison, Kind
from slaplanner_lab.simulation.loop import Run
from slaplanner_lab.simulation.miss_causes import Cause, causes
from slaplanner_lab.simulation.score import Score, score
from slaplanner_lab.simulation.sweep import SweepPoint

PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>{title}</title><style>
{variables}
body{{font:15px/1.5 system-ui,sans-serif;color:{ink};background:{ground};margin:0}}
main{{max-width:1060px;margin:0 auto;padding:28px 20px 60px}}
h1{{font-size:24px;margin:0 0 4px;overflow-wrap:anywhere}} h2{{font-size:17px;margin:34px 0 10px}}
p,summary{{margin:4px 0;color:{faint}}}
.cards{{display:flex;flex-wrap:wrap;gap:12px;margin:18px 0}}
.card{{background:{paper};border:1px solid {grid};border-radius:8px;padding:12px 16px;flex:1 1 150px}}
.card b{{display:block;font-size:24px}} .card span{{color:{faint};font-size:13px}}
.kept b{{color:{safe}}} .missed b{{color:{limit}}}
figure,.wide{{background:{paper};border:1px solid {grid};border-radius:8px;margin:0 0 14px;overflow-x:auto}}
figure{{padding:8px}} svg{{width:100%;min-width:680px;height:auto;display:block}}
table{{border-collapse:collapse;width:100%;font-size:13px}}
th,td{{padding:4px 10px;text-align:right;border-top:1px solid {grid}}} th{{color:{faint};font-weight:600;border-top:0}}
th:first-child,td:first-child{{text-align:left}} tr.ours td{{font-weight:600}}
.origin td,.origin th{{text-align:left;vertical-align:top}} .origin td{{overflow-wrap:anywhere;min-width:160px}}
pre{{font-size:12px;overflow-x:auto;margin:0;padding:10px}}
@media(max-width:560px){{main{{padding:16px 10px 40px}} th,td{{padding:4px 6px}} .card{{flex-basis:120px}}}}
</style></head><body><main>
<h1>{title}</h1><p>{subtitle}</p>
{body}
</main></body></html>
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a report comes from: what somebody needs to make it again."""

    facts: Mapping[str, str]
    """Name and value, as they are shown."""
    policy: str
    """The policy's text."""


def write_report(
    path: Path,
    run: Run,
    comparison: Comparison | None,
    *,
    title: str,
    points: Sequence[SweepPoint] = (),
    price: float | None = None,
    origin: Origin | None = None,
) -> None:
    """Write the page; it refers to nothing outside of itself.

    Raises:
        OSError: it cannot be written.
    """
    path.write_text(
        page(run, comparison, title=title, points=points, price=price, origin=origin), encoding="utf-8"
    )


def page(
    run: Run,
    comparison: Comparison | None,
    *,
    title: str,
    points: Sequence[SweepPoint] = (),
    price: float | None = None,
    origin: Origin | None = None,
) -> str:
    """The page's text."""
    result, sla = score(run), run.scenario.policy.sla
    with styled():
        parts = [
            _cards(result, sla.attainment_percent),
            "<h2>Load and replicas</h2>",
            _figure(load_figure(run), "Load that arrived and its forecast, over time"),
            _figure(replica_figure(run), "Replicas asked for, ready, starting and draining, over time"),
            "<h2>Latencies against their targets</h2>",
            _figure(latency_figure(run), "Median and 99th percentile of TTFT and ITL, over time"),
            _figure(miss_figure(run), "Share of the requests that missed a target, over time"),
            _figure(histogram_figure(run), "Histograms of TTFT and ITL"),
            "<h2>Queues and memory</h2>",
            _figure(waiting_figure(run), "Requests that waited, and the share of the KV in use, over time"),
            "<h2>Where the misses come from</h2>",
            _causes(causes(run)),
        ]
        if len(result.hours) > 1:
            parts += ["<h2>By hour</h2>", _hours(result)]
        if comparison is not None:
            parts += [
                "<h2>Compared</h2>",
                _figure(rival_figure(comparison, sla.attainment_percent), "Attainment against GPU-hours"),
                _table(comparison),
            ]
        if points:
            parts += [
                "<h2>What each promise costs</h2>",
                _figure(sweep_figure(points, price=price), "GPU-hours of each policy that was tried"),
                _sweep(points, price=price),
            ]
    if origin is not None:
        parts += ["<h2>Where this comes from</h2>", _origin(origin)]
    return PAGE.format(
        title=html.escape(title),
        subtitle=html.escape(_subtitle(run)),
        body="\n".join(parts),
        variables=css_variables(),
        **{
            name: as_variable(colour)
            for name, colour in {
                "ink": INK, "faint": FAINT, "grid": GRID, "paper": PAPER, "ground": GROUND, "safe": SAFE,
                "limit": LIMIT,
            }.items()
        },
    )  # fmt: skip


def _sweep(points: Sequence[SweepPoint], *, price: float | None) -> str:
    names = ["policy", "TTFT, ms", "ITL, ms", "GPUs at most", "kept", "both %", "GPU-hours"]
    head = "".join(f"<th>{name}</th>" for name in [*names, *([] if price is None else ["cost"])])
    rows = []
    for point in points:
        sla, budget = point.variant.policy.sla, point.variant.policy.gpu_budget
        hours = point.score.total_gpu_hours
        cells = [
            html.escape(point.variant.name),
            f"{sla.ttft_ms:g}",
            f"{sla.itl_ms:g}",
            "any" if budget is None else str(budget),
            "yes" if point.kept else "no",
            f"{point.score.attainment.both:.2f}",
            f"{hours:.2f}",
            *([] if price is None else [f"{price * hours:,.2f}"]),
        ]
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return f'<div class="wide"><table><tr>{head}</tr>{"".join(rows)}</table></div>'


def _origin(origin: Origin) -> str:
    rows = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>"
        for name, value in origin.facts.items()
    )
    return (
        f'<div class="wide"><table class="origin">{rows}</table></div>'
        f'<details><summary>The policy</summary><div class="wide"><pre>{html.escape(origin.policy)}</pre></div></details>'
    )


def _subtitle(run: Run) -> str:
    scenario, sla = run.scenario, run.scenario.policy.sla
    words = [
        f"{len(scenario.traffic):,} requests in {_span(scenario.traffic.last_arrival_s)}",
        f"TTFT {sla.ttft_ms:g} ms, ITL {sla.itl_ms:g} ms for {sla.attainment_percent:g} % of the requests",
        f"a plan every {scenario.policy.interval_s:g} s, start-up {scenario.startup_s:g} s",
    ]
    if scenario.policy.gpu_budget is not None:
        words.append(f"at most {scenario.policy.gpu_budget} GPUs")
    if scenario.unscored_s:
        words.append(f"the first {scenario.unscored_s:g} s are not scored")
    return "; ".join(words)


def _figure(drawn: Figure | None, title: str) -> str:
    return "" if drawn is None else f"<figure>{svg(drawn, title=title)}</figure>"


def _cards(result: Score, promised: float) -> str:
    at = result.attainment

    def card(figure: str, words: str, kind: str = "") -> str:
        return f'<div class="card {kind}"><b>{figure}</b><span>{words}</span></div>'

    def share(value: float, words: str) -> str:
        kept = value >= promised
        mark = "&#10003; kept" if kept else f"&#10007; below {promised:g} %"
        return card(f"{value:.2f} %", f"{words} &middot; {mark}", "kept" if kept else "missed")

    hours = " + ".join(f"{result.gpu_hours[role]:.1f} {role.value}" for role in result.gpu_hours)
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


def _causes(found: Sequence[Cause]) -> str:
    if not found:
        return "<p>Every request that counts met both targets.</p>"
    rows = "".join(
        f"<tr><td>{html.escape(cause.words)}</td><td>{cause.requests:,}</td><td>{cause.percent:.2f} %</td></tr>"
        for cause in found
    )
    return f'<div class="wide"><table><tr><th>what happened</th><th>requests</th><th>of all that count</th></tr>{rows}</table></div>'


def _hours(result: Score) -> str:
    rows = "".join(
        f"<tr><td>{hour.begin_s / 3600:g}</td><td>{hour.attainment.requests:,}</td><td>{hour.attainment.both:.2f}</td>"
        f"<td>{hour.attainment.ttft:.2f}</td><td>{hour.attainment.itl:.2f}</td><td>{hour.gpu_hours:.1f}</td></tr>"
        for hour in result.hours
    )
    head = "".join(
        f"<th>{name}</th>" for name in ("hour", "requests", "both %", "TTFT %", "ITL %", "GPU-hours")
    )
    return f'<div class="wide"><table><tr>{head}</tr>{rows}</table></div>'


def _table(comparison: Comparison) -> str:
    names = ("who", "kept", "both %", "TTFT %", "ITL %", "GPU-hours", "moves", "simulations")
    head = "".join(f"<th>{name}</th>" for name in names)
    rows = []
    for entry in comparison.entries:
        at = entry.score.attainment
        kind = "ours" if entry.kind is Kind.PLANNER else ""
        rows.append(
            f'<tr class="{kind}"><td>{html.escape(entry.name)}</td><td>{"yes" if entry.feasible else "no"}</td><td>{at.both:.2f}</td><td>{at.ttft:.2f}</td>'
            f"<td>{at.itl:.2f}</td><td>{entry.score.total_gpu_hours:.2f}</td><td>{entry.score.moves}</td>"
            f"<td>{entry.runs}</td></tr>"
        )
    return (
        f'<div class="wide"><table><tr>{head}</tr>{"".join(rows)}</table></div>'
        f"<p>No fleet can use fewer than {comparison.fluid_bound_gpu_hours:.2f} GPU-hours (fluid bound).</p>"
    )


def _span(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds <= 3 * 3600.0 else f"{seconds / 3600:.1f} hours"
