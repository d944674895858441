"""Random scenarios, each from one seed: what nobody could have tuned for.

A draw takes a load (one of the recorded hours, also with its blocks in another order, or one that is made
here), one of the example profiles, a promise, a planning interval, a start-up time, a size of fleet, how
the true engines differ from their profile, and how bursty the arrivals are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from benchmarks.sizing_cases import EXAMPLES, reordered

from slaplanner.adapters.profiles import LoadedProfile, load_directory
from slaplanner.adapters.traces.trace import Trace, read_trace
from slaplanner.core.model import Interpolation, Policy, Role, RolePolicy, Sla
from slaplanner_lab.engine import EngineError, EngineTables
from slaplanner_lab.rivals.replica_capacity import work
from slaplanner_lab.simulation import setup
from slaplanner_lab.simulation.loop import Scenario
from slaplanner_lab.simulation.telemetry import FINE_BUCKETS
from slaplanner_lab.simulation.traffic import Traffic

Floats = npt.NDArray[np.float64]

RECORDED = ("azure2023_conv", "azure2023_code")
MADE = "made"
PROFILES = (
    "h100_vllm_Llama-3.1-70B-FP8_tp4",
    "h100_vllm_Qwen3-32B_bf16_tp2",
    "h200_sxm_vllm_Llama-3.1-8B-Instruct-FP8_tp1",
)
MADE_SPAN_S = 4500.0
MOST_REQUESTS = 200_000
"""More would only take longer: fleets are made large by long requests and few of them, too."""

LEAST_SLACK = 1.5
"""A TTFT target is at least so many times what the longest prompts take alone, else nobody could keep it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """One scenario before it is built; everything is chosen by `seed`."""

    seed: int
    load: str
    order: int | None
    """Seed of another order of a recorded hour's blocks; None: as recorded."""
    profile: str
    replicas: float
    """Replicas of both roles together that the mean load takes at best."""
    interval_s: float
    startup_s: float
    ttft_ms: float
    itl_factor: float
    """ITL target over the ITL of a single sequence."""
    error: EngineError
    copies_within_s: float
    """The copies of a request arrive within so much of each other."""

    @property
    def unscored_s(self) -> float:
        """What is ordered first, and what is ordered on seeing its effect."""
        return max(300.0, 2.0 * (self.interval_s + self.startup_s))


def draw(seed: int) -> Draw:
    """The scenario of *seed*."""
    rng = np.random.default_rng([14, seed])
    load = str(rng.choice([*RECORDED, MADE, MADE]))
    return Draw(
        seed=seed,
        load=load,
        order=int(rng.integers(1 << 30)) if load != MADE and rng.uniform() < 0.5 else None,
        profile=str(rng.choice(PROFILES)),
        replicas=float(np.exp(rng.uniform(math.log(2.0), math.log(24.0)))),
        interval_s=float(rng.choice([30.0, 60.0, 180.0])),
        startup_s=float(rng.choice([30.0, 60.0, 120.0, 300.0])),
        ttft_ms=float(rng.choice([500.0, 1000.0, 2000.0, 4000.0])),
        itl_factor=float(rng.uniform(1.5, 3.0)),
        error=EngineError(
            prefill=float(np.exp(rng.normal(0.0, 0.12))),
            decode=float(np.exp(rng.normal(0.0, 0.12))),
            kv_growth=float(np.clip(rng.normal(0.0, 0.12), -0.3, 0.3)),
        ),
        copies_within_s=float(rng.choice([10.0, 10.0, 1.0])),
    )


def scenario_of(drawn: Draw, *, most_requests: int = MOST_REQUESTS) -> tuple[Scenario, LoadedProfile]:
    """The scenario with Dynamo's default buckets, and the profile that the planner has."""
    rng = np.random.default_rng([41, drawn.seed])
    loaded = load_directory(
        EXAMPLES / "profiles" / drawn.profile, allowed=None, interpolation=Interpolation.MONOTONE
    )
    believed = EngineTables.of(loaded.profile)
    true = believed.erring(drawn.error)
    trace = _load(drawn, rng)
    trace = replace(trace, isl_tokens=np.minimum(trace.isl_tokens, int(0.9 * true.max_isl_tokens)))
    sla = _sla(drawn, true, trace)
    trace = _sized(trace, drawn, true, sla, rng, most_requests=most_requests)
    gpus = int(drawn.profile.rpartition("_tp")[2])
    policy = Policy(
        sla=sla,
        roles=tuple(RolePolicy(role=role, gpus_per_replica=gpus) for role in (Role.PREFILL, Role.DECODE)),
        interval_s=drawn.interval_s,
        window_s=drawn.interval_s,
        startup_s=drawn.startup_s,
    )
    scenario = setup.scenario_of(
        policy, trace, fleet=loaded.profile, error=drawn.error, unscored_s=drawn.unscored_s
    )
    return scenario, loaded


