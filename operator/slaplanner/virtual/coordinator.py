"""Publishing decisions: what a planner of one's own needs, under the names that Dynamo's has."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from dataclasses import replace

from slaplanner.core.model import Role
from slaplanner.core.reasons import Reason
from slaplanner.virtual.channel import Channel, ChannelError, Reading
from slaplanner.virtual.decisions import LARGEST_NUMBER, Published
from slaplanner.virtual.rules import Noticed, Publish, PublisherMemory, next_move, notice, remember

logger = logging.getLogger(__name__)

CHECK_INTERVAL_S = 10.0
MAX_WAIT_S = 1800.0
PUBLISH_ATTEMPTS = 20
"""Publications that may meet another publisher's; each attempt reads afresh."""

_ROLES = (Role.PREFILL, Role.DECODE)


class ScalingTimeoutError(ChannelError):
    """A decision was not acknowledged in time."""

    default_reason = Reason.ACKNOWLEDGEMENT_OVERDUE


class VirtualConnectorCoordinator:
    """One publisher. What it remembers of answers lasts as long as the object."""

    def __init__(
        self,
        channel: Channel,
        *,
        check_interval_s: float = CHECK_INTERVAL_S,
        max_wait_s: float = MAX_WAIT_S,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Seconds between two looks for an acknowledgement, and the longest wait for one.

        *now_s* gives seconds that only grow.
        """
        self._channel = channel
        self._check_interval_s = check_interval_s
        self._max_wait_s = max_wait_s
        self._now_s = now_s
        self._memory = PublisherMemory()

    async def read_state(self) -> Published:
        """The last published decision; its id is `ABSENT` before the first.

        Raises:
            ChannelError: the backend does not answer, or refuses.
        """
        reading, _ = await self._look()
        return reading.head.decision or Published()

    async def update_scaling_decision(self, prefill: int | None = None, decode: int | None = None) -> bool:
        """Publish worker counts; None leaves a role as it is. True: a decision was published.

        False: nothing changed, or the decision before is not acknowledged yet and has not waited for
        `max_wait_s`; then call again, with the latest counts.

        Raises:
            ValueError: a count is negative, or too large for its readers.
            TargetError: no higher id fits.
            ChannelError: the backend does not answer, or refuses.
        """
        wanted = {
            role: count for role, count in zip(_ROLES, (prefill, decode), strict=True) if count is not None
        }
        if not all(0 <= count <= LARGEST_NUMBER for count in wanted.values()):
            raise ValueError(f"found {wanted}, wanted worker counts from 0 to {LARGEST_NUMBER}")
        for _ in range(PUBLISH_ATTEMPTS):
            reading, noticed = await self._look()
            now_s = self._now_s()
            move = next_move(noticed, wanted, now_s=now_s, max_wait_s=self._max_wait_s)
            if not isinstance(move, Publish):
                self._memory = remember(self._memory, move, now_s=now_s)
                return False
            move = replace(move, workers={**noticed.memory.workers, **wanted})
            if await self._channel.publish(move.id, move.workers, over=reading):
                self._memory = remember(self._memory, move, now_s=now_s)
                return True
        raise ChannelError(f"others published {PUBLISH_ATTEMPTS} times meanwhile", reason=Reason.CONFLICT)

    async def is_scaling_ready(self) -> bool:
        """Whether nothing that was published waits for its acknowledgement.

        Raises:
            ChannelError: the backend does not answer, or refuses.
        """
        _, noticed = await self._look()
        return noticed.memory.answered

    async def wait_for_scaling_completion(self, *, strict: bool = False) -> bool:
        """Look every `check_interval_s`, at most `max_wait_s` long. False: it was in vain.

        Raises:
            ScalingTimeoutError: it was in vain, and *strict* is set.
            ChannelError: the backend refuses, or did not answer in all that time.
        """
        looks = max(1, math.ceil(self._max_wait_s / self._check_interval_s))
        trouble: ChannelError | None = None
        for look in range(looks + 1):
            try:
                if await self.is_scaling_ready():
                    return True
                trouble = None
            except ChannelError as error:
                if error.reason not in {Reason.ETCD_UNAVAILABLE, Reason.API_UNAVAILABLE}:
                    raise
                trouble = error
            if look < looks:
                await asyncio.sleep(self._check_interval_s)
        if trouble is not None:
            raise trouble
        message = f"decision {self._memory.id} was not acknowledged in {self._max_wait_s:g} s"
        if strict:
            raise ScalingTimeoutError(message)
        logger.warning(message)
        return False

    async def _look(self) -> tuple[Reading, Noticed]:
        reading = await self._channel.read()
        noticed = notice(self._memory, reading.head, roles=_ROLES, now_s=self._now_s())
        self._memory = noticed.memory
        return reading, noticed
