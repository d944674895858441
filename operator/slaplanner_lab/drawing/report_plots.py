"""The report's plots: load, replicas, latencies, attainment and rivals, each an SVG of its own.

All but the rivals share one time axis, so that what happened at one moment lies above each other.
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator, StrMethodFormatter

from slaplanner.core.arrays import Floats
from slaplanner.core.model import Role
from slaplanner_lab.drawing.report_axes import (
    BAD,
    COLOURS,
    GOOD,
    INK,
    LEGEND_IN,
    TOP_IN,
    finished,
    legend,
    log_ticks,
    logarithmic,
    panels,
    unit_seconds,
)
from slaplanner_lab.rivals.compare import Comparison, Kind
from slaplanner_lab.simulation.loop import PrometheusSilent, Run, WorkerLost
from slaplanner_lab.simulation.timeline import timeline

KIND_COLOURS = {
    Kind.PLANNER: "#c8443a",
    Kind.FORMULAS: "#9a6fb0",
    Kind.HPA: "#6b7785",
    Kind.SLO_RULE: "#2a6fbb",
    Kind.TOKEN_RULE: "#1c2733",
    Kind.CONSTANT: "#d9a32b",
    Kind.CLAIRVOYANT: "#2f9e5f",
}
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
        came = np.bincount(index, weights, minlength=steps) / lengths_s
        axis.stairs(came, edges_s / unit_s, fill=True, color=COLOURS[role], alpha=0.2)
        axis.stairs(
            came, edges_s / unit_s, baseline=None, color=COLOURS[role], linewidth=1.2, label="arrived"
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
                color=INK,
                linewidth=0.8,
                linestyle="--",
                label="forecast",
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
            color=COLOURS[role],
            alpha=0.25,
            linewidth=0,
            label="starting or draining",
        )
        axis.step(times, ready, where="post", color=COLOURS[role], linewidth=1.4, label="ready")
        axis.step(times, asked, where="post", color=INK, linewidth=0.8, linestyle=":", label="asked for")
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
            color=COLOURS[role],
            alpha=0.2,
            linewidth=0,
            label="p50 to p99",
        )
        axis.stairs(p50, edges, baseline=None, color=COLOURS[role], linewidth=1.2, label="p50")
        axis.axhline(target, color=BAD, linewidth=1.0, linestyle="--", label=f"target {target:g} ms")
        logarithmic(axis, np.append(p50, p99), target)
        axis.set_title(name)
        legend(axis)
    return finished(figure, axes, run)


def attainment_figure(run: Run) -> Figure:
    """The share in time, by arrival."""
    figure, axes = panels(1, height_in=1.6)
    axis, seen = axes[0], timeline(run)
    edges = seen.edges_s / unit_seconds(run)
    for curve, colour, name in (
        (seen.ttft, COLOURS[Role.PREFILL], "TTFT"),
        (seen.itl, COLOURS[Role.DECODE], "ITL"),
    ):
        axis.stairs(curve.in_time, edges, baseline=None, color=colour, linewidth=1.1, label=name)
    promised = run.scenario.policy.sla.attainment_percent
    axis.axhline(promised, color=BAD, linewidth=1.0, linestyle="--", label=f"promise {promised:g} %")
    axis.set_title("requests in time, %, by arrival")
    axis.set_ylim(-3, 103)
    legend(axis)
    return finished(figure, axes, run)


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
            marker="D" if kind is Kind.PLANNER else "o",
            color=KIND_COLOURS[kind],
            edgecolor="white",
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
    axis.axhline(promised, color=BAD, linewidth=1.0, linestyle="--", label=f"promise {promised:g} %")
    bound = comparison.fluid_bound_gpu_hours
    axis.axvline(bound, color=GOOD, linewidth=1.0, linestyle=":", label="fluid bound")
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
                fault.at_s / unit_s, color=BAD, linewidth=1.2, label=None if label in named else label
            )
        elif isinstance(fault, PrometheusSilent):
            label = "Prometheus silent"
            ends = fault.at_s / unit_s, (fault.at_s + fault.for_s) / unit_s
            axis.axvspan(
                *ends, color=BAD, alpha=0.1, linewidth=0, zorder=0, label=None if label in named else label
            )
        else:
            continue
        named.add(label)
