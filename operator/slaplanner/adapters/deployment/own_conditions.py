"""The two conditions that a policy keeps on its deployment: `SLAPlanned` and `SLAMet`.

v1beta1 keys the list by type, so a server-side apply touches exactly our two entries. v1alpha1 does
not: an apply there was seen to remove the deployment's own `Ready`. So where only v1alpha1 is served
the list is read, changed and written back under the resourceVersion. Removing goes that way in both:
what an apply leaves out stays if another manager owns it too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slaplanner.adapters.deployment.graph import KIND, V1BETA1, GraphDeployment
from slaplanner.adapters.deployment.untrusted import text
from slaplanner.core.reasons import ConditionStatus

PLANNED = "SLAPlanned"
MET = "SLAMet"
TYPES = (PLANNED, MET)
_SHORTEST_REASON = "Unknown"
_MESSAGE_LIMIT = 1024
_BETWEEN = "; "


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentConditions:
    """What one policy says of the deployment."""

    policy: str
    planned: ConditionStatus
    planned_reason: str
    planned_message: str
    met: ConditionStatus
    met_reason: str
    met_message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphCondition:
    """One condition, without the time of its last transition."""

    type: str
    status: ConditionStatus
    reason: str
    message: str


def combined(verdicts: Iterable[DeploymentConditions]) -> tuple[GraphCondition, ...]:
    """The conditions for all policies of one deployment; none when no policy is left.

    False if any policy says so, then Unknown if any does; the reason is that of the first policy
    which says it, and the messages name the policies.
    """
    ordered = sorted(verdicts, key=lambda verdict: verdict.policy)
    if not ordered:
        return ()
    planned = [
        (entry.policy, entry.planned, entry.planned_reason, entry.planned_message) for entry in ordered
    ]
    met = [(entry.policy, entry.met, entry.met_reason, entry.met_message) for entry in ordered]
    return (_worst(PLANNED, planned), _worst(MET, met))


def own_words(existing: Iterable[Mapping[str, Any]]) -> dict[str, tuple[str, str, str]]:
    """Status, reason and message of those conditions that are ours, by type."""
    return {
        text(condition.get("type")): (
            text(condition.get("status")),
            text(condition.get("reason")),
            text(condition.get("message")),
        )
        for condition in existing
        if condition.get("type") in TYPES
    }


def are_told(told: Mapping[str, tuple[str, str, str]], wanted: Iterable[GraphCondition]) -> bool:
    """Whether the conditions of `own_words` are just those that are wanted."""
    return told == {each.type: (each.status, each.reason, each.message) for each in wanted}


def said_by(policy: str, message: str) -> str | None:
    """A policy's part of a message that `combined` made; None: it does not speak there."""
    parts = (part.partition(": ") for part in message.split(_BETWEEN))
    return next((words for name, _, words in parts if name == policy), None)


def merged(
    existing: Sequence[Mapping[str, Any]],
    wanted: Iterable[GraphCondition],
    *,
    now: str,
    generation: int | None,
) -> list[dict[str, Any]] | None:
    """The deployment's list with ours replaced; None when nothing but the clock would change.

    Args:
        existing: `status.conditions` as read; all that is not ours stays as it is, where it is.
        wanted: ours; a type of ours that is absent here is removed.
        now: RFC 3339, for conditions whose status changed.
        generation: the deployment's generation that was looked at.
    """
    ours = own_conditions(existing, wanted, now=now, generation=generation)
    before = [dict(condition) for condition in existing if condition.get("type") in TYPES]
    if not _changes(before, ours):
        return None
    return [*(dict(entry) for entry in existing if entry.get("type") not in TYPES), *ours]


def own_conditions(
    existing: Sequence[Mapping[str, Any]],
    wanted: Iterable[GraphCondition],
    *,
    now: str,
    generation: int | None,
) -> list[dict[str, Any]]:
    """Our conditions in the API's shape; the time of the last transition is kept while the status is."""
    before = {text(condition.get("type")): condition for condition in existing}
    ours = []
    for condition in wanted:
        previous = before.get(condition.type, {})
        same = previous.get("status") == condition.status
        entry: dict[str, Any] = {
            "type": condition.type,
            "status": str(condition.status),
            "reason": condition.reason,
            "message": condition.message,
            "lastTransitionTime": previous.get("lastTransitionTime", now) if same else now,
        }
        if generation is not None:
            entry["observedGeneration"] = generation
        ours.append(entry)
    return ours


def conditions_apply(graph: GraphDeployment, ours: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The body of a server-side apply of the status, for v1beta1."""
    return {
        "apiVersion": V1BETA1,
        "kind": KIND,
        "metadata": {"name": graph.name, "namespace": graph.namespace},
        "status": {"conditions": [dict(condition) for condition in ours]},
    }


def conditions_patch(graph: GraphDeployment, conditions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The body of a merge patch of the whole list; a stale one is a conflict."""
    return {
        "metadata": {"resourceVersion": graph.resource_version},
        "status": {"conditions": [dict(condition) for condition in conditions]},
    }


_WORST_FIRST = (ConditionStatus.FALSE, ConditionStatus.UNKNOWN, ConditionStatus.TRUE)


def _worst(kind: str, told: Sequence[tuple[str, ConditionStatus, str, str]]) -> GraphCondition:
    said = {status for _, status, _, _ in told}
    status = next(word for word in _WORST_FIRST if word in said)
    saying = [entry for entry in told if entry[1] == status]
    message = _BETWEEN.join(f"{policy}: {message}" for policy, _, _, message in saying)
    return GraphCondition(
        type=kind,
        status=status,
        reason=saying[0][2] or _SHORTEST_REASON,
        message=message[:_MESSAGE_LIMIT],
    )


def _changes(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> bool:
    """Anything but the generation that was looked at differs."""

    def essence(conditions: Sequence[Mapping[str, Any]]) -> list[tuple[object, ...]]:
        keys = ("type", "status", "reason", "message")
        return sorted((tuple(condition.get(key) for key in keys) for condition in conditions), key=repr)

    return essence(before) != essence(after)
