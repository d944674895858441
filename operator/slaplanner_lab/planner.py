"""The planner as a callable: what one interval showed in, replicas for the next one with their reason out.

For notebooks, simulators of one's own, and the dry-run. What the operator reads from Prometheus and the
cluster is remembered here instead: the history of the load, and that the last answer was carried out.
The decision itself is `core.plan.decide`, the same as the operator's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from slaplanner.core.decision import Decision
from slaplanner.core.forecast import horizon_steps, refit
from slaplanner.core.model import Fleet, Policy, Role, RoleState
from slaplanner.core.plan import decide, startup_seconds
from slaplanner.core.profiles import Profile
from slaplanner.core.readings import Histogram, Known, Observation, Reading, Series, Unknown
from slaplanner.core.reasons import Reason
from slaplanner.core.state import PlannerState

MOST_POINTS = 4096
"""Intervals that are remembered; the operator reads no more of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """What one planning interval showed. None is unknown, which is never the same as zero.

    `requests` counts arrivals; ISL and OSL are mean lengths in tokens, latencies are means.
    """

    requests: float | None
    isl_tokens: float | None = None
    osl_tokens: float | None = None
    ttft_ms: float | None = None
    itl_ms: float | None = None
    request_duration_s: float | None = None
    serving: Mapping[Role, int] = field(default_factory=dict)
    """Replicas that take requests at the end of the interval; a role that is left out has all it asked for."""
    isl_histogram: Histogram | None = None
    osl_histogram: Histogram | None = None
    arrivals: tuple[float, ...] = ()
    """Requests per short step of the interval, oldest first: how bursty they are; may be left out."""
    arrivals_step_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Replicas for the coming interval, and why."""

    replicas: Mapping[Role, int]
    reason: Reason
    decision: Decision
    """All of the evidence: forecast, demand, limits, findings."""

    @property
    def message(self) -> str:
        """What moves and why, in a sentence."""
        return self.decision.message


@dataclass(slots=True, kw_only=True)
class Planner:
    """Call it once per interval, in order; it takes its answers for carried out.

    Raises (each call):
        ProfileError: the profile lacks the stage of a role.

    Attributes:
        gpus_per_replica: a role that is left out takes the policy's word, else 1.
        replicas: what runs; set it where somebody else has changed it. A role that is left out has 1.
    """

    policy: Policy
    profile: Profile
    gpus_per_replica: Mapping[Role, int] = field(default_factory=dict)
    replicas: Mapping[Role, int] = field(default_factory=dict)
    state: PlannerState = field(default_factory=PlannerState)
    _requests: list[float] = field(default_factory=list)
    _isl_tokens: list[float] = field(default_factory=list)
    _osl_tokens: list[float] = field(default_factory=list)
    _intervals: int = 0

    def __post_init__(self) -> None:
        self.policy = replace(self.policy, window_s=self.policy.interval_s)
        roles = self.policy.mode.roles
        self.replicas = {role: self.replicas.get(role, 1) for role in roles}
        self.gpus_per_replica = {
            role: self.gpus_per_replica.get(role) or self.policy.role(role).gpus_per_replica or 1
            for role in roles
        }

    def __call__(self, seen: Interval) -> Plan:
        """The size for the interval that follows *seen*."""
        self._remember(seen)
        history = self._history()
        observation, fleet = _observation(seen, history, window_s=self.policy.interval_s), self._fleet(seen)
        if self.state.forecast is None:
            self._refit(history)
        self.state, decision = decide(
            self.state, observation, fleet, self.policy, self.profile, now_s=history.end_s
        )
        if self.state.forecast is not None and self.state.forecast.refit_due:
            self._refit(history)
        self.replicas = decision.desired
        return Plan(replicas=decision.desired, reason=decision.reason, decision=decision)

    def learn(self, seen: Interval) -> None:
        """Remember an interval without planning: traffic of the past, before the first plan."""
        self._remember(seen)

    @property
    def _horizon_steps(self) -> int:
        startup_s = startup_seconds(self.policy, Fleet(roles=()))
        return horizon_steps(interval_s=self.policy.interval_s, startup_s=startup_s)

    def _remember(self, seen: Interval) -> None:
        self._intervals += 1
        for column, value in (
            (self._requests, seen.requests),
            (self._isl_tokens, seen.isl_tokens),
            (self._osl_tokens, seen.osl_tokens),
        ):
            column.append(math.nan if value is None else float(value))
            del column[:-MOST_POINTS]

    def _history(self) -> Series:
        interval_s = self.policy.interval_s
        return Series(
            end_s=self._intervals * interval_s,
            step_s=interval_s,
            requests=tuple(self._requests),
            isl_tokens=tuple(self._isl_tokens),
            osl_tokens=tuple(self._osl_tokens),
        )

    def _refit(self, history: Series) -> None:
        """Learn a history that is new, or fit again what is slow to fit, as the operator does between plans."""
        fitted = refit(
            history,
            policy=self.policy.predictor,
            state=self.state.forecast,
            horizon_steps=self._horizon_steps,
        )
        self.state = replace(self.state, forecast=fitted)

    def _fleet(self, seen: Interval) -> Fleet:
        return Fleet(
            roles=tuple(
                RoleState(
                    role=role,
                    component=role.value,
                    replicas=count,
                    serving=seen.serving.get(role, count),
                    present=count,
                    gpus_per_replica=self.gpus_per_replica[role],
                    settled=seen.serving.get(role, count) == count,
                )
                for role, count in self.replicas.items()
            )
        )


def _observation(seen: Interval, history: Series, *, window_s: float) -> Observation:
    idle = seen.requests == 0
    lengths = Reason.IDLE if idle else Reason.LENGTHS_UNKNOWN
    latencies = Reason.IDLE if idle else Reason.NOT_REPORTED
    return Observation(
        window_s=window_s,
        requests=_reading(seen.requests, Reason.NOT_REPORTED, "the number of requests is not given"),
        isl_tokens=_reading(seen.isl_tokens, lengths, "the input length is not given"),
        osl_tokens=_reading(seen.osl_tokens, lengths, "the output length is not given"),
        ttft_ms=_reading(seen.ttft_ms, latencies, "the time to first token is not given"),
        itl_ms=_reading(seen.itl_ms, latencies, "the inter-token latency is not given"),
        request_duration_s=_reading(seen.request_duration_s, latencies, "the duration is not given"),
        isl_histogram=seen.isl_histogram,
        osl_histogram=seen.osl_histogram,
        arrivals=seen.arrivals,
        arrivals_step_s=seen.arrivals_step_s,
        history=history,
    )


def _reading(value: float | None, reason: Reason, message: str) -> Reading:
    return Unknown(reason, message) if value is None else Known(float(value))
