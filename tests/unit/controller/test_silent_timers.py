"""A policy whose own timer is silent is planned all the same, never twice at once; one that breaks breaks alone."""

from __future__ import annotations

import asyncio
import contextlib
import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from kubernetes.client import ApiClient

from slaplanner.controller.reconciler import Reconciler
from slaplanner.controller.records import Record
from slaplanner.controller.runtime import Operator
from slaplanner.settings import Settings
from tests.reconciling import UID, document, one_policy


@dataclass(slots=True)
class CountingReconciler:
    """Beats as long as it is told to."""

    ticked: asyncio.Event = field(default_factory=asyncio.Event)
    may_end: asyncio.Event = field(default_factory=asyncio.Event)
    ticks: int = 0
    at_once: int = 0
    most_at_once: int = 0
    stopping: bool = False

    async def tick(self, record: Record) -> None:
        assert record.uid == UID
        self.ticks += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.ticked.set()
        try:
            await self.may_end.wait()
        finally:
            self.at_once -= 1

    def gone(self, uid: str) -> None:
        assert uid == UID


def operator(reconciler: CountingReconciler) -> Operator:
    async def no_client() -> Any:
        raise AssertionError("nothing is watched")

    with ApiClient() as api_client:
        made = Operator(
            settings=Settings(heartbeat_s=0.01),
            api_client=api_client,
            watching_client=no_client,
        )
    made._reconciler = cast("Reconciler", reconciler)
    return made


@contextlib.asynccontextmanager
async def fallback_loop(made: Operator) -> Any:
    running = asyncio.create_task(made.tick_for_silent_timers())
    try:
        yield
    finally:
        running.cancel()
        await made.stop()


async def until(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not fact():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0)


async def test_a_silent_timers_heartbeats_are_made_up_for() -> None:
    reconciler = CountingReconciler()
    reconciler.may_end.set()
    made = operator(reconciler)
    made.seen(document(), gone=False)
    async with fallback_loop(made):
        for _ in range(2):
            await asyncio.wait_for(reconciler.ticked.wait(), timeout=60)
            reconciler.ticked.clear()


async def test_a_heartbeat_that_takes_long_has_none_beside_it() -> None:
    reconciler = CountingReconciler()
    made = operator(reconciler)
    made.seen(document(), gone=False)
    async with fallback_loop(made):
        await asyncio.wait_for(reconciler.ticked.wait(), timeout=60)
        for _ in range(3):
            await made.tick(UID)
        reconciler.may_end.set()
        reconciler.ticked.clear()
        await asyncio.wait_for(reconciler.ticked.wait(), timeout=60)
    assert reconciler.most_at_once == 1


async def test_a_policy_that_goes_has_none_any_more() -> None:
    reconciler = CountingReconciler()
    reconciler.may_end.set()
    made = operator(reconciler)
    made.seen(document(), gone=False)
    going = copy.deepcopy(document())
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:01:00Z"
    going["spec"].pop("targetRef")
    made.seen(going, gone=False)
    await made.tick(UID)
    assert reconciler.ticks == 0
    await made.stop()


async def test_a_heartbeat_that_breaks_is_told_counts_as_tried_and_waits_for_its_next_slot(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError("nobody foresaw this")

    monkeypatch.setattr(Reconciler, "_tick", broken)
    one = one_policy()
    made = operator(CountingReconciler())
    made._reconciler, made._reporter = one.reconciler, one.reconciler.reporter
    made.records, made.liveness = one.records, one.reconciler.liveness
    made.liveness.clock = lambda: 0.0
    made.liveness.seen(UID, interval_s=3600.0)
    made.liveness.clock = lambda: 1e6
    assert made.liveness.overdue() == [UID]
    for _ in range(3):
        await made.tick(UID)
    assert made.liveness.overdue() == []
    assert one.record.memory.attempted_at_s == one.world.time_s
    assert not one.record.timer.ticking
    (status,) = one.world.statuses
    told = {entry["type"]: entry for entry in status["conditions"]}
    assert told["MetricsAvailable"]["reason"] == "InternalError"
    assert [entry.message for entry in caplog.records] == ["defect, told once"]
    await made.stop()


@dataclass(slots=True)
class Existence:
    """What the API server says of a policy whose timer is silent."""

    exists_still: bool
    asked: int = 0

    async def exists(self, namespace: str, name: str, uid: str) -> bool:
        assert (namespace, name, uid) == ("serving", "llama", UID)
        self.asked += 1
        return self.exists_still


async def test_a_policy_whose_deletion_nobody_saw_is_forgotten_and_never_planned_for():
    """kopf tells nobody of a policy that was deleted while its watch was down."""
    reconciler = CountingReconciler()
    made = operator(reconciler)
    world = Existence(exists_still=False)
    made._policies = cast("Any", world)
    made.seen(document(), gone=False)
    made.liveness.seen(UID, interval_s=60.0)
    async with fallback_loop(made):
        await until(lambda: len(made.records) == 0)
    assert reconciler.ticks == 0


async def test_one_that_exists_is_asked_for_now_and_then_only():
    reconciler = CountingReconciler()
    reconciler.may_end.set()
    made = operator(reconciler)
    world = Existence(exists_still=True)
    made._policies = cast("Any", world)
    made.seen(document(), gone=False)
    async with fallback_loop(made):
        for _ in range(3):
            await asyncio.wait_for(reconciler.ticked.wait(), timeout=60)
            reconciler.ticked.clear()
    assert world.asked == 1


async def test_a_deletion_ends_the_heartbeat_that_the_fallback_loop_runs():
    reconciler = CountingReconciler()
    made = operator(reconciler)
    made._policies = cast("Any", Existence(exists_still=True))
    made.seen(document(), gone=False)
    going = copy.deepcopy(document())
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:01:00Z"
    going["spec"].pop("targetRef")
    async with fallback_loop(made):
        await asyncio.wait_for(reconciler.ticked.wait(), timeout=60)
        made.seen(going, gone=False)
        await until(lambda: reconciler.at_once == 0)
    assert reconciler.ticks == 1
