"""When a plan is due: at the points of a grid of Unix time, or at once when something asks for it.

The grid is `k x interval + crc32(uid) mod interval`. A restart does not move it, so range queries return the same
points as before; and different policies plan at different seconds.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from enum import StrEnum

from slaplanner.core.glance import Alarm


class Trigger(StrEnum):
    """Why a plan runs now."""

    GRID = "grid"
    FIRST = "first"
    SPEC = "spec"
    """The policy's spec or an annotation changed, or a plan was requested."""
    TARGET = "target"
    """The target appeared, was recreated, or was changed by somebody else."""
    PROFILE = "profile"
    WARM_UP = "warmUp"
    """The warm-up trace came, changed or went."""
    GLANCE = "glance"
    """A glance between two plans saw more load, a queue or late answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A plan to run, and the Unix time that it plans for."""

    trigger: Trigger
    at_s: float
    alarm: Alarm | None = None
    """What a glance saw, where that is the trigger."""


UNSEEN = -1
"""A generation that no policy has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """What a plan depended on, besides time; any change asks for a new plan."""

    generation: int
    annotations: tuple[str | None, ...]
    target: str
    profile: str
    warm_up: str = ""

    def asks_more_than(self, before: Fingerprint) -> bool:
        """Whether the user changed the policy, or asked for a plan, since *before*."""
        return (self.generation, self.annotations) != (before.generation, before.annotations)

    def digest(self) -> str:
        """Eight characters for the status, by which a restarted operator sees what changed meanwhile."""
        return f"{zlib.crc32(repr(self).encode()):08x}"


def phase_s(*, uid: str, interval_s: float) -> float:
    """The policy's own offset on the grid."""
    return zlib.crc32(uid.encode()) % interval_s


def last_slot_s(*, now_s: float, uid: str, interval_s: float) -> float:
    """The latest grid time at or before *now_s*."""
    phase = phase_s(uid=uid, interval_s=interval_s)
    return math.floor((now_s - phase) / interval_s) * interval_s + phase


def due(
    *,
    now_s: float,
    uid: str,
    interval_s: float,
    planned_at_s: float | None,
    before: Fingerprint | None,
    after: Fingerprint | None,
    alarm: Alarm | None = None,
) -> Due | None:
    """Whether to plan now, and for which time. A fingerprint that is not known yet changes nothing.

    A plan that overran its slot is skipped, not caught up: only the latest slot counts. A clock
    that was set back makes the last plan lie in the future; planning goes on from the new time.
    """
    slot_s = last_slot_s(now_s=now_s, uid=uid, interval_s=interval_s)
    if planned_at_s is None:
        return Due(trigger=Trigger.FIRST, at_s=math.floor(now_s))
    if slot_s > planned_at_s or planned_at_s > now_s + interval_s:
        return Due(trigger=Trigger.GRID, at_s=slot_s)
    trigger = _changed(before, after) if before is not None and after is not None else None
    if trigger is not None:
        return Due(trigger=trigger, at_s=math.floor(now_s))
    if alarm is not None and alarm.at_s > planned_at_s:
        return Due(trigger=Trigger.GLANCE, at_s=math.floor(now_s), alarm=alarm)
    return None


def _changed(before: Fingerprint, after: Fingerprint) -> Trigger | None:
    if after.asks_more_than(before):
        return Trigger.SPEC
    if before.target != after.target:
        return Trigger.TARGET
    if before.profile != after.profile:
        return Trigger.PROFILE
    return Trigger.WARM_UP if before.warm_up != after.warm_up else None
