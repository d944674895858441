"""Whether a new status says anything new. A write that only moves the clock is not worth its watchers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_RECOMMENDATIONS = ("hi", "lo")
"""Keys of the planner's state whose newest entry is stamped anew by every plan that repeats it."""


def nothing_but_the_clock(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether *new* differs from *old*, the status as last written, in times and counters alone.

    Such are: the id and time of a last decision that decided the same, and in the planner's state the
    time of the plan, the number of decisions and the stamp of a recommendation that the plan repeated.
    """
    return _timeless(old) == _timeless(new)


def _timeless(status: Mapping[str, Any]) -> dict[str, Any]:
    document = dict(status)
    last = document.get("lastDecision")
    if isinstance(last, Mapping):
        document["lastDecision"] = {name: value for name, value in last.items() if name not in ("id", "time")}
    state = document.get("plannerState")
    if isinstance(state, str):
        document["plannerState"] = _timeless_state(state)
    return document


def _timeless_state(text: str) -> Any:
    try:
        state = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if not isinstance(state, dict):
        return state
    planned_at = state.pop("at", None)
    state.pop("n", None)
    if state.get("gone") == planned_at:
        state["gone"] = None
    roles = state.get("roles")
    if isinstance(roles, dict):
        state["roles"] = {
            name: _timeless_role(role, planned_at) if isinstance(role, dict) else role
            for name, role in roles.items()
        }
    return state


def _timeless_role(role: Mapping[str, Any], planned_at: Any) -> dict[str, Any]:
    document = dict(role)
    for key in _RECOMMENDATIONS:
        entries = document.get(key)
        if isinstance(entries, list):
            document[key] = [_unstamped(entry, planned_at) for entry in entries]
    return document


def _unstamped(entry: Any, planned_at: Any) -> Any:
    return ["now", *entry[1:]] if isinstance(entry, list) and entry[:1] == [planned_at] else entry
