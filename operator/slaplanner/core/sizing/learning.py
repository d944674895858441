"""What one window teaches about one role: its utilisation, and the share of requests that was late.

The two do not fit together exactly. Replicas that started inside the window did not serve all of it, requests that ended
in it began before it, and a queue outlives the overload that caused it. So if too many requests were late, the highest
utilisation of the time in which they can have lived is blamed, including an earlier queue. If the promise was kept, only
the utilisation of the window itself is credited.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from slaplanner.core.model import Role, RoleState
from slaplanner.core.readings import Known, Observation, value_or
from slaplanner.core.sizing import observed
from slaplanner.core.sizing.capacity import Capacity
from slaplanner.core.sizing.experience import FULL_WEIGHT_REQUESTS, Experience

MOST_SLOWDOWN = 4.0
"""Engines are at most so many times slower than profiled, or quicker; more is a wrong profile, or no engine's doing."""

SLOWDOWN_WINDOWS = 3.0
"""Windows over which the slowdown is smoothed: one mean of a full window is exact, but its batch is not."""

_DIGITS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Learning:
    """What is remembered of one role."""

    experience: Experience = field(default_factory=Experience)
    serving: int | None = None
    """Replicas that served at the last look."""
    queued: float = 0.0
    """Prompts that waited then."""
    busiest: float = 0.0
    """The highest utilisation that requests which end now may have seen."""
    busiest_at_s: float = 0.0
    slowdown: float = 1.0
    """The mean ITL over the profile's, over the last windows."""

    def after(
        self,
        observation: Observation,
        *,
        role: RoleState,
        capacity: Capacity,
        interval_s: float,
        now_s: float,
    ) -> Self:
        """The memory after one more window; what cannot be told from it stays as it was.

        Raises:
            ProfileNotFound: the profile lacks a stage of the role.
        """
        serving = role.serving if role.serving is not None else role.replicas
        queued = value_or(observation.queued, 0.0)
        need = _need(observation, role.role, capacity, interval_s=interval_s)
        if need is None or serving < 1:
            return replace(self, serving=serving, queued=queued)
        fewest = max(1, serving if self.serving is None else min(serving, self.serving))
        busiest, at_s = need.newest / fewest, now_s
        outlasts = Role.PREFILL in role.role.stages and _outlasts(self.queued, capacity, fewest)
        lived_s = observation.window_s + _longest_life_s(observation, role.role, capacity)
        if self.busiest > busiest and (outlasts or now_s - self.busiest_at_s < lived_s):
            # While the queue of an overload lasts, that overload is not over.
            busiest, at_s = self.busiest, now_s if outlasts else self.busiest_at_s
        requests = value_or(observation.requests, 0.0) * observation.window_s / interval_s
        experience = self.experience
        late = _late(observation, role.role, capacity)
        if late is not None and not role.rollout:
            too_many = late > capacity.allowed * len(role.role.stages)
            experience = experience.after(
                utilisation=busiest if too_many else need.mean / serving,
                late=late,
                requests=requests,
                window_s=observation.window_s,
                now_s=now_s,
            )
        slowdown = self.slowdown
        if fewest == serving and not role.rollout:
            measured = observed.slowdown(
                observation, role.role, capacity, interval_s=interval_s, serving=serving
            )
            slowdown = _towards(slowdown, measured, requests=requests)
        return replace(
            self,
            experience=experience,
            serving=serving,
            queued=queued,
            busiest=round(busiest, _DIGITS),
            busiest_at_s=round(at_s),
            slowdown=slowdown,
        )

    def to_document(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "exp": self.experience.to_document(),
            "now": [self.serving, self.queued, self.busiest, self.busiest_at_s, self.slowdown],
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read back what `to_document` wrote.

        Raises:
            KeyError, TypeError, ValueError, IndexError: it is not such a document.
        """
        serving, queued, busiest, busiest_at_s, *later = document["now"]
        # States from before the slowdown was learnt lack it; the rest of such a state still holds.
        (slowdown,) = later or (1.0,)
        if (serving or 0) < 0 or not (queued >= 0.0 and busiest >= 0.0 and busiest_at_s >= 0.0):
            raise ValueError(f"counts and utilisations are not negative, found {document['now']}")
        if not 1.0 / MOST_SLOWDOWN <= slowdown <= MOST_SLOWDOWN:
            raise ValueError(f"a slowdown is at most {MOST_SLOWDOWN:g} either way, found {slowdown}")
        return cls(
            experience=Experience.from_document(document["exp"]),
            serving=None if serving is None else int(serving),
            queued=float(queued),
            busiest=float(busiest),
            busiest_at_s=float(busiest_at_s),
            slowdown=float(slowdown),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Need:
    """Replicas that the model wants."""

    mean: float
    """For the load of the whole window."""
    newest: float
    """For that of its end, where it is higher: the window's mean comes after a rise, and the answers that have
    ended are the shorter ones."""


def _need(observation: Observation, role: Role, capacity: Capacity, *, interval_s: float) -> _Need | None:
    """None when the load is not known."""
    requests = observation.requests
    if not isinstance(requests, Known) or requests.lower_bound:
        return None
    rises = observed.newest_over_mean(observation)
    mean = newest = 0.0
    for stage in role.stages:
        load = observed.tokens_s(stage, observation, interval_s=interval_s)
        if load is None:
            return None
        needed = capacity.replicas(stage, load)
        mean += needed
        last = max(1.0, rises) * load
        if stage is Role.DECODE:
            last = max(last, observed.in_flight_tokens_s(observation, capacity))
        newest += needed if last == load else capacity.replicas(stage, last)
    return _Need(mean=mean, newest=newest)


def _towards(slowdown: float, measured: float | None, *, requests: float) -> float:
    """One step in logarithms, the larger the more requests the window had."""
    if measured is None:
        return slowdown
    bounded = min(max(measured, 1.0 / MOST_SLOWDOWN), MOST_SLOWDOWN)
    news = requests / (requests + FULL_WEIGHT_REQUESTS) / SLOWDOWN_WINDOWS
    return round(slowdown * math.pow(bounded / slowdown, news), _DIGITS)


def _outlasts(queued: float, capacity: Capacity, serving: int) -> bool:
    """Whether so many waiting prompts make later ones late, however few come."""
    return queued * capacity.prompt_s / serving > capacity.sla.ttft_ms / 1e3


def _longest_life_s(observation: Observation, role: Role, capacity: Capacity) -> float:
    """How long before the window the answers that end in it may have begun: the longest wait, and the longest answer.

    The longest wait counts, because prompts that waited through an overload get their first token when it is over, and it
    made them late. Of the answers, the few that may be late are left out.
    """
    life_s = 0.0
    if Role.PREFILL in role.stages and observation.ttft_histogram is not None:
        life_s += observation.ttft_histogram.highest / 1e3
    itl = observation.itl_ms
    if Role.DECODE in role.stages and isinstance(itl, Known):
        life_s += capacity.osl.longest(1.0 - capacity.allowed) * itl.value / 1e3
    return life_s


def _late(observation: Observation, role: Role, capacity: Capacity) -> float | None:
    shares = [observed.late(stage, observation, capacity) for stage in role.stages]
    known = [share for share in shares if share is not None]
    return min(1.0, sum(known)) if len(known) == len(shares) else None
