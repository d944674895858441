"""Conditions as Kubernetes keeps them (metav1.Condition), from what the plan found.

Setting is idempotent: a condition keeps its transition time until its status changes, so a plan that
finds the same again writes the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from slaplanner.api.status_schema import MESSAGE_CHARS, Condition
from slaplanner.core.decision import Finding
from slaplanner.core.readiness import NEEDED, compute_ready
from slaplanner.core.reasons import ConditionStatus, ConditionType, Reason


def set_conditions(
    existing: Sequence[Mapping[str, Any]],
    findings: Iterable[Finding],
    *,
    generation: int,
    planned: bool,
    now_s: float,
) -> list[dict[str, Any]]:
    """The whole list after *findings*, `Ready` computed, in the order of `ConditionType`.

    `Ready` and what it needs are present from the first write, as Unknown while nobody found anything.
    The others come when there is something to say. Types that are not ours stay at the end. What was
    found earlier and not now keeps standing.

    Args:
        existing: `status.conditions` as last written; may be empty.
        findings: what this plan found, at most one per type; `Ready` is not among them.
        generation: of the spec that was planned for.
        planned: whether a plan was made, now or earlier.
        now_s: Unix seconds, for statuses that change now.
    """
    before = {str(condition.get("type")): dict(condition) for condition in existing}
    found = {finding.type: finding for finding in findings}
    known = [
        found.get(kind) or _as_finding(kind, before.get(kind))
        for kind in _OTHERS
        if kind in found or kind in before or kind in NEEDED
    ]
    ready = compute_ready(known, planned=planned)
    ours = [
        _condition(finding, before.get(finding.type), generation=generation, now_s=now_s)
        for finding in (ready, *known)
    ]
    others = [condition for kind, condition in before.items() if kind not in _OURS]
    return ours + others


def rfc3339(at_s: float) -> str:
    """A Unix time as metav1.Time writes it, to the second.

    >>> rfc3339(0)
    '1970-01-01T00:00:00Z'
    """
    return datetime.fromtimestamp(int(at_s), tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def shortened(message: str) -> str:
    """*message*, cut to what a condition or a decision has room for."""
    return message if len(message) <= MESSAGE_CHARS else message[: MESSAGE_CHARS - 3] + "..."


_OTHERS = tuple(kind for kind in ConditionType if kind is not ConditionType.READY)
_OURS = frozenset(ConditionType)
_WAITS: Mapping[ConditionType, str] = {
    ConditionType.TARGET_RESOLVED: "the target was not looked at yet",
    ConditionType.PROFILE_LOADED: "the profile is read once the target is resolved",
    ConditionType.METRICS_AVAILABLE: "Prometheus is asked once target and profile are there",
}
_REASONS = frozenset(Reason)


def _as_finding(kind: ConditionType, condition: Mapping[str, Any] | None) -> Finding:
    """What stands in the status already; a reason that this version does not know is Pending."""
    if condition is None:
        return Finding(type=kind, status=None, reason=Reason.PENDING, message=_WAITS[kind])
    reason = condition.get("reason")
    return Finding(
        type=kind,
        status=ConditionStatus.truth_of(condition.get("status")),
        reason=Reason(reason) if reason in _REASONS else Reason.PENDING,
        message=str(condition.get("message", "")),
    )


def _condition(
    finding: Finding, before: Mapping[str, Any] | None, *, generation: int, now_s: float
) -> dict[str, Any]:
    status = ConditionStatus.of(holds=finding.status)
    stands = before.get("lastTransitionTime") if before and before.get("status") == status else None
    return Condition(
        type=finding.type,
        status=status,
        observed_generation=generation,
        last_transition_time=stands or rfc3339(now_s),
        reason=finding.reason,
        message=shortened(finding.message),
    ).model_dump(mode="json", by_alias=True)
