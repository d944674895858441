"""How long a new replica takes from the request until it serves, measured at the target's own scale-ups.

A measurement starts when the spec asks for more replicas than serve, and ends when that many serve. A scale-up is not
measured if it was cancelled, met a new revision, could not be scheduled, or had to wait for the target's permission.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from slaplanner.core.model import RoleState

KEPT_SAMPLES = 5
"""The median of five shrugs off one image pull."""

LONGEST_S = 3600.0
"""What takes longer was stuck, not starting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartupWatch:
    """One role's samples, and the scale-up that is being watched."""

    samples_s: tuple[float, ...] = ()
    asked_at_s: float | None = None
    asked_for: int = 0
    last_replicas: int | None = None

    @property
    def seconds(self) -> float | None:
        """The median of the last scale-ups; None before the first."""
        return median(self.samples_s) if self.samples_s else None


def watch_startup(watch: StartupWatch, role: RoleState, *, now_s: float) -> StartupWatch:
    """Look at the role once more (at every heartbeat) and learn from what changed."""
    previous, asked_at_s, asked_for = watch.last_replicas, watch.asked_at_s, watch.asked_for
    samples = watch.samples_s
    if role.waits_for is not None:
        # The start-up begins when the target carries it out: until then the role counts as not grown.
        return StartupWatch(samples_s=samples, last_replicas=previous)
    if role.rollout or role.unschedulable or role.serving is None:
        asked_at_s = None
    elif previous is not None and role.replicas > previous and role.serving <= previous:
        asked_at_s, asked_for = now_s, role.replicas
    elif asked_at_s is not None:
        took_s = now_s - asked_at_s
        if role.replicas < asked_for or not 0 <= took_s <= LONGEST_S:
            asked_at_s = None
        elif role.serving >= asked_for:
            samples = (*samples, took_s)[-KEPT_SAMPLES:]
            asked_at_s = None
    return StartupWatch(
        samples_s=samples,
        asked_at_s=asked_at_s,
        asked_for=asked_for if asked_at_s is not None else 0,
        last_replicas=role.replicas,
    )
