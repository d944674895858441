"""What sizing by attainment costs, beside its rivals: `make bench-sizing`, or `python -m benchmarks.sizing a d`.

Scenarios (TTFT and ITL targets in ms; every policy's other fields at their defaults, no budget):

    a  azure2023_conv x 8, Qwen3-32B tp2, plans every 30 s, start-up 120 s, 1000 and 30
    b  azure2023_code x 10, Llama-3.1-8B tp1, 30 s, 120 s, 2000 and 40: silence, then bursts
    c  a day of a reasoning model, Llama-3.1-70B tp4, 60 s, 180 s, 2000 and 40; its trace is too large for
       the repository: SLAPLANNER_DAY_TRACE names the file, without it the scenario is skipped
    d  as a, on a fleet 30 % slower than the profile that the planner has

Everybody starts with what the first minute's true load needs. The first 5 minutes (d: 10) are not
scored. Prompts beyond the profile's longest are cut to it.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slaplanner.adapters.profiles import LoadedProfile, load_directory
from slaplanner.api.policy import SLAPolicy
from slaplanner.core.engine import EngineTables
from slaplanner.core.model import Interpolation
from slaplanner.offline.simulation.compare import Comparison, Entry, Kind, Task, compare, tasks
from slaplanner.offline.simulation.loop import Scenario, simulate
from slaplanner.offline.simulation.rivals import Constant
from slaplanner.offline.simulation.score import score
from slaplanner.offline.simulation.start import start_replicas
from slaplanner.offline.simulation.traffic import Traffic
from slaplanner.offline.traces import read_trace

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
DAY_TRACE = "SLAPLANNER_DAY_TRACE"
SEED = 0
SLOWDOWN = 1.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One scenario as it is described above."""

    title: str
    trace: str
    amplify: int
    profile: str
    gpus: int
    interval_s: int
    startup_s: int
    ttft_ms: float
    itl_ms: float
    unscored_s: float = 300.0
    slowdown: float = 1.0


CASES = {
    "a": Case(
        title="steady chat",
        trace="azure2023_conv",
        amplify=8,
        profile="h100_vllm_Qwen3-32B_bf16_tp2",
        gpus=2,
        interval_s=30,
        startup_s=120,
        ttft_ms=1000,
        itl_ms=30,
    ),
    "b": Case(
        title="code completion in bursts",
        trace="azure2023_code",
        amplify=10,
        profile="h200_sxm_vllm_Llama-3.1-8B-Instruct-FP8_tp1",
        gpus=1,
        interval_s=30,
        startup_s=120,
        ttft_ms=2000,
        itl_ms=40,
    ),
    "c": Case(
        title="a day of a reasoning model",
        trace="",
        amplify=1,
        profile="h100_vllm_Llama-3.1-70B-FP8_tp4",
        gpus=4,
        interval_s=60,
        startup_s=180,
        ttft_ms=2000,
        itl_ms=40,
    ),
}
CASES["d"] = Case(
    title="steady chat, the fleet 30 % slower than its profile",
    trace=CASES["a"].trace,
    amplify=CASES["a"].amplify,
    profile=CASES["a"].profile,
    gpus=2,
    interval_s=30,
    startup_s=120,
    ttft_ms=1000,
    itl_ms=30,
    unscored_s=600.0,
    slowdown=SLOWDOWN,
)


def trace_path(case: Case) -> Path | None:
    """Where the case's trace lies; None when nobody said."""
    if case.trace:
        return EXAMPLES / "traces" / f"{case.trace}.jsonl.gz"
    named = os.environ.get(DAY_TRACE)
    return Path(named) if named else None


def scenario_of(case: Case, path: Path) -> tuple[Scenario, LoadedProfile]:
    loaded = load_directory(
        EXAMPLES / "profiles" / case.profile, allowed=None, interpolation=Interpolation.MONOTONE
    )
    policy = SLAPolicy.parse(
        {
            "metadata": {"name": "bench"},
            "spec": {
                "targetRef": {"name": "bench"},
                "sla": {"ttft": case.ttft_ms, "itl": case.itl_ms},
                "roles": [{"name": role, "gpusPerReplica": case.gpus} for role in ("prefill", "decode")],
                "profile": {"configMapRef": {"name": "bench"}},
                "planning": {"intervalSeconds": case.interval_s, "startupSeconds": case.startup_s},
            },
        }
    ).to_core()
    trace = read_trace(path)
    traffic = Traffic(
        arrival_s=trace.t_s - trace.t_s[0],
        isl_tokens=np.minimum(trace.isl_tokens.astype(np.float64), loaded.profile.prefill.isl_range[1]),
        osl_tokens=trace.osl_tokens.astype(np.float64),
    ).amplified(case.amplify, seed=SEED)
    start = start_replicas(traffic, policy=policy, profile=loaded.profile, slowdown=case.slowdown)
    scenario = Scenario(
        traffic=traffic,
        policy=policy,
        tables=EngineTables.of(loaded.profile).slowed(case.slowdown),
        start=start,
        unscored_s=case.unscored_s,
    )
    return scenario, loaded


