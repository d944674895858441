"""Correction: how much slower or faster the running fleet is than its profile, smoothed and bounded.

As in Dynamo, the raw factors are: observed TTFT / the profile's TTFT at the observed ISL, and observed ITL / the
profile's ITL at the observed concurrency and context. A single raw factor is unreliable, because a replica that has
just started, a handful of requests or one slow window give factors of 20 and more. So the applied factor moves only
part of the way to the raw one: in logarithms (2x and 1/2x weigh the same), by the time that has passed and the number
of requests, within bounds, and not while replicas start. An unknown figure leaves it unchanged.

`sizing: Throughput` sizes by the factors. `sizing: Attainment` learns from misses (`sizing.experience`) and uses them only
for the latencies to expect.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from slaplanner.core.model import Fleet, Policy, Role, RoleState
from slaplanner.core.profiles import Profile
from slaplanner.core.readings import Known, Observation

LOWEST, HIGHEST = 0.25, 4.0
"""Bounds of the applied factors. A profile of other hardware or precision is off by 2; what is off
by more than 4 is a fault to be found, not a factor to plan with."""

MEMORY_WINDOWS = 3.0
"""Time constant of the smoothing, in observation windows: a lasting change is 63 % applied after
three, one bad window moves a factor of 4 by less than half."""

MIN_REQUESTS = 10.0
"""Requests in a window below which its means say nothing about the fleet."""

FULL_WEIGHT_REQUESTS = 30.0
"""Requests at which a window counts half; with n it counts n / (n + this)."""

_DIGITS = 4
"""Decimals kept of a factor, in memory as in the status, so that a restart changes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """One stage's factor: what the last observation said, and what is applied."""

    raw: float | None = None
    """None: the last observation said nothing."""
    applied: float = 1.0
    ignored: str = ""
    """Why the raw factor was not learnt from; empty when it was."""


