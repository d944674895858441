"""Glances between plans: a few cheap figures of all policies at every heartbeat, one question per Prometheus.

A glance that contradicts the last plan leaves an alarm with the policy; its next heartbeat then plans.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from dataclasses import dataclass, field, replace

from slaplanner.adapters.prometheus import Scope
from slaplanner.controller.outside.ports import World
from slaplanner.controller.planning import with_startup
from slaplanner.controller.records import PlanMemory, Record, Records
from slaplanner.core.errors import MetricsError
from slaplanner.core.glance import Plans, Sight, judge
from slaplanner.core.model import Pause, Policy
from slaplanner.core.plan import startup_seconds

logger = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Glances:
    """Looks at the traffic of every policy that could plan now."""

    world: World
    records: Records
    every_s: float
    _busy: set[str] = field(default_factory=set)
    """Connections whose last question is still open: no second one is asked beside it."""

    async def work(self) -> None:
        """Look for ever. A connection that hangs delays no look through another one."""
        async with asyncio.TaskGroup() as looks:
            while True:
                await asyncio.sleep(self.every_s)
                looks.create_task(self._try_to_look())

    async def _try_to_look(self) -> None:
        try:
            await self.look()
        except Exception:
            logger.exception("glance failed, plans go on at their own times")

    async def look(self) -> None:
        """Look once through every connection. What cannot be read is no alarm."""
        wanted: dict[str, dict[str, Scope]] = defaultdict(dict)
        now_s = self.world.clock.now_s()
        for record in self.records:
            resolved, scope = record.manifest.resolved, record.memory.scope
            if resolved is not None and scope is not None and _may_plan(record, resolved.core, now_s=now_s):
                wanted[resolved.policy.spec.metrics.connection][record.uid] = scope
        await asyncio.gather(
            *(
                self._look(connection, scopes, at_s=now_s)
                for connection, scopes in wanted.items()
                if connection not in self._busy
            )
        )

    async def _look(self, connection: str, scopes: dict[str, Scope], *, at_s: float) -> None:
        self._busy.add(connection)
        try:
            sights = await self.world.metrics.glance(connection, scopes, at_s=at_s)
        except MetricsError as error:
            # Counted as every failed query is; the plans say it to the users.
            logger.debug("no glance", extra={"connection": connection, "error": str(error)})
            return
        finally:
            self._busy.discard(connection)
        for uid, sight in sights.items():
            if (record := self.records.get(uid)) is not None:
                _hold_against_the_plan(record, sight)


def _may_plan(record: Record, core: Policy, *, now_s: float) -> bool:
    memory = record.memory
    if (
        record.manifest.deleted
        or memory.decision is None
        or memory.target is None
        or memory.alarm is not None
        # A changed policy may name a connection that it may not use: the plan that follows finds out.
        or memory.planned_for != record.manifest.version
    ):
        return False
    if core.pause in {Pause.ALL, Pause.SCALE_OUT}:
        return False
    return _plans(memory).allow(now_s=now_s, startup_s=_startup_s(memory, core))


def _hold_against_the_plan(record: Record, sight: Sight) -> None:
    memory, resolved = record.memory, record.manifest.resolved
    if resolved is None or memory.decision is None or memory.target is None or memory.state is None:
        return
    alarm = judge(
        sight,
        decision=memory.decision,
        fleet=memory.target.fleet,
        policy=resolved.core,
        burstiness=memory.state.burstiness,
        plans=_plans(memory),
        startup_s=_startup_s(memory, resolved.core),
    )
    if alarm is not None:
        record.memory = replace(memory, alarm=alarm)


def _plans(memory: PlanMemory) -> Plans:
    return Plans(last_s=memory.attempted_at_s, alarmed_s=memory.alarmed_at_s)


def _startup_s(memory: PlanMemory, core: Policy) -> float:
    assert memory.target is not None
    target = memory.target if memory.state is None else with_startup(memory.target, memory.state)
    return startup_seconds(core, target.fleet)
