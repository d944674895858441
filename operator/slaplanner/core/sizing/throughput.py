"""`sizing: Throughput`: the load divided by what a replica carries at its SLA, as Dynamo's planner does.

    prefill   requests x ISL / T x min(1, prefill factor) / throughput(ISL) / GPUs
    decode    requests x OSL / T / best throughput(ITL target / decode factor, ISL + OSL / 2) / GPUs
    agg       the sum of both

T is the planning interval, GPUs those of one replica, throughput per GPU. What these formulas do
not look at is known: the TTFT target does not enter prefill sizing, and a mean ITL at its target
means that about half of the requests miss it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from slaplanner.core.correction import Correction
from slaplanner.core.model import Policy, Role
from slaplanner.core.profiles import Profile
from slaplanner.core.reasons import Reason
from slaplanner.core.rounding import whole_replicas
from slaplanner.core.sizing.model import MeanLoad, Sized, SizedRole
from slaplanner.core.wording import figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage of the work on one replica: its load and what the replica carries of it."""

    load_tokens_s: float
    capacity_tokens_s: float
    latency_ms: float
    best_latency_ms: float
    attainable: bool
    latency: str
    """Which one: TTFT or ITL."""
    target_ms: float
    length: str
    """What kind of length the target is asked at."""
    length_tokens: float

    @property
    def target(self) -> str:
        """The target in words: name, value, and the length that it is asked at."""
        return (
            f"{self.latency} target {figure(self.target_ms)} ms at {self.length} {figure(self.length_tokens)}"
        )

    @property
    def need(self) -> float | None:
        """Replicas before rounding; None when there is load and no capacity."""
        if self.load_tokens_s <= 0:
            return 0.0
        return self.load_tokens_s / self.capacity_tokens_s if self.capacity_tokens_s > 0 else None


def size(
    *,
    policy: Policy,
    profile: Profile,
    demand: MeanLoad,
    correction: Correction,
    gpus_per_replica: Mapping[Role, int],
) -> Sized:
    """Replicas for *demand*, per role of the policy's mode, floors applied; bounds and budget come later.

    Raises:
        ProfileNotFound: the profile lacks a stage that a role of the mode needs.
        KeyError: GPUs per replica of a role of the mode are missing.
    """
    return Sized(
        roles=tuple(
            _size_role(
                role,
                min_replicas=policy.role(role).min_replicas,
                stages=stages_of(
                    role,
                    policy=policy,
                    profile=profile,
                    demand=demand,
                    correction=correction,
                    gpus=gpus_per_replica[role],
                ),
            )
            for role in policy.mode.roles
        )
    )


def stages_of(
    role: Role, *, policy: Policy, profile: Profile, demand: MeanLoad, correction: Correction, gpus: int
) -> tuple[Stage, ...]:
    """The stages that *role* works on, with replicas of so many GPUs.

    Raises:
        ProfileNotFound: the profile lacks one of them.
    """
    prefill = (
        _prefill(
            policy=policy, profile=profile, demand=demand, factor=min(1.0, correction.prefill), gpus=gpus
        )
        if role is not Role.DECODE
        else None
    )
    decode = (
        _decode(policy=policy, profile=profile, demand=demand, factor=correction.decode, gpus=gpus)
        if role is not Role.PREFILL
        else None
    )
    return tuple(stage for stage in (prefill, decode) if stage is not None)


def _prefill(*, policy: Policy, profile: Profile, demand: MeanLoad, factor: float, gpus: int) -> Stage:
    """*factor* at most 1: what a prompt costs compared with the profile (a prefix cache makes it cheaper)."""
    isl = demand.isl_tokens
    throughput = profile.prefill.throughput_per_gpu(isl)
    ttft = profile.prefill.ttft_ms(isl) * factor
    return Stage(
        load_tokens_s=demand.requests_per_interval * isl / policy.interval_s,
        capacity_tokens_s=max(0.0, throughput) * gpus / factor,
        latency_ms=ttft,
        best_latency_ms=ttft,
        attainable=throughput > 0 and ttft <= policy.sla.ttft_ms,
        latency="TTFT",
        target_ms=policy.sla.ttft_ms,
        length="ISL",
        length_tokens=isl,
    )


def _decode(*, policy: Policy, profile: Profile, demand: MeanLoad, factor: float, gpus: int) -> Stage:
    """*factor*: observed ITL over that of the profile; a factor that is not positive counts as 1."""
    factor = factor if factor > 0 else 1.0
    context = demand.context_tokens
    best = profile.decode.best(itl_ms=policy.sla.itl_ms / factor, context_tokens=context)
    return Stage(
        load_tokens_s=demand.requests_per_interval * demand.osl_tokens / policy.interval_s,
        capacity_tokens_s=max(0.0, best.throughput_per_gpu) * gpus,
        latency_ms=best.itl_ms * factor,
        best_latency_ms=profile.decode.lowest_itl_ms(context) * factor,
        attainable=best.attained and best.throughput_per_gpu > 0,
        latency="ITL",
        target_ms=policy.sla.itl_ms,
        length="a context of",
        length_tokens=context,
    )


def _size_role(role: Role, *, min_replicas: int, stages: tuple[Stage, ...]) -> SizedRole:
    needs = [stage.need for stage in stages]
    known = [need for need in needs if need is not None]
    no_capacity = len(known) < len(needs)
    raw = float(min_replicas) if no_capacity else sum(known)
    rounded = whole_replicas(raw)
    replicas = max(rounded, min_replicas)
    return SizedRole(
        role=role,
        raw=raw,
        replicas=replicas,
        limit=Reason.TOO_FEW_REPLICAS if rounded < min_replicas else None,
        capacity_per_replica_tokens_s=_capacity(stages),
        load_tokens_s=_load_of(stages),
        expected_latency_ms=stages[-1].latency_ms,
        best_latency_ms=stages[-1].best_latency_ms,
        attainable=all(stage.attainable for stage in stages),
        message=_message(role, stages, raw=raw, replicas=replicas),
    )


def _load_of(stages: tuple[Stage, ...]) -> float:
    """Tokens per second of all of them."""
    return sum(stage.load_tokens_s for stage in stages)


def _capacity(stages: tuple[Stage, ...]) -> float:
    """Tokens/s that one replica carries when the stages share it in the proportions of the demand."""
    if any(stage.capacity_tokens_s <= 0 for stage in stages):
        return 0.0
    load = _load_of(stages)
    if len(stages) == 1 or load <= 0:
        return stages[-1].capacity_tokens_s
    need = sum(stage.load_tokens_s / stage.capacity_tokens_s for stage in stages)
    # A load of next to nothing needs so little that it is lost in rounding.
    return load / need if need > 0 else stages[-1].capacity_tokens_s


def unmet(stages: tuple[Stage, ...]) -> str:
    """What the profile does not reach at any load, for the end of a message; empty when it reaches all."""
    return "".join(
        f"; best measured latency {figure(stage.best_latency_ms)} ms, {stage.target}"
        for stage in stages
        if not stage.attainable
    )


def _message(role: Role, stages: tuple[Stage, ...], *, raw: float, replicas: int) -> str:
    load, capacity = _load_of(stages), _capacity(stages)
    if capacity <= 0:
        return f"{role}: the profile gives no throughput within the targets, so the floor {replicas}{unmet(stages)}"
    return (
        f"{role}: {figure(load)} tokens/s, {figure(capacity)} per replica, "
        f"needs {figure(raw)}, rounded up to {replicas}{unmet(stages)}"
    )
