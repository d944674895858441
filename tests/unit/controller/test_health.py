"""The operator lives as long as plans are tried, whatever comes of them."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from urllib.request import urlopen

import pytest
from aiohttp.test_utils import TestClient, TestServer

from slaplanner.controller import metrics
from slaplanner.controller.health import (
    OVERDUE_AT_LEAST_S,
    OVERDUE_INTERVALS,
    QUEUED_LIMITS,
    STUCK_LOOP_S,
    Liveness,
    ProbeServer,
    application,
)
from slaplanner.controller.metrics_reference import page

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
def liveness(clock: Clock) -> Liveness:
    return Liveness(clock=clock)


def ask(liveness: Liveness, path: str) -> tuple[int, str]:
    """The answer of the probe."""

    async def main() -> tuple[int, str]:
        async with TestClient(TestServer(application(liveness))) as client:
            answer = await client.get(path)
            return answer.status, await answer.text()

    return asyncio.run(main())


@pytest.mark.parametrize("interval_s", [5.0, 180.0])
def test_a_policy_whose_plans_stopped_is_named_after_some_intervals(
    liveness: Liveness, clock: Clock, interval_s: float
):
    liveness.seen("a-uid", interval_s=interval_s)
    patience_s = max(OVERDUE_INTERVALS * interval_s, interval_s + OVERDUE_AT_LEAST_S)
    clock.now_s += patience_s
    assert ask(liveness, "/healthz") == (200, "ok\n")
    clock.now_s += 1
    status, text = ask(liveness, "/healthz")
    assert (status, "a-uid" in text) == (500, True)
    liveness.tried("a-uid")
    assert ask(liveness, "/healthz")[0] == 200


def test_seeing_a_policy_again_is_not_a_plan(liveness: Liveness, clock: Clock):
    liveness.seen("a-uid", interval_s=5.0)
    clock.now_s += 1000
    liveness.seen("a-uid", interval_s=5.0)
    assert liveness.overdue() == ["a-uid"]


def test_a_policy_that_is_gone_is_not_waited_for(liveness: Liveness, clock: Clock):
    liveness.seen("a-uid", interval_s=5.0)
    liveness.gone("a-uid")
    clock.now_s += 1000
    assert liveness.overdue() == []


def test_ready_from_the_start_until_the_stop(liveness: Liveness):
    assert ask(liveness, "/readyz")[0] == 503
    liveness.started = True
    assert ask(liveness, "/readyz") == (200, "ok\n")


def test_the_reference_lists_the_metrics_as_they_are():
    assert REFERENCE.read_text(encoding="utf-8") == page()


def test_a_forgotten_policy_leaves_no_series_and_its_neighbour_keeps_its_own():
    for name in ("goes", "stays"):
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


def test_a_plan_that_ends_after_its_policy_went_is_not_waited_for(liveness: Liveness, clock: Clock):
    liveness.seen("a-uid", interval_s=5.0)
    liveness.began("a-uid")
    liveness.gone("a-uid")
    liveness.tried("a-uid")
    liveness.ended("a-uid")
    clock.now_s += 1000
    assert liveness.overdue() == []


class TestAHeartbeatThatWaitsForThreads:
    LIMIT_S = 180.0
    """Of an interval of 60 s."""

    @pytest.fixture(autouse=True)
    def waiting(self, liveness: Liveness) -> None:
        for uid in ("waits", "goes-on"):
            liveness.seen(uid, interval_s=60.0)
        liveness.began("waits")

    def test_it_is_not_overdue_while_others_end(self, liveness: Liveness, clock: Clock):
        for _ in range(5):
            clock.now_s += self.LIMIT_S / 2
            liveness.tried("goes-on")
            liveness.ended("goes-on")
        assert liveness.overdue() == []

    def test_it_is_overdue_when_nobody_ends(self, liveness: Liveness, clock: Clock):
        clock.now_s += self.LIMIT_S + 1
        assert liveness.overdue() == ["waits", "goes-on"]

    def test_it_is_overdue_in_the_end_whoever_ends(self, liveness: Liveness, clock: Clock):
        clock.now_s += QUEUED_LIMITS * self.LIMIT_S + 1
        liveness.tried("goes-on")
        liveness.ended("goes-on")
        assert liveness.overdue() == ["waits"]

    def test_a_timer_that_stopped_is_overdue_whoever_ends(self, liveness: Liveness, clock: Clock):
        liveness.ended("waits")
        clock.now_s += self.LIMIT_S + 1
        liveness.tried("goes-on")
        liveness.ended("goes-on")
        assert liveness.overdue() == ["waits"]


def test_a_stuck_event_loop_is_said(liveness: Liveness, clock: Clock):
    liveness.loop_ran()
    clock.now_s += STUCK_LOOP_S
    assert ask(liveness, "/healthz")[0] == 200
    clock.now_s += 1
    assert ask(liveness, "/healthz") == (500, "the event loop has not run for 61 s\n")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
async def test_probes_answer_while_the_loop_is_busy(path: str):
    """The blocking request below keeps the event loop from doing anything else."""
    probes = ProbeServer(Liveness(started=True), port=0)
    probes.start()
    try:
        with urlopen(f"http://127.0.0.1:{probes.port}{path}", timeout=60) as answer:  # noqa: ASYNC210 - it blocks on purpose
            assert answer.status == 200
    finally:
        probes.stop()


def test_a_port_that_is_taken_is_an_error_at_once():
    first = ProbeServer(Liveness(), port=0)
    first.start()
    try:
        with pytest.raises(OSError, match="already in use"):
            ProbeServer(Liveness(), port=first.port).start()
    finally:
        first.stop()
