"""Simulations as plain JSON values: a stable format for scripts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from slaplanner_lab.rivals.compare import Comparison, RivalResult
from slaplanner_lab.simulation.loop import Run, Tick
from slaplanner_lab.simulation.miss_causes import causes
from slaplanner_lab.simulation.score import AttainmentPercent, Percentiles, Score, score
from slaplanner_lab.simulation.sweep import Axis, SweepPoint
from slaplanner_lab.simulation.timeline import Timeline, timeline

DIGITS = 4


def score_document(score: Score) -> dict[str, Any]:
    """One run: attainments in percent, latencies in ms, GPU-hours."""
    return {
        "attainment": _attainment(score.attainment),
        "unscored": {**_attainment(score.unscored), "requests": score.unscored.requests},
        "latency": {"ttft": _percentiles(score.ttft_ms), "itl": _percentiles(score.itl_ms)},
        "gpuHours": {
            **{role.value: _figure(hours) for role, hours in score.gpu_hours.items()},
            "total": _figure(score.total_gpu_hours),
        },
        "requests": score.requests,
        "unfinished": score.unfinished,
        "moves": score.moves,
        "budgetViolations": score.budget_violations,
        "preemptions": score.preempted,
        "hours": [
            {
                "t": hour.begin_s,
                "attainment": _attainment(hour.attainment),
                "requests": hour.attainment.requests,
                "gpuHours": _figure(hour.gpu_hours),
            }
            for hour in score.hours
        ],
    }


def run_document(run: Run) -> dict[str, Any]:
    """Everything that the report shows of one run: its score, and what happened when, and why."""
    return {
        **score_document(score(run)),
        "misses": [
            {"cause": cause.words, "requests": cause.requests, "percent": _figure(cause.percent)}
            for cause in causes(run)
        ],
        "plans": [_plan(tick) for tick in run.ticks],
        "timeline": list(_timeline(timeline(run))),
    }


def comparison_document(comparison: Comparison) -> dict[str, Any]:
    """Every rival, and the bound that nobody can pass."""
    return {
        "fluidBoundGpuHours": _figure(comparison.fluid_bound_gpu_hours),
        "entries": [_entry(entry) for entry in comparison.entries],
    }


def sweep_document(points: Sequence[SweepPoint], *, price: float | None) -> list[dict[str, Any]]:
    """Every policy that was tried; `budget` null: none; `cost` only with a price."""
    return [
        {
            "policy": point.variant.name,
            **{axis.value: point.variant.at(axis) for axis in Axis},
            "keepsPromise": point.kept,
            "attainment": _attainment(point.score.attainment),
            "gpuHours": _figure(point.score.total_gpu_hours),
            **({} if price is None else {"cost": round(price * point.score.total_gpu_hours, 2)}),
        }
        for point in points
    ]


def _plan(tick: Tick) -> dict[str, Any]:
    decision = tick.verdict.decision
    path = decision.forecast if decision is not None else None
    return {
        "t": tick.at_s,
        "reason": tick.verdict.reason,
        **{
            role.value: {
                "asked": tick.asked[role],
                "ready": tick.ready[role],
                "present": tick.present[role],
                "waiting": tick.waiting[role],
            }
            for role in tick.asked
        },
        "kvUsage": _figure(tick.kv_usage),
        "forecast": None
        if path is None
        else {"requests": path.requests[0], "isl": path.isl_tokens[0], "osl": path.osl_tokens[0]},
    }


def _timeline(seen: Timeline) -> Iterator[dict[str, Any]]:
    for at, begin_s in enumerate(seen.edges_s[:-1].tolist()):
        yield {
            "t": _figure(begin_s),
            "requests": int(seen.requests[at]),
            **{
                name: {
                    "p50": _figure(float(curve.p50_ms[at])),
                    "p99": _figure(float(curve.p99_ms[at])),
                    "inTime": _figure(float(curve.in_time[at])),
                }
                for name, curve in (("ttft", seen.ttft), ("itl", seen.itl))
            },
        }


def _entry(entry: RivalResult) -> dict[str, Any]:
    return {
        "kind": entry.kind.value,
        "name": entry.name,
        "keepsPromise": entry.feasible,
        "runs": entry.runs,
        "attainment": _attainment(entry.score.attainment),
        "gpuHours": {
            **{role.value: _figure(entry.score.gpu_hours[role]) for role in entry.score.gpu_hours},
            "total": _figure(entry.score.total_gpu_hours),
        },
        "moves": entry.score.moves,
    }


def _attainment(attainment: AttainmentPercent) -> dict[str, Any]:
    return {name: _figure(getattr(attainment, name)) for name in ("both", "ttft", "itl")}


def _percentiles(percentiles: Percentiles) -> dict[str, Any]:
    return {name: _figure(getattr(percentiles, name)) for name in ("p50", "p99")}


def _figure(value: float) -> float | None:
    return round(value, DIGITS) if math.isfinite(value) else None
