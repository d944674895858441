"""Between two plans: is the load still the one that was planned for, and are requests still on time?

If the load doubles, waiting some minutes for the next plan is too long. So the operator reads a few cheap figures every
few seconds and compares them with the last plan. If they contradict it, a plan runs at once. A glance can only start a
plan; that plan observes and decides as every other plan does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from slaplanner.core.decision import Decision
from slaplanner.core.forecast import Forecast, TokenForecast
from slaplanner.core.model import Fleet, Policy
from slaplanner.core.readings import Known, Observation, Reading
from slaplanner.core.reasons import Reason
from slaplanner.core.sizing.burstiness import Burstiness
from slaplanner.core.wording import figure

SPAN_S = 30.0
"""Seconds that a glance looks back: two samples at the usual scrape interval of 15 s, six at 5 s."""

MOST_RISE = 2.0
"""Times the busiest interval of the history, or the forecast: as far as half a minute is believed. Beyond it the
next plan of the grid, which sees a whole interval, has to say so."""

SURE = 4.0
"""Standard deviations beyond which a count is no chance. A glance every 5 s is 17,280 a day, of which
chance then raises half a false alarm."""

STARTUP_SHARE = 0.25
"""Of the start-up time: the least distance between two plans that glances ask for, so that at most four of
them follow each other before the first of their replicas serves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What one glance saw. None: not known, which never raises an alarm."""

    at_s: float
    """Unix time."""
    span_s: float = SPAN_S
    requests: float | None = None
    """Requests that arrived in the last `span_s` seconds; there may be more."""
    queued: float | None = None
    """Requests that wait for their first token, now."""
    inflight: float | None = None
    """Requests that have not been answered in full, now."""
    ttft_ms: float | None = None
    itl_ms: float | None = None
    """Means over the last `span_s` seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """Why a plan should run now."""

    reason: Reason
    at_s: float
    """Unix time of the glance that saw it."""
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plans:
    """When plans ran; None: none did."""

    last_s: float | None = None
    """Unix time of the last plan of any kind."""
    alarmed_s: float | None = None
    """Unix time of the last plan that a glance asked for."""

    def allow(self, *, now_s: float, startup_s: float) -> bool:
        """Whether another plan may run at *now_s* because of a glance."""
        if self.last_s is None or now_s - self.last_s < SPAN_S:
            return False
        return self.alarmed_s is None or now_s - self.alarmed_s >= least_distance_s(startup_s)

    def after(self, *, now_s: float, alarm: Alarm | None) -> Plans:
        """With a plan at *now_s*; *alarm*: what asked for it, None: something else did."""
        return Plans(last_s=now_s, alarmed_s=self.alarmed_s if alarm is None else now_s)


def least_distance_s(startup_s: float) -> float:
    """Seconds between two plans that glances ask for.

    Below `SPAN_S` the second would look at the same requests as the first.

    >>> least_distance_s(60.0), least_distance_s(600.0)
    (30.0, 150.0)
    """
    return max(SPAN_S, STARTUP_SHARE * startup_s)


def judge(
    sight: Sight,
    *,
    decision: Decision,
    fleet: Fleet,
    policy: Policy,
    burstiness: Burstiness,
    plans: Plans,
    startup_s: float,
) -> Alarm | None:
    """What in *sight* contradicts the last *decision*, if anything does and a plan may run.

    Load above the forecast's bound always counts. A queue and late answers count only while nothing starts:
    what was ordered already is the answer to them, and they count only as far as the plan did not know them.

    Args:
        sight: the glance.
        decision: of the last plan.
        fleet: as it is now.
        policy: what is promised.
        burstiness: how the requests crowd, as the plans have learnt it.
        plans: when plans ran.
        startup_s: until a new replica serves.
    """
    if not plans.allow(now_s=sight.at_s, startup_s=startup_s):
        return None
    found = _load(sight, decision.forecast, policy, burstiness)
    if found is None and not any(role.starting for role in fleet.roles):
        found = _work(sight, decision, policy) or _lateness(sight, decision, policy)
    if found is None:
        return None
    reason, message = found
    return Alarm(reason=reason, at_s=sight.at_s, message=message)


def _load(
    sight: Sight, forecast: Forecast | None, policy: Policy, burstiness: Burstiness
) -> tuple[Reason, str] | None:
    if forecast is None or sight.requests is None:
        return None
    allowed = most_requests(forecast, policy=policy, burstiness=burstiness, seconds=sight.span_s)
    if sight.requests <= allowed:
        return None
    return (
        Reason.LOAD_ABOVE_FORECAST,
        (
            f"{figure(sight.requests)} requests arrived in {figure(sight.span_s)} s, "
            f"the forecast of the last plan allows {figure(allowed)}"
        ),
    )


