"""Posting events through the API server, beside everything else.

kopf has a poster of its own, but it works only inside kopf's handlers; heartbeats of the fallback loop
run outside of them. Here a queue takes the events of everybody, one task sends them, and nobody waits.
Events are auxiliary: one that cannot be posted is logged and dropped.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from slaplanner.adapters.target import ApiRefusal
from slaplanner.controller import metrics
from slaplanner.controller.events import Event

logger = logging.getLogger(__name__)

COMPONENT = "slaplanner"
MOST_WAITING = 1000
"""Events of a flood or a long outage beyond this are dropped."""
MOST_MESSAGE_BYTES = 1024
"""The API server refuses longer messages."""

Send = Callable[[str, Mapping[str, Any]], Awaitable[None]]
"""Creates an event object in a namespace. Raises ApiRefusal."""


class EventPoster:
    """Sends events in the order in which they were told."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._waiting: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue(MOST_WAITING)

    def post(self, target: Mapping[str, Any], event: Event) -> None:
        """Queue an event about *target*, an object or a reference to one. Raises nothing."""
        document = event_document(target, event, at=datetime.now(UTC))
        try:
            self._waiting.put_nowait((document["metadata"]["namespace"], document))
        except asyncio.QueueFull:
            metrics.EVENTS.labels("dropped").inc()

    async def work(self) -> None:
        """Send for ever."""
        while True:
            await self.send_next()

    async def send_next(self) -> None:
        """Wait for an event and send it."""
        namespace, document = await self._waiting.get()
        try:
            await self._send(namespace, document)
        except ApiRefusal as refusal:
            metrics.EVENTS.labels("refused").inc()
            logger.warning(
                "event was not posted",
                extra={
                    "object": f"{namespace}/{document['involvedObject']['name']}",
                    "event": document["reason"],
                    "error": refusal.failure.message,
                },
            )
        except Exception:
            metrics.EVENTS.labels("refused").inc()
            logger.exception("event was not posted", extra={"event": document["reason"]})
        else:
            metrics.EVENTS.labels("posted").inc()


def event_document(target: Mapping[str, Any], event: Event, *, at: datetime) -> dict[str, Any]:
    """The event as an object of the core API, which `kubectl describe` lists."""
    metadata = target.get("metadata", {})
    namespace = metadata.get("namespace", "")
    now = at.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": f"{COMPONENT}-", "namespace": namespace},
        "type": event.type.value,
        "reason": event.reason,
        "message": event.message.encode()[:MOST_MESSAGE_BYTES].decode(errors="ignore"),
        "action": event.reason,
        "reportingComponent": COMPONENT,
        "reportingInstance": COMPONENT,
        "source": {"component": COMPONENT},
        "involvedObject": {
            "apiVersion": target.get("apiVersion", ""),
            "kind": target.get("kind", ""),
            "namespace": namespace,
            "name": metadata.get("name", ""),
            "uid": metadata.get("uid", ""),
        },
        "firstTimestamp": now,
        "lastTimestamp": now,
        "eventTime": at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "count": 1,
    }
