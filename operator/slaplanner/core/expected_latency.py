"""What the decided size should show: mean latencies and utilisation, from the profile alone.

Prefill is a queue with one server per replica; its mean wait follows Sakasegawa's approximation for
M/G/c (1977), with the deterministic service that a prompt of mean length takes. Decode is a closed
question by Little's law: a replica holds as many requests as arrive while one is being written,
and holding more makes writing slower.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.optimize import brentq

from slaplanner.core.correction import Correction
from slaplanner.core.decision import Decision, RoleDecision
from slaplanner.core.model import Policy, Role
from slaplanner.core.profiles import Profile
from slaplanner.core.sizing import MeanLoad, SizedRole

_EXACT = 1e-6
"""Of a request's worth of concurrency."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What one role should show at the decided size."""

    role: Role
    ttft_ms: float | None
    """Mean; None for decode, and when the size cannot carry the load."""
    itl_ms: float | None
    """Mean; None for prefill, and when the size cannot carry the load."""
    utilisation: float | None
    """Load over the role's throughput inside the SLA; None when that throughput is 0."""


def expectations(decision: Decision, *, policy: Policy, profile: Profile) -> tuple[Expectation, ...]:
    """Every role at its desired size; empty when nothing was sized (unknown load)."""
    demand, correction = decision.demand, decision.correction or Correction()
    if demand is None:
        return ()
    rate = demand.requests_per_interval / policy.interval_s
    return tuple(
        _expectation(role, sized, demand, requests_per_s=rate, correction=correction, profile=profile)
        for role in decision.roles
        if (sized := role.sized) is not None
    )


def _expectation(
    role: RoleDecision,
    sized: SizedRole,
    demand: MeanLoad,
    *,
    requests_per_s: float,
    correction: Correction,
    profile: Profile,
) -> Expectation:
    total = role.desired * sized.capacity_per_replica_tokens_s
    ttft = itl = None
    if role.role is not Role.DECODE:
        ttft = expected_ttft_ms(
            replicas=role.desired,
            gpus_per_replica=role.gpus_per_replica or 0,
            requests_per_s=requests_per_s,
            isl_tokens=demand.isl_tokens,
            profile=profile,
            factor=min(1.0, correction.prefill),
        )
    if role.role is not Role.PREFILL:
        itl = expected_itl_ms(
            replicas=role.desired,
            requests_per_s=requests_per_s,
            isl_tokens=demand.isl_tokens,
            osl_tokens=demand.osl_tokens,
            profile=profile,
            factor=correction.decode,
        )
    return Expectation(
        role=role.role,
        ttft_ms=ttft,
        itl_ms=itl,
        utilisation=sized.load_tokens_s / total if total > 0 else None,
    )


def expected_ttft_ms(
    *,
    replicas: int,
    gpus_per_replica: int,
    requests_per_s: float,
    isl_tokens: float,
    profile: Profile,
    factor: float = 1.0,
) -> float | None:
    """Mean TTFT in ms, queueing included; None where the queue would grow without end."""
    throughput = profile.prefill.throughput_per_gpu(isl_tokens) * gpus_per_replica
    if throughput <= 0 or replicas < 1:
        return None
    service_s = isl_tokens / throughput * factor
    utilisation = requests_per_s * service_s / replicas
    if utilisation >= 1:
        return None
    # Squared coefficients of variation: 1 of Poisson arrivals, 0 of equal prompts.
    busy = math.pow(utilisation, math.sqrt(2 * (replicas + 1)) - 1)
    wait_s = 0.5 * service_s * busy / (replicas * (1 - utilisation))
    return profile.prefill.ttft_ms(isl_tokens) * factor + wait_s * 1000


def expected_itl_ms(
    *,
    replicas: int,
    requests_per_s: float,
    isl_tokens: float,
    osl_tokens: float,
    profile: Profile,
    factor: float = 1.0,
) -> float | None:
    """Mean ITL in ms at the load that each replica then carries; None where no load is stable."""
    context = isl_tokens + osl_tokens / 2
    if replicas < 1 or context <= 0:
        return None
    tokens_per_ms = requests_per_s * osl_tokens / replicas / 1000
    most = profile.decode.max_kv_tokens / context
    itl_ms = profile.decode.itl_curve_ms(context)
    if tokens_per_ms * (itl_ms(most) * factor) > most:
        return None

    def spare(concurrency: float) -> float:
        return concurrency - tokens_per_ms * (itl_ms(concurrency) * factor)

    return itl_ms(float(brentq(spare, 0.0, most, xtol=_EXACT))) * factor
