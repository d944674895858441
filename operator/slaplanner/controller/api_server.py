"""What the API server's refusals say about the server itself: that it wants rest, or that it is starting."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from slaplanner.adapters.deployment import ApiRefusal
from slaplanner.core.errors import PlanningError
from slaplanner.core.reasons import Reason

LONGEST_REST_S = 30.0
"""A Retry-After beyond this is not believed."""

FORBIDDEN_AFTER_S = 30.0
"""After it did not answer, what an API server forbids counts as a missing permission only so much later."""

STARTING = "the API server was away a moment ago and refuses everybody while it starts"

P = TypeVar("P", bound=PlanningError)


@dataclass(slots=True)
class ApiServer:
    """What was learnt of the server from its answers. Times are monotonic."""

    clock: Callable[[], float] = time.monotonic
    _rest_until_s: float = 0.0
    _away_at_s: float = -math.inf
    """When it last did not answer."""

    def resting(self) -> bool:
        """The server asked for rest (Retry-After), and that time is not over."""
        return self.clock() < self._rest_until_s

    def away(self) -> None:
        """A connection was refused or broke."""
        self._away_at_s = self.clock()

    def explained(self, error: P) -> P:
        """*error* as it should be told: see `_may_be_starting`."""
        cause = error.__cause__
        if not self._may_be_starting(error.reason, cause if isinstance(cause, ApiRefusal) else None):
            return error
        return type(error)(f"{STARTING}: {error}", reason=Reason.API_UNAVAILABLE)

    def explained_refusal(self, refusal: ApiRefusal) -> ApiRefusal:
        """*refusal* as it should be told: see `_may_be_starting`."""
        failure = refusal.failure
        if not self._may_be_starting(failure.reason, refusal):
            return refusal
        message = f"{STARTING}: {failure.message}"
        return ApiRefusal(replace(failure, reason=Reason.API_UNAVAILABLE, message=message))

    def _may_be_starting(self, reason: Reason, refusal: ApiRefusal | None) -> bool:
        """Note a failure, and whether the server may have refused only because it starts.

        A server that was away a moment ago refuses everybody until it has loaded the roles. So what it
        forbids then is no missing permission yet.
        """
        now_s = self.clock()
        if refusal is not None:
            rest_s = min(refusal.failure.retry_after_s, LONGEST_REST_S)
            self._rest_until_s = max(self._rest_until_s, now_s + rest_s)
            if refusal.failure.status == 0 or refusal.failure.status >= 500:
                self.away()
        return reason is Reason.FORBIDDEN and now_s - self._away_at_s < FORBIDDEN_AFTER_S
