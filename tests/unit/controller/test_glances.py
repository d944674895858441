"""Looks between plans: who is looked at, how often, and that an alarm makes the next heartbeat plan."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from slaplanner.adapters.prometheus import Scope
from slaplanner.controller.glances import Glances
from slaplanner.core.errors import MetricsError
from slaplanner.core.glance import SPAN_S, Sight
from slaplanner.core.reasons import Reason
from tests.reconciling import UID, FakeWorld, OnePolicy, document, one_policy, target

DOUBLE = Sight(at_s=0.0, requests=2 * 60.0 * SPAN_S)
"""The plans of `FakeWorld` see 60 requests/s."""


def planned(world: FakeWorld | None = None, **shown: object) -> tuple[OnePolicy, Glances]:
    one = one_policy(world, document(**shown) if shown else None)  # type: ignore[arg-type]
    asyncio.run(one.tick())
    assert one.record.memory.decision is not None
    glances = Glances(world=one.world.as_world(), records=one.records, every_s=5.0)
    one.world.time_s += SPAN_S
    return one, glances


def look_and_tick(one: OnePolicy, glances: Glances) -> None:
    async def run() -> None:
        await glances.look()
        await one.tick()

    asyncio.run(run())


def test_more_load_than_forecast_makes_the_next_heartbeat_plan_and_the_status_says_why():
    one, glances = planned()
    one.world.sight = DOUBLE
    look_and_tick(one, glances)
    assert one.record.memory.decision is not None
    assert one.record.memory.decision.id == 2
    last = one.record.report.written["lastDecision"]  # type: ignore[index]
    assert last["trigger"] == "glance"
    assert last["alarm"]["reason"] == Reason.LOAD_ABOVE_FORECAST
    assert last["alarm"]["time"] <= last["time"]
    assert "3,600 requests arrived in 30 s" in last["alarm"]["message"]


def test_the_plan_of_the_grid_has_no_alarm():
    one, _ = planned()
    last = one.record.report.written["lastDecision"]  # type: ignore[index]
    assert (last["trigger"], "alarm" in last) == ("first", False)


def test_the_usual_load_makes_nobody_plan():
    one, glances = planned()
    one.world.sight = replace(DOUBLE, requests=60.0 * SPAN_S)
    look_and_tick(one, glances)
    assert one.record.memory.decision is not None
    assert one.record.memory.decision.id == 1
    assert one.world.glances == [("default", (UID,))]


def test_an_alarm_is_answered_once_and_the_next_one_keeps_its_distance():
    one, glances = planned()
    one.world.sight = DOUBLE
    for _ in range(5):
        look_and_tick(one, glances)
        one.world.time_s += 5.0
    assert one.record.memory.decision is not None
    assert one.record.memory.decision.id == 2
    one.world.time_s += SPAN_S
    look_and_tick(one, glances)
    assert one.record.memory.decision.id == 3


def test_an_alarm_that_a_plan_overtook_is_dropped():
    one, glances = planned()
    one.world.sight = DOUBLE
    asyncio.run(glances.look())
    one.shows(document(generation=2))
    asyncio.run(one.tick())
    asyncio.run(one.tick())
    assert one.record.memory.decision is not None
    assert one.record.memory.decision.id == 2
    assert one.record.report.written["lastDecision"]["trigger"] == "spec"  # type: ignore[index]


def test_a_policy_that_may_not_grow_is_not_looked_at():
    for paused in ("true", "scale-out"):
        one, glances = planned(annotations={"slaplanner.io/paused": paused})
        asyncio.run(glances.look())
        assert one.world.glances == []


def test_a_policy_that_changed_is_looked_at_after_its_next_plan_only():
    """It may name a connection now that its namespace may not use, or that does not exist."""
    one, glances = planned()
    one.shows(document(generation=2, metrics={"connection": "of-somebody-else"}))
    asyncio.run(glances.look())
    assert one.world.glances == []
    asyncio.run(one.tick())
    one.world.time_s += SPAN_S
    asyncio.run(glances.look())
    assert one.world.glances == [("of-somebody-else", (UID,))]


def test_a_connection_that_hangs_delays_no_other_one():
    class Hanging(FakeWorld):
        async def glance(
            self, connection: str, scopes: Mapping[str, Scope], *, at_s: float
        ) -> Mapping[str, Sight]:
            found = await FakeWorld.glance(self, connection, scopes, at_s=at_s)
            if connection == "hangs":
                await asyncio.Event().wait()
            return found

    one, _ = planned(Hanging(target()))
    other = {**document(metrics={"connection": "hangs"})}
    other["metadata"] = {**other["metadata"], "uid": "another", "name": "another"}
    record = one.records.seen(other)
    record.memory = one.record.memory
    glances = Glances(world=one.world.as_world(), records=one.records, every_s=0.0)

    async def run() -> None:
        work = asyncio.create_task(glances.work())
        for _ in range(50):
            await asyncio.sleep(0)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)

    asyncio.run(run())
    asked = [connection for connection, _ in one.world.glances]
    assert asked.count("hangs") == 1
    assert asked.count("default") > 3


def test_a_policy_without_a_plan_is_not_looked_at():
    one = one_policy()
    asyncio.run(Glances(world=one.world.as_world(), records=one.records, every_s=5.0).look())
    assert one.world.glances == []


def test_a_prometheus_that_does_not_answer_raises_no_alarm():
    one, glances = planned(FakeWorld(target()))
    one.world.sight = MetricsError("away")
    look_and_tick(one, glances)
    assert one.record.memory.alarm is None
    asyncio.run(glances.look())
    assert len(one.world.glances) == 2, "it is asked again"
