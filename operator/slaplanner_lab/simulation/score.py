"""What a run is worth: the promise kept, and the GPU time that it took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from slaplanner.core.arrays import Floats
from slaplanner.core.model import Role
from slaplanner_lab.simulation.loop import Run

Flags = npt.NDArray[np.bool_]

HOUR_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AttainmentPercent:
    """Percent of some requests that met their targets. With no request, everything was kept."""

    both: float
    ttft: float
    itl: float
    requests: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentiles:
    """Of the requests that got so far, in ms; NaN when none did."""

    p50: float
    p99: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Hour:
    """One hour of the trace, by arrival."""

    begin_s: float
    attainment: AttainmentPercent
    gpu_hours: float
    """From looks at the fleet; approximate within 15 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One run in figures."""

    attainment: AttainmentPercent
    """Of the requests that count."""
    unscored: AttainmentPercent
    """Of those that arrived before scoring began."""
    ttft_ms: Percentiles
    itl_ms: Percentiles
    gpu_hours: Mapping[Role, float]
    requests: int
    unfinished: int
    moves: int
    budget_violations: int
    preempted: int
    hours: tuple[Hour, ...]
    most_asked: Mapping[Role, int] = field(default_factory=dict)
    """The most replicas that were asked for at any moment."""

    @property
    def total_gpu_hours(self) -> float:
        return sum(self.gpu_hours.values())


@dataclass(frozen=True, slots=True, eq=False)
class Met:
    """Which requests met their targets, in order of arrival."""

    arrival_s: Floats
    ttft: Flags
    itl: Flags

    @property
    def both(self) -> Flags:
        return self.ttft & self.itl

    def attainment(self, which: Flags | slice = slice(None)) -> AttainmentPercent:
        ttft, itl, both = self.ttft[which], self.itl[which], self.both[which]
        return AttainmentPercent(
            both=_percent(both), ttft=_percent(ttft), itl=_percent(itl), requests=int(both.size)
        )


def met(run: Run) -> Met:
    """A request meets TTFT when its first token came in time, ITL when its mean gap was in time.

    What was not finished at the end of the run missed both, unless its first token was in time.
    """
    sla, requests = run.scenario.policy.sla, run.requests
    with np.errstate(invalid="ignore"):
        return Met(requests.arrival_s, requests.ttft_ms <= sla.ttft_ms, requests.itl_ms <= sla.itl_ms)


def score(run: Run) -> Score:
    """The figures of *run*."""
    flags, requests = met(run), run.requests
    counted = requests.arrival_s >= run.scenario.unscored_s
    return Score(
        attainment=flags.attainment(counted),
        unscored=flags.attainment(~counted),
        ttft_ms=_percentiles(requests.ttft_ms[counted]),
        itl_ms=_percentiles(requests.itl_ms[counted & (requests.osl_tokens > 1)]),
        gpu_hours=run.gpu_hours,
        requests=int(requests.arrival_s.size),
        unfinished=run.unfinished + int(requests.refused.sum()),
        moves=run.moves,
        budget_violations=run.budget_violations,
        preempted=run.preempted,
        hours=_hours(run, flags),
        most_asked={role: max(look.asked[role] for look in run.looks) for role in run.looks[0].asked},
    )


def _hours(run: Run, flags: Met) -> tuple[Hour, ...]:
    last_s = run.scenario.traffic.last_arrival_s
    hours = []
    for begin_s in np.arange(0.0, last_s, HOUR_S).tolist():
        end_s = min(begin_s + HOUR_S, np.nextafter(last_s, np.inf))
        first, last = np.searchsorted(flags.arrival_s, (begin_s, end_s))
        hours.append(
            Hour(
                begin_s=begin_s,
                attainment=flags.attainment(slice(int(first), int(last))),
                gpu_hours=_held_gpu_hours(run, begin_s, end_s),
            )
        )
    return tuple(hours)


def _held_gpu_hours(run: Run, begin_s: float, end_s: float) -> float:
    """GPU-hours between two moments, from the replicas that each look found."""
    total = 0.0
    for look, until_s in zip(run.looks, [*(look.at_s for look in run.looks[1:]), end_s], strict=True):
        overlap_s = min(until_s, end_s) - max(look.at_s, begin_s)
        if overlap_s > 0.0:
            gpus = sum(count * run.scenario.gpus(role) for role, count in look.present.items())
            total += gpus * overlap_s / HOUR_S
    return total


def _percent(flags: Flags) -> float:
    return 100.0 * float(flags.mean()) if flags.size else 100.0


def _percentiles(values: Floats) -> Percentiles:
    finite = values[np.isfinite(values)]
    if not finite.size:
        return Percentiles(p50=float("nan"), p99=float("nan"))
    p50, p99 = np.percentile(finite, (50, 99)).tolist()
    return Percentiles(p50=p50, p99=p99)
