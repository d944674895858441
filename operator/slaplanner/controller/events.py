"""Events: what a user should hear of, on change only. Constructors, no I/O.

An event is told when a condition's (status, reason) changes, and `Scaled` at every change of
replicas. Its reason is the condition's own, so that one word finds both. Whoever posts them decides
where they go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from slaplanner.core.decision import Decision, Finding
from slaplanner.core.reasons import ConditionType, Reason


class EventType(StrEnum):
    """Kubernetes knows these two."""

    NORMAL = "Normal"
    WARNING = "Warning"


SCALE = "Scale"
"""The action of events about replicas; that of all others is the condition, or `Plan`."""
PLAN = "Plan"

_FIGURE = re.compile(r"\d+(?:[.,]\d+)*")


@dataclass(frozen=True, slots=True)
class Event:
    """What is told, and in which tone."""

    type: EventType
    reason: Reason
    message: str
    action: str
    """What the operator was at: a condition's type, `Scale` or `Plan`."""

    @property
    def repeats(self) -> tuple[str, ...]:
        """Equal for events that say the same again, and are counted as one.

        Trouble that comes back with other figures is the same trouble. Each change of replicas is news.
        """
        words = self.message if self.reason is Reason.SCALED else _FIGURE.sub("#", self.message)
        return (self.type, self.reason, self.action, words)


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
                events.append(_about(finding, EventType.WARNING))
            continue
        bad = _BAD_WHEN.get(finding.type) is finding.status
        paused = finding.type is ConditionType.PAUSED and finding.status
        over = old_status is not None and old_status is not finding.status
        first = old_status is None and finding.type in _NEWS_FROM_THE_START
        if bad or paused or over or first:
            events.append(_about(finding, EventType.WARNING if bad else EventType.NORMAL))
    return events


def _about(finding: Finding, tone: EventType) -> Event:
    message = f"{finding.type} is {finding.status}: {finding.message}"
    return Event(tone, finding.reason, message, action=finding.type.value)


def scaled(decision: Decision, moved: Mapping[str, tuple[int, int]]) -> Event:
    """Replicas were written: *moved* gives, by role, what was and what is asked for now."""
    moves = ", ".join(f"{role} {before} -> {after}" for role, (before, after) in moved.items())
    return Event(EventType.NORMAL, Reason.SCALED, f"{moves}: {decision.why}", action=SCALE)


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
    limited = [
        (role.role.value, role.limited_by) for role in decision.roles if role.limited_by in _LIMITS_ON_GROWTH
    ]
    if not limited:
        return None
    listed = ", ".join(f"{role} ({reason})" for role, reason in limited)
    message = f"less than the load needs: {listed}: {decision.message}"
    return Event(EventType.WARNING, limited[0][1], message, action=SCALE)


def write_failed(reason: Reason, message: str) -> Event:
    """Replicas could not be written."""
    return Event(EventType.WARNING, reason, f"replicas were not written: {message}", action=SCALE)


def remarked(reason: Reason, message: str) -> Event:
    """Something about the target is odd, and hinders no plan."""
    return Event(EventType.WARNING, reason, message, action=PLAN)


def state_dropped(error: str) -> Event:
    """What an earlier operator remembered in the status cannot be used."""
    return Event(
        EventType.WARNING,
        Reason.PLANNER_STATE_DROPPED,
        f"status.plannerState is not what a planner wrote, planning starts afresh without it: {error}",
        action=PLAN,
    )
