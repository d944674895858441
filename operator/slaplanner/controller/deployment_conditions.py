"""What a policy reports on its deployment: is it planned, and is its SLA met?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from slaplanner.adapters.deployment import DeploymentConditions
from slaplanner.adapters.deployment.own_conditions import MET, said_by
from slaplanner.controller.planning import PlanResult
from slaplanner.controller.records import Record
from slaplanner.core.model import Policy, Role
from slaplanner.core.readings import Known, Observation
from slaplanner.core.reasons import ConditionStatus, ConditionType
from slaplanner.core.wording import figure

AGREEING_PLANS = 3
"""One bad window is no breach; three in a row are worth telling whoever watches the deployment."""

_REASONS: Mapping[ConditionStatus, str] = {
    ConditionStatus.TRUE: "TargetsMet",
    ConditionStatus.FALSE: "TargetsMissed",
}


def sighted(before: tuple[bool, ...], policy: Policy, plan: PlanResult) -> tuple[bool, ...]:
    """Whether the last plans saw the SLA met, newest last, after *plan*; as many as have to agree."""
    seen = sla_met(policy, plan.traffic.observation) if plan.traffic else None
    return before if seen is None else (*before, seen)[-AGREEING_PLANS:]


def verdict(
    record: Record,
    policy: Policy,
    plan: PlanResult,
    conditions: Sequence[Mapping[str, Any]],
    sightings: tuple[bool, ...],
) -> DeploymentConditions:
    """The policy's part in `SLAPlanned` and `SLAMet`; the latter changes only when three plans agree."""
    ready = next(entry for entry in conditions if entry["type"] == ConditionType.READY)
    seen = sla_met(policy, plan.traffic.observation) if plan.traffic else None
    met, reason, message = _previous(record, plan)
    agreeing = len(sightings) == AGREEING_PLANS and len(set(sightings)) == 1
    if agreeing and seen is not None and plan.traffic is not None:
        before, met = met, ConditionStatus.of(holds=seen)
        reason = _REASONS[met]
        if before != met:
            message = _latencies(policy, plan.traffic.observation)
    return DeploymentConditions(
        policy=record.name,
        planned=ConditionStatus(ready["status"]),
        planned_reason=ready["reason"],
        planned_message=ready["message"],
        met=met,
        met_reason=reason,
        met_message=message,
    )


def _previous(record: Record, plan: PlanResult) -> tuple[ConditionStatus, str, str]:
    """What this policy said of `SLAMet` until now, also through the operator before this one."""
    if record.report.verdict is not None:
        return record.report.verdict.met, record.report.verdict.met_reason, record.report.verdict.met_message
    status, _, message = (plan.target.told if plan.target is not None else {}).get(MET, ("", "", ""))
    words = said_by(record.name, message)
    for decided, reason in _REASONS.items():
        if status == decided and words is not None:
            return decided, reason, words
    return ConditionStatus.UNKNOWN, "Observing", f"{AGREEING_PLANS} plans must agree"


def sla_met(policy: Policy, observation: Observation) -> bool | None:
    """Whether the observed means meet the targets of the policy's roles; None: nothing was observed."""
    pairs = _pairs(policy, observation)
    known = [(reading.value, target) for _, reading, target in pairs if isinstance(reading, Known)]
    if len(known) < len(pairs):
        return None
    return all(value <= target for value, target in known)


def _pairs(policy: Policy, observation: Observation) -> list[tuple[str, Any, float]]:
    roles = policy.mode.roles
    ttft = ("TTFT", observation.ttft_ms, policy.sla.ttft_ms)
    itl = ("ITL", observation.itl_ms, policy.sla.itl_ms)
    if roles == (Role.PREFILL,):
        return [ttft]
    return [itl] if roles == (Role.DECODE,) else [ttft, itl]


def _latencies(policy: Policy, observation: Observation) -> str:
    return ", ".join(
        f"{name} {figure(reading.value)} ms of {figure(target)} ms"
        for name, reading, target in _pairs(policy, observation)
        if isinstance(reading, Known)
    )
