"""The operator lives as long as plans are tried, whatever comes of them."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer

from slaplanner.controller import metrics
from slaplanner.controller.health import OVERDUE_AT_LEAST_S, OVERDUE_INTERVALS, Pulse, application
from slaplanner.controller.reference import page

REFERENCE = Path(__file__).parents[3] / "docs/reference/metrics.md"


@dataclasses.dataclass
class Clock:
    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pulse(clock: Clock) -> Pulse:
    return Pulse(clock=clock)


def ask(pulse: Pulse, path: str) -> tuple[int, str]:
    """The answer of the probe."""

    async def main() -> tuple[int, str]:
        async with TestClient(TestServer(application(pulse))) as client:
            answer = await client.get(path)
            return answer.status, await answer.text()

    return asyncio.run(main())


@pytest.mark.parametrize("interval_s", [5.0, 180.0])
def test_a_policy_whose_plans_stopped_is_named_after_some_intervals(
    pulse: Pulse, clock: Clock, interval_s: float
):
    pulse.seen("a-uid", interval_s=interval_s)
    patience_s = max(OVERDUE_INTERVALS * interval_s, interval_s + OVERDUE_AT_LEAST_S)
    clock.now_s += patience_s
    assert ask(pulse, "/healthz") == (200, "ok\n")
    clock.now_s += 1
    status, text = ask(pulse, "/healthz")
    assert (status, "a-uid" in text) == (500, True)
    pulse.tried("a-uid", interval_s=interval_s)
    assert ask(pulse, "/healthz")[0] == 200


def test_seeing_a_policy_again_is_not_a_plan(pulse: Pulse, clock: Clock):
    pulse.seen("a-uid", interval_s=5.0)
    clock.now_s += 1000
    pulse.seen("a-uid", interval_s=5.0)
    assert pulse.overdue() == ["a-uid"]


def test_a_policy_that_is_gone_is_not_waited_for(pulse: Pulse, clock: Clock):
    pulse.seen("a-uid", interval_s=5.0)
    pulse.gone("a-uid")
    clock.now_s += 1000
    assert pulse.overdue() == []


def test_ready_from_the_start_until_the_stop(pulse: Pulse):
    assert ask(pulse, "/readyz")[0] == 503
    pulse.started = True
    assert ask(pulse, "/readyz") == (200, "ok\n")


def test_the_reference_lists_the_metrics_as_they_are():
    assert REFERENCE.read_text(encoding="utf-8") == page()


def test_a_forgotten_policy_leaves_no_series_and_its_neighbour_keeps_its_own():
    for name in ("goes", "stays"):
        metrics.PLAN_AGE.labels("serving", name).set(1)
        metrics.CONDITION.labels("serving", name, "Ready", "True").set(1)
    metrics.forget("serving", "goes")
    left = {
        sample.labels["policy"]
        for family in metrics.REGISTRY.collect()
        for sample in family.samples
        if "policy" in sample.labels
    }
    assert "goes" not in left
    assert "stays" in left
    metrics.forget("serving", "stays")
