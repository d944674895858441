"""One sentence for people: why a plan does what it does, with its figures.

The same sentence stands in the decision, the event and the log, so it carries every number that a
reader needs to check it.
"""

from __future__ import annotations

from collections.abc import Sequence

from slaplanner.core.decision import RoleDecision
from slaplanner.core.forecast import Forecast
from slaplanner.core.model import Policy
from slaplanner.core.readings import Known, Observation
from slaplanner.core.reasons import Reason
from slaplanner.core.wording import figure


def explain(
    roles: Sequence[RoleDecision],
    *,
    reason: Reason,
    policy: Policy,
    observation: Observation,
    forecast: Forecast | None,
) -> str:
    """For which load, and what held the roles back."""
    if forecast is None:
        unknown = "" if isinstance(observation.requests, Known) else f", {observation.requests.message}"
        return f"{reason}{unknown}"
    load = (
        f"{figure(forecast.requests[0] / policy.interval_s)} requests/s of "
        f"{figure(forecast.isl_tokens[0])} input and {figure(forecast.osl_tokens[0])} output tokens forecast"
    )
    needs = "; ".join(need for role in roles if (need := _need(role)))
    return f"{load}; {needs}" if needs else load


def _need(role: RoleDecision) -> str:
    if role.sized is None:
        return ""
    sized = role.sized
    text = (
        f"{role.role} needs {figure(sized.raw)} replicas ({figure(sized.load_tokens_s)} tokens/s, "
        f"{figure(sized.capacity_per_replica_tokens_s)} each)"
    )
    return f"{text}, limited by {', '.join(role.limits)}" if role.limits else text
