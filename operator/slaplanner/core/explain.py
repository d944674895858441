"""One sentence for people: what a plan does and why, with its figures.

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
    """What moves, for which load, and what held it back."""
    moves = ", ".join(_move(role) for role in roles)
    if forecast is None:
        why = "" if isinstance(observation.requests, Known) else observation.requests.message
        return f"{moves}: {reason}, {why}" if why else f"{moves}: {reason}"
    load = (
        f"{figure(forecast.requests[0] / policy.interval_s)} requests/s of "
        f"{figure(forecast.isl_tokens[0])} input and {figure(forecast.osl_tokens[0])} output tokens forecast"
    )
    needs = "; ".join(need for role in roles if (need := _need(role)))
    return f"{moves}: {load}; {needs}" if needs else f"{moves}: {load}"


def _move(role: RoleDecision) -> str:
    if role.changes:
        return f"{role.role} {role.current} -> {role.desired}"
    return f"{role.role} stays {role.current}"


def _need(role: RoleDecision) -> str:
    if role.sized is None:
        return ""
    sized = role.sized
    text = (
        f"{role.role} needs {figure(sized.raw)} replicas ({figure(sized.load_tokens_s)} tokens/s, "
        f"{figure(sized.capacity_per_replica_tokens_s)} each)"
    )
    return f"{text}, limited by {', '.join(role.limits)}" if role.limits else text
