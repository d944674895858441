"""What the API server's refusals say about the server itself: that it wants rest, or that it is starting."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from slaplanner.adapters.target import ApiRefusal
from slaplanner.core.errors import PlanningError
from slaplanner.core.reasons import Reason

LONGEST_REST_S = 30.0
"""A Retry-After beyond this is not believed."""

FORBIDDEN_AFTER_S = 30.0
"""An API server that starts refuses everybody until it has loaded the roles, which takes seconds."""

STARTING = "the API server refuses what it allowed before, as it does while it starts"

P = TypeVar("P", bound=PlanningError)


@dataclass(slots=True)
class ApiServer:
    """What was learnt of the server from its answers. Times are monotonic."""

    clock: Callable[[], float] = time.monotonic
    _rest_until_s: float = 0.0
    _allowed: set[str] = field(default_factory=set)
    """Requests that were answered before, by name."""
    _refused_since_s: dict[str, float] = field(default_factory=dict)

    def resting(self) -> bool:
        """The server asked for rest (Retry-After), and that time is not over."""
        return self.clock() < self._rest_until_s

    def answered(self, request: str) -> None:
        """*request*, the name of a kind of request, was granted."""
        self._allowed.add(request)
        self._refused_since_s.pop(request, None)

    def explained(self, request: str, error: P) -> P:
        """*error* of *request*, as it should be told: see `_may_be_starting`."""
        cause = error.__cause__
        if not self._may_be_starting(request, error.reason, cause if isinstance(cause, ApiRefusal) else None):
            return error
        return type(error)(f"{STARTING}: {error}", reason=Reason.API_UNAVAILABLE)

    def explained_refusal(self, request: str, refusal: ApiRefusal) -> ApiRefusal:
        """*refusal* of *request*, as it should be told: see `_may_be_starting`."""
        failure = refusal.failure
        if not self._may_be_starting(request, failure.reason, refusal):
            return refusal
        message = f"{STARTING}: {failure.message}"
        return ApiRefusal(replace(failure, reason=Reason.API_UNAVAILABLE, message=message))

    def _may_be_starting(self, request: str, reason: Reason, refusal: ApiRefusal | None) -> bool:
        """Note a failure, and whether the server may have refused only because it starts.

        A permission that worked before counts as missing only when it has been refused for
        `FORBIDDEN_AFTER_S`; until then the server counts as unavailable.
        """
        now_s = self.clock()
        if refusal is not None:
            rest_s = min(refusal.failure.retry_after_s, LONGEST_REST_S)
            self._rest_until_s = max(self._rest_until_s, now_s + rest_s)
        if reason is not Reason.FORBIDDEN:
            self._refused_since_s.pop(request, None)
            return False
        since_s = self._refused_since_s.setdefault(request, now_s)
        return request in self._allowed and now_s - since_s < FORBIDDEN_AFTER_S
