"""The running operator: puts its parts together, starts them and stops them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any

from kubernetes import aio
from kubernetes.client import ApiClient

from slaplanner.adapters.object_versions import ObjectVersions
from slaplanner.controller import health, metrics
from slaplanner.controller.event_posting import EventPoster
from slaplanner.controller.glances import Glances
from slaplanner.controller.health import Liveness, ProbeServer
from slaplanner.controller.reconciler import Reconciler
from slaplanner.controller.records import Record, Records
from slaplanner.controller.report import Reporter
from slaplanner.controller.schedule import last_slot_s
from slaplanner.controller.unforeseen_errors import DefectLog
from slaplanner.controller.watches import Watches
from slaplanner.controller.world import open_world
from slaplanner.core.errors import PlanningError
from slaplanner.settings import Settings

logger = logging.getLogger(__name__)

WITHDRAWAL_TIMEOUT_S = 30.0
"""For tidying up a target after its policy was deleted; then its conditions are left."""

TAKEOVER_SETTLE_S = 1.0
"""Seconds before the first write of an operator that takes over, so that it has seen all policies."""

EXISTENCE_CHECK_S = 60.0
"""Seconds between two questions whether a policy with a silent timer still exists."""

MISSED_TICKS = 3
"""Heartbeats that a timer may miss; then the operator runs the policy's heartbeats itself.

