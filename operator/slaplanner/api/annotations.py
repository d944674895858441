"""The annotations that users steer a running policy with, and nothing else is read from there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from slaplanner.core.model import Pause
from slaplanner.core.reasons import Reason

PAUSED = "slaplanner.io/paused"
PLAN_REQUESTED_AT = "slaplanner.io/plan-requested-at"

_WORDS = {
    "true": Pause.ALL,
    "scale-in": Pause.SCALE_IN,
    "scale-out": Pause.SCALE_OUT,
    "false": Pause.NONE,
    "": Pause.NONE,
}
_REASONS = {
    Pause.NONE: Reason.NOT_PAUSED,
    Pause.ALL: Reason.PAUSED,
    Pause.SCALE_IN: Reason.PAUSED_SCALE_IN,
    Pause.SCALE_OUT: Reason.PAUSED_SCALE_OUT,
}
_MESSAGES = {
    Pause.NONE: "no direction is paused",
    Pause.ALL: f"annotation {PAUSED}=true pauses scaling in both directions",
    Pause.SCALE_IN: f"annotation {PAUSED}=scale-in pauses shrinking",
    Pause.SCALE_OUT: f"annotation {PAUSED}=scale-out pauses growing",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseRequest:
    """What the pause annotation asks for, with the words of the condition `Paused`."""

    pause: Pause
    reason: Reason
    message: str


def pause_request(annotations: Mapping[str, str]) -> PauseRequest:
    """Read the pause annotation. A value that is not understood pauses everything and says so.

    >>> pause_request({"slaplanner.io/paused": "scale-in"}).pause
    <Pause.SCALE_IN: 'scale-in'>
    >>> pause_request({"slaplanner.io/paused": "in"}).message
    "annotation slaplanner.io/paused pauses both directions: found 'in', wanted true, scale-in, scale-out or false"
    """
    found = annotations.get(PAUSED, "")
    pause = _WORDS.get(found.strip().lower())
    if pause is None:
        return PauseRequest(
            pause=Pause.ALL,
            reason=Reason.PAUSED_BY_UNKNOWN_VALUE,
            message=(
                f"annotation {PAUSED} pauses both directions: found {found[:64]!r}, "
                "wanted true, scale-in, scale-out or false"
            ),
        )
    return PauseRequest(pause=pause, reason=_REASONS[pause], message=_MESSAGES[pause])


def plan_request(annotations: Mapping[str, str]) -> str | None:
    """The value whose change asks for a plan at once; None when the annotation is absent."""
    return annotations.get(PLAN_REQUESTED_AT)
