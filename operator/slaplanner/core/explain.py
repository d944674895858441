"""One sentence for people: why a plan does what it does, with its figures.

The same sentence stands in the decision, the event and the log, so it carries every number that a
reader needs to check it.
"""

from __future__ import annotations

from collections.abc import Sequence

from slaplanner.core.decision import RoleDecision
from slaplanner.core.forecast import Forecast
from slaplanner.core.model import Policy, Sizing
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
    needs = "; ".join(need for role in roles if (need := _need(role, policy=policy)))
    return f"{load}; {needs}" if needs else load


def _need(role: RoleDecision, *, policy: Policy) -> str:
    if role.sized is None:
        return ""
    sized = role.sized
    load, each = figure(sized.load_tokens_s), figure(sized.capacity_per_replica_tokens_s)
    if policy.sizing is Sizing.ATTAINMENT:
        # More than load over capacity: what comes on top is for bursts, queues and the forecast's errors.
        promised = figure(policy.sla.attainment_percent)
        text = (
            f"{role.role} needs {figure(sized.raw)} replicas to keep {promised} % in time through bursts "
            f"({load} tokens/s, at most {each} each)"
        )
    else:
        text = f"{role.role} needs {figure(sized.raw)} replicas ({load} tokens/s, {each} each)"
    return f"{text}, limited by {', '.join(role.limits)}" if role.limits else text