@contextmanager
def timed(what: str) -> Iterator[None]:
    begin, cpu = time.perf_counter(), time.process_time()
    yield
    elapsed, used = time.perf_counter() - begin, time.process_time() - cpu
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{what}: {elapsed:.1f} s, {used:.1f} s of one core, peak memory {peak_mib:.0f} MiB", file=sys.stderr
    )


def row(entry: Entry) -> str:
    at = entry.score.attainment
    mark = "*" if entry.feasible else " "
    return (
        f"{mark} {entry.name:<52} {at.both:6.2f} {at.ttft:6.2f} {at.itl:6.2f} "
        f"{entry.score.total_gpu_hours:9.2f} {entry.score.unscored.both:7.2f} {entry.score.moves:6d} {entry.runs:4d}"
    )


def verdicts(comparison: Comparison) -> Iterator[str]:
    """How the planner stands beside each rival's best."""
    ours = next((e for e in comparison.entries if e.name == "sizing Attainment"), None)
    if ours is None:
        return
    mine = ours.score.total_gpu_hours
    for kind in (Kind.CLAIRVOYANT, Kind.CONSTANT, Kind.HPA, Kind.FORMULAS):
        best = comparison.best(kind)
        if best is None:
            yield f"no {kind.value} kept the promise"
        else:
            yield f"{mine / best.score.total_gpu_hours:.3f} x {best.name} ({best.score.total_gpu_hours:.2f})"


def fixed_sizes(scenario: Scenario, most_gpu_hours: float) -> Iterator[str]:
    """The best that constant sizes of at most so many GPU-hours reach."""
    hours = scenario.traffic.last_arrival_s / 3600.0
    best: tuple[float, str] = (-1.0, "")
    gpus = {role: scenario.gpus(role) for role in scenario.start}
    roles = tuple(scenario.start)
    most = int(most_gpu_hours / hours / min(gpus.values()))
    for decode in range(1, most):
        prefill = int((most_gpu_hours / hours - decode * gpus[roles[1]]) / gpus[roles[0]])
        if prefill < 1:
            break
        replicas = {roles[0]: prefill, roles[1]: decode}
        fixed = Scenario(
            traffic=scenario.traffic,
            policy=scenario.policy,
            tables=scenario.tables,
            start=replicas,
            unscored_s=scenario.unscored_s,
        )
        reached = score(simulate(fixed, Constant(replicas=replicas)))
        best = max(
            best, (reached.attainment.both, f"{prefill} + {decode}, {reached.total_gpu_hours:.2f} GPU-hours")
        )
        if reached.attainment.itl > 99.99:
            break
    yield f"best constant size that costs no more: {best[0]:.2f} % ({best[1]})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", choices=[*CASES, []], help="default: all")
    parser.add_argument("--processes", type=int, help="default: one per core")
    parser.add_argument(
        "--only", choices=[kind.value for kind in Kind], action="append", help="default: everybody"
    )
    arguments = parser.parse_args()
    for name in arguments.cases or list(CASES):
        case = CASES[name]
        path = trace_path(case)
        if path is None:
            print(f"({name}) {case.title}: skipped, {DAY_TRACE} does not name its trace\n")
            continue
        scenario, loaded = scenario_of(case, path)
        start = " + ".join(str(count) for count in scenario.start.values())
        print(f"({name}) {case.title}: {len(scenario.traffic):,} requests, start at {start}", flush=True)
        todo: tuple[Task, ...] = tuple(
            task for task in tasks() if not arguments.only or task.kind.value in arguments.only
        )
        with timed(f"({name})"):
            comparison = compare(
                scenario,
                loaded.tables,
                processes=arguments.processes,
                only=todo,
                done=lambda entry: print(f"  done: {entry.name}", file=sys.stderr, flush=True),
            )
        print(
            f"  {'':<52} {'both%':>6} {'TTFT%':>6} {'ITL%':>6} {'GPU-hours':>9} {'before%':>7} {'moves':>6} {'runs':>4}"
        )
        for entry in comparison.entries:
            print(row(entry))
        print(f"  fluid bound {comparison.fluid_bound_gpu_hours:.2f} GPU-hours")
        for line in verdicts(comparison):
            print(f"  {line}")
        ours = next((e for e in comparison.entries if e.name == "sizing Attainment"), None)
        if name == "b" and ours is not None:
            for line in fixed_sizes(scenario, ours.score.total_gpu_hours):
                print(f"  {line}")
        print(flush=True)


if __name__ == "__main__":
    main()
