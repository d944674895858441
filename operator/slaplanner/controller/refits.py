"""Slow fits of forecasters, beside the plans: in a queue, one at a time, at most half of the time.

After a restart every policy's forecaster has to learn its whole history, which takes seconds of CPU
time for each. No plan waits for that: plans go on with what was last fitted, and the fit is put in its
place when it is ready.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

logger = logging.getLogger(__name__)

REST_PER_FIT = 1.0
"""Seconds of rest per second of fitting: fits hold the interpreter lock, which plans need as well."""


class RefitQueue:
    """Policies whose forecasters are due for a fit, in the order in which they asked."""

    def __init__(self, refit: Callable[[str], Awaitable[None]]) -> None:
        """*refit* fits the forecaster of one policy, given by its uid."""
        self._refit = refit
        self._waiting: dict[str, None] = {}
        self._asked = asyncio.Event()

    def ask(self, uid: str) -> None:
        """Fit this policy's forecaster when its turn comes. A policy that waits already keeps its place."""
        self._waiting.setdefault(uid)
        self._asked.set()

    def drop(self, uid: str) -> None:
        """The policy was deleted."""
        self._waiting.pop(uid, None)

    async def work(self) -> None:
        """Fit for ever."""
        while True:
            took_s = await self.next()
            await asyncio.sleep(took_s * REST_PER_FIT)

    async def next(self) -> float:
        """Wait until a policy asks, fit its forecaster, and return how many seconds that took."""
        while not self._waiting:
            self._asked.clear()
            await self._asked.wait()
        uid = next(iter(self._waiting))
        del self._waiting[uid]
        started_s = time.monotonic()
        try:
            await self._refit(uid)
        except Exception:
            logger.exception("refit failed, forecasts go on without it", extra={"uid": uid})
        return time.monotonic() - started_s
