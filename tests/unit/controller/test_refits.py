"""Slow fits run beside the plans: no plan waits for one, and the next plan uses what was fitted last."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from slaplanner.adapters.deployment import Identity
from slaplanner.controller.outside.ports import TrafficReading
from slaplanner.controller.refits import RefitQueue
from slaplanner.core.forecast import ForecastState
from slaplanner.core.readings import Series
from tests.planning import observation
from tests.reconciling import FakeWorld, OnePolicy, document, one_policy, target

POINTS = 200
"""More than a plan may learn at once, so that a refit is due after the first plan."""
HOUR_S = 3600.0


@dataclass(slots=True)
class SlowPool:
    """Fits nothing before it is told to."""

    may_fit: asyncio.Event = field(default_factory=asyncio.Event)
    fits: int = 0

    async def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        await self.may_fit.wait()
        self.fits += 1
        return function(*args, **kwargs)


@dataclass(slots=True)
class WorldWithHistory(FakeWorld):
    async def traffic(self, *_: object, **options: Any) -> TrafficReading:
        self.during_plan()
        history = Series(
            end_s=options["end_s"],
            step_s=HOUR_S,
            requests=tuple(1000.0 + 10.0 * (index % 7) for index in range(POINTS)),
            isl_tokens=(1000.0,) * POINTS,
            osl_tokens=(200.0,) * POINTS,
        )
        return TrafficReading(observation=observation(1000.0, history=history))


@pytest.fixture
def pool() -> SlowPool:
    return SlowPool()


@pytest.fixture
def one(pool: SlowPool) -> OnePolicy:
    planning = {"intervalSeconds": 3600, "sizing": "Throughput", "predictor": {"type": "Kalman"}}
    return one_policy(WorldWithHistory(target(), refits=pool), document(planning=planning))


async def plan(one: OnePolicy) -> None:
    one.world.time_s += HOUR_S
    await one.tick()


def forecast_of(one: OnePolicy) -> ForecastState:
    assert one.record.memory.state is not None
    assert one.record.memory.state.forecast is not None
    return one.record.memory.state.forecast


async def test_plans_go_on_while_a_fit_is_under_way(one: OnePolicy, pool: SlowPool):
    fitting = asyncio.create_task(one.reconciler.refits.work())
    for wanted in (1, 2, 3):
        await asyncio.wait_for(plan(one), timeout=60)
        assert one.record.memory.decision is not None
        assert one.record.memory.decision.id == wanted
    assert pool.fits == 0
    fitting.cancel()


async def test_the_next_plan_uses_what_was_fitted(one: OnePolicy, pool: SlowPool):
    await plan(one)
    assert not forecast_of(one).complete
    fitting = asyncio.create_task(one.reconciler.refits.next())
    await asyncio.sleep(0)
    await plan(one)
    pool.may_fit.set()
    await fitting
    await plan(one)
    assert forecast_of(one).complete
    assert forecast_of(one).learner.points > POINTS


async def test_a_fit_that_ends_in_the_middle_of_a_plan_is_used_by_the_one_after(
    one: OnePolicy, pool: SlowPool
):
    await plan(one)
    fitting = asyncio.create_task(one.reconciler.refits.next())
    await asyncio.sleep(0)
    one.world.during_plan = pool.may_fit.set
    await plan(one)
    await fitting
    await plan(one)
    assert forecast_of(one).complete
    assert pool.fits == 1


async def test_a_fit_for_a_target_that_was_recreated_meanwhile_is_dropped(one: OnePolicy, pool: SlowPool):
    await plan(one)
    fitting = asyncio.create_task(one.reconciler.refits.next())
    await asyncio.sleep(0)
    one.world.moved(
        identity=Identity(namespace="serving", name="llama", uid="target-2", api_version="nvidia.com/v1beta1")
    )
    await plan(one)
    pool.may_fit.set()
    await fitting
    await plan(one)
    assert not forecast_of(one).complete


async def test_a_fit_for_other_settings_is_dropped(one: OnePolicy, pool: SlowPool):
    await plan(one)
    fitting = asyncio.create_task(one.reconciler.refits.next())
    await asyncio.sleep(0)
    assert one.record.memory.state is not None
    other = replace(forecast_of(one), horizon_steps=forecast_of(one).horizon_steps + 1)
    one.record.memory = replace(one.record.memory, state=replace(one.record.memory.state, forecast=other))
    pool.may_fit.set()
    await fitting
    assert one.record.memory.state is not None
    assert one.reconciler._with_fit(one.record.uid, one.record.memory.state).forecast is other


async def test_a_policy_that_goes_is_not_fitted(one: OnePolicy, pool: SlowPool):
    await plan(one)
    one.reconciler.gone(one.record.uid)
    fitting = asyncio.create_task(one.reconciler.refits.next())
    await asyncio.sleep(0)
    pool.may_fit.set()
    await asyncio.sleep(0)
    assert pool.fits == 0
    fitting.cancel()


async def test_policies_are_fitted_one_after_the_other_and_each_once():
    fitted: list[str] = []
    at_once = [0]

    async def fit(uid: str) -> None:
        at_once[0] += 1
        await asyncio.sleep(0)
        fitted.append(f"{uid}{at_once[0]}")
        at_once[0] -= 1

    queue = RefitQueue(fit)
    for uid in "abacb":
        queue.ask(uid)
    for _ in range(3):
        await queue.next()
    assert fitted == ["a1", "b1", "c1"]


async def test_a_fit_that_breaks_costs_nobody_else_theirs(caplog: pytest.LogCaptureFixture):
    fitted: list[str] = []

    async def fit(uid: str) -> None:
        if uid == "broken":
            raise ZeroDivisionError(uid)
        fitted.append(uid)

    queue = RefitQueue(fit)
    for uid in ("broken", "sound"):
        queue.ask(uid)
        await queue.next()
    assert fitted == ["sound"]
    assert "refit failed" in caplog.text
