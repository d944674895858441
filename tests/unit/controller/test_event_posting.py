"""Events reach the API server from wherever they are told, and one that fails costs only itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest

from slaplanner.adapters.deployment import ApiRefusal
from slaplanner.adapters.deployment.failures import Failure
from slaplanner.controller import event_posting, metrics
from slaplanner.controller.event_posting import EventPoster, event_document
from slaplanner.controller.events import Event, EventType
from slaplanner.core.reasons import Reason
from tests.reconciling import document, one_policy

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SCALED = Event(EventType.NORMAL, Reason.SCALED, "prefill 1 -> 4", "Scale")
NOT_FOUND = ApiRefusal(Failure(reason=Reason.CONFLICT, message="not found", status=404, not_found=True))


def silent(message: str = "silent for 75 s", reason: Reason = Reason.STALE) -> Event:
    return Event(EventType.WARNING, reason, message, "MetricsAvailable")


class Sent:
    """An API server that keeps events; *failures* are raised first."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.kept: dict[str, dict[str, Any]] = {}

    async def create_event(self, namespace: str, event: Mapping[str, Any]) -> None:
        if self.failures:
            raise self.failures.pop(0)
        assert event["metadata"]["namespace"] == namespace
        assert event["metadata"]["name"] not in self.kept
        self.kept[event["metadata"]["name"]] = dict(event)

    async def count_event(self, namespace: str, name: str, series: Mapping[str, Any]) -> None:
        if self.failures:
            raise self.failures.pop(0)
        if name not in self.kept:
            raise NOT_FOUND
        assert self.kept[name]["metadata"]["namespace"] == namespace
        self.kept[name]["series"] = dict(series)

    def counts(self) -> list[int]:
        return [event.get("series", {}).get("count", 1) for event in self.kept.values()]


async def told(poster: EventPoster, *events: Event, at: datetime = NOON, uid: str = "u-1") -> None:
    for event in events:
        poster.post({**document(), "metadata": {**document()["metadata"], "uid": uid}}, event, at=at)
        await poster.send_next()


async def test_an_event_is_posted_beside_its_object():
    sent = Sent()
    poster = EventPoster(sent)
    poster.post(document(), SCALED)
    await poster.send_next()
    (event,) = sent.kept.values()
    assert event["metadata"]["namespace"] == "serving"
    assert event["regarding"]["name"] == "llama"
    assert (event["reason"], event["note"], event["type"]) == ("Scaled", "prefill 1 -> 4", "Normal")
    assert "series" not in event


async def test_a_repeat_is_counted_in_the_event_that_told_it_first():
    sent = Sent()
    poster = EventPoster(sent)
    for minute in range(3):
        await told(poster, silent(f"silent for {minute}.5 s"), at=NOON + timedelta(minutes=minute))
    (event,) = sent.kept.values()
    assert event["series"] == {"count": 3, "lastObservedTime": "2026-01-01T12:02:00.000000Z"}
    assert event["eventTime"] == "2026-01-01T12:00:00.000000Z"


async def test_each_change_of_replicas_and_each_other_trouble_is_an_event_of_its_own():
    sent = Sent()
    poster = EventPoster(sent)
    await told(poster, SCALED, replace(SCALED, message="prefill 4 -> 1"))
    await told(poster, silent(), silent(reason=Reason.NO_SERIES), replace(silent(), action="Plan"))
    await told(poster, silent(), uid="u-2")
    assert sent.counts() == [1] * 6


async def test_a_series_ends_when_the_api_server_may_have_dropped_it():
    sent = Sent()
    poster = EventPoster(sent)
    await told(poster, silent())
    await told(poster, silent(), at=NOON + timedelta(seconds=event_posting.SERIES_ENDS_AFTER_S))
    assert sent.counts() == [1, 1]


async def test_an_event_that_was_deleted_is_told_anew():
    sent = Sent()
    poster = EventPoster(sent)
    await told(poster, silent())
    sent.kept.clear()
    await told(poster, silent(), silent())
    assert sent.counts() == [2]


@given(repeats=st.lists(st.integers(0, 3), max_size=30), most=st.integers(1, 3))
def test_no_repeat_is_lost_and_what_is_remembered_is_bounded(repeats: list[int], most: int):
    async def play() -> None:
        sent = Sent()
        poster = EventPoster(sent)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(event_posting, "MOST_SERIES", most)
            for number in repeats:
                await told(poster, silent("abcd"[number]))
        assert sum(sent.counts()) == len(repeats)
        assert len(poster._series) <= most

    asyncio.run(play())


@pytest.mark.parametrize(
    "failure",
    [
        ApiRefusal(Failure(reason=Reason.FORBIDDEN, message="missing permission", status=403)),
        LookupError("nobody foresaw this"),
    ],
)
async def test_one_that_is_refused_costs_the_next_ones_nothing(failure: Exception):
    sent = Sent(failure)
    poster = EventPoster(sent)
    for _ in range(2):
        poster.post(document(), SCALED)
        await poster.send_next()
    assert len(sent.kept) == 1


async def test_a_flood_is_cut_and_never_raises(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(event_posting, "MOST_WAITING", 3)
    poster = EventPoster(Sent())
    dropped = metrics.REGISTRY.get_sample_value("slaplanner_events_total", {"outcome": "dropped"}) or 0.0
    for _ in range(5):
        poster.post(document(), SCALED)
    now = metrics.REGISTRY.get_sample_value("slaplanner_events_total", {"outcome": "dropped"})
    assert now == dropped + 2


@given(message=st.text(max_size=3000))
def test_every_message_fits(message: str):
    event = event_document(document(), Event(EventType.WARNING, Reason.FORBIDDEN, message, "Scale"), at=NOON)
    assert len(event["note"].encode()) <= 1024
    assert message.startswith(event["note"])


def test_an_event_that_fails_costs_neither_status_nor_state_nor_metrics_nor_the_log_line(
    caplog: pytest.LogCaptureFixture,
):
    """Seen: heartbeats of the fallback loop wrote replicas and then lost all of these."""
    caplog.set_level(logging.INFO)
    metrics.forget("serving", "llama")
    one = one_policy()

    def post(*_: object) -> None:
        raise LookupError("<ContextVar name='event_queue_loop_var'>")

    one.reconciler.reporter.post = post
    asyncio.run(one.tick())
    assert one.world.orders != []
    (status,) = one.world.statuses
    assert {"conditions", "plannerState", "lastDecision"} <= status.keys()
    assert one.record.memory.decision is not None
    assert (
        'slaplanner_decisions_total{namespace="serving",policy="llama"'
        in generate_latest(metrics.REGISTRY).decode()
    )
    assert "planned" in caplog.messages
