"""The bursts of scenario (b) in other orders: `make bench-bursts`.

A recording shows its bursts in one order, and what suits that order may be luck. Here it is cut into blocks
of four minutes that change places, seeds fixed: the same requests, the same bursts, another past before each.
The planner, HPAs and constant sizes run on every order, with the policy, profile and start of (b).
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing import get_context

import numpy as np
from benchmarks.sizing_cases import CODE, scenario_of, trace_path

from slaplanner.core.model import Role
from slaplanner.core.profiles import Profile
from slaplanner.offline.simulation.compare import Arena, Kind, Task
from slaplanner.offline.simulation.loop import ROLES, Scenario, simulate
from slaplanner.offline.simulation.planners import PolicyPlanner
from slaplanner.offline.simulation.rivals import Constant
from slaplanner.offline.simulation.score import Score, score

ORDERS = 16
HPA_TARGETS = (0.3, 0.4, 0.5, 0.6)
PREFILL_SIZES = (7, 8, 9, 10)
"""Of constant fleets with one decode replica, which is enough."""
FLOORS = (6, 7, 8)
"""`minReplicas` of prefill, for the planner once more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One controller on one order."""

    name: str
    both: float
    """Percent of the requests inside both targets."""
    gpu_hours: float


def results(order: int) -> list[Result]:
    """Everybody on one order."""
    path = trace_path(CODE)
    assert path is not None
    scenario, loaded = scenario_of(replace(CODE, order=order), path)
    arena = Arena(scenario=scenario, profile=loaded.profile)
    tasks = [
        Task(kind=Kind.HPA, name=f"HPA at {100 * target:.0f} %", target=target) for target in HPA_TARGETS
    ]
    planner = Task(kind=Kind.PLANNER, name="sizing Attainment")
    return [
        _result(planner.name, arena.run(planner).score),
        *_floored(scenario, loaded.profile),
        *(_result(task.name, arena.run(task).score) for task in tasks),
        *_constant(scenario),
    ]


def _floored(scenario: Scenario, profile: Profile) -> Iterator[Result]:
    for floor in FLOORS:
        prefill, decode = (scenario.policy.role(role) for role in ROLES)
        policy = replace(scenario.policy, roles=(replace(prefill, min_replicas=floor), decode))
        run = simulate(replace(scenario, policy=policy), PolicyPlanner(policy=policy, profile=profile))
        yield _result(f"  minReplicas {floor}", score(run))


def _constant(scenario: Scenario) -> Iterator[Result]:
    for prefill in PREFILL_SIZES:
        sizes = {Role.PREFILL: prefill, Role.DECODE: 1}
        run = simulate(replace(scenario, start=sizes), Constant(replicas=sizes))
        yield _result(f"constant size, {prefill} + 1", score(run))


def _result(name: str, told: Score) -> Result:
    return Result(name=name, both=told.attainment.both, gpu_hours=told.total_gpu_hours)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--orders", type=int, default=ORDERS, help=f"how many; default: {ORDERS}")
    parser.add_argument("--processes", type=int, help="default: one per core")
    arguments = parser.parse_args()
    found: dict[int, list[Result]] = {}
    with ProcessPoolExecutor(arguments.processes, mp_context=get_context("spawn")) as pool:
        running = {pool.submit(results, order): order for order in range(arguments.orders)}
        for done in as_completed(running):
            found[running[done]] = done.result()
            print(f"{len(found)} of {len(running)} orders", file=sys.stderr, flush=True)
    print(f"{'':<24} {'both%':>6} {'s.e.':>5} {'least':>6} {'most':>6} {'GPU-hours':>9}")
    for everywhere in zip(*(found[order] for order in sorted(found)), strict=True):
        both = np.array([one.both for one in everywhere])
        gpu_hours = float(np.mean([one.gpu_hours for one in everywhere]))
        error = both.std(ddof=1) / math.sqrt(both.size) if both.size > 1 else math.nan
        print(
            f"{everywhere[0].name:<24} {both.mean():6.2f} {error:5.2f} {both.min():6.2f} {both.max():6.2f} "
            f"{gpu_hours:9.2f}"
        )


if __name__ == "__main__":
    main()
