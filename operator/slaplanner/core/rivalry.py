"""Another writer resets the replicas: detect it, stop writing, and try again later.

One reset is a person with kubectl, or a commit. Several within an hour are a controller, most often a GitOps tool whose
manifest contains `replicas`. Writing against it would restart pods at every plan. So the planner stops, names the
other writer, and tries again after growing pauses, because nobody tells it when the other side has been repaired.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from slaplanner.core.model import Role
from slaplanner.core.rebalance import ReplicaWrite

REVERTS: Final = 3
"""So many make a fight: a person corrects a number once or twice."""
FORGET_S: Final = 3600.0
"""Reverts that are older count no more. GitOps tools look every few minutes."""
FORGET_INTERVALS: Final = 10
"""Where plans are rare, so many intervals instead."""
FIRST_PAUSE_S: Final = 300.0
LONGEST_PAUSE_S: Final = 3600.0
NAMES_KEPT: Final = 3
NAME_CHARS_KEPT: Final = 64
"""Names are for people; what is remembered of everything shares 4 KiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rivalry:
    """What is remembered of it. Times are Unix seconds."""

    wrote: Mapping[Role, int]
    """Replicas that we wrote and that nobody was seen to change since."""
    reverted_at_s: tuple[float, ...] = ()
    """The last reverts, newest last, at most `REVERTS`."""
    rivals: tuple[str, ...] = ()
    """Field managers that write the replicas back; empty: there is no fight."""
    roles: tuple[Role, ...] = ()
    """The roles that the last revert was about."""
    pause_s: float = 0.0
    retry_at_s: float = 0.0

    def may_write(self, now_s: float) -> bool:
        """No fight, or long enough ago that one more try is due."""
        return not self.rivals or now_s >= self.retry_at_s


def peace() -> Rivalry:
    """Nothing was written, nothing was reverted."""
    return Rivalry(wrote={})


def wrote(rivalry: Rivalry, writes: Iterable[ReplicaWrite]) -> Rivalry:
    """Note what was written just now."""
    return replace(rivalry, wrote={**rivalry.wrote, **{write.role: write.replicas for write in writes}})


def let_go(rivalry: Rivalry) -> Rivalry:
    """Nothing may be written for now: what others write meanwhile is their right, and turns nothing back."""
    return replace(rivalry, wrote={})


def looked(
    rivalry: Rivalry,
    replicas: Mapping[Role, int],
    owners: Mapping[Role, tuple[str, ...]],
    *,
    now_s: float,
    interval_s: float,
) -> Rivalry:
    """Compare what stands with what was written.

    Args:
        rivalry: as the last plan left it.
        replicas: what the target asks for now, by role.
        owners: other field managers to whom these replicas can be due, by role.
        now_s: Unix seconds.
        interval_s: between plans.
    """
    # A pause must not outlast the memory of why it was made.
    forget_s = max(FORGET_S, FORGET_INTERVALS * interval_s, 2 * rivalry.pause_s)
    recent = tuple(at_s for at_s in rivalry.reverted_at_s if 0 <= now_s - at_s < forget_s)
    rivalry = replace(rivalry, reverted_at_s=recent, pause_s=rivalry.pause_s if recent else 0.0)
    reverted = tuple(
        role
        for role, count in rivalry.wrote.items()
        if role in replicas and replicas[role] != count and owners.get(role)
    )
    if reverted:
        return _reverted(rivalry, reverted, owners, now_s=now_s, interval_s=interval_s)
    held = bool(rivalry.wrote) and all(replicas.get(role) == n for role, n in rivalry.wrote.items())
    if rivalry.rivals and (held or not any(owners.values())):
        return ended(rivalry)
    return rivalry


def ended(rivalry: Rivalry) -> Rivalry:
    """No fight any more. The reverts stay known: the next one resumes it at once, with a longer pause."""
    return replace(rivalry, rivals=(), roles=())


def asked(rivalry: Rivalry) -> Rivalry:
    """The user asked for a plan, or changed the policy: the next try need not wait."""
    return replace(rivalry, retry_at_s=0.0)


def _reverted(
    rivalry: Rivalry,
    roles: tuple[Role, ...],
    owners: Mapping[Role, tuple[str, ...]],
    *,
    now_s: float,
    interval_s: float,
) -> Rivalry:
    seen = replace(
        rivalry,
        wrote={role: count for role, count in rivalry.wrote.items() if role not in roles},
        reverted_at_s=(*rivalry.reverted_at_s, now_s)[-REVERTS:],
    )
    if len(seen.reverted_at_s) < REVERTS and not rivalry.rivals:
        return seen
    pause_s = min(max(2 * rivalry.pause_s, FIRST_PAUSE_S, interval_s), max(LONGEST_PAUSE_S, interval_s))
    return replace(
        seen,
        wrote={},
        rivals=tuple(sorted({owner for role in roles for owner in owners[role]})),
        roles=roles,
        pause_s=pause_s,
        retry_at_s=now_s + pause_s,
    )


def to_document(rivalry: Rivalry) -> dict[str, Any]:
    """The persistent form, short keys, times to the second; empty when there is nothing to keep."""
    kept: dict[str, Any] = {
        "wrote": {role.value: count for role, count in rivalry.wrote.items()},
        "at": [round(at_s) for at_s in rivalry.reverted_at_s],
        "by": [name[:NAME_CHARS_KEPT] for name in rivalry.rivals[:NAMES_KEPT]],
        "of": [role.value for role in rivalry.roles],
        "pause": round(rivalry.pause_s),
        "retry": round(rivalry.retry_at_s),
    }
    return {key: value for key, value in kept.items() if value}


def from_document(document: Mapping[str, Any]) -> Rivalry:
    """Read it back.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: it is not what `to_document` wrote.
    """
    return Rivalry(
        wrote={Role(name): int(count) for name, count in document.get("wrote", {}).items()},
        reverted_at_s=tuple(float(at_s) for at_s in document.get("at", ())),
        rivals=tuple(str(name) for name in document.get("by", ())),
        roles=tuple(Role(name) for name in document.get("of", ())),
        pause_s=float(document.get("pause", 0)),
        retry_at_s=float(document.get("retry", 0)),
    )
