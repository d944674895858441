"""How long simulations and dry-runs take, and how much memory: `make bench-simulate`.

A day of a reasoning model on Llama-3.1-70B tp4, the planner in charge, plans every 60 s. The trace is too
large for the repository: SLAPLANNER_DAY_TRACE names the file. Each line is a process of its own, so that
peak memory is that line's; reading the file is counted. Seconds are CPU time of the one thread that works,
which is what a free core takes, and beside it what the clock showed while others used the machine too.
Each process first simulates ten minutes unmeasured: imports, and loading or making the machine code of the
kernels, which takes a machine's first simulation half a minute once.

Dry-runs take seconds, and a shared machine is half as fast in one minute as in the next: they are measured
between all the simulations, and their median counts.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from slaplanner.adapters.profiles import LoadedProfile, load_directory
from slaplanner.adapters.traces.trace import Trace, read_trace
from slaplanner.core.model import (
    Interpolation,
    Policy,
    PredictorPolicy,
    PredictorType,
    Role,
    RolePolicy,
    Sizing,
    Sla,
)
from slaplanner_lab.dryrun import dry_run
from slaplanner_lab.notebook import simulate

PROFILE = Path(__file__).resolve().parent.parent / "examples" / "profiles" / "h100_vllm_Llama-3.1-70B-FP8_tp4"
DAY_TRACE = "SLAPLANNER_DAY_TRACE"
SIZES = (10_000, 100_000, 1_000_000)

MOST_SIMULATION_S, MOST_DRY_RUN_S, MOST_MIB = 30.0, 5.0, 1.5 * 1024
FLAT = 1.5
"""The cost of a request may differ by this factor between the sizes."""

POLICY = Policy(
    sla=Sla(ttft_ms=2000, itl_ms=40),
    roles=tuple(RolePolicy(role=role, gpus_per_replica=4) for role in (Role.PREFILL, Role.DECODE)),
    interval_s=60.0,
    window_s=60.0,
    startup_s=180.0,
    sizing=Sizing.ATTAINMENT,
    predictor=PredictorPolicy(type=PredictorType.AUTO),
)
CONSTANT = replace(POLICY, predictor=PredictorPolicy(type=PredictorType.CONSTANT))


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One line of the table."""

    what: str
    requests: int
    reading_s: float
    working_s: float
    """Of the CPU, without reading."""
    elapsed_s: float
    peak_mib: float

    @property
    def total_s(self) -> float:
        return self.reading_s + self.working_s

    @property
    def request_us(self) -> float:
        return 1e6 * self.working_s / self.requests


def measured(
    what: str, path: str, first: int | None, work: Callable[[Trace, LoadedProfile], object]
) -> Measured:
    """Read the trace, take its *first* requests (None: all), and do *work*."""
    profile = load_directory(PROFILE, allowed=None, interpolation=Interpolation.MONOTONE)
    work(minutes_of_chance(), profile)
    begin, cpu = time.perf_counter(), time.process_time()
    trace = read_trace(path)
    if first is not None:
        trace = trace.between(float(trace.t_s[0]), float(trace.t_s[first]))
    read_s = time.process_time() - cpu
    work(trace, profile)
    return Measured(
        what=what,
        requests=len(trace),
        reading_s=read_s,
        working_s=time.process_time() - cpu - read_s,
        elapsed_s=time.perf_counter() - begin,
        peak_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )


def minutes_of_chance() -> Trace:
    """Ten minutes of one request a second."""
    return Trace(
        name="chance",
        t_s=np.arange(600.0),
        isl_tokens=np.full(600, 1000, dtype=np.int64),
        osl_tokens=np.full(600, 100, dtype=np.int64),
    )


def simulated(trace: Trace, profile: LoadedProfile) -> object:
    return simulate(POLICY, profile, trace)


def planned(trace: Trace, profile: LoadedProfile) -> object:
    return dry_run(CONSTANT, profile.profile, trace)


def planned_by_formulas(trace: Trace, profile: LoadedProfile) -> object:
    return dry_run(replace(CONSTANT, sizing=Sizing.THROUGHPUT), profile.profile, trace)


DRY_RUNS = {
    "dry-run, Constant, Throughput": planned_by_formulas,
    "dry-run, Constant, Attainment": planned,
}


def usual(found: list[Measured]) -> Measured:
    """The one in the middle."""
    return sorted(found, key=lambda one: one.total_s)[len(found) // 2]


def row(one: Measured) -> str:
    return (
        f"| {one.what} | {one.requests:,} | {one.reading_s:.1f} | {one.working_s:.1f} | "
        f"{one.request_us:.1f} | {one.elapsed_s:.1f} | {one.peak_mib:.0f} |"
    )


def main() -> int:
    path = os.environ.get(DAY_TRACE)
    if not path:
        print(f"skipped: {DAY_TRACE} does not name the trace")
        return 0
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # spawned processes read it before numpy starts

    def done(what: str, first: int | None, work: Callable[[Trace, LoadedProfile], object]) -> Measured:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            found = process.submit(measured, what, path, first, work).result()
        print(row(found), file=sys.stderr, flush=True)
        return found

    simulations: list[Measured] = []
    dry_runs: dict[str, list[Measured]] = {what: [] for what in DRY_RUNS}
    for size in (*SIZES, None):
        for what, work in DRY_RUNS.items():
            dry_runs[what].append(done(what, None, work))
        simulations.append(done("simulation", size, simulated))
    for what, work in DRY_RUNS.items():
        dry_runs[what].append(done(what, None, work))
    *sizes, day = simulations
    head = ("what", "requests", "reading, s", "working, s", "µs per request", "elapsed, s", "peak MiB")
    print("| " + " | ".join(head) + " |\n" + "|---" * len(head) + "|")
    print("\n".join(map(row, [*simulations, *map(usual, dry_runs.values())])))
    costs = [one.request_us for one in sizes]
    claims = {
        f"the day in {day.total_s:.1f} s, wanted at most {MOST_SIMULATION_S:g}": day.total_s
        <= MOST_SIMULATION_S,
        f"in {day.peak_mib:.0f} MiB, wanted at most {MOST_MIB:.0f}": day.peak_mib <= MOST_MIB,
        f"a request of {SIZES[-1]:,} costs {costs[-1] / costs[0]:.2f} times one of {SIZES[0]:,}, wanted at most "
        f"{FLAT:g}": costs[-1] <= FLAT * costs[0],
        **{
            f"{what} of the day in {usual(found).total_s:.1f} s, the median of "
            f"{', '.join(f'{one.total_s:.1f}' for one in found)}; wanted at most {MOST_DRY_RUN_S:g}": (
                usual(found).total_s <= MOST_DRY_RUN_S
            )
            for what, found in dry_runs.items()
        },
    }
    print("\n" + "\n".join(f"{'holds' if held else 'FAILS'}: {claim}" for claim, held in claims.items()))
    return 0 if all(claims.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
