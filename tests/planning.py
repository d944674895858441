"""What plans are made of, with figures that are easy to follow; tests change the part they are about."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from slaplanner.adapters.profiles import load_directory
from slaplanner.core.model import (
    Behavior,
    Fleet,
    Interpolation,
    Policy,
    PredictorPolicy,
    PredictorType,
    Role,
    RoleState,
    Sizing,
    Sla,
)
from slaplanner.core.profiles import Profile
from slaplanner.core.readings import Known, Observation, Reading, Unknown
from slaplanner.core.reasons import Reason

PROFILES = Path(__file__).parents[1] / "examples/profiles"
GPUS = 2


@lru_cache
def profile() -> Profile:
    """Qwen3-32B on two H100: per replica about 17,000 input tokens/s, 7,500 output tokens/s at 30 ms."""
    directory = PROFILES / "h100_vllm_Qwen3-32B_bf16_tp2"
    return load_directory(directory, allowed=(PROFILES,), interpolation=Interpolation.MONOTONE).profile


def policy(**fields: Any) -> Policy:
    """Both roles, every 30 s, sized by throughput and the last value, undamped."""
    base = Policy(
        sla=Sla(ttft_ms=1000.0, itl_ms=30.0),
        interval_s=30.0,
        window_s=60.0,
        sizing=Sizing.THROUGHPUT,
        predictor=PredictorPolicy(type=PredictorType.CONSTANT),
        behavior=Behavior.free(),
    )
    return replace(base, **fields)


def role(kind: Role, replicas: int = 2, **fields: Any) -> RoleState:
    """A role at rest."""
    return replace(
        RoleState(
            role=kind,
            component=kind.value,
            replicas=replicas,
            serving=replicas,
            present=replicas,
            gpus_per_replica=GPUS,
        ),
        **fields,
    )


def fleet(prefill: int = 2, decode: int = 2, **fields: Any) -> Fleet:
    """A disaggregated fleet at rest."""
    return replace(Fleet(roles=(role(Role.PREFILL, prefill), role(Role.DECODE, decode))), **fields)


def unknown(reason: Reason = Reason.PROMETHEUS_UNAVAILABLE) -> Unknown:
    """No answer."""
    return Unknown(reason, "Prometheus does not answer")


def observation(requests: Reading | float = 900.0, **fields: Any) -> Observation:
    """Requests per 30 s of 1,000 input and 200 output tokens, served well."""
    count = Known(requests) if isinstance(requests, int | float) else requests
    served = isinstance(count, Known) and count.value > 0

    def mean(value: float) -> Reading:
        return Known(value) if served else unknown(Reason.IDLE)

    return replace(
        Observation(
            window_s=60.0,
            requests=count,
            isl_tokens=mean(1000.0),
            osl_tokens=mean(200.0),
            ttft_ms=mean(60.0),
            itl_ms=mean(15.0),
            request_duration_s=mean(3.0),
        ),
        **fields,
    )