kopf starts a policy's timer after it has put its finalizer on, tries that once per event, and sees no
event when a missing permission has been granted or the API server is well again.
"""


class Operator:
    """Everything that runs for as long as the process does."""

    def __init__(
        self,
        *,
        settings: Settings,
        api_client: ApiClient,
        watching_client: Callable[[], Awaitable[aio.client.ApiClient]],
    ) -> None:
        """*watching_client* makes the asynchronous client, inside the event loop."""
        self.settings = settings
        self.liveness = Liveness()
        self.records = Records(settings)
        self._probes = ProbeServer(self.liveness, port=settings.port)
        self._world, self._policies = open_world(settings=settings, api_client=api_client)
        self._watching_client = watching_client
        self._events = EventPoster(self._policies)
        self._reporter = Reporter(
            reports=self._world.reports,
            clock=self._world.clock,
            records=self.records,
            post=self._events.post,
            retry_base_s=settings.heartbeat_s,
        )
        self._defects = DefectLog()
        self._reconciler: Reconciler | None = None
        self._resources = contextlib.AsyncExitStack()
        self._errands: set[asyncio.Task[None]] = set()
        self._fallback_ticks: dict[str, asyncio.Task[None]] = {}
        """By uid: heartbeats under way of policies whose timer is silent."""

    def serve_probes(self) -> None:
        """Serve probes and metrics, also while standing by. Raises OSError when the port is taken."""
        self._probes.start()

    def stop_probes(self) -> None:
        self._probes.stop()

    def take_over(self) -> None:
        """Another operator led until now: wait for less before the first write."""
        self.settings = replace(self.settings, settle_s=min(TAKEOVER_SETTLE_S, self.settings.settle_s))

    async def start(self) -> None:
        """Get ready to plan."""
        client = await self._watching_client()
        self._resources.push_async_callback(client.close)
        watches = Watches(ObjectVersions(client), broke=self._world.api_server.away)
        self._resources.push_async_callback(watches.close)
        self._reconciler = Reconciler(
            world=self._world,
            records=self.records,
            watches=watches,
            reporter=self._reporter,
            liveness=self.liveness,
            settings=self.settings,
            defects=self._defects,
        )
        glances = Glances(world=self._world, records=self.records, every_s=self.settings.heartbeat_s)
        for name, work in (
            ("loop lag", health.watch_loop_lag(self.liveness)),
            ("silent timers", self.tick_for_silent_timers()),
            ("refits", self._reconciler.refits.work()),
            ("glances", glances.work()),
            ("slots", self.tick_at_slots()),
            ("events", self._events.work()),
        ):
            self._resources.callback(asyncio.create_task(work, name=name).cancel)
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
        if record.manifest.deleted and not record.timer.withdrawn:
            record.timer = replace(record.timer, withdrawn=True)
            if self._reconciler is not None:
                self._reconciler.gone(record.uid)
            if (fallback := self._fallback_ticks.pop(record.uid, None)) is not None:
                fallback.cancel()
            self._run(self._withdraw(record), name=f"withdraw {record.name}")

    async def tick(self, uid: str) -> None:
        """One heartbeat of one policy, from its own timer."""
        record = self.records.get(uid)
        # The watch shows a policy before its timer starts, so one that is unknown here has gone.
        if record is not None:
            record.timer = replace(record.timer, silent=False)
            await self._tick(record)

    async def _tick(self, record: Record) -> None:
        """What is unforeseen is logged, and the next heartbeat is the retry."""
        if self._reconciler is None or record.manifest.deleted or record.timer.ticking:
            return
        record.timer = replace(record.timer, ticking=True)
        try:
            await self._reconciler.tick(record)
        except Exception as error:  # noqa: BLE001 - it is told in the log and in a condition
            await self._broke(self._reconciler, record, error)
        finally:
            record.timer = replace(record.timer, ticking=False, ticked_at_s=time.monotonic())

    async def tick_for_silent_timers(self) -> None:
        """Run for ever, and run the heartbeats of policies whose own timer does not fire."""
        while True:
            await asyncio.sleep(self.settings.heartbeat_s)
            latest_s = time.monotonic() - MISSED_TICKS * self.settings.heartbeat_s
            for record in self.records:
                timer = record.timer
                if timer.ticking or record.manifest.deleted or timer.ticked_at_s >= latest_s:
                    continue
                if record.uid in self._fallback_ticks:
                    continue
                if not timer.silent:
                    logger.warning(
                        "kopf timer not firing, running heartbeats from the fallback loop",
                        extra={"policy": record.who},
                    )
                record.timer = replace(timer, silent=True)
                self._fallback_ticks[record.uid] = self._run(
                    self._fallback_tick(record), name=f"tick {record.name}"
                )

    async def tick_at_slots(self) -> None:
        """Run for ever, and plan in the second in which the grid says so.

        A policy's own heartbeat may come five seconds later. Plans of the same second also share their questions.
        """
        while True:
            await asyncio.sleep(1.0 - time.time() % 1.0)
            now_s = time.time()
            for record in self.records:
                if _slot_has_come(record, now_s=now_s):
                    self._run(self._tick(record), name=f"slot {record.name}")

    async def _fallback_tick(self, record: Record) -> None:
        """A heartbeat, unless the policy does not exist any more.

        kopf tells nobody of a policy that was deleted while its watch was down; planning for such a one
        would take the deployment from the policy that came after it.
        """
        try:
            if not await self._is_gone(record):
                await self._tick(record)
        finally:
            self._fallback_ticks.pop(record.uid, None)

    async def _is_gone(self, record: Record) -> bool:
        """Ask the API server now and then; a policy that it does not have is forgotten."""
        now_s = time.monotonic()
        if now_s - record.timer.checked_at_s < EXISTENCE_CHECK_S:
            return False
        record.timer = replace(record.timer, checked_at_s=now_s)
        if await self._policies.exists(record.namespace, record.name, record.uid):
            return False
        logger.warning("policy is gone, its deletion was not seen", extra={"policy": record.who})
        self._fallback_ticks.pop(record.uid, None)  # Or it would cancel itself.
        self.seen(record.manifest.document, gone=True)
        return True

    async def _broke(self, reconciler: Reconciler, record: Record, error: Exception) -> None:
        """A heartbeat met a defect: nobody else is restarted for it."""
        self._defects.tell(error, policy=record.who, doing="a heartbeat")
        reconciler.broke(record)
        try:
            await self._reporter.broke(record, error)
        except Exception as second:  # noqa: BLE001 - telling broke as well; the log is what remains
            self._defects.tell(second, policy=record.who, doing="telling of a defect")

    def _run(self, errand: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(errand, name=name)
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)
        return task

    async def _withdraw(self, record: Record) -> None:
        """Beside the deletion, which never waits for it: our conditions on the target go."""
        try:
            async with asyncio.timeout(WITHDRAWAL_TIMEOUT_S):
                await self._reporter.withdrawn(record)
        except (PlanningError, TimeoutError) as error:
            logger.warning(
                "conditions stay on the target of a deleted policy",
                extra={"policy": record.who, "error": str(error)},
            )


def _slot_has_come(record: Record, *, now_s: float) -> bool:
    """Whether a point of the policy's grid lies after its last plan and after its last heartbeat."""
    resolved, planned_at_s = record.manifest.resolved, record.memory.attempted_at_s
    if resolved is None or planned_at_s is None or record.manifest.deleted or record.timer.ticking:
        return False
    slot_s = last_slot_s(now_s=now_s, uid=record.uid, interval_s=resolved.core.interval_s)
    return slot_s > planned_at_s and now_s - slot_s < time.monotonic() - record.timer.ticked_at_s
