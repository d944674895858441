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
from slaplanner.controller.health import Liveness
from slaplanner.controller.reconciler import Reconciler
from slaplanner.controller.records import Record, Records
from slaplanner.controller.report import Reporter
from slaplanner.controller.watches import Watches
from slaplanner.controller.world import World
from slaplanner.core.errors import PlanningError
from slaplanner.settings import Settings

logger = logging.getLogger(__name__)

WITHDRAWAL_TIMEOUT_S = 30.0
"""For tidying up a target after its policy was deleted; then its conditions are left."""

MISSED_TICKS = 3
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
        self.liveness = Liveness()
        self.records = Records()
        self._world = World(settings=settings, api_client=api_client)
        self._watching_client = watching_client
        self._reporter = Reporter(desk=self._world, records=self.records, post=post)
        self._reconciler: Reconciler | None = None
        self._resources = contextlib.AsyncExitStack()
        self._errands: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Serve probes and metrics, and get ready to plan."""
        runner = web.AppRunner(
            health.application(self.liveness), access_log=None, shutdown_timeout=PROBES_TIMEOUT_S
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
        fallback = asyncio.create_task(self.tick_for_silent_timers(), name="missed heartbeats")
        self._resources.callback(fallback.cancel)
        self._reconciler = Reconciler(
            world=self._world,
            records=self.records,
            watches=watches,
            reporter=self._reporter,
            liveness=self.liveness,
            settings=self.settings,
        )
        self.liveness.started = True

    async def stop(self) -> None:
        """Write nothing from now on, and let go of everything."""
        if self._reconciler is not None:
            self._reconciler.stopping = True
        self.liveness.started = False
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
            self.liveness.gone(record.uid)
            self._run(self._withdraw(record), name=f"withdraw {record.name}")
        if self._reconciler is not None:
            self._reconciler.forget()

    async def tick(self, document: Mapping[str, Any]) -> None:
        """One heartbeat of one policy. What is unforeseen is logged, and the next heartbeat is the retry."""
        record = self.records.get(document["metadata"]["uid"])
        # The watch shows a policy before its timer starts, so one that is unknown here has gone.
        if self._reconciler is None or record is None or record.deleted or record.ticking:
            return
        record.ticking = True
        try:
            await self._reconciler.tick(record)
        except Exception:
            logger.exception("heartbeat failed", extra=_who(record))
            self._tried(record)
        finally:
            record.ticking, record.ticked_at_s = False, time.monotonic()

    async def tick_for_silent_timers(self) -> None:
        """Run for ever, and tick for policies whose own timer does not."""
        while True:
            await asyncio.sleep(self.settings.heartbeat_s)
            latest_s = time.monotonic() - MISSED_TICKS * self.settings.heartbeat_s
            for record in self.records:
                if record.ticking or record.deleted or record.ticked_at_s >= latest_s:
                    continue
                if not record.silent:
                    logger.warning("a timer is silent, its heartbeats are made up for", extra=_who(record))
                record.silent = True
                self._run(self.tick(record.document), name=f"tick {record.name}")

    def _tried(self, record: Record) -> None:
        """A plan that broke was a plan: the next slot is the retry, and nobody else is restarted for it."""
        record.attempted_at_s = self._world.now_s()
        if record.policy is not None:
            interval_s = record.policy.spec.planning.interval_seconds
            self.liveness.tried(record.uid, interval_s=float(interval_s))

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
