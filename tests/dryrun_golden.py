"""The golden dry-runs of Dynamo's planner as what `dry_run` takes: policy, profile, traces, assumptions."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from slaplanner.adapters.profiles import load_directory
from slaplanner.adapters.traces.trace import Trace, read_trace
from slaplanner.core.model import (
    Interpolation,
    KalmanTuning,
    Mode,
    Policy,
    PredictorPolicy,
    PredictorType,
    Role,
    RolePolicy,
    Sizing,
    Sla,
)
from slaplanner_lab.dryrun import Assumptions, DryRun, dry_run
from tests.profile_data import PROFILES, ROOT

GOLDEN = ROOT / "tests" / "golden" / "dynamo_dryrun.json"
CASES: list[dict[str, Any]] = json.loads(GOLDEN.read_text(encoding="utf-8"))["cases"]

TRACES = ROOT / "examples" / "traces"
DAY_TRACE = "servegen_deepseek_r1_sampled"
DAY_TRACE_VARIABLE = "SLAPLANNER_DAY_TRACE"

_KINDS = {"constant": PredictorType.CONSTANT, "kalman": PredictorType.KALMAN}


def name(case: dict[str, Any]) -> str:
    """As a test's id."""
    config = case["config"]
    return "-".join(
        (
            config["mode"],
            config["load_predictor"],
            case["trace"],
            f"{config['throughput_adjustment_interval']}s",
        )
    )


def day_trace() -> Path:
    """The trace of a day, which is too large to be kept here; the test is skipped where it is not given."""
    given = os.environ.get(DAY_TRACE_VARIABLE)
    if not given:
        pytest.skip(
            f"set {DAY_TRACE_VARIABLE} to {DAY_TRACE}.jsonl.gz, a day of ServeGen's deepseek-r1 workload "
            "(github.com/alibaba/ServeGen) as mooncake JSON lines"
        )
    return Path(given)


def gpus_per_replica(case: dict[str, Any]) -> dict[Role, int]:
    config = case["config"]
    return {Role.PREFILL: config["prefill_engine_num_gpu"], Role.DECODE: config["decode_engine_num_gpu"]}


def policy_of(case: dict[str, Any]) -> Policy:
    config, gpus = case["config"], gpus_per_replica(case)
    mode = Mode(config["mode"])
    return Policy(
        mode=mode,
        sla=Sla(ttft_ms=config["ttft"], itl_ms=config["itl"]),
        roles=tuple(
            RolePolicy(role=role, min_replicas=config["min_endpoint"], gpus_per_replica=gpus[role])
            for role in mode.roles
        ),
        gpu_budget=config["max_gpu_budget"] if config["max_gpu_budget"] >= 0 else None,
        interval_s=float(config["throughput_adjustment_interval"]),
        sizing=Sizing.THROUGHPUT,
        interpolation=Interpolation.CUBIC,
        predictor=PredictorPolicy(
            type=_KINDS[config["load_predictor"]],
            log1p=config.get("load_predictor_log1p", False),
            kalman=KalmanTuning(
                q_level=config.get("kalman_q_level", 1.0),
                q_trend=config.get("kalman_q_trend", 0.1),
                r=config.get("kalman_r", 10.0),
            ),
        ),
    )


def run_of(case: dict[str, Any], *, gpus: dict[Role, int] | None = None, **changes: Any) -> DryRun:
    """The dry-run of *case* by slaplanner; *changes* are fields of the policy, *gpus* those of a replica."""
    policy = replace(policy_of(case), **changes)
    warm_up = case["warmup_s"]
    return dry_run(
        policy,
        load_directory(PROFILES / case["profile"], allowed=None, interpolation=policy.interpolation).profile,
        _slice(case, case["from_s"], case["to_s"]),
        warm_up=_slice(case, *warm_up) if warm_up else None,
        assumptions=Assumptions(
            gpus_per_replica=gpus or {},
            start={Role.PREFILL: case["start_prefill"], Role.DECODE: case["start_decode"]},
        ),
    )


def _slice(case: dict[str, Any], from_s: float, to_s: float) -> Trace:
    return _whole(case["trace"]).between(from_s, to_s).repeated(case["copies_of_each_request"])


@cache
def _whole(trace: str) -> Trace:
    return read_trace(day_trace() if trace == DAY_TRACE else TRACES / f"{trace}.jsonl.gz")
