"""Takes part in the election of the one operator that plans and writes.

The others stand by. A leader that cannot renew its Lease stops writing before anybody else can take it,
and its process ends, so that a new one starts from what the API server says.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from slaplanner.adapters.deployment import ApiRefusal
from slaplanner.controller import metrics
from slaplanner.controller.thread_pools import ThreadPool
from slaplanner.core.leadership import WRITING_SHARE, Election, Lease

logger = logging.getLogger(__name__)

RENEWALS_PER_LEASE = 12
"""Several may fail before writing has to stop, and a standby sees a released Lease within a second or so."""


class LeaseStore(Protocol):
    """Where the Lease is kept. Calls block, and raise `ApiRefusal`."""

    def read(self) -> Lease | None: ...
    def write(self, *, holder: str, duration_s: float, transitions: int) -> Lease: ...


class Leadership:
    """One operator's part in the election."""

    def __init__(
        self,
        store: LeaseStore,
        *,
        identity: str,
        lease_s: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._clock = clock
        self._sleep = sleep
        self._election = Election(identity=identity, lease_s=lease_s)
        self._pool = ThreadPool("lease", size=1)
        metrics.LEADER.set(0)

    @property
    def term(self) -> int | None:
        """Number of the own term; None: not the leader."""
        return self._election.term

    def may_write(self) -> bool:
        """Whether a write that is sent now ends while nobody else can be the leader."""
        return self._election.may_write(now_s=self._clock())

    async def won(self) -> None:
        """Return when this operator is the leader."""
        while not await self._tried():
            await self._rest()
        metrics.LEADER.set(1)
        logger.info("leading", extra={"identity": self._election.identity, "term": self.term})

    async def lost(self) -> None:
        """Renew, and return when this operator may not write any more."""
        while True:
            await self._rest()
            await self._tried()
            if not self.may_write():
                metrics.LEADER.set(0)
                logger.error("not leading any more", extra={"identity": self._election.identity})
                return

    async def released(self) -> None:
        """Give the Lease back, so that another operator need not wait until it has run out."""
        if self._election.term is None:
            return
        transitions = self._election.term
        self._election = self._election.seen(None, now_s=self._clock())
        metrics.LEADER.set(0)
        try:
            await self._pool.run(self._store.write, holder="", duration_s=1.0, transitions=transitions)
        except ApiRefusal as refusal:
            logger.warning("lease was not released", extra={"error": refusal.failure.message})

    async def _tried(self) -> bool:
        """Look, and take or renew the Lease where that is allowed. Gives whether that succeeded."""
        sent_at_s = self._clock()
        try:
            lease = await self._pool.run(self._store.read)
            self._election = self._election.seen(lease, now_s=self._clock())
            if not self._election.may_take(now_s=self._clock()):
                return False
            sent_at_s = self._clock()
            lease = await self._pool.run(
                self._store.write,
                holder=self._election.identity,
                duration_s=self._election.lease_s,
                transitions=self._election.next_transitions(),
            )
        except ApiRefusal as refusal:
            logger.warning("lease was not renewed", extra={"error": refusal.failure.message})
            return False
        self._election = self._election.renewed(lease, sent_at_s=sent_at_s)
        return True

    async def _rest(self) -> None:
        # Standbys that ask at the same moments would collide each time.
        share = random.uniform(0.8, 1.0)  # noqa: S311 - no secret
        await self._sleep(share * self._election.lease_s / RENEWALS_PER_LEASE)


def request_timeout_s(lease_s: float) -> float:
    """Longest time-out of a write: it must end before the Lease can be taken."""
    return (1 - WRITING_SHARE) * lease_s
