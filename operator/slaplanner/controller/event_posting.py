"""Posts events to the API server, beside everything else.

kopf can post events only from inside its handlers, but heartbeats of the fallback loop run outside of them. So events
go into a queue, one task sends them, and nobody waits for it. An event that cannot be posted is logged and dropped.

Events are objects of events.k8s.io/v1. If an event repeats one of the last hour, no object is created: the first one
gets a series with a count and the time of the last repetition.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import uuid
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from slaplanner.adapters.deployment import ApiRefusal
from slaplanner.controller import metrics
from slaplanner.controller.events import Event

logger = logging.getLogger(__name__)

COMPONENT = "slaplanner"
MOST_WAITING = 1000
"""Events of a flood or a long outage beyond this are dropped."""
MOST_NOTE_BYTES = 1024
"""The API server refuses longer notes."""
MOST_SERIES = 4096
"""Events whose repeats are counted; of more, the ones that were silent longest start anew."""
SERIES_ENDS_AFTER_S = 3600.0
"""The API server keeps an event for an hour by default, so a series that is silent for longer is gone."""

Document = dict[str, Any]


class Events(Protocol):
    """Event objects in the API server."""

    async def create_event(self, namespace: str, event: Mapping[str, Any]) -> None:
        """Create it. Raises ApiRefusal."""
        ...

    async def count_event(self, namespace: str, name: str, series: Mapping[str, Any]) -> None:
        """Say that the event of this name happened again. Raises ApiRefusal."""
        ...


@dataclass(frozen=True, slots=True)
class _Told:
    """One event that waits to be sent."""

    key: tuple[str, ...]
    document: Document
    at: datetime


@dataclass(slots=True)
class _Series:
    name: str
    last: datetime
    count: int = 1


class EventPoster:
    """Sends events in the order in which they were told."""

    def __init__(self, api: Events) -> None:
        self._api = api
        self._waiting: asyncio.Queue[_Told] = asyncio.Queue(MOST_WAITING)
        self._series: OrderedDict[tuple[str, ...], _Series] = OrderedDict()

    def post(self, target: Mapping[str, Any], event: Event, *, at: datetime | None = None) -> None:
        """Queue an event about *target*, an object or a reference to one. Raises nothing."""
        at = at or datetime.now(UTC)
        document = event_document(target, event, at=at)
        regarding = document["regarding"]
        key = (regarding["kind"], regarding["namespace"], regarding["name"], regarding["uid"], *event.repeats)
        try:
            self._waiting.put_nowait(_Told(key, document, at))
        except asyncio.QueueFull:
            metrics.EVENTS.labels("dropped").inc()

    async def work(self) -> None:
        """Send for ever."""
        while True:
            await self.send_next()

    async def send_next(self) -> None:
        """Wait for an event and send it."""
        told = await self._waiting.get()
        try:
            await self._send(told)
        except ApiRefusal as refusal:
            metrics.EVENTS.labels("refused").inc()
            regarding = told.document["regarding"]
            logger.warning(
                "event was not posted",
                extra={
                    "object": f"{regarding['namespace']}/{regarding['name']}",
                    "event": told.document["reason"],
                    "error": refusal.failure.message,
                },
            )
        except Exception:
            metrics.EVENTS.labels("refused").inc()
            logger.exception("event was not posted", extra={"event": told.document["reason"]})
        else:
            metrics.EVENTS.labels("posted").inc()

    async def _send(self, told: _Told) -> None:
        namespace = told.document["metadata"]["namespace"]
        series = self._series.pop(told.key, None)
        if series is not None and (told.at - series.last).total_seconds() < SERIES_ENDS_AFTER_S:
            series.count, series.last = series.count + 1, told.at
            self._keep(told.key, series)
            try:
                return await self._api.count_event(
                    namespace, series.name, {"count": series.count, "lastObservedTime": _micro_time(told.at)}
                )
            except ApiRefusal as refusal:
                if not refusal.failure.not_found:
                    raise
                # It expired or was deleted, so the next one begins anew.
                del self._series[told.key]
        await self._api.create_event(namespace, told.document)
        return self._keep(told.key, _Series(told.document["metadata"]["name"], told.at))

    def _keep(self, key: tuple[str, ...], series: _Series) -> None:
        self._series[key] = series
        while len(self._series) > MOST_SERIES:
            self._series.popitem(last=False)


def event_document(target: Mapping[str, Any], event: Event, *, at: datetime) -> Document:
    """The event as an object of events.k8s.io/v1, which `kubectl describe` and `kubectl events` list."""
    metadata = target.get("metadata", {})
    namespace = metadata.get("namespace", "")
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": f"{COMPONENT}-{uuid.uuid4().hex}", "namespace": namespace},
        "type": event.type.value,
        "reason": event.reason.value,
        "action": event.action,
        "note": event.message.encode()[:MOST_NOTE_BYTES].decode(errors="ignore"),
        "reportingController": COMPONENT,
        "reportingInstance": socket.gethostname(),
        "regarding": {
            "apiVersion": target.get("apiVersion", ""),
            "kind": target.get("kind", ""),
            "namespace": namespace,
            "name": metadata.get("name", ""),
            "uid": metadata.get("uid", ""),
        },
        "eventTime": _micro_time(at),
    }


def _micro_time(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
