"""Looks between plans: who is looked at, how often, and that an alarm makes the next heartbeat plan."""

from __future__ import annotations

import asyncio
from dataclasses import replace

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
