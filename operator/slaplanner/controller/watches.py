"""Watches the objects that policies name, and says when a target or the ConfigMap of a profile changed.

A watch delivers versions only; the adapters read the data. There is one watch per kind and namespace, because each
watch holds a connection. It ends when no policy names an object there.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from slaplanner.adapters.object_versions import (
    Collection,
    Listed,
    VersionChange,
    Watched,
    WatchFailedError,
)
from slaplanner.controller import metrics
from slaplanner.controller.backoff import READY, Backoff

logger = logging.getLogger(__name__)

RESTART_AFTER_S = 2.0
"""Before a watch that failed is opened again; longer with each failure in a row."""


class Source(Protocol):
    """Streams the changes of a collection's objects."""

    def all_changes(self, collection: Collection) -> AsyncIterator[Listed | VersionChange]:
        """All versions first, then each change."""
        ...


class Versions(Protocol):
    """What the reconciler asks of watches."""

    def version(self, watched: Watched) -> str | None:
        """The object's latest version: "" when it is absent, None while that is not known yet."""
        ...

    def keep(self, owner: str, wanted: Iterable[Watched]) -> None:
        """Note that *owner*, a policy, names these objects and no others."""
        ...


@dataclass(slots=True)
class _Watch:
    task: asyncio.Task[None] | None = None
    versions: dict[str, str] | None = None
    """By name; None while they are not known."""
    wanted: Counter[str] = field(default_factory=Counter)
    """How many policies name each object."""


class Watches:
    """All watches of this operator."""

    def __init__(self, source: Source, *, broke: Callable[[], None] = lambda: None) -> None:
        """*broke* hears of each connection that was refused or broke."""
        self._source = source
        self._broke = broke
        self._watches: dict[Collection, _Watch] = {}
        self._by_owner: dict[str, frozenset[Watched]] = {}

    def version(self, watched: Watched) -> str | None:
        """The object's latest version: "" when it is absent, None while that is not known yet."""
        watch = self._watches.get(watched.collection)
        if watch is None:
            watch = self._watches[watched.collection] = _Watch()
            watch.task = asyncio.create_task(
                self._follow(watched.collection, watch), name=f"watch {watched.collection.path}"
            )
            metrics.WATCHES.set(len(self._watches))
        return None if watch.versions is None else watch.versions.get(watched.name, "")

    def keep(self, owner: str, wanted: Iterable[Watched]) -> None:
        """Note that *owner*, a policy, names these objects and no others; watches without any end."""
        after = frozenset(wanted)
        before = self._by_owner.get(owner, frozenset())
        if after == before:
            return
        for watched in after - before:
            self.version(watched)
            self._watches[watched.collection].wanted[watched.name] += 1
        for watched in before - after:
            watch = self._watches[watched.collection]
            watch.wanted[watched.name] -= 1
            if not +watch.wanted:
                del self._watches[watched.collection]
                if watch.task is not None:
                    watch.task.cancel()
        metrics.WATCHES.set(len(self._watches))
        if after:
            self._by_owner[owner] = after
        else:
            del self._by_owner[owner]

    async def close(self) -> None:
        """End all watches."""
        tasks = [watch.task for watch in self._watches.values() if watch.task is not None]
        self._watches.clear()
        self._by_owner.clear()
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _follow(self, collection: Collection, watch: _Watch) -> None:
        failed = READY
        while True:
            try:
                async for change in self._source.all_changes(collection):
                    failed = READY
                    if isinstance(change, Listed):
                        watch.versions = dict(change.versions)
                    elif watch.versions is not None:
                        _note(watch.versions, change)
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever ends a watch, the next one is the cure
                failed = self._failed(collection, failed, error)
            watch.versions = None
            await asyncio.sleep(max(0.0, failed.not_before_s - time.monotonic()))

    def _failed(self, collection: Collection, before: Backoff, error: Exception) -> Backoff:
        """Count a failure, and tell of the first in a row."""
        metrics.WATCH_FAILURES.labels(collection.plural).inc()
        if not isinstance(error, WatchFailedError):
            self._broke()
        logger.log(
            logging.DEBUG if before.failures else logging.WARNING,
            "watch failed, changes are noticed late until it is back",
            extra={"watched": collection.path, "error": str(error)},
        )
        return before.failed(now_s=time.monotonic(), base_s=RESTART_AFTER_S)


def _note(versions: dict[str, str], change: VersionChange) -> None:
    if change.version:
        versions[change.name] = change.version
    else:
        versions.pop(change.name, None)
