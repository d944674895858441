"""The running operator: its parts put together, and their life from start to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from aiohttp import web
from kubernetes import aio
from kubernetes.client import ApiClient

from slaplanner.adapters.object_versions import ObjectVersions
from slaplanner.controller import health, metrics
from slaplanner.controller.events import Event
from slaplanner.controller.health import Pulse
from slaplanner.controller.heartbeat import Heart
from slaplanner.controller.records import Record, Records
from slaplanner.controller.report import Reporter
from slaplanner.controller.watches import Watches
from slaplanner.controller.world import World
from slaplanner.core.errors import PlanningError
from slaplanner.settings import Settings

logger = logging.getLogger(__name__)

WITHDRAWAL_TIMEOUT_S = 30.0
"""For tidying up a target after its policy was deleted; then its conditions are left."""

MISSED_BEATS = 3
"""So many, and the heartbeat of a policy is made up for here.

kopf starts a policy's timer after it has put its finalizer on, tries that once per event, and sees no
event when a missing permission has been granted or the API server is well again.
"""

PROBES_TIMEOUT_S = 0.5
"""For whoever still reads metrics when the operator ends."""


class Operator:
    """Everything that runs for as long as the process does."""

    def __init__(
        self,
        *,
        settings: Settings,
        api_client: ApiClient,
        watching_client: Callable[[], Awaitable[aio.client.ApiClient]],
        post: Callable[[Mapping[str, Any], Event], None],
    ) -> None:
        """*watching_client* makes the asynchronous client, inside the event loop."""
        self.settings = settings
        self.pulse = Pulse()
        self.records = Records()
        self._world = World(settings=settings, api_client=api_client)
        self._watching_client = watching_client
        self._reporter = Reporter(desk=self._world, records=self.records, post=post)
        self._heart: Heart | None = None
        self._resources = contextlib.AsyncExitStack()
        self._errands: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Serve probes and metrics, and get ready to plan."""
        runner = web.AppRunner(
            health.application(self.pulse), access_log=None, shutdown_timeout=PROBES_TIMEOUT_S
        )
        await runner.setup()
        self._resources.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, port=self.settings.port).start()
        client = await self._watching_client()
        self._resources.push_async_callback(client.close)
        watches = Watches(ObjectVersions(client))
        self._resources.push_async_callback(watches.close)
        lag = asyncio.create_task(health.watch_loop_lag(), name="loop lag")
        self._resources.callback(lag.cancel)
        made_up = asyncio.create_task(self.make_up_for_missed_beats(), name="missed heartbeats")
        self._resources.callback(made_up.cancel)
        self._heart = Heart(
            world=self._world,
            records=self.records,
            watches=watches,
            reporter=self._reporter,
            pulse=self.pulse,
            settings=self.settings,
        )
        self.pulse.started = True

    async def stop(self) -> None:
        """Write nothing from now on, and let go of everything."""
        if self._heart is not None:
            self._heart.stopping = True
        self.pulse.started = False
        # What is not cancelled here, kopf waits five seconds for.
        for errand in self._errands:
            errand.cancel()
        await self._resources.aclose()

    def seen(self, document: Mapping[str, Any], *, gone: bool) -> None:
        """The watch showed a policy."""
        record = self.records.seen(document)
        if gone:
            self.records.gone(record.uid)
        metrics.POLICIES.set(len(self.records))
        if record.deleted and not record.withdrawn:
            record.withdrawn = True
            self.pulse.gone(record.uid)
            self._run(self._withdraw(record), name=f"withdraw {record.name}")
        if self._heart is not None:
            self._heart.forget()

    async def beat(self, document: Mapping[str, Any]) -> None:
        """One heartbeat of one policy. What is unforeseen is logged, and the next heartbeat is the retry."""
        record = self.records.get(document["metadata"]["uid"])
        # The watch shows a policy before its timer starts, so one that is unknown here has gone.
        if self._heart is None or record is None or record.deleted or record.beating:
            return
        record.beating = True
        try:
            await self._heart.beat(record)
        except Exception:
            logger.exception("heartbeat failed", extra=_who(record))
            self._tried(record)
        finally:
            record.beating, record.beaten_at_s = False, time.monotonic()

    async def make_up_for_missed_beats(self) -> None:
        """Run for ever, and beat for policies whose own timer does not."""
        while True:
            await asyncio.sleep(self.settings.heartbeat_s)
            latest_s = time.monotonic() - MISSED_BEATS * self.settings.heartbeat_s
            for record in self.records:
                if record.beating or record.deleted or record.beaten_at_s >= latest_s:
                    continue
                if not record.silent:
                    logger.warning("a timer is silent, its heartbeats are made up for", extra=_who(record))
                record.silent = True
                self._run(self.beat(record.document), name=f"beat {record.name}")

    def _tried(self, record: Record) -> None:
        """A plan that broke was a plan: the next slot is the retry, and nobody else is restarted for it."""
        record.attempted_at_s = self._world.now_s()
        if record.policy is not None:
            interval_s = record.policy.spec.planning.interval_seconds
            self.pulse.tried(record.uid, interval_s=float(interval_s))

    def _run(self, errand: Coroutine[Any, Any, None], *, name: str) -> None:
        task = asyncio.create_task(errand, name=name)
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)

    async def _withdraw(self, record: Record) -> None:
        """Beside the deletion, which never waits for it: our conditions on the target go."""
        try:
            async with asyncio.timeout(WITHDRAWAL_TIMEOUT_S):
                await self._reporter.withdrawn(record)
        except (PlanningError, TimeoutError) as error:
            logger.warning(
                "conditions stay on the target of a deleted policy",
                extra=_who(record) | {"error": str(error)},
            )


def _who(record: Record) -> dict[str, Any]:
    return {"policy": f"{record.namespace}/{record.name}"}
