"""The bursts of scenario (b) in other orders: `make bench-bursts`.

A recording shows its bursts in one order, and what suits that order may be luck. Here it is cut into blocks
of four minutes that change places, seeds fixed: the same requests, the same bursts, another past before each.
The planner, HPAs and constant sizes run on every order, with the policy and profile of (b); all start with
what the first minute takes.
"""

from __future__ import annotations

import argparse
import math
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
from benchmarks.sizing import row_of
from benchmarks.sizing_bounds import Row
from benchmarks.sizing_cases import CODE, scenario_of, trace_path

from slaplanner.core.model import Role
from slaplanner_lab.rivals.compare import Kind, TaskRunner, at_size, tasks
from slaplanner_lab.simulation.loop import ROLES

ORDERS = 16
RUN = ("sizing Attainment", "HPA at 30 %", "HPA at 40 %", "HPA at 50 %", "HPA at 60 %")
"""Of the rivals of a comparison, and the planner, which is the first of them."""
PREFILL_SIZES = (7, 8, 9, 10)
"""Of constant fleets with one decode replica, which is enough."""
FLOORS = (6, 7, 8)
"""`minReplicas` of prefill, for the planner once more."""


def rows(order: int) -> list[Row]:
    """Everybody on one order."""
    path = trace_path(CODE)
    assert path is not None
    scenario, loaded = scenario_of(replace(CODE, order=order), path)
    arena = TaskRunner(scenario=scenario, profile=loaded.profile)
    planner, *hpas = (task for task in tasks() if task.name in RUN)
    prefill, decode = (scenario.policy.role(role) for role in ROLES)
    found = [row_of(planner.name, planner.kind, arena.run(planner).score)]
    for floor in FLOORS:
        policy = replace(scenario.policy, roles=(replace(prefill, min_replicas=floor), decode))
        floored = replace(arena, scenario=replace(scenario, policy=policy))
        found.append(row_of(f"  minReplicas {floor}", planner.kind, floored.run(planner).score))
    found += [row_of(task.name, task.kind, arena.run(task).score) for task in hpas]
    for count in PREFILL_SIZES:
        score = at_size(scenario, {Role.PREFILL: count, Role.DECODE: 1})
        found.append(row_of(f"constant size, {count} + 1", Kind.CONSTANT, score))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--orders", type=int, default=ORDERS, help=f"how many; default: {ORDERS}")
    parser.add_argument("--processes", type=int, help="default: one per core")
    arguments = parser.parse_args()
    found: dict[int, list[Row]] = {}
    with ProcessPoolExecutor(arguments.processes, mp_context=get_context("spawn")) as pool:
        running = {pool.submit(rows, order): order for order in range(arguments.orders)}
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
