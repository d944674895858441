"""How an SLAPolicy carries decisions: published in its status, acknowledged by its annotation. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from slaplanner.adapters.deployment.untrusted import mapping, text
from slaplanner.core.model import Role
from slaplanner.virtual.decisions import (
    ABSENT,
    LARGEST_NUMBER,
    Head,
    IdSeries,
    Published,
    parse_number,
)
from slaplanner.virtual.rules import PublisherMemory

ACKNOWLEDGED_ANNOTATION = "slaplanner.io/scaled-decision-id"
PUBLISHED_FIELD = "lastPublished"
ACKNOWLEDGED_FIELD = "lastAcknowledged"

ROLES = (Role.PREFILL, Role.DECODE)

_SHOWN = 40


def head_of(document: Mapping[str, Any]) -> Head:
    """What the policy shows to an outside system."""
    metadata = mapping(document.get("metadata"))
    acknowledged_id, faults = acknowledgement(mapping(metadata.get("annotations")))
    published = mapping(mapping(document.get("status")).get(PUBLISHED_FIELD))
    decision_id = _number(published.get("id"))
    decision = None
    if decision_id is not None:
        started_s = _seconds(metadata.get("creationTimestamp")) or 0
        decision = Published(
            id=decision_id,
            workers=_workers(published),
            series=IdSeries(name=text(metadata.get("uid")), started=int(started_s)),
        )
    return Head(decision=decision, acknowledged_id=acknowledged_id, faults=faults)


def acknowledgement(annotations: Mapping[str, Any]) -> tuple[int, tuple[str, ...]]:
    """The id that is acknowledged, and what is wrong with the annotation."""
    found = annotations.get(ACKNOWLEDGED_ANNOTATION)
    if found is None:
        return ABSENT, ()
    number = parse_number(str(found).strip())
    if number is None:
        shown = str(found)[:_SHOWN]
        return ABSENT, (
            f"annotation {ACKNOWLEDGED_ANNOTATION}: found {shown!r}, wanted the id of a decision; it is ignored",
        )
    return number, ()


def memory_of(document: Mapping[str, Any], *, roles: Sequence[Role]) -> PublisherMemory:
    """What the operator remembered in the status; what cannot be read was not remembered."""
    status = mapping(document.get("status"))
    published = mapping(status.get(PUBLISHED_FIELD))
    acknowledged = mapping(status.get(ACKNOWLEDGED_FIELD))
    decision_id, answered_id = _number(published.get("id")), _number(acknowledged.get("id"))
    unpublished_id = _number(published.get("acknowledgedUnpublished"))
    return PublisherMemory(
        id=ABSENT if decision_id is None else decision_id,
        workers={role: count for role, count in _workers(published).items() if role in roles},
        published_at_s=_seconds(published.get("time")),
        superseded=_number(published.get("superseded")),
        waiting_since_s=_seconds(published.get("waitingSince")),
        acknowledged_id=ABSENT if answered_id is None else answered_id,
        acknowledged_workers={role: count for role, count in _workers(acknowledged).items() if role in roles},
        unpublished_id=ABSENT if unpublished_id is None else unpublished_id,
    )


def status_patch(memory: PublisherMemory) -> dict[str, Any]:
    """The merge patch of the status that keeps *memory*; nulls take out what it does not say."""
    patch: dict[str, Any] = {PUBLISHED_FIELD: None, ACKNOWLEDGED_FIELD: None}
    if memory.id != ABSENT:
        patch[PUBLISHED_FIELD] = {
            "id": memory.id,
            **{role.value: memory.workers.get(role) for role in ROLES},
            "time": _time(memory.published_at_s),
            "superseded": memory.superseded,
            "waitingSince": _time(memory.waiting_since_s),
            "acknowledgedUnpublished": None if memory.unpublished_id == ABSENT else memory.unpublished_id,
        }
    if memory.acknowledged_id != ABSENT:
        patch[ACKNOWLEDGED_FIELD] = {
            "id": memory.acknowledged_id,
            **{role.value: memory.acknowledged_workers.get(role) for role in ROLES},
        }
    return patch


def _workers(entry: Mapping[str, Any]) -> dict[Role, int]:
    found = {role: _number(entry.get(role.value)) for role in ROLES}
    return {role: count for role, count in found.items() if count is not None}


def _number(value: object) -> int | None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and isinstance(value, int) and 0 <= value <= LARGEST_NUMBER else None


def _time(at_s: float | None) -> str | None:
    if at_s is None:
        return None
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _seconds(time: object) -> float | None:
    try:
        return datetime.fromisoformat(text(time)).timestamp() if time else None
    except ValueError:
        return None
