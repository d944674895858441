"""The one sentence that says why a plan does what it does, with its figures.

The decision, the event and the log quote the same sentence, so it has every number that a reader needs to check it.
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
    if forecast.lifted_from is not None:
        load += f" (as many as in the last half minute; {figure(forecast.lifted_from / policy.interval_s)} before)"
    return "; ".join((load, *(_need(role) for role in roles)))


def _need(role: RoleDecision) -> str:
    """The role's sum, and what each limit made of it."""
    message = role.sized.message if role.sized is not None else f"{role.role}: nothing was sized"
    return "".join((message, *(f"; {' and '.join(made.by)}: {made.replicas}" for made in role.changed)))
