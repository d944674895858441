"""The conditions that a plan can judge: metrics, forecast, SLA, budget, fallback.

Conditions about the target, the profile's files, pauses, conflicts and running moves come from the modules that read
those. Each message has the figures that a user needs to act.
"""

from __future__ import annotations

from collections.abc import Sequence

from slaplanner.core.allot import Allotted
from slaplanner.core.decision import Finding, RoleDecision
from slaplanner.core.forecast import Forecast
from slaplanner.core.model import FallbackMode, Policy, Role
from slaplanner.core.readings import Known, Observation, Series, Unknown
from slaplanner.core.reasons import ConditionType, Reason
from slaplanner.core.wording import figure


def findings(
    roles: Sequence[RoleDecision],
    *,
    policy: Policy,
    observation: Observation,
    forecast: Forecast | None,
    allotted: Allotted,
    failures: int,
) -> tuple[Finding, ...]:
    """One finding per condition that a plan can judge."""
    return (
        metrics_finding(policy, observation),
        _forecast(policy, forecast, observation.warm_up),
        _sla(roles, policy),
        _budget(policy, allotted, roles),
        _fallback(policy, failures, roles),
    )


def metrics_finding(policy: Policy, observation: Observation) -> Finding:
    """What was seen of the traffic; it can be told also when nothing can be decided from it."""
    requests, isl, osl = observation.requests, observation.isl_tokens, observation.osl_tokens
    if isinstance(requests, Unknown):
        return Finding(
            type=ConditionType.METRICS_AVAILABLE,
            status=False,
            reason=requests.reason,
            message=requests.message,
        )
    if requests.value == 0 and not requests.lower_bound:
        reason, message = (
            Reason.IDLE,
            f"no request arrived in the last {figure(observation.window_s)} s",
        )
    elif requests.value == 0:
        reason = Reason.ZERO_UNPROVEN
        message = f"no request was counted in the last {figure(observation.window_s)} s"
    elif isinstance(isl, Unknown) or isinstance(osl, Unknown):
        unknown = isl if isinstance(isl, Unknown) else osl
        assert isinstance(unknown, Unknown)
        reason = Reason.LENGTHS_UNKNOWN
        message = f"{_rate(requests, policy)}, lengths unknown ({unknown.message})"
        if not requests.lower_bound:
            message += "; roles may grow, not shrink"
    else:
        reason = Reason.METRICS_READ
        message = (
            f"{_rate(requests, policy)} of {figure(isl.value)} input and {figure(osl.value)} output tokens"
        )
    if requests.lower_bound:
        missing = f": {requests.because}" if requests.because else ""
        message += f"; there may be more requests, so roles may grow, not shrink{missing}"
    return Finding(type=ConditionType.METRICS_AVAILABLE, status=True, reason=reason, message=message)


def _rate(requests: Known, policy: Policy) -> str:
    return f"{figure(requests.value / policy.interval_s)} requests/s over {figure(policy.window_s)} s"


def _forecast(policy: Policy, forecast: Forecast | None, warm_up: Series | Unknown | None) -> Finding:
    if forecast is None:
        return Finding(
            type=ConditionType.FORECAST_AVAILABLE,
            status=None,
            reason=Reason.HOLD_UNKNOWN,
            message="nothing is forecast while the load is unknown",
        )
    message = forecast.message or (
        f"{forecast.method} sees {figure(forecast.requests[0] / policy.interval_s)} requests/s in the next "
        f"{figure(policy.interval_s)} s"
    )
    reason = forecast.reason
    if isinstance(warm_up, Unknown):
        message = f"{message}; {warm_up.message}"
        # A predictor that is missing or fails is graver than a past that is missing.
        reason = warm_up.reason if reason in {Reason.FORECAST, Reason.WARMING_UP} else reason
    return Finding(
        type=ConditionType.FORECAST_AVAILABLE, status=forecast.available, reason=reason, message=message
    )


