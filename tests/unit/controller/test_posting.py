"""Events reach the API server from wherever they are told, and one that fails costs only itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest

from slaplanner.adapters.target import ApiRefusal
from slaplanner.adapters.target.failures import Failure
from slaplanner.controller import metrics, posting
from slaplanner.controller.events import Event, EventType
from slaplanner.controller.posting import EventPoster, event_document
from slaplanner.core.reasons import Reason
from tests.reconciling import document, one_policy

SCALED = Event(EventType.NORMAL, "Scaled", "prefill 1 -> 4")


class Sent:
    """An API server that keeps events; *failures* are raised first."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.kept: list[tuple[str, Mapping[str, Any]]] = []

    async def __call__(self, namespace: str, event: Mapping[str, Any]) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.kept.append((namespace, event))


async def test_an_event_is_posted_beside_its_object():
    sent = Sent()
    poster = EventPoster(sent)
    poster.post(document(), SCALED)
    await poster.send_next()
    ((namespace, event),) = sent.kept
    assert namespace == "serving"
    assert event["involvedObject"]["name"] == "llama"
    assert (event["reason"], event["message"], event["type"]) == ("Scaled", "prefill 1 -> 4", "Normal")


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
    monkeypatch.setattr(posting, "MOST_WAITING", 3)
    poster = EventPoster(Sent())
    dropped = metrics.REGISTRY.get_sample_value("slaplanner_events_total", {"outcome": "dropped"}) or 0.0
    for _ in range(5):
        poster.post(document(), SCALED)
    now = metrics.REGISTRY.get_sample_value("slaplanner_events_total", {"outcome": "dropped"})
    assert now == dropped + 2


@given(message=st.text(max_size=3000))
def test_every_message_fits(message: str):
    event = event_document(
        document(), Event(EventType.WARNING, "ScaleFailed", message), at=datetime(2026, 1, 1, tzinfo=UTC)
    )
    assert len(event["message"].encode()) <= 1024
    assert message.startswith(event["message"])


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
