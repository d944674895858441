"""One self-contained HTML page about a simulation: figures, plots, and where the misses come from."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

from slaplanner_lab.drawing.report_axes import styled, svg
from slaplanner_lab.drawing.report_plots import (
    attainment_figure,
    latency_figure,
    load_figure,
    replica_figure,
    rival_figure,
)
from slaplanner_lab.rivals.compare import Comparison, Kind
from slaplanner_lab.simulation.loop import Run
from slaplanner_lab.simulation.miss_causes import Cause, causes
from slaplanner_lab.simulation.score import Score, score

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
    result, sla = score(run), run.scenario.policy.sla
    with styled():
        parts = [
            _cards(result, sla.attainment_percent),
            "<h2>Load and replicas</h2>",
            *(_figure(svg(figure)) for figure in (load_figure(run), replica_figure(run))),
            "<h2>Latencies against their targets</h2>",
            *(_figure(svg(figure)) for figure in (latency_figure(run), attainment_figure(run))),
            "<h2>Where the misses come from</h2>",
            _causes(causes(run)),
        ]
        if len(result.hours) > 1:
            parts += ["<h2>By hour</h2>", _hours(result)]
        if comparison is not None:
            parts += [
                "<h2>Compared</h2>",
                _figure(svg(rival_figure(comparison, sla.attainment_percent))),
                _table(comparison),
            ]
    return PAGE.format(title=html.escape(title), subtitle=html.escape(_subtitle(run)), body="\n".join(parts))


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


def _figure(drawn: str) -> str:
    return f"<figure>{drawn}</figure>"


def _cards(result: Score, promised: float) -> str:
    at = result.attainment

    def card(figure: str, words: str, kind: str = "") -> str:
        return f'<div class="card {kind}"><b>{figure}</b><span>{words}</span></div>'

    def share(value: float, words: str) -> str:
        return card(f"{value:.2f} %", words, "good" if value >= promised else "bad")

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


def _span(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds <= 3 * 3600.0 else f"{seconds / 3600:.1f} hours"
