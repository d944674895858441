"""Versions of single objects: known as long as a watch holds, unknown in between, forgotten when not wanted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from slaplanner.adapters.object_versions import Watched
from slaplanner.controller import watches as module
from slaplanner.controller.watches import Watches

TARGET = Watched(group="nvidia.com", version="v1beta1", plural="graphs", namespace="serving", name="llama")
PROFILE = Watched(group="", version="v1", plural="configmaps", namespace="serving", name="profile")


class BrokenError(Exception):
    """The connection went."""


class Told:
    """An API server whose every watch is told by the test what to say; an exception ends it."""

    def __init__(self) -> None:
        self.says: dict[Watched, asyncio.Queue[str | Exception]] = {}
        self.opened: list[Watched] = []
        self.open: set[Watched] = set()

    def say(self, watched: Watched, what: str | Exception) -> None:
        self.says.setdefault(watched, asyncio.Queue()).put_nowait(what)

    async def changes(self, watched: Watched) -> AsyncIterator[str]:
        self.opened.append(watched)
        self.open.add(watched)
        queue = self.says.setdefault(watched, asyncio.Queue())
        try:
            while True:
                said = await queue.get()
                if isinstance(said, Exception):
                    raise said
                yield said
        finally:
            self.open.discard(watched)


def run(body: Callable[[Told, Watches], Awaitable[None]]) -> None:
    async def main() -> None:
        told = Told()
        watches = Watches(told)
        await body(told, watches)
        await watches.close()
        assert not told.open

    asyncio.run(main())


async def until(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not fact():  # noqa: ASYNC110 - what is watched offers no event
            await asyncio.sleep(0)


def test_the_version_is_unknown_until_the_watch_has_answered():
    async def body(told: Told, watches: Watches) -> None:
        assert watches.version(TARGET) is None
        told.say(TARGET, "7")
        await until(lambda: watches.version(TARGET) == "7")
        told.say(TARGET, "")
        await until(lambda: watches.version(TARGET) == "")

    run(body)


def test_an_object_has_one_watch_however_often_it_is_asked_for():
    async def body(told: Told, watches: Watches) -> None:
        for _ in range(3):
            watches.version(TARGET)
        told.say(TARGET, "1")
        await until(lambda: watches.version(TARGET) == "1")
        assert told.opened == [TARGET]

    run(body)


def test_a_watch_that_breaks_is_opened_again_and_unknown_meanwhile(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "RESTART_AFTER_S", 0.0)

    async def body(told: Told, watches: Watches) -> None:
        watches.version(TARGET)
        told.say(TARGET, "1")
        await until(lambda: watches.version(TARGET) == "1")
        told.say(TARGET, BrokenError())
        await until(lambda: len(told.opened) == 2)
        assert watches.version(TARGET) is None
        told.say(TARGET, "2")
        await until(lambda: watches.version(TARGET) == "2")

    run(body)


def test_watches_of_objects_that_nobody_wants_end():
    async def body(told: Told, watches: Watches) -> None:
        watches.version(TARGET)
        watches.version(PROFILE)
        await until(lambda: told.open == {TARGET, PROFILE})
        watches.keep([PROFILE])
        await until(lambda: told.open == {PROFILE})

    run(body)
