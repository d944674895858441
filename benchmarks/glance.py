"""Glances between plans, and how long an interval may be: `make bench-glance`.

Two recordings and a load that doubles, at intervals of 60 and 180 s, with and without glances; everything else is
the default. The attainment counts requests inside both targets.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
from benchmarks.sizing_cases import CHAT, CODE, Case, scenario_of, trace_path

from slaplanner.core.model import Role
from slaplanner_lab.simulation.loop import Scenario, simulate
from slaplanner_lab.simulation.planners import PolicyPlanner
from slaplanner_lab.simulation.score import score
from slaplanner_lab.simulation.traffic import Traffic

INTERVALS_S = (60, 180)
STEP_S = 2000.0
"""Of the load that doubles; 20 s after a plan at either interval."""
CASES = {
    "chat": replace(CHAT, amplify=8),
    "code: bursts": CODE,
    "chat, fleet 15 % slower": replace(CHAT, slowdown=1.15, seed=3),
    "doubles at 2,000 s": CHAT,
}


def run(name: str, interval_s: int, glances: bool) -> tuple[float, float, int, int]:  # noqa: FBT001 - of a pool
    """Attainment in %, GPU-hours, plans, and plans that glances asked for."""
    case: Case = replace(CASES[name], interval_s=interval_s, unscored_s=600.0)
    path = trace_path(case)
    assert path is not None
    scenario, loaded = scenario_of(case, path)
    if name.startswith("doubles"):
        scenario = _doubling(scenario)
    planner = PolicyPlanner(policy=scenario.policy, profile=loaded.profile, glances=glances)
    played = simulate(scenario, planner)
    early = sum(tick.alarm is not None for tick in played.ticks)
    scored = score(played)
    return scored.attainment.both, scored.total_gpu_hours, len(played.ticks), early


def _doubling(scenario: Scenario) -> Scenario:
    rng = np.random.default_rng(5)
    arrival_s = np.sort(
        np.concatenate([rng.uniform(0.0, STEP_S, int(20 * STEP_S)), rng.uniform(STEP_S, 3600.0, 40 * 1600)])
    )
    sizes = np.full(arrival_s.size, 2000.0), np.full(arrival_s.size, 200.0)
    traffic = Traffic(arrival_s=arrival_s, isl_tokens=sizes[0], osl_tokens=sizes[1])
    return replace(scenario, traffic=traffic, start={Role.PREFILL: 4, Role.DECODE: 2})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--processes", type=int, help="default: one per core")
    arguments = parser.parse_args()
    asked = [
        (name, interval, glances) for name in CASES for interval in INTERVALS_S for glances in (False, True)
    ]
    with ProcessPoolExecutor(arguments.processes, mp_context=get_context("spawn")) as pool:
        found = pool.map(run, *zip(*asked, strict=True))
        print(
            "| scenario | interval, s | glances | inside both targets, % | GPU-hours | plans | of which early |"
        )
        print("|---|---|---|---|---|---|---|")
        for (name, interval, glances), (both, hours, plans, early) in zip(asked, found, strict=True):
            print(
                f"| {name} | {interval} | {'yes' if glances else 'no'} | {both:.2f} | {hours:.1f} | {plans} | {early} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
