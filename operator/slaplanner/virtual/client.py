"""Following decisions: get the last one, wait for the next one, say that it is carried out."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

from slaplanner.core.reasons import Reason
from slaplanner.virtual.channel import Channel, ChannelError, Reading
from slaplanner.virtual.decisions import Published

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0
"""A watch tells of changes at once; looking now and then finds what a dead connection kept silent."""

COMPLETE_ATTEMPTS = 20
"""Writes of one acknowledgement that may meet somebody else's write."""

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 5.0

_MAY_PASS = frozenset({Reason.ETCD_UNAVAILABLE, Reason.API_UNAVAILABLE, Reason.TARGET_NOT_FOUND})
"""A server that restarts, a policy that is made again: worth waiting for. A refusal is not."""


class VirtualConnectorClient:
    """One outside system's view of the decisions that it carries out."""

    def __init__(self, channel: Channel, *, look_every_s: float = LOOK_EVERY_S) -> None:
        """*look_every_s* bounds how late a decision can be found when watching fails silently."""
        self._channel = channel
        self._look_every_s = look_every_s
        self._last: Published | None = None
        self._away = False

    async def get(self) -> Published:
        """The last published decision, acknowledged or not; its id is `ABSENT` before the first.

        Raises:
            ChannelError: the backend does not answer, or refuses.
        """
        head = (await self._channel.read()).head
        return head.decision or Published()

    async def wait(self) -> Published:
        """Wait for a decision that is not acknowledged, and return it; also one that was published long ago.

        It is returned again until it is acknowledged or replaced by a newer one. A client that was
        given one before is also given newer ones that another client acknowledged meanwhile, so that
        all clients end at the last one. A backend that is away is waited for.

        Raises:
            ChannelError: the backend refuses.
        """
        found = await self._pending()
        if found is not None:
            return found
        async with aclosing(self._looks()) as looks:
            async for _ in looks:
                found = await self._pending()
                if found is not None:
                    return found
        raise AssertionError("looking never ends")

    async def watch(self) -> AsyncGenerator[Published]:
        """Every decision as it comes, the last published one first; for those who only look on.

        Decisions that were replaced before anybody looked are left out.

        Raises:
            ChannelError: the backend refuses.
        """
        last: Published | None = None
        async with aclosing(self._looks()) as looks:
            async for _ in looks:
                reading = await self._reading()
                decision = reading.head.decision if reading is not None else None
                if decision is not None and decision != last and decision.newer_than(last):
                    last = decision
                    yield decision

    async def complete(self, decision: Published) -> bool:
        """Acknowledge *decision*. False: it is not the last one any more, see `wait`.

        A backend that is away is waited for.

        Raises:
            ChannelError: the backend refuses.
        """
        pause_s = _FIRST_PAUSE_S
        conflicts = 0
        while conflicts < COMPLETE_ATTEMPTS:
            reading = await self._reading()
            if reading is not None:
                standing = reading.head.decision
                if standing is None or (standing.id, standing.series) != (decision.id, decision.series):
                    return False
                if reading.head.acknowledged or await self._acknowledged(decision, reading):
                    return True
                conflicts += 1
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        raise ChannelError(
            f"decision {decision.id} was not acknowledged: others wrote {COMPLETE_ATTEMPTS} times meanwhile",
            reason=Reason.CONFLICT,
        )

    async def _looks(self) -> AsyncGenerator[None]:
        """One item when it is time to look: at once, at every change, and every now and then."""
        moved = asyncio.Event()
        watching = asyncio.create_task(self._watch(moved), name="watch decisions")
        try:
            while True:
                moved.clear()
                yield
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._look_every_s):
                        await moved.wait()
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching

    async def _reading(self) -> Reading | None:
        """What stands there; None while the backend is away, which is told once."""
        try:
            reading = await self._channel.read()
        except ChannelError as error:
            if error.reason not in _MAY_PASS:
                raise
            if not self._away:
                logger.warning("waiting for decisions: %s", error)
            self._away = True
            return None
        self._away = False
        return reading

    async def _acknowledged(self, decision: Published, reading: Reading) -> bool:
        """Whether the answer was taken. False: look again, also when nobody can say."""
        try:
            return await self._channel.acknowledge(decision.id, over=reading)
        except ChannelError as error:
            if error.reason not in _MAY_PASS:
                raise
            return False

    async def _pending(self) -> Published | None:
        """What this client has still to carry out, never older than what it was given before."""
        reading = await self._reading()
        decision = reading.head.decision if reading is not None else None
        if reading is None or decision is None:
            return None
        news = decision.newer_than(self._last) if self._last is not None else False
        unanswered = not reading.head.acknowledged and (self._last is None or self._last == decision)
        if not (news or unanswered):
            return None
        self._last = decision
        return decision

    async def _watch(self, moved: asyncio.Event) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            with contextlib.suppress(ChannelError):
                async for _ in self._channel.changes():
                    moved.set()
                    pause_s = _FIRST_PAUSE_S
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            moved.set()