def _sla(roles: Sequence[RoleDecision], policy: Policy) -> Finding:
    if not all(role.sized for role in roles):
        return Finding(
            type=ConditionType.SLA_ATTAINABLE,
            status=None,
            reason=Reason.HOLD_UNKNOWN,
            message="nothing is sized while the load is unknown",
        )
    for role in roles:
        if role.sized is not None and not role.sized.attainable:
            reason = Reason.TTFT_UNATTAINABLE if role.role is Role.PREFILL else Reason.ITL_UNATTAINABLE
            return Finding(
                type=ConditionType.SLA_ATTAINABLE, status=False, reason=reason, message=role.sized.message
            )
    return Finding(
        type=ConditionType.SLA_ATTAINABLE,
        status=True,
        reason=Reason.ATTAINABLE,
        message=f"the profile reaches TTFT {figure(policy.sla.ttft_ms)} ms and ITL {figure(policy.sla.itl_ms)} ms "
        "at these lengths",
    )


def _budget(policy: Policy, allotted: Allotted, roles: Sequence[RoleDecision]) -> Finding:
    desired = sum(role.desired * (role.gpus_per_replica or 0) for role in roles)
    cut = [role for role in roles if Reason.REPLICA_CEILING in role.limits]
    if cut:
        counts = ", ".join(
            f"{role.role} wants {role.sized.replicas if role.sized else 'more'} and gets {role.desired}"
            for role in cut
        )
        message = (
            f"{counts}: neither gpuBudget.max nor maxReplicas is set, so no role grows beyond "
            f"{policy.replica_ceiling} replicas (replicaCeiling of the administrator's settings)"
        )
        return Finding(
            type=ConditionType.BUDGET_LIMITED, status=True, reason=Reason.REPLICA_CEILING, message=message
        )
    limited = allotted.reason in {Reason.BUDGET_EXCEEDED, Reason.BUDGET_INFEASIBLE}
    if allotted.reason is Reason.NO_BUDGET:
        message = f"{desired} GPUs, no budget is set"
    elif allotted.reason is Reason.WITHIN_BUDGET:
        message = f"{desired} of {policy.gpu_budget} GPUs"
    elif allotted.reason is Reason.BUDGET_EXCEEDED:
        message = f"{allotted.wanted_gpus} GPUs are wanted, the budget has {policy.gpu_budget}; {desired} are asked for"
    elif allotted.floor_gpus > (policy.gpu_budget or 0):
        message = (
            f"the floors (minReplicas) need {allotted.floor_gpus} GPUs, the budget has {policy.gpu_budget}; "
            "what runs is kept and nothing is written"
        )
    else:
        message = (
            f"what must not shrink now does not fit into the budget of {policy.gpu_budget} GPUs; "
            "what runs is kept and nothing is written"
        )
    return Finding(type=ConditionType.BUDGET_LIMITED, status=limited, reason=allotted.reason, message=message)


_FALLBACK_REASON = {
    FallbackMode.HOLD: Reason.FALLBACK_HOLD,
    FallbackMode.STATIC: Reason.FALLBACK_STATIC,
    FallbackMode.CURRENT_IF_HIGHER: Reason.FALLBACK_CURRENT_IF_HIGHER,
}


def _fallback(policy: Policy, failures: int, roles: Sequence[RoleDecision]) -> Finding:
    if failures < policy.fallback.after:
        message = (
            f"{failures} of {policy.fallback.after} failed observations in a row"
            if failures
            else "the load is known"
        )
        return Finding(
            type=ConditionType.FALLBACK, status=False, reason=Reason.NOT_IN_FALLBACK, message=message
        )
    counts = ", ".join(f"{role.role} {role.desired}" for role in roles)
    return Finding(
        type=ConditionType.FALLBACK,
        status=True,
        reason=_FALLBACK_REASON[policy.fallback.mode],
        message=f"{failures} observations in a row failed, {policy.fallback.after} are enough; {counts}",
    )
