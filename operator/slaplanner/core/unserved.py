"""Roles without a serving replica: a count of zero then does not prove that there is no load.

While all prefill or all decode workers are gone, a frontend of Dynamo 1.4 answers 503 and counts these requests nowhere.
Its counters stand still and stay fresh, like those of an idle fleet. So a count is complete only if every role had a
serving replica during the whole window. Otherwise it is a lower bound.
"""

from __future__ import annotations

from dataclasses import replace

from slaplanner.core.model import Fleet
from slaplanner.core.readings import Known, Observation


def unserved(fleet: Fleet) -> tuple[str, ...]:
    """What of the target has no serving replica; a count that is not reported accuses nobody."""
    roles = (
        role.role.value
        for role in fleet.roles
        if role.serving == 0 or (role.serving is None and role.replicas == 0)
    )
    return (*roles, *fleet.unserved)


def last_unserved_s(before_s: float | None, fleet: Fleet, *, now_s: float) -> float | None:
    """When a role was last seen without a serving replica; None: never. *before_s*: what was known before."""
    if unserved(fleet):
        return now_s
    return None if before_s is None else min(before_s, now_s)


def believed(
    observation: Observation, fleet: Fleet, *, unserved_at_s: float | None, interval_s: float, now_s: float
) -> Observation:
    """*observation* with the count as a lower bound, if a role had no serving replica within its window.

    Args:
        observation: what Prometheus shows.
        fleet: what runs now.
        unserved_at_s: when an earlier plan last saw such a role; None: never.
        interval_s: seconds between plans. The role may have been gone until just before the next one.
        now_s: Unix seconds of this plan.
    """
    requests = observation.requests
    if not isinstance(requests, Known):
        return observation
    gone = unserved(fleet)
    if gone:
        because = f"no replica of {' and '.join(gone)} serves, and frontends may refuse requests without counting them"
    elif unserved_at_s is not None and now_s - unserved_at_s < observation.window_s + interval_s:
        because = (
            "a role had no serving replica for some of that time, and frontends may have refused requests "
            "without counting them"
        )
    else:
        return observation
    told = f"{because}; {requests.because}" if requests.because else because
    return replace(observation, requests=replace(requests, lower_bound=True, because=told))
