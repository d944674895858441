"""What the operator before this one left in a policy's status, read back as the planner's state."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from slaplanner.controller.schedule import last_slot_s
from slaplanner.core.state import PlannerState, caught_up, digest_in, read_back

CLOCKS_DIFFER_S = 60.0
"""How far the clock of the node that wrote a planner state may have been ahead of this one's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """A state to go on from."""

    state: PlannerState
    digest: str | None = None
    """Of what the last plan depended on; None: nothing was planned."""
    problem: str = ""
    """Why what stood there was dropped; empty when it was not."""


def restored(text: object, *, uid: str, interval_s: float, now_s: float) -> Restored:
    """Read `status.plannerState` back.

    Args:
        text: what stands there; anybody may have written it who may write a status.
        uid: of the policy, for its grid.
        interval_s: between two plans.
        now_s: Unix seconds.
    """
    if not text:
        return Restored(state=PlannerState())
    try:
        document = _finite_json(text)
        state = read_back(document, latest_s=now_s + interval_s + CLOCKS_DIFFER_S)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        return Restored(state=PlannerState(), problem=f"{type(error).__name__}: {error}")
    # The latest slot is planned next, perhaps again, which decides the same. So the memory ends one slot
    # before it: what it says of the slot itself would hold that slot's growth up.
    slot_s = last_slot_s(now_s=now_s, uid=uid, interval_s=interval_s)
    return Restored(
        state=caught_up(state, to_s=slot_s - interval_s),
        digest=digest_in(document) if state.planned_at_s is not None else None,
    )


def _finite_json(text: object) -> Any:
    """Parse a document without NaN and infinite numbers.

    Raises:
        ValueError, TypeError, RecursionError: it is no such document.
    """

    def finite(number: str) -> float:
        value = float(number)
        if not math.isfinite(value):
            raise ValueError(f"found {number}, wanted a finite number")
        return value

    if not isinstance(text, str):
        raise TypeError(f"found {type(text).__name__}, wanted a text")
    return json.loads(text, parse_float=finite, parse_constant=finite)
