"""Watching single objects by name: has the target or the profile's ConfigMap changed?

Only a version comes out of here, never data: what a plan works with is always read fresh by the
adapters. One watch per object, however many policies refer to it; it ends when no policy does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Protocol

from slaplanner.adapters.object_versions import Watched

logger = logging.getLogger(__name__)

RESTART_AFTER_S = 2.0
"""Between two tries of a watch that failed; the heartbeat reads fresh anyway when it must."""


class Source(Protocol):
    """Streams one object's changes."""

    def changes(self, watched: Watched) -> AsyncIterator[str]:
        """The object's versions, the current one first; "" while it is absent."""
        ...


@dataclass(slots=True)
class _Watch:
    task: asyncio.Task[None]
    version: str | None = None


class Watches:
    """All watches of this operator."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._watches: dict[Watched, _Watch] = {}

    def version(self, watched: Watched) -> str | None:
        """The object's latest version: "" when it is absent, None while that is not known yet."""
        watch = self._watches.get(watched)
        if watch is None:
            task = asyncio.create_task(self._follow(watched), name=f"watch {watched}")
            self._watches[watched] = _Watch(task)
            return None
        return watch.version

    def keep(self, wanted: Iterable[Watched]) -> None:
        """End the watches of all objects that are not *wanted* any more."""
        for watched in self._watches.keys() - set(wanted):
            self._watches.pop(watched).task.cancel()

    async def close(self) -> None:
        """End all watches."""
        watches = list(self._watches.values())
        self._watches.clear()
        for watch in watches:
            watch.task.cancel()
        for watch in watches:
            with contextlib.suppress(asyncio.CancelledError):
                await watch.task

    async def _follow(self, watched: Watched) -> None:
        while True:
            try:
                async for version in self._source.changes(watched):
                    watch = self._watches.get(watched)
                    if watch is not None:
                        watch.version = version
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever ends a watch, the next one is the cure
                logger.debug("watch ended", extra={"watched": watched.name, "error": str(error)})
            watch = self._watches.get(watched)
            if watch is not None:
                watch.version = None
            await asyncio.sleep(RESTART_AFTER_S)