_NEUTRAL = Factor()


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """The factors of both stages. A stage that the mode does not have keeps 1."""

    stages: Mapping[Role, Factor] = field(default_factory=dict)
    """By PREFILL and DECODE; an agg worker has both stages."""

    @property
    def prefill(self) -> float:
        """The applied factor of TTFT."""
        return self.of(Role.PREFILL).applied

    @property
    def decode(self) -> float:
        """The applied factor of ITL."""
        return self.of(Role.DECODE).applied

    def of(self, stage: Role) -> Factor:
        """The factor of *stage*, neutral where there is none."""
        return self.stages.get(stage, _NEUTRAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """What is remembered of one stage."""

    factor: float = 1.0
    at_s: float | None = None
    """When it was last learnt, Unix seconds."""
    workers: int | None = None
    """Serving replicas at the last plan."""
    workers_since_s: float | None = None
    """When their number last rose; None: not seen to rise."""


_NOTHING_LEARNT = Learnt()


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectionState:
    """What the correction remembers from plan to plan."""

    stages: Mapping[Role, Learnt] = field(default_factory=dict)

    def of(self, stage: Role) -> Learnt:
        return self.stages.get(stage, _NOTHING_LEARNT)

    def to_document(self) -> dict[str, Any]:
        """Plain JSON values, short."""
        return {
            stage.value: [learnt.factor, learnt.at_s, learnt.workers, learnt.workers_since_s]
            for stage, learnt in self.stages.items()
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read back what `to_document` wrote; factors are held inside their bounds.

        Raises:
            TypeError, ValueError, AttributeError: it is not such a document.
        """
        stages: dict[Role, Learnt] = {}
        for name, (factor, at_s, workers, since_s) in document.items():
            if not math.isfinite(factor):
                raise ValueError(f"a factor is finite, found {factor}")
            stages[Role(name)] = Learnt(
                factor=_bounded(float(factor)),
                at_s=None if at_s is None else float(at_s),
                workers=None if workers is None else int(workers),
                workers_since_s=None if since_s is None else float(since_s),
            )
        return cls(stages=stages)


def raw_prefill_factor(*, ttft_ms: float, isl_tokens: float, profile: Profile) -> float | None:
    """Observed mean TTFT over the profile's at the observed ISL; None where the profile has none."""
    interpolated = profile.prefill.ttft_ms(isl_tokens)
    return ttft_ms / interpolated if interpolated > 0 else None


def raw_decode_factor(
    *,
    itl_ms: float,
    requests_per_interval: float,
    request_duration_s: float,
    isl_tokens: float,
    osl_tokens: float,
    workers: int,
    interval_s: float,
    profile: Profile,
) -> float | None:
    """Observed mean ITL over the profile's at the observed load; None without workers.

    Concurrency per replica is requests / workers x duration / interval (Little's law).
    """
    if workers < 1:
        return None
    interpolated = profile.decode.itl_ms(
        concurrency=requests_per_interval / workers * request_duration_s / interval_s,
        context_tokens=isl_tokens + osl_tokens / 2,
    )
    return itl_ms / interpolated if interpolated > 0 else None


def correct(
    state: CorrectionState,
    *,
    policy: Policy,
    observation: Observation,
    fleet: Fleet,
    profile: Profile,
    now_s: float,
) -> tuple[CorrectionState, Correction]:
    """Learn from one observation.

    With `policy.correction` off the raw factors are still reported, 1 is applied, and nothing is
    learnt.

    Raises:
        ProfileNotFound: the profile lacks a stage of the mode.
    """
    learnt: dict[Role, Learnt] = {}
    factors: dict[Role, Factor] = {}
    for role in policy.mode.roles:
        workers = fleet.role(role)
        for stage in role.stages:
            raw = _raw(stage, policy=policy, observation=observation, workers=workers, profile=profile)
            memory = _notice_workers(state.of(stage), _serving(workers), now_s=now_s)
            if not policy.correction:
                learnt[stage] = memory
                factors[stage] = Factor(raw=raw, ignored="correction is disabled")
                continue
            ignored = _why_not(
                raw, memory, workers=workers, policy=policy, observation=observation, now_s=now_s
            )
            if not ignored and raw is not None:
                memory = _towards(memory, raw, policy=policy, observation=observation, now_s=now_s)
            learnt[stage] = memory
            factors[stage] = Factor(raw=raw, applied=memory.factor, ignored=ignored)
    return CorrectionState(stages=learnt), Correction(stages=factors)


def _raw(
    stage: Role, *, policy: Policy, observation: Observation, workers: RoleState, profile: Profile
) -> float | None:
    """The raw factor of *stage*; None when a figure that it needs is unknown."""
    isl, osl = observation.isl_tokens, observation.osl_tokens
    if not isinstance(isl, Known) or isl.value <= 0:
        return None
    if stage is Role.PREFILL:
        ttft = observation.ttft_ms
        if not isinstance(ttft, Known):
            return None
        return raw_prefill_factor(ttft_ms=ttft.value, isl_tokens=isl.value, profile=profile)
    itl, requests, duration = observation.itl_ms, observation.requests, observation.request_duration_s
    if not (
        isinstance(osl, Known)
        and isinstance(itl, Known)
        and isinstance(requests, Known)
        and not requests.lower_bound
        and isinstance(duration, Known)
    ):
        return None
    return raw_decode_factor(
        itl_ms=itl.value,
        requests_per_interval=requests.value,
        request_duration_s=duration.value,
        isl_tokens=isl.value,
        osl_tokens=osl.value,
        workers=_serving(workers),
        interval_s=policy.interval_s,
        profile=profile,
    )


def _serving(workers: RoleState) -> int:
    return workers.serving if workers.serving is not None else workers.replicas


def _notice_workers(memory: Learnt, serving: int, *, now_s: float) -> Learnt:
    """Remember when the number of serving replicas last rose: new ones start cold."""
    if serving == memory.workers:
        return memory
    rose = memory.workers is not None and serving > memory.workers
    return replace(memory, workers=serving, workers_since_s=round(now_s) if rose else memory.workers_since_s)


def _why_not(
    raw: float | None,
    memory: Learnt,
    *,
    workers: RoleState,
    policy: Policy,
    observation: Observation,
    now_s: float,
) -> str:
    """Why this observation teaches nothing; empty when it does."""
    if raw is None:
        return "a figure is unknown"
    if raw <= 0:
        return f"the raw factor is {raw:g}"
    requests = _requests_in_window(policy, observation)
    if requests < MIN_REQUESTS:
        return f"{requests:.0f} requests in the window, at least {MIN_REQUESTS:.0f} are needed"
    if workers.rollout or workers.starting:
        return "replicas are starting"
    if memory.workers_since_s is not None and now_s - memory.workers_since_s < observation.window_s:
        return "replicas started inside the window"
    return ""


def _requests_in_window(policy: Policy, observation: Observation) -> float:
    requests = observation.requests
    return requests.value * observation.window_s / policy.interval_s if isinstance(requests, Known) else 0.0


def _towards(memory: Learnt, raw: float, *, policy: Policy, observation: Observation, now_s: float) -> Learnt:
    """One step in logarithms from the remembered factor towards *raw*."""
    elapsed_s = observation.window_s
    if memory.at_s is not None:
        elapsed_s = min(max(0.0, now_s - memory.at_s), observation.window_s)
    requests = _requests_in_window(policy, observation)
    weight = requests / (requests + FULL_WEIGHT_REQUESTS)
    step = weight * -math.expm1(-elapsed_s / (MEMORY_WINDOWS * observation.window_s))
    logarithm = (1 - step) * math.log(memory.factor) + step * math.log(_bounded(raw))
    return replace(memory, factor=round(_bounded(math.exp(logarithm)), _DIGITS), at_s=round(now_s))


def _bounded(factor: float) -> float:
    return min(max(factor, LOWEST), HIGHEST)
