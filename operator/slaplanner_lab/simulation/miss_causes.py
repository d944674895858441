"""Where the misses come from: what no planner could have met, and what a larger fleet would have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from slaplanner.core.model import Role
from slaplanner_lab.simulation.loop import Run
from slaplanner_lab.simulation.score import Flags, met


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One reason and the requests that it made miss; a request counts under the first that applies."""

    words: str
    requests: int
    percent: float


def causes(run: Run) -> tuple[Cause, ...]:
    """The requests that count and missed, by reason; none when all were in time."""
    requests, scenario, flags = run.requests, run.scenario, met(run)
    counts = requests.arrival_s >= scenario.unscored_s
    missed = counts & ~flags.both
    alone_ms = scenario.tables.ttft_at(requests.isl_tokens.astype(np.float64))
    late_ttft, late_itl = missed & ~flags.ttft, missed & flags.ttft
    first, last = scenario.roles[0], scenario.roles[-1]
    starting = {role: _starting(run, role) for role in scenario.roles}
    reasons: list[tuple[str, Flags]] = [
        ("refused: larger than the KV of a worker", missed & requests.refused),
        (
            "the prompt alone takes longer than the TTFT target",
            late_ttft & (alone_ms > scenario.policy.sla.ttft_ms),
        ),
        (
            "waited for prefill while replicas that were asked for still started",
            late_ttft & starting[first],
        ),
        ("waited for prefill, and no replica was under way", late_ttft),
        (
            "decoded too slowly while replicas that were asked for still started",
            late_itl & starting[last],
        ),
        ("decoded too slowly, and no replica was under way", late_itl),
    ]
    total = int(counts.sum())
    left = missed.copy()
    found = []
    for words, which in reasons:
        count = int((which & left).sum())
        left &= ~which
        if count:
            found.append(Cause(words=words, requests=count, percent=100.0 * count / total))
    return tuple(found)


def _starting(run: Run, role: Role) -> Flags:
    """Whether more replicas had been asked for than were ready when each request arrived."""
    if not run.ticks:
        return np.zeros(run.requests.arrival_s.size, dtype=np.bool_)
    times = np.array([tick.at_s for tick in run.ticks])
    short = np.array([tick.asked[role] > tick.ready[role] for tick in run.ticks])
    index = np.searchsorted(times, run.requests.arrival_s, side="right") - 1
    flags: Flags = (index >= 0) & short[np.maximum(index, 0)]
    return flags
