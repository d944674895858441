"""The scenarios of the sizing benchmark: those that bounds are stated for, and those that were held out."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from slaplanner.adapters.profiles import LoadedProfile, load_directory
from slaplanner.adapters.traces.trace import Trace, read_trace
from slaplanner.api.policy import SLAPolicy
from slaplanner.core.model import Interpolation
from slaplanner_lab.engine import EngineError
from slaplanner_lab.simulation import setup
from slaplanner_lab.simulation.loop import Scenario

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
DAY_TRACE = "SLAPLANNER_DAY_TRACE"
BLOCK_S = 240.0
"""Of a trace whose blocks change places: eight times a burst, and longer than a start-up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One scenario. The targets are in ms; every other field of the policy has its default."""

    title: str
    trace: str
    """In examples/traces; empty: the file that `SLAPLANNER_DAY_TRACE` names."""
    amplify: int
    profile: str
    gpus: int
    interval_s: int
    startup_s: int
    ttft_ms: float
    itl_ms: float
    unscored_s: float = 300.0
    slowdown: float = 1.0
    """Of the fleet, against the profile that the planner and the HPA have."""
    seed: int = 0
    from_s: float = 0.0
    to_s: float = float("inf")
    order: int | None = None
    """Seed of another order of the trace's blocks; None: as recorded."""


CHAT = Case(
    title="steady chat",
    trace="azure2023_conv",
    amplify=8,
    profile="h100_vllm_Qwen3-32B_bf16_tp2",
    gpus=2,
    interval_s=30,
    startup_s=120,
    ttft_ms=1000,
    itl_ms=30,
)
CODE = Case(
    title="code completion: silence, then bursts",
    trace="azure2023_code",
    amplify=10,
    profile="h200_sxm_vllm_Llama-3.1-8B-Instruct-FP8_tp1",
    gpus=1,
    interval_s=30,
    startup_s=120,
    ttft_ms=2000,
    itl_ms=40,
)
DAY = Case(
    title="a day of a reasoning model",
    trace="",
    amplify=1,
    profile="h100_vllm_Llama-3.1-70B-FP8_tp4",
    gpus=4,
    interval_s=60,
    startup_s=180,
    ttft_ms=2000,
    itl_ms=40,
)
CASES = {
    "a": CHAT,
    "b": CODE,
    "c": DAY,
    "d": replace(
        CHAT, title="steady chat, the fleet 30 % slower than its profile", unscored_s=600.0, slowdown=1.3
    ),
}

HELD_OUT = {
    "h1": replace(CHAT, title="chat x 8, another seed", seed=1),
    "h2": replace(CHAT, title="chat as recorded: a small fleet", amplify=1),
    "h3": replace(CHAT, title="chat x 30: a large fleet", amplify=30),
    "h4": replace(
        CHAT,
        title="chat on another model, plans every minute, start-up 4 min",
        profile="h100_vllm_Llama-3.1-70B-FP8_tp4",
        gpus=4,
        interval_s=60,
        startup_s=240,
        ttft_ms=2000,
        itl_ms=40,
        unscored_s=600.0,
    ),
    "h5": replace(
        CHAT,
        title="chat on a measured profile, start-up 1 min",
        profile="h200_sxm_vllm_Llama-3.1-8B-Instruct-FP8_tp1",
        gpus=1,
        amplify=20,
        startup_s=60,
        ttft_ms=500,
        itl_ms=20,
    ),
    "h6": replace(CHAT, title="chat x 8, the fleet 20 % faster than its profile", slowdown=0.8, seed=2),
    "h7": replace(CODE, title="bursts x 30, another seed", amplify=30, seed=1),
    "h8": replace(
        CODE,
        title="bursts on a slower model, start-up 3 min",
        profile="h100_vllm_Qwen3-32B_bf16_tp2",
        gpus=2,
        startup_s=180,
        unscored_s=420.0,
        seed=2,
    ),
    "h9": replace(
        DAY,
        title="eight hours of the reasoning model on another profile, plans every 3 min",
        profile="h100_vllm_Qwen3-32B_bf16_tp2",
        gpus=2,
        interval_s=180,
        startup_s=300,
        unscored_s=960.0,
        seed=3,
        from_s=8 * 3600.0,
        to_s=16 * 3600.0,
    ),
}
"""Other sizes of fleet, profiles, grids, seeds and hours. Unscored is twice interval + start-up, at least
5 minutes: what is ordered first and what is ordered on seeing its effect."""


def trace_path(case: Case) -> Path | None:
    """Where the case's trace lies; None when nobody said."""
    if case.trace:
        return EXAMPLES / "traces" / f"{case.trace}.jsonl.gz"
    named = os.environ.get(DAY_TRACE)
    return Path(named) if named else None


def scenario_of(case: Case, path: Path) -> tuple[Scenario, LoadedProfile]:
    """The scenario, and the profile that the planner has."""
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
    trace = read_trace(path).between(case.from_s, case.to_s)
    scenario = setup.scenario_of(
        policy,
        trace if case.order is None else reordered(trace, seed=case.order),
        fleet=loaded.profile,
        error=EngineError(prefill=case.slowdown, decode=case.slowdown),
        copies=case.amplify,
        seed=case.seed,
        unscored_s=case.unscored_s,
    )
    return scenario, loaded


def reordered(trace: Trace, *, seed: int) -> Trace:
    """The same requests, the trace cut into blocks of `BLOCK_S` that come in another order.

    The first cut falls anywhere, as on a ring: the trace's end and its beginning are neighbours. The last block
    takes what is left.
    """
    rng = np.random.default_rng(seed)
    span_s = trace.span_s
    t_s = (trace.t_s - trace.t_s[0] + rng.uniform(0.0, span_s)) % span_s
    blocks = int(span_s // BLOCK_S)
    block = np.minimum((t_s // BLOCK_S).astype(int), blocks - 1)
    length_s = np.full(blocks, BLOCK_S)
    length_s[-1] += span_s - blocks * BLOCK_S
    order = rng.permutation(blocks)
    begin_s = np.empty(blocks)
    begin_s[order] = np.cumsum(length_s[order]) - length_s[order]
    t_s += begin_s[block] - BLOCK_S * block
    ranked = np.argsort(t_s, kind="stable")
    return replace(
        trace,
        t_s=t_s[ranked] - t_s[ranked[0]],
        isl_tokens=trace.isl_tokens[ranked],
        osl_tokens=trace.osl_tokens[ranked],
    )