def with_fine_buckets(scenario: Scenario) -> Scenario:
    """The same, as a frontend with the buckets of the how-to shows it."""
    return replace(scenario, buckets=FINE_BUCKETS)


def _load(drawn: Draw, rng: np.random.Generator) -> Trace:
    if drawn.load == MADE:
        return _made(rng)
    trace = read_trace(EXAMPLES / "traces" / f"{drawn.load}.jsonl.gz")
    trace = replace(trace, t_s=trace.t_s - trace.t_s[0])
    return trace if drawn.order is None else reordered(trace, seed=drawn.order)


def _made(rng: np.random.Generator) -> Trace:
    """A rate that swings slowly and jumps now and then; lengths of two kinds of requests."""
    step_s = 5.0
    at_s = np.arange(0.0, MADE_SPAN_S, step_s)
    period_s, depth = rng.uniform(1200.0, 7200.0), rng.uniform(0.1, 0.7)
    rate = 1.0 + depth * np.sin(2.0 * math.pi * (at_s / period_s + rng.uniform()))
    for _ in range(int(rng.integers(0, 5))):
        begin_s, lasts_s = rng.uniform(0.0, MADE_SPAN_S), rng.uniform(30.0, 900.0)
        rate[(at_s >= begin_s) & (at_s < begin_s + lasts_s)] *= rng.uniform(1.3, 2.5)
    counts = rng.poisson(4.0 * step_s * rate)
    t_s = np.sort(np.repeat(at_s, counts) + rng.uniform(0.0, step_s, int(counts.sum())))
    isl, osl = _lengths(t_s.size, rng)
    return Trace(name=MADE, t_s=t_s - t_s[0], isl_tokens=isl, osl_tokens=osl)


def _lengths(count: int, rng: np.random.Generator) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    isl, osl = np.empty(count), np.empty(count)
    second = rng.uniform(size=count) < rng.uniform(0.0, 0.5)
    for which in (second, ~second):
        n = int(which.sum())
        isl[which] = np.exp(rng.normal(math.log(rng.uniform(200.0, 4000.0)), rng.uniform(0.3, 1.2), n))
        osl[which] = np.exp(rng.normal(math.log(rng.uniform(60.0, 800.0)), rng.uniform(0.3, 0.9), n))
    return (
        np.clip(isl, 8, 16_000).astype(np.int64),
        np.clip(osl, 2, 4_000).astype(np.int64),
    )


def _sla(drawn: Draw, true: EngineTables, trace: Trace) -> Sla:
    """A promise that a fleet without queues would keep."""
    slow_ms = float(true.ttft_at(np.quantile(trace.isl_tokens, [0.999]).astype(float))[0])
    context = float(trace.isl_tokens.mean() + trace.osl_tokens.mean() / 2.0)
    contexts = true.shortest_context_tokens * true.context_ratio ** np.arange(true.itl_ms.shape[0])
    alone_ms = float(np.interp(context, contexts, true.itl_ms[:, 0]))
    return Sla(
        ttft_ms=round(max(drawn.ttft_ms, LEAST_SLACK * slow_ms)),
        itl_ms=round(drawn.itl_factor * alone_ms, 1),
    )


def _sized(
    trace: Trace, drawn: Draw, true: EngineTables, sla: Sla, rng: np.random.Generator, *, most_requests: int
) -> Trace:
    """As many copies of each request as the drawn size of the fleet takes, or a sample of them."""
    traffic = Traffic(
        arrival_s=trace.t_s,
        isl_tokens=trace.isl_tokens.astype(float),
        osl_tokens=trace.osl_tokens.astype(float),
    )
    need = work(traffic, true, sla)
    alone = float(sum(need.of(role).sum() for role in (Role.PREFILL, Role.DECODE))) / trace.span_s
    copies = min(drawn.replicas / alone, most_requests / len(trace))
    counts = np.floor(copies).astype(int) + (rng.uniform(size=len(trace)) < copies % 1.0)
    original = np.repeat(np.arange(len(trace)), counts)
    within_s = drawn.copies_within_s
    moved_s = rng.uniform(-5.0, 5.0, len(trace))[original] * (within_s < 10.0)
    t_s = np.abs(trace.t_s[original] + moved_s + rng.uniform(-0.5, 0.5, original.size) * within_s)
    order = np.argsort(t_s, kind="stable")
    original = original[order]
    return Trace(
        name=f"{drawn.load}, seed {drawn.seed}",
        t_s=t_s[order] - t_s[order[0]],
        isl_tokens=trace.isl_tokens[original],
        osl_tokens=trace.osl_tokens[original],
    )
