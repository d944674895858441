"""Events: what a user should hear of, on change only. Constructors, no I/O.

An event is told when a condition's (status, reason) changes, and `Scaled` at every change of
replicas. Whoever posts them decides where they go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from slaplanner.core.decision import Decision, Finding
from slaplanner.core.reasons import ConditionType, Reason


class EventType(StrEnum):
    """Kubernetes knows these two."""

    NORMAL = "Normal"
    WARNING = "Warning"


@dataclass(frozen=True, slots=True)
class Event:
    """What is told, and in which tone."""

    type: EventType
    reason: str
    message: str


_BAD_WHEN: Mapping[ConditionType, bool] = {
    ConditionType.TARGET_RESOLVED: False,
    ConditionType.PROFILE_LOADED: False,
    ConditionType.METRICS_AVAILABLE: False,
    ConditionType.FORECAST_AVAILABLE: False,
    ConditionType.SLA_ATTAINABLE: False,
    ConditionType.SLA_MET: False,
    ConditionType.BUDGET_LIMITED: True,
    ConditionType.FALLBACK: True,
    ConditionType.TARGET_CONFLICT: True,
}

_NAMES: Mapping[tuple[ConditionType, bool], str] = {
    (ConditionType.TARGET_RESOLVED, False): "TargetUnresolved",
    (ConditionType.TARGET_RESOLVED, True): "TargetResolved",
    (ConditionType.PROFILE_LOADED, False): "ProfileUnusable",
    (ConditionType.PROFILE_LOADED, True): "ProfileLoaded",
    (ConditionType.METRICS_AVAILABLE, False): "MetricsUnavailable",
    (ConditionType.METRICS_AVAILABLE, True): "MetricsAvailable",
    (ConditionType.FORECAST_AVAILABLE, False): "ForecastUnavailable",
    (ConditionType.FORECAST_AVAILABLE, True): "ForecastAvailable",
    (ConditionType.SLA_ATTAINABLE, False): "SLAUnattainable",
    (ConditionType.SLA_ATTAINABLE, True): "SLAAttainable",
    (ConditionType.SLA_MET, False): "SLAMissed",
    (ConditionType.SLA_MET, True): "SLAMet",
    (ConditionType.BUDGET_LIMITED, True): "BudgetExceeded",
    (ConditionType.BUDGET_LIMITED, False): "WithinBudget",
    (ConditionType.FALLBACK, True): "FallbackStarted",
    (ConditionType.FALLBACK, False): "FallbackEnded",
    (ConditionType.PAUSED, True): "Paused",
    (ConditionType.PAUSED, False): "Resumed",
    (ConditionType.TARGET_CONFLICT, True): "TargetConflict",
    (ConditionType.TARGET_CONFLICT, False): "TargetConflictResolved",
}

_QUIET = frozenset({ConditionType.READY, ConditionType.PROGRESSING})
"""Ready repeats the others; Progressing moves with every scale, which `Scaled` tells."""

_LOUD = frozenset({Reason.ACKNOWLEDGEMENT_OVERDUE, Reason.BLOCKED})
"""Reasons of quiet conditions that somebody has to act on."""

_NEWS_FROM_THE_START = frozenset(
    {ConditionType.TARGET_RESOLVED, ConditionType.PROFILE_LOADED, ConditionType.METRICS_AVAILABLE}
)
"""A new policy's user waits for these; that nothing else is wrong is no news."""


def on_findings(
    before: Mapping[ConditionType, tuple[bool | None, str]], findings: Sequence[Finding]
) -> list[Event]:
    """Events for conditions whose (status, reason) differs from *before*.

    Trouble and pauses are always told, their end when they were told, the first good news of what a
    new policy waits for, and nothing about what is unknown.
    """
    events = []
    for finding in findings:
        old_status, old_reason = before.get(finding.type, (None, ""))
        if finding.status is None or (old_status, old_reason) == (finding.status, finding.reason.value):
            continue
        if finding.type in _QUIET:
            if finding.reason in _LOUD:
                events.append(Event(EventType.WARNING, finding.reason.value, finding.message))
            continue
        bad = _BAD_WHEN.get(finding.type) is finding.status
        paused = finding.type is ConditionType.PAUSED and finding.status
        over = old_status is not None and old_status is not finding.status
        first = old_status is None and finding.type in _NEWS_FROM_THE_START
        if bad or paused or over or first:
            events.append(
                Event(
                    EventType.WARNING if bad else EventType.NORMAL,
                    _NAMES[finding.type, finding.status],
                    f"{finding.reason}: {finding.message}",
                )
            )
    return events


def scaled(decision: Decision, moved: Mapping[str, tuple[int, int]]) -> Event:
    """Replicas were written: *moved* gives, by role, what was and what is asked for now."""
    moves = ", ".join(f"{role} {before} -> {after}" for role, (before, after) in moved.items())
    return Event(EventType.NORMAL, "Scaled", f"{moves}: {decision.why}")


_LIMITS_ON_GROWTH = frozenset(
    {
        Reason.TOO_MANY_REPLICAS,
        Reason.SCALE_UP_LIMIT,
        Reason.SCALE_UP_DISABLED,
        Reason.UNSCHEDULABLE,
    }
)


def scale_limited(decision: Decision) -> Event | None:
    """A role did not get what the load needs, by rules that the user set or for want of room."""
    limited = {
        role.role.value: role.limited_by for role in decision.roles if role.limited_by in _LIMITS_ON_GROWTH
    }
    if not limited:
        return None
    listed = ", ".join(f"{role} ({reason})" for role, reason in limited.items())
    return Event(EventType.WARNING, "ScaleLimited", f"{listed}: {decision.message}")


def write_failed(reason: Reason, message: str) -> Event:
    """Replicas could not be written."""
    return Event(EventType.WARNING, "ScaleFailed", f"{reason}: {message}")


def remarked(reason: Reason, message: str) -> Event:
    """Something about the target is odd, and hinders no plan."""
    return Event(EventType.WARNING, reason.value, message)


def state_dropped(error: str) -> Event:
    """What an earlier operator remembered in the status cannot be used."""
    return Event(
        EventType.WARNING,
        "PlannerStateDropped",
        f"status.plannerState is not what a planner wrote, planning starts afresh without it: {error}",
    )
