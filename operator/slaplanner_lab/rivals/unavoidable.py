"""How much of a trace comes as a surprise: bursts that are over before a replica for them has started."""

from __future__ import annotations

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from slaplanner.core.arrays import Floats
from slaplanner_lab.rivals.replica_capacity import work
from slaplanner_lab.simulation.loop import Scenario

STEP_S = 1.0


def share_beyond_reach(
    scenario: Scenario, *, remembered_s: float = math.inf, busiest_s: float = 15.0
) -> float:
    """Share of the scored requests that come on top of what was needed until a start-up before.

    A planner that sees every moment as it comes, orders at once what that moment needs, gives replicas
    back when nothing of the last *remembered_s* needed them, and runs each at 100 %, is still late for
    these; only foresight, or replicas that nothing has needed, serve them in time. A moment's need are
    the replicas that its *busiest_s* take; of its requests, the part counts for which the replicas at
    hand do not suffice.
    """
    traffic = scenario.traffic
    need = work(traffic, scenario.tables, scenario.policy.sla)
    steps = math.ceil(traffic.last_arrival_s / STEP_S) + 1
    index = np.minimum((traffic.arrival_s / STEP_S).astype(int), steps - 1)
    width, ahead = max(1, round(busiest_s / STEP_S)), round(scenario.startup_s / STEP_S)
    missing = np.zeros(steps)
    for role in scenario.roles:
        sums = np.concatenate([[0.0], np.cumsum(np.bincount(index, need.of(role), minlength=steps))])
        begin = np.arange(steps)
        load = (sums[np.minimum(begin + width, steps)] - sums[begin]) / (width * STEP_S)
        held = np.maximum(1.0, np.ceil(_highest(load, min(remembered_s / STEP_S, steps))))
        first = np.maximum(float(scenario.start[role]), held[:1]).repeat(min(ahead, steps))
        ready = np.concatenate([first, held])[:steps]
        missing = np.maximum(missing, 1.0 - ready / np.maximum(load, ready))
    scored = traffic.arrival_s >= scenario.unscored_s
    return float(missing[index[scored]].mean()) if scored.any() else 0.0


def _highest(load: Floats, steps: float) -> Floats:
    """The highest of each moment and the *steps* before it."""
    before = int(steps)
    if before >= load.size:
        return np.maximum.accumulate(load)
    padded = np.concatenate([np.zeros(before), load])
    highest: Floats = sliding_window_view(padded, before + 1).max(axis=1)
    return highest