def _work(sight: Sight, decision: Decision, policy: Policy) -> tuple[Reason, str] | None:
    """More requests inside than there would be if all were in time: by Little's law rate times time."""
    if sight.requests is None:
        return None
    rate_per_s = sight.requests / sight.span_s
    ttft_s, itl_s = policy.sla.ttft_ms / 1e3, policy.sla.itl_ms / 1e3
    osl_tokens = decision.forecast.osl_tokens[0] if decision.forecast is not None else policy.sla.osl_tokens
    known = decision.observation
    for words, found, seconds, before in (
        ("wait for their first token", sight.queued, ttft_s, known.queued),
        ("are in flight", sight.inflight, ttft_s + osl_tokens * itl_s, known.inflight),
    ):
        allowed = _with_chance(max(rate_per_s * seconds, before.value if isinstance(before, Known) else 0.0))
        if found is not None and found > allowed:
            return (
                Reason.QUEUE_GROWS,
                (
                    f"{figure(found)} requests {words}, at {figure(rate_per_s)} requests/s within the targets "
                    f"at most {figure(allowed)} would"
                ),
            )
    return None


def _lateness(sight: Sight, decision: Decision, policy: Policy) -> tuple[Reason, str] | None:
    known = decision.observation
    for words, found, target_ms, before in (
        ("time to first token", sight.ttft_ms, policy.sla.ttft_ms, known.ttft_ms),
        ("inter-token latency", sight.itl_ms, policy.sla.itl_ms, known.itl_ms),
    ):
        if found is not None and found > target_ms and not _was_late(before, target_ms):
            return (
                Reason.LATE,
                (
                    f"the mean {words} of the last {figure(sight.span_s)} s is {figure(found)} ms, "
                    f"the target {figure(target_ms)} ms"
                ),
            )
    return None


def _was_late(before: Reading, target_ms: float) -> bool:
    return isinstance(before, Known) and before.value > target_ms


def most_requests(forecast: Forecast, *, policy: Policy, burstiness: Burstiness, seconds: float) -> float:
    """As many requests may arrive in *seconds* of the coming interval before the forecast is wrong.

    The forecast's bound at the promised share, and what chance adds to it in so short a time: the bound of
    Poisson counts after the square root that makes their variance even, wider by how requests crowd.
    """
    level = policy.sla.attainment_percent / 100.0
    bounds = [forecast.requests[0]]
    for demand, length in (
        (forecast.prefill, forecast.isl_tokens[0]),
        (forecast.decode, forecast.osl_tokens[0]),
    ):
        if length > 0.0:
            bounds.append(demand.upper(level, 1) / length)
    rate_per_s = max(bounds) / policy.interval_s
    return _with_chance(rate_per_s * seconds, dispersion=float(burstiness.index(np.array(rate_per_s))))


def _with_chance(mean: float, *, dispersion: float = 1.0) -> float:
    """What a count with this mean stays below."""
    return (math.sqrt(mean) + 0.5 * SURE * math.sqrt(dispersion)) ** 2


def lifted(
    forecast: Forecast,
    observation: Observation,
    *,
    policy: Policy,
    burstiness: Burstiness,
    now_s: float,
) -> Forecast:
    """*forecast*, raised to the rate of the last half minute where that shows that it is too low.

    Only for plans between two points of the grid: at a point of the grid the newest interval is in the history
    already. The whole path and its bounds are raised by the same amount. They are not multiplied: after a silence the
    bound may be ten times the mean, and would then be ten times what was measured. Half a minute does not tell a
    burst from a step, so nothing beyond `MOST_RISE` times of what a whole interval ever had is believed.
    """
    history = observation.history
    if history is None or now_s - history.end_s < SPAN_S / 2 or observation.arrivals_step_s <= 0.0:
        return forecast
    rate_per_s = _rate_above(forecast, observation, policy, burstiness)
    if rate_per_s is None:
        return forecast
    known = max([forecast.requests[0], *(count for count in history.requests if math.isfinite(count))])
    wanted = rate_per_s * policy.interval_s
    more = (min(wanted, MOST_RISE * known) if known > 0.0 else wanted) - forecast.requests[0]
    if more <= 0.0:
        return forecast
    return replace(
        forecast,
        lifted_from=forecast.requests[0],
        requests=tuple(value + more for value in forecast.requests),
        prefill=_raised(forecast.prefill, more * forecast.isl_tokens[0]),
        decode=_raised(forecast.decode, more * forecast.osl_tokens[0]),
    )


def _rate_above(
    forecast: Forecast, observation: Observation, policy: Policy, burstiness: Burstiness
) -> float | None:
    """Requests per second since the load left the forecast, within the last half minute; None: it did not.

    Of all whole numbers of newest steps whose count cannot be chance the one with the highest rate: the load may
    have risen in the middle of the half minute.
    """
    rates = []
    arrived = 0.0
    for steps, count in enumerate(reversed(observation.arrivals), start=1):
        seconds = steps * observation.arrivals_step_s
        if steps > 1 and seconds > SPAN_S:
            break
        arrived += count
        if arrived > most_requests(forecast, policy=policy, burstiness=burstiness, seconds=seconds):
            rates.append(arrived / seconds)
    return max(rates, default=None)


def _raised(demand: TokenForecast, tokens: float) -> TokenForecast:
    return TokenForecast(
        mean_tokens=tuple(mean + tokens for mean in demand.mean_tokens),
        bounds_tokens=tuple(tuple(bound + tokens for bound in row) for row in demand.bounds_tokens),
    )
