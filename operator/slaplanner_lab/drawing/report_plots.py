"""The report's plots: load, replicas, latencies, attainment and rivals, each an SVG of its own.

All but the rivals share one time axis, so that what happened at one moment lies above each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator, StrMethodFormatter

from slaplanner.core.arrays import Floats
from slaplanner.core.model import Role
from slaplanner_lab.drawing.palette import (
    ARRIVED,
    ARRIVED_AREA,
    ARRIVED_WORD,
    ASIDE,
    ASKED_WORD,
    FAINT,
    FORECAST,
    FORECAST_WORD,
    INK,
    LIMIT,
    PAPER,
    ROLE,
    SAFE,
)
from slaplanner_lab.drawing.report_axes import (
    LEGEND_IN,
    TOP_IN,
    columns,
    finished,
    legend,
    log_ticks,
    logarithmic,
    panels,
    unit_seconds,
)
from slaplanner_lab.rivals.compare import Comparison, Kind
from slaplanner_lab.simulation.loop import PrometheusSilent, Run, WorkerLost
from slaplanner_lab.simulation.sweep import SweepPoint
from slaplanner_lab.simulation.timeline import timeline

KIND_STYLES = {
    Kind.PLANNER: (LIMIT, "D"),
    Kind.FORMULAS: (ROLE[Role.AGG], "s"),
    Kind.HPA: (FAINT, "o"),
    Kind.SLO_RULE: (ROLE[Role.PREFILL], "^"),
    Kind.TOKEN_RULE: (INK, "v"),
    Kind.CONSTANT: (ROLE[Role.DECODE], "P"),
    Kind.CLAIRVOYANT: (SAFE, "*"),
}
"""Colour and shape of each."""
HISTOGRAM_BINS = 60
_MISSED = (0.01, 0.1, 1.0, 10.0, 100.0)
LEAST_MISSED = _MISSED[0]
"""Where a share of none is drawn."""
_SHARES = (0, 50, 80, 90, 95, 98, 99, 99.5, 100)
"""Labels of an attainment axis, in percent."""


def load_figure(run: Run) -> Figure:
    """Arrivals, and what was forecast for the same interval one interval before."""
    figure, axes = panels(2, height_in=1.3)
    interval_s, unit_s = run.scenario.policy.interval_s, unit_seconds(run)
    traffic = run.scenario.traffic
    steps = int(traffic.last_arrival_s // interval_s) + 1
    index = np.minimum((traffic.arrival_s // interval_s).astype(int), steps - 1)
    # The last interval may be cut short by the trace's end; of a second or so it would tell nothing.
    edges_s = np.minimum(np.arange(steps + 1) * interval_s, traffic.last_arrival_s)
    lengths_s = np.maximum(np.diff(edges_s), min(interval_s, 1.0))
    for axis, weights, name, role in (
        (axes[0], traffic.isl_tokens, "prompt tokens/s", Role.PREFILL),
        (axes[1], traffic.osl_tokens, "output tokens/s", Role.DECODE),
    ):
        arrived = np.bincount(index, weights, minlength=steps) / lengths_s
        axis.stairs(arrived, edges_s / unit_s, fill=True, color=ARRIVED_AREA)
        axis.stairs(
            arrived, edges_s / unit_s, baseline=None, color=ARRIVED, linewidth=1.2, label=ARRIVED_WORD
        )
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
                color=FORECAST,
                linewidth=1.0,
                linestyle="--",
                label=FORECAST_WORD,
            )
        axis.set_title(name)
        axis.set_ylim(bottom=0)
        axis.yaxis.set_major_locator(MaxNLocator(nbins=4))
        axis.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        legend(axis)
    return finished(figure, axes, run)


def replica_figure(run: Run) -> Figure:
    """Replicas asked for, ready, and those that cost and do not serve; what broke."""
    figure, axes = panels(len(run.scenario.roles), height_in=1.3)
    last_s = run.scenario.traffic.last_arrival_s
    looks = [look for look in run.looks if look.at_s <= last_s]
    times = [*(look.at_s / unit_seconds(run) for look in looks), last_s / unit_seconds(run)]
    for axis, role in zip(axes, run.scenario.roles, strict=True):
        ready, present, asked = (
            [*counts, counts[-1]]
            for counts in (
                [look.ready[role] for look in looks],
                [look.present[role] for look in looks],
                [look.asked[role] for look in looks],
            )
        )
        axis.fill_between(
            times,
            ready,
            present,
            step="post",
            color=ROLE[role],
            alpha=0.25,
            linewidth=0,
            label="starting or draining",
        )
        axis.step(times, ready, where="post", color=ROLE[role], linewidth=1.4, label="ready")
        axis.step(times, asked, where="post", color=INK, linewidth=0.8, linestyle=":", label=ASKED_WORD)
        _mark_faults(axis, run, role)
        axis.set_title(f"{role.value} replicas")
        axis.set_ylim(0, 1.08 * max(1, *ready, *present, *asked))
        axis.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        legend(axis)
    return finished(figure, axes, run)


def latency_figure(run: Run) -> Figure:
    """Median and 99th percentile by arrival, and the targets."""
    figure, axes = panels(2, height_in=1.5)
    sla, seen = run.scenario.policy.sla, timeline(run)
    edges = seen.edges_s / unit_seconds(run)
    for axis, curve, target, name, role in (
        (axes[0], seen.ttft, sla.ttft_ms, "TTFT, ms", Role.PREFILL),
        (axes[1], seen.itl, sla.itl_ms, "ITL, ms", Role.DECODE),
    ):
        p50, p99 = curve.p50_ms, curve.p99_ms
        axis.stairs(
            p99,
            edges,
            baseline=p50,
            fill=True,
            color=ROLE[role],
            alpha=0.2,
            linewidth=0,
            label="p50 to p99",
        )
        axis.stairs(p50, edges, baseline=None, color=ROLE[role], linewidth=1.2, label="p50")
        axis.axhline(target, color=LIMIT, linewidth=1.0, linestyle="--", label=f"target {target:g} ms")
        logarithmic(axis, np.append(p50, p99), target)
        axis.set_title(name)
        legend(axis)
    return finished(figure, axes, run)


def miss_figure(run: Run) -> Figure:
    """The share that missed each target, by arrival, on a scale that gives each tenfold the same room."""
    figure, axes = panels(1, height_in=1.6)
    axis, seen = axes[0], timeline(run)
    edges = seen.edges_s / unit_seconds(run)
    styles = ((seen.ttft, Role.PREFILL, "TTFT", "-"), (seen.itl, Role.DECODE, "ITL", "--"))
    for curve, role, name, style in styles:
        missed = np.maximum(100.0 - curve.in_time, LEAST_MISSED)
        axis.stairs(
            np.where(np.isfinite(curve.in_time), missed, np.nan),
            edges,
            baseline=None,
            color=ROLE[role],
            linewidth=1.1,
            linestyle=style,
            label=name,
        )
    allowed = 100.0 - run.scenario.policy.sla.attainment_percent
    axis.axhline(allowed, color=LIMIT, linewidth=1.0, linestyle=":", label=f"promise: at most {allowed:g} %")
    axis.set_title("requests that missed, %, by arrival")
    axis.set_yscale("log")
    axis.set_ylim(LEAST_MISSED / 1.3, 130.0)
    axis.set_yticks(_MISSED, labels=["none", *(f"{share:g}" for share in _MISSED[1:])])
    axis.yaxis.set_minor_locator(NullLocator())
    legend(axis)
    return finished(figure, axes, run)


def waiting_figure(run: Run) -> Figure:
    """Requests that waited for each role, and the share of the KV in use, at every plan."""
    figure, axes = panels(2, height_in=1.0)
    ticks = [tick for tick in run.ticks if tick.at_s <= run.scenario.traffic.last_arrival_s]
    times = [tick.at_s / unit_seconds(run) for tick in ticks]
    for role, style in zip(run.scenario.roles, ("-", "--"), strict=False):
        waiting = [tick.waiting[role] for tick in ticks]
        axes[0].step(
            times, waiting, where="pre", color=ROLE[role], linewidth=1.1, linestyle=style, label=role.value
        )
    axes[0].set_title("requests that waited")
    axes[0].set_ylim(bottom=0)
    axes[0].yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    role = run.scenario.roles[-1]
    usage = [100.0 * tick.kv_usage for tick in ticks]
    axes[1].step(times, usage, where="pre", color=ROLE[role], linewidth=1.1, label=role.value)
    axes[1].set_title("workers that are busy, %" if role is Role.PREFILL else "KV in use, %")
    axes[1].set_ylim(0, 105)
    for axis in axes:
        legend(axis)
    return finished(figure, axes, run)


def histogram_figure(run: Run) -> Figure | None:
    """How many requests had which latency, and the targets; only those that count; None where there are none."""
    requests, sla = run.requests, run.scenario.policy.sla
    counted = requests.arrival_s >= run.scenario.unscored_s
    shown = [
        (found, target, name, role)
        for values, target, name, role in (
            (requests.ttft_ms[counted], sla.ttft_ms, "TTFT, ms", Role.PREFILL),
            (requests.itl_ms[counted & (requests.osl_tokens > 1)], sla.itl_ms, "ITL, ms", Role.DECODE),
        )
        if (found := values[np.isfinite(values) & (values > 0.0)]).size
    ]
    if not shown:
        return None
    figure, axes = columns(len(shown), height_in=2.0)
    for axis, (found, target, name, role) in zip(axes, shown, strict=True):
        low, high = min(float(found.min()), target) / 1.05, max(float(found.max()), target) * 1.05
        axis.hist(found, bins=np.geomspace(low, high, HISTOGRAM_BINS).tolist(), color=ROLE[role], alpha=0.65)
        axis.axvline(target, color=LIMIT, linewidth=1.0, linestyle="--", label=f"target {target:g} ms")
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_ylim(bottom=0.8)
        axis.set_xlim(low, high)
        log_ticks(axis.xaxis, decades=float(np.log10(high / low)))
        axis.set_xlabel(name)
        axis.set_title("requests")
        legend(axis)
    return figure


def rival_figure(comparison: Comparison, promised: float) -> Figure:
    """Attainment against GPU-hours; the scale gives each halving of the misses the same room."""
    figure, axes = panels(1, height_in=3.4, top_in=TOP_IN + 2 * LEGEND_IN)
    axis = axes[0]
    for kind in Kind:
        mine = [entry for entry in comparison.entries if entry.kind is kind]
        if not mine:
            continue
        axis.scatter(
            [entry.score.total_gpu_hours for entry in mine],
            [entry.score.attainment.both for entry in mine],
            s=70 if kind is Kind.PLANNER else 34,
            marker=KIND_STYLES[kind][1],
            color=KIND_STYLES[kind][0],
            edgecolor=PAPER,
            linewidth=0.6,
            zorder=3,
            clip_on=False,
            label="HPA" if kind is Kind.HPA else kind.value,
        )
    for entry in comparison.entries:
        if entry.kind is Kind.PLANNER:
            at = entry.score.total_gpu_hours, entry.score.attainment.both
            axis.annotate(
                entry.name,
                at,
                xytext=(0, 8),
                textcoords="offset points",
                ha="center",
                fontsize=8,
                color=INK,
                zorder=4,
            )
    axis.axhline(promised, color=LIMIT, linewidth=1.0, linestyle="--", label=f"promise {promised:g} %")
    bound = comparison.fluid_bound_gpu_hours
    axis.axvline(bound, color=SAFE, linewidth=1.0, linestyle=":", label="fluid bound")
    axis.set_yscale("function", functions=(_by_misses, _from_misses))
    axis.set_yticks(_SHARES, labels=[f"{share:g}" for share in _SHARES])
    axis.yaxis.set_minor_locator(NullLocator())
    axis.set_ylim(0, 100.0)
    hours = [bound, *(entry.score.total_gpu_hours for entry in comparison.entries)]
    axis.set_xscale("log")
    axis.set_xlim(0.92 * min(hours), 1.08 * max(hours))
    log_ticks(axis.xaxis, decades=float(np.log10(max(hours) / min(hours))))
    axis.set_xlabel("GPU-hours")
    axis.set_title("requests that met both targets, %", pad=6 + 2 * 72 * LEGEND_IN)
    legend(axis, left=True, columns=5)
    return figure


def sweep_figure(points: Sequence[SweepPoint], *, price: float | None = None) -> Figure:
    """GPU-hours (or what they cost) of each policy, as bars; a hatched bar does not keep its promise."""
    figure, axes = panels(1, height_in=max(0.8, 0.24 * len(points)))
    axis = axes[0]
    left = axis.get_position()
    axis.set_position((0.34, left.y0, left.x1 - 0.34, left.height))
    worth = [point.score.total_gpu_hours * (price or 1.0) for point in points]
    at = np.arange(len(points))[::-1]
    for kept, hatch, words in ((True, None, "keeps its promise"), (False, "///", "does not")):
        mine = [index for index, point in enumerate(points) if point.kept is kept]
        if mine:
            axis.barh(
                at[mine],
                [worth[index] for index in mine],
                height=0.66,
                color=SAFE if kept else ASIDE,
                hatch=hatch,
                edgecolor=PAPER,
                label=words,
            )
    for place, value in zip(at, worth, strict=True):
        axis.annotate(
            f"{value:,.1f}",
            (value, place),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
        )
    axis.set_yticks(at, [_words(point, points) for point in points])
    axis.set_xlim(0, 1.1 * max(*worth, 1e-9))
    axis.set_xlabel("GPU-hours" if price is None else f"cost at {price:g} per GPU-hour")
    axis.grid(visible=False, axis="y")
    legend(axis)
    return figure


def _words(point: SweepPoint, points: Sequence[SweepPoint]) -> str:
    """What tells *point* from the others."""
    policy = point.variant.policy
    words = [f"TTFT {policy.sla.ttft_ms:g}", f"ITL {policy.sla.itl_ms:g}"]
    if policy.gpu_budget is not None:
        words.append(f"{policy.gpu_budget} GPUs")
    names = {other.variant.name for other in points}
    if len(names) > 1:
        words.insert(0, Path(point.variant.name).stem[-18:])
    return ", ".join(words)


_LEAST_MISSES = 0.25


def _by_misses(share: Floats) -> Floats:
    """Where a share in percent stands on an axis that gives each halving of the misses the same room."""
    height: Floats = -np.log2(np.maximum(100.0 - np.asarray(share), 0.0) + _LEAST_MISSES)
    return height


def _from_misses(height: Floats) -> Floats:
    share: Floats = 100.0 + _LEAST_MISSES - np.exp2(-np.asarray(height))
    return share


def _mark_faults(axis: Axes, run: Run, role: Role) -> None:
    unit_s, named = unit_seconds(run), set()
    for fault in run.scenario.faults:
        if isinstance(fault, WorkerLost) and fault.role is role:
            label = "worker lost"
            axis.axvline(
                fault.at_s / unit_s, color=LIMIT, linewidth=1.2, label=None if label in named else label
            )
        elif isinstance(fault, PrometheusSilent):
            label = "Prometheus silent"
            ends = fault.at_s / unit_s, (fault.at_s + fault.for_s) / unit_s
            axis.axvspan(
                *ends, color=LIMIT, alpha=0.1, linewidth=0, zorder=0, label=None if label in named else label
            )
        else:
            continue
        named.add(label)
