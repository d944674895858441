"""A policy whose own timer is silent is planned all the same, never twice at once; one that breaks breaks alone."""

from __future__ import annotations

import asyncio
import contextlib
import copy
from dataclasses import dataclass, field
from typing import Any, cast

from kubernetes.client import ApiClient

from slaplanner.controller.heartbeat import Heart
from slaplanner.controller.records import Record
from slaplanner.controller.runtime import Operator
from slaplanner.settings import Settings
from tests.heart import UID, document


@dataclass(slots=True)
class CountingHeart:
    """Beats as long as it is told to."""

    beaten: asyncio.Event = field(default_factory=asyncio.Event)
    may_end: asyncio.Event = field(default_factory=asyncio.Event)
    beats: int = 0
    at_once: int = 0
    most_at_once: int = 0
    stopping: bool = False

    async def beat(self, record: Record) -> None:
        assert record.uid == UID
        self.beats += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.beaten.set()
        try:
            await self.may_end.wait()
        finally:
            self.at_once -= 1

    def forget(self) -> None:
        """There are no watches."""


def operator(heart: CountingHeart) -> Operator:
    async def no_client() -> Any:
        raise AssertionError("nothing is watched")

    with ApiClient() as api_client:
        made = Operator(
            settings=Settings(heartbeat_s=0.01),
            api_client=api_client,
            watching_client=no_client,
            post=lambda *_: None,
        )
    made._heart = cast("Heart", heart)
    return made


@contextlib.asynccontextmanager
async def making_up(made: Operator) -> Any:
    running = asyncio.create_task(made.make_up_for_missed_beats())
    try:
        yield
    finally:
        running.cancel()
        await made.stop()


async def test_a_silent_timers_heartbeats_are_made_up_for() -> None:
    heart = CountingHeart()
    heart.may_end.set()
    made = operator(heart)
    made.seen(document(), gone=False)
    async with making_up(made):
        for _ in range(2):
            await asyncio.wait_for(heart.beaten.wait(), timeout=30)
            heart.beaten.clear()


async def test_a_heartbeat_that_takes_long_has_none_beside_it() -> None:
    heart = CountingHeart()
    made = operator(heart)
    made.seen(document(), gone=False)
    async with making_up(made):
        await asyncio.wait_for(heart.beaten.wait(), timeout=30)
        for _ in range(3):
            await made.beat(document())
        heart.may_end.set()
        heart.beaten.clear()
        await asyncio.wait_for(heart.beaten.wait(), timeout=30)
    assert heart.most_at_once == 1


async def test_a_policy_that_goes_has_none_any_more() -> None:
    heart = CountingHeart()
    heart.may_end.set()
    made = operator(heart)
    made.seen(document(), gone=False)
    going = copy.deepcopy(document())
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:01:00Z"
    going["spec"].pop("targetRef")
    made.seen(going, gone=False)
    await made.beat(document())
    assert heart.beats == 0
    await made.stop()


@dataclass(slots=True)
class BrokenHeart(CountingHeart):
    """Meets what nobody foresaw."""

    async def beat(self, record: Record) -> None:
        self.beats += 1
        raise ZeroDivisionError(record.name)


async def test_a_plan_that_breaks_counts_as_tried_and_waits_for_its_next_slot() -> None:
    made = operator(BrokenHeart())
    made.seen(document(), gone=False)
    made.pulse.clock = lambda: 0.0
    made.pulse.seen(UID, interval_s=3600.0)
    made.pulse.clock = lambda: 1e6
    assert made.pulse.overdue() == [UID]
    await made.beat(document())
    assert made.pulse.overdue() == []
    record = made.records.get(UID)
    assert record is not None
    assert record.attempted_at_s is not None
    assert not record.beating
    await made.stop()
