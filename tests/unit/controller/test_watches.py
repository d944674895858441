"""Versions of single objects: known as long as a watch holds, unknown in between, forgotten when not wanted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaplanner.adapters.object_versions import Collection, Listed, VersionChange, Watched
from slaplanner.controller import watches as module
from slaplanner.controller.watches import Watches

TARGET = Watched(group="nvidia.com", version="v1beta1", plural="graphs", namespace="serving", name="llama")
PROFILE = Watched(group="", version="v1", plural="configmaps", namespace="serving", name="profile")
TRACE = replace(PROFILE, name="trace")
ELSEWHERE = replace(PROFILE, namespace="batch")


class BrokenError(Exception):
    """The connection went."""


class Told:
    """An API server whose every watch is told by the test what to say; an exception ends it."""

    def __init__(self) -> None:
        self.says: dict[Collection, asyncio.Queue[Listed | VersionChange | Exception]] = {}
        self.opened: list[Collection] = []
        self.open: set[Collection] = set()

    def say(self, watched: Watched, what: str | Exception) -> None:
        """A new version of one object."""
        self.say_all(watched, VersionChange(watched.name, what) if isinstance(what, str) else what)

    def say_all(self, watched: Watched, what: Listed | VersionChange | Exception) -> None:
        self.says.setdefault(watched.collection, asyncio.Queue()).put_nowait(what)

    async def all_changes(self, collection: Collection) -> AsyncIterator[Listed | VersionChange]:
        self.opened.append(collection)
        self.open.add(collection)
        queue = self.says.setdefault(collection, asyncio.Queue())
        try:
            while True:
                said = await queue.get()
                if isinstance(said, Exception):
                    raise said
                yield said
        finally:
            self.open.discard(collection)


def run(body: Callable[[Told, Watches], Awaitable[None]]) -> None:
    async def main() -> None:
        told = Told()
        watches = Watches(told)
        await body(told, watches)
        await watches.close()
        assert not told.open

    asyncio.run(main())


async def until(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not fact():  # noqa: ASYNC110 - what is watched offers no event
            await asyncio.sleep(0)


def test_the_version_is_unknown_until_the_watch_has_answered():
    async def body(told: Told, watches: Watches) -> None:
        assert watches.version(TARGET) is None
        told.say_all(TARGET, Listed({"llama": "7"}))
        await until(lambda: watches.version(TARGET) == "7")
        told.say(TARGET, "8")
        await until(lambda: watches.version(TARGET) == "8")
        told.say(TARGET, "")
        await until(lambda: watches.version(TARGET) == "")

    run(body)


def test_an_object_that_is_not_listed_is_absent():
    async def body(told: Told, watches: Watches) -> None:
        watches.version(TARGET)
        told.say_all(TARGET, Listed({"other": "7"}))
        await until(lambda: watches.version(TARGET) == "")

    run(body)


def test_objects_of_a_kind_in_a_namespace_have_one_watch_however_many_policies_name_them():
    """One per object would take a connection each: of 100 that a client holds, the 101st never began."""

    async def body(told: Told, watches: Watches) -> None:
        for number in range(500):
            watches.keep(f"policy-{number}", [replace(PROFILE, name=f"profile-{number}"), TARGET])
        told.say_all(PROFILE, Listed({f"profile-{number}": str(number) for number in range(500)}))
        await until(lambda: watches.version(replace(PROFILE, name="profile-499")) == "499")
        assert sorted(told.opened, key=str) == sorted((PROFILE.collection, TARGET.collection), key=str)

    run(body)


def test_a_watch_that_breaks_is_opened_again_and_unknown_meanwhile(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "RESTART_AFTER_S", 0.0)

    async def body(told: Told, watches: Watches) -> None:
        watches.version(TARGET)
        told.say_all(TARGET, Listed({"llama": "1"}))
        await until(lambda: watches.version(TARGET) == "1")
        told.say(TARGET, BrokenError())
        await until(lambda: len(told.opened) == 2)
        assert watches.version(TARGET) is None
        told.say_all(TARGET, Listed({"llama": "2"}))
        await until(lambda: watches.version(TARGET) == "2")

    run(body)


def test_the_first_failure_of_a_watch_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(module, "RESTART_AFTER_S", 0.0)

    async def body(told: Told, watches: Watches) -> None:
        watches.version(TARGET)
        for _ in range(3):
            told.say(TARGET, BrokenError())
        await until(lambda: len(told.opened) == 4)

    run(body)
    assert [entry.message for entry in caplog.records if entry.levelname == "WARNING"] == [
        "watch failed, changes are noticed late until it is back"
    ]


def test_watches_where_nobody_names_an_object_any_more_end():
    async def body(told: Told, watches: Watches) -> None:
        watches.keep("one", [TARGET, PROFILE])
        watches.keep("two", [TRACE, ELSEWHERE])
        await until(lambda: len(told.open) == 3)
        watches.keep("one", [])
        await until(lambda: told.open == {PROFILE.collection, ELSEWHERE.collection})
        watches.keep("two", [ELSEWHERE])
        await until(lambda: told.open == {ELSEWHERE.collection})
        watches.keep("two", [])
        await until(lambda: not told.open)

    run(body)


OBJECTS = [
    replace(PROFILE, name=name, namespace=namespace) for name in ("a", "b", "c") for namespace in ("x", "y")
]


@given(
    steps=st.lists(
        st.tuples(st.sampled_from("123"), st.lists(st.sampled_from(OBJECTS), max_size=4)), max_size=20
    )
)
def test_exactly_what_some_policy_names_is_watched(steps: list[tuple[str, list[Watched]]]):
    async def body(told: Told, watches: Watches) -> None:
        named: dict[str, list[Watched]] = {}
        for owner, wanted in steps:
            watches.keep(owner, wanted)
            named[owner] = wanted
            everybody = {watched.collection for wants in named.values() for watched in wants}
            assert watches._watches.keys() == everybody

    run(body)
