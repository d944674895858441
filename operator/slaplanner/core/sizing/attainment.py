"""`sizing: Attainment`: forecast and profile propose a size, measured misses correct it.

    replicas = upper load x learnt factor / what a replica carries + what works the present queue off

The upper load is the forecast's bound for the moment when a replica that is ordered now serves; how certain a
bound depends on how long it would be exceeded until more replicas serve (`_certainty`). What a replica carries is
the model's answer (`Capacity`), and the factor says up to which part of it the promise was kept in fact
(`Experience`). The figures are rounded as the message quotes them before they are used, so whoever reads it can work
the count out.

Shrinking acts at once, and a replica that is missed comes back only after a start-up. So what any step until then
needs keeps what runs, and fewer replicas than were seen to be enough are tried in steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from slaplanner.core.correction import Correction
from slaplanner.core.forecast import Forecast
from slaplanner.core.model import Fleet, Policy, Role
from slaplanner.core.readings import Observation, value_or
from slaplanner.core.reasons import Reason
from slaplanner.core.rounding import whole_replicas
from slaplanner.core.sizing import throughput
from slaplanner.core.sizing.capacity import Capacity
from slaplanner.core.sizing.learning import Learning
from slaplanner.core.sizing.model import MeanLoad, Sized, SizedRole
from slaplanner.core.sizing.observed import in_flight_tokens_s
from slaplanner.core.wording import exact, exactly

ALL_LATE_AFTER_S = 960.0
"""A load above the level that is sized for lasts until the replicas that it orders serve: an interval and a start-up.
The share of its requests that are late grows with that time, because the queue grows. After this long it would be all."""

MOST_LATE_ABOVE = 0.5
"""That share is at most this, because most such loads exceed the level by little, and engines bear that."""

_LEAST_CERTAIN = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """Everything that sizing by attainment looks at."""

    policy: Policy
    capacity: Capacity
    forecast: Forecast
    observation: Observation
    fleet: Fleet
    startup_s: float
    learning: Mapping[Role, Learning]


@dataclass(frozen=True, slots=True)
class _Term:
    """One stage's part of a need, in figures as they are quoted."""

    stage: Role
    expected_tokens_s: float
    upper_tokens_s: float
    each_tokens_s: float
    """What a replica carries; 0 when there is no load."""

    @property
    def replicas(self) -> float:
        return self.upper_tokens_s / self.each_tokens_s if self.each_tokens_s > 0.0 else 0.0


def size(situation: Situation, *, demand: MeanLoad, gpus_per_replica: Mapping[Role, int]) -> Sized:
    """Replicas per role of the policy's mode, floors applied; bounds and budget come later.

    Args:
        situation: what is known.
        demand: the mean forecast, for the evidence.
        gpus_per_replica: of each role of the mode.

    Raises:
        ProfileNotFound: the profile lacks a stage that a role of the mode needs.
    """
    policy = situation.policy
    return Sized(
        roles=tuple(
            _sized(
                role,
                throughput.stages_of(
                    role,
                    policy=policy,
                    profile=situation.capacity.profile,
                    demand=demand,
                    correction=Correction(),
                    gpus=gpus_per_replica[role],
                ),
                situation,
            )
            for role in policy.mode.roles
        )
    )


def _sized(role: Role, evidence: tuple[throughput.Stage, ...], situation: Situation) -> SizedRole:
    capacity, policy = situation.capacity, situation.policy
    current, floor = situation.fleet.role(role).replicas, policy.role(role).min_replicas
    attainable = all(stage.attainable for stage in evidence)
    # Where no size meets the targets, misses tell nothing about the size.
    learning = situation.learning.get(role, Learning()) if attainable else Learning()
    experience = learning.experience
    allowed = capacity.allowed * len(role.stages)
    lasts_s = policy.interval_s + situation.startup_s
    certainty = exact(100.0 * _certainty(allowed, lasts_s=lasts_s))
    just_enough = _just_enough(situation, role, learning) if attainable else 1.0
    factor = exact(1.0 / experience.highest(allowed, just_enough=just_enough))
    waiting = exact(_waiting(situation, role))

    def needed(terms: tuple[_Term, ...]) -> float:
        return exact(sum(factor * term.replicas for term in terms) + waiting)

    last = situation.forecast.horizon_steps
    path = [_terms(situation, role, step=step, certainty=certainty / 100.0) for step in range(1, last + 1)]
    terms = path[-1]
    raw = needed(terms)
    wanted = whole_replicas(raw)
    modelled = sum(term.replicas for term in terms)
    replicas = max(wanted, floor)
    limit = Reason.TOO_FEW_REPLICAS if replicas > wanted else None
    carried = sum(term.upper_tokens_s for term in terms) / (factor * modelled) if modelled > 0.0 else 0.0
    return SizedRole(
        role=role,
        raw=raw,
        replicas=replicas,
        limit=limit,
        fewest=experience.fewest(modelled, current=current, allowed=2.0 * allowed),
        sooner=max((min(current, whole_replicas(needed(step))) for step in path[:-1]), default=0),
        capacity_per_replica_tokens_s=carried,
        load_tokens_s=sum(term.expected_tokens_s for term in terms),
        learnt_factor=factor,
        expected_latency_ms=evidence[-1].latency_ms,
        best_latency_ms=evidence[-1].best_latency_ms,
        attainable=attainable,
        message=_message(
            role, terms, certainty=certainty, factor=factor, waiting=waiting, raw=raw, wanted=wanted
        )
        + throughput.unmet(evidence),
    )


