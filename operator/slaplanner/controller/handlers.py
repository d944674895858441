"""What kopf calls. Each body only hands on what it got.

A timer of kopf ends for ever when a patch of kopf's own is refused. So nothing here fills kopf's
`patch`, returns a result or raises; the status has a writer of its own. There are no handlers of
changes or deletion, which would store annotations on the policies and could hold their deletion up.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

import kopf

from slaplanner.api.policy import GROUP, PLURAL, VERSION
from slaplanner.controller.runtime import Operator

logger = logging.getLogger(__name__)

FINALIZER = f"{GROUP}/finalizer"
KOPF_REQUEST_TIMEOUT_S = 30.0


def register(registry: kopf.OperatorRegistry, operator: Operator, *, namespaced: bool) -> None:
    """Register all handlers for *operator*; *namespaced*: it has no rights beyond some namespaces."""
    resource = (GROUP, VERSION, PLURAL)

    @kopf.on.startup(registry=registry)
    async def start(settings: kopf.OperatorSettings, **_: Any) -> None:
        configure(settings, namespaced=namespaced, selector=operator.settings.policy_selector)
        await operator.start()

    @kopf.on.cleanup(registry=registry)
    async def stop(**_: Any) -> None:
        await operator.stop()

    @kopf.on.event(*resource, registry=registry)
    async def seen(event: kopf.RawEvent, **_: Any) -> None:
        # kopf makes a new object for each event and changes none, so it is kept without a copy.
        operator.seen(event["object"], gone=event["type"] == "DELETED")

    @kopf.timer(*resource, registry=registry, interval=operator.settings.heartbeat_s)
    async def heartbeat(uid: str, **kwargs: Any) -> None:
        await _raced(operator, uid, kwargs["stopped"])


def configure(settings: kopf.OperatorSettings, *, namespaced: bool, selector: str | None = None) -> None:
    """Set kopf's settings explicitly: its defaults are made for other operators.

    *selector*: of the labels of the policies that are served; None: all of them.
    """
    if selector is not None:
        settings.watching.label_selectors[GROUP, VERSION, PLURAL] = selector
    settings.persistence.finalizer = FINALIZER
    # Looking for CRDs and namespaces that come and go needs rights in the whole cluster.
    settings.scanning.disabled = namespaced
    # A deletion in the middle of a plan would else wait a minute for the timer.
    settings.background.cancellation_polling = 1
    # Of the five seconds after SIGTERM; a deletion that is being handled may hang with the API server.
    settings.queueing.exit_timeout = 0.5
    # For kopf's own patches and events, which it would else wait five minutes for.
    settings.networking.request_timeout = KOPF_REQUEST_TIMEOUT_S
    # Events are ours to choose and to post (`event_posting`).
    settings.posting.enabled = False


async def _raced(operator: Operator, uid: str, stopped: kopf.DaemonStopped) -> None:
    """One heartbeat, dropped as soon as kopf wants the timer to stop: kopf itself never cancels it."""
    tick = asyncio.ensure_future(operator.tick(uid))
    stop = asyncio.ensure_future(stopped.wait())
    try:
        await asyncio.wait({tick, stop}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (tick, stop):
            task.cancel()
        for task in (tick, stop):
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task
