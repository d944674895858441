"""A Prometheus whose clock is off is said, in the condition and once as an event: old load is read as now's."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from slaplanner.controller.outside.ports import TrafficReading
from tests.planning import observation
from tests.reconciling import REQUESTS_PER_HOUR, FakeWorld, OnePolicy, document, one_policy, target


@dataclass(slots=True)
class WorldWithClock(FakeWorld):
    offset_s: float | None = None

    async def traffic(self, *_: object, **__: object) -> TrafficReading:
        return TrafficReading(observation=observation(REQUESTS_PER_HOUR), clock_offset_s=self.offset_s)


def plan(one: OnePolicy) -> str:
    """The message of MetricsAvailable after one more plan."""
    one.world.time_s += 3600.0
    asyncio.run(one.tick())
    status = one.record.report.status
    assert status is not None
    (told,) = [entry for entry in status["conditions"] if entry["type"] == "MetricsAvailable"]
    return str(told["message"])


def told(one: OnePolicy) -> list[str]:
    return [event.message for event in one.events if event.reason == "ClockOff"]


@pytest.mark.parametrize(
    ("offset_s", "said"),
    [(40.0, "40 s ahead of the operator's"), (-600.4, "600 s behind the operator's")],
)
def test_a_difference_is_said_and_told_once(offset_s: float, said: str):
    world = WorldWithClock(target(), offset_s=offset_s)
    one = one_policy(world, document())
    assert said in plan(one)
    world.offset_s = offset_s + 1.0
    plan(one)
    assert len(told(one)) == 2, "of policy and deployment"
    world.offset_s = 0.0
    assert "clock" not in plan(one)
    world.offset_s = offset_s
    plan(one)
    assert len(told(one)) == 4


@pytest.mark.parametrize("offset_s", [None, 0.0, 3.0, -14.0])
def test_a_small_or_unknown_one_is_not(offset_s: float | None):
    one = one_policy(WorldWithClock(target(), offset_s=offset_s), document())
    assert "clock" not in plan(one)
    assert told(one) == []