def _certainty(allowed: float, *, lasts_s: float) -> float:
    """How often the load should stay below what is sized for, so that the loads above it make as many late as may be.

    Args:
        allowed: share of the requests that may be late.
        lasts_s: how long a load above it lasts, until replicas that it orders serve.
    """
    late_above = min(MOST_LATE_ABOVE, lasts_s / ALL_LATE_AFTER_S)
    return max(_LEAST_CERTAIN, 1.0 - allowed / late_above)


def _just_enough(situation: Situation, role: Role, learning: Learning) -> float:
    """The utilisation that is just good enough on an engine as slow as it was measured to be; 1 as profiled."""
    if Role.DECODE not in role.stages or learning.slowdown == 1.0:
        return 1.0
    measured = replace(situation.capacity, slowdown=learning.slowdown)
    profiled = slowed = 0.0
    for stage in role.stages:
        coming = situation.forecast.prefill if stage is Role.PREFILL else situation.forecast.decode
        load = coming.mean_tokens[-1] / situation.policy.interval_s
        need = situation.capacity.replicas(stage, load)
        profiled += need
        slowed += measured.replicas(stage, load) if stage is Role.DECODE else need
    return profiled / slowed if slowed > 0.0 else 1.0


def _terms(situation: Situation, role: Role, *, step: int, certainty: float) -> tuple[_Term, ...]:
    """The need of each stage of *role* at a step of the horizon."""
    interval_s, capacity = situation.policy.interval_s, situation.capacity
    terms = []
    for stage in role.stages:
        coming = situation.forecast.prefill if stage is Role.PREFILL else situation.forecast.decode
        upper = coming.upper(certainty, step) / interval_s
        if stage is Role.DECODE:
            upper = max(upper, in_flight_tokens_s(situation.observation, capacity))
        need = capacity.needed(
            stage, expected_tokens_s=coming.mean_tokens[step - 1] / interval_s, upper_tokens_s=upper
        )
        terms.append(
            _Term(
                stage,
                exact(coming.mean_tokens[step - 1] / interval_s),
                exact(upper),
                exact(upper / need) if need > 0.0 else 0.0,
            )
        )
    return tuple(terms)


def _waiting(situation: Situation, role: Role) -> float:
    """Replicas that work off, within an interval, the prompts which will still wait when ordered ones serve.

    What is ordered already counts: the queue of an overloaded fleet does not last beyond its arrival.
    """
    if Role.PREFILL not in role.stages:
        return 0.0
    state, capacity, interval_s = situation.fleet.role(role), situation.capacity, situation.policy.interval_s
    serving = state.serving if state.serving is not None else state.replicas
    waiting = max(0.0, value_or(situation.observation.queued, 0.0) - serving)
    mean_tokens_s = situation.forecast.prefill.mean_tokens[-1] / interval_s
    busy = mean_tokens_s / capacity.isl.mean * capacity.prompt_s
    spare = max(0.0, max(serving, state.replicas) - busy)
    return max(0.0, waiting * capacity.prompt_s - spare * situation.startup_s) / interval_s


def _message(
    role: Role,
    terms: tuple[_Term, ...],
    *,
    certainty: float,
    factor: float,
    waiting: float,
    raw: float,
    wanted: int,
) -> str:
    """The whole sum, so that the count can be checked."""
    named = len(terms) > 1
    loads = ", ".join(
        f"{f'{term.stage} ' if named else ''}{exactly(term.expected_tokens_s)} tokens/s expected, "
        f"{exactly(term.upper_tokens_s)} at most"
        for term in terms
    )
    parts = [
        f"{exactly(term.upper_tokens_s)} x {exactly(factor)} (learnt) / {exactly(term.each_tokens_s)} (a replica)"
        for term in terms
        if term.each_tokens_s > 0.0
    ]
    if waiting > 0.0 or not parts:
        parts.append(f"{exactly(waiting)} (waiting requests)")
    return (
        f"{role}: {loads} ({exactly(certainty)} % certain); "
        f"{' + '.join(parts)} = {exactly(raw)}, rounded up to {wanted}"
    )
