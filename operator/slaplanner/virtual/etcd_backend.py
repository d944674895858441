"""Decisions in etcd, under the keys that Dynamo's VirtualConnectorCoordinator and -Client use.

Values are ASCII decimals. A decision is written in one transaction, guarded by the id that was read,
so two publishers never give out one id twice; and without a lease, so it outlives its publisher.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from slaplanner.core.model import Role
from slaplanner.settings import EtcdConnection
from slaplanner.virtual.channel import Reading
from slaplanner.virtual.decisions import ABSENT, Head, IdSeries, Published, parse_number
from slaplanner.virtual.etcd_gateway import EtcdGateway
from slaplanner.virtual.etcd_json import KeyValue

WORKER_KEYS: Mapping[Role, str] = {
    Role.PREFILL: "num_prefill_workers",
    Role.DECODE: "num_decode_workers",
}
DECISION_KEY = "decision_id"
SCALED_KEY = "scaled_decision_id"

KEYS = (*WORKER_KEYS.values(), DECISION_KEY, SCALED_KEY)

TORN_READS = 10
TORN_PAUSE_S = 0.02
"""Dynamo's coordinator writes one key after the other, the id last: a reader in between looks again."""

_SHOWN = 40
"""Bytes of a value that cannot be read, as messages quote it."""


class EtcdChannel:
    """A `Channel` in etcd."""

    def __init__(self, gateway: EtcdGateway, dynamo_namespace: str) -> None:
        self._gateway = gateway
        self._prefix = f"v1/{dynamo_namespace}/planner/"

    async def read(self) -> Reading:
        named = await self._entries()
        for _ in range(TORN_READS):
            if not torn(named):
                break
            await asyncio.sleep(TORN_PAUSE_S)
            named = await self._entries()
        return Reading(head=head_of(named), guard=named)

    async def _entries(self) -> dict[str, KeyValue]:
        entries = await self._gateway.get([f"{self._prefix}{key}" for key in KEYS])
        return {key.removeprefix(self._prefix): entry for key, entry in entries.items()}

    async def publish(self, decision_id: int, workers: Mapping[Role, int], *, over: Reading) -> bool:
        values = {WORKER_KEYS[role]: str(count) for role, count in workers.items()}
        values[DECISION_KEY] = str(decision_id)
        if await self._put(values, over, guarded=(DECISION_KEY,)):
            return True
        # The connection may have died after the first try was carried out: then ours stands there.
        standing = (await self.read()).head.decision
        return (
            standing is not None
            and standing.id == decision_id
            and all(standing.count(role) == count for role, count in workers.items())
        )

    async def acknowledge(self, decision_id: int, *, over: Reading) -> bool:
        # Guarded by both: the decision is still the last one, and nobody answered meanwhile with more.
        return await self._put({SCALED_KEY: str(decision_id)}, over, guarded=(DECISION_KEY, SCALED_KEY))

    def changes(self) -> AsyncIterator[None]:
        return self._gateway.changes(self._prefix)

    async def _put(self, values: Mapping[str, str], over: Reading, *, guarded: tuple[str, ...]) -> bool:
        entries: Mapping[str, KeyValue] = over.guard if isinstance(over.guard, dict) else {}
        return await self._gateway.put_if(
            {f"{self._prefix}{key}": value for key, value in values.items()},
            unchanged={f"{self._prefix}{key}": entries.get(key) for key in guarded},
        )


@asynccontextmanager
async def open_etcd_channel(connection: EtcdConnection, dynamo_namespace: str) -> AsyncIterator[EtcdChannel]:
    """A channel with a connection of its own, for as long as the block lasts."""
    async with AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(EtcdGateway(connection))
        yield EtcdChannel(gateway, dynamo_namespace)


def torn(entries: Mapping[str, KeyValue]) -> bool:
    """Whether counts were written after the id, which comes last: they belong to the next decision."""
    decision = entries.get(DECISION_KEY)
    return decision is not None and any(
        entries[key].mod_revision > decision.mod_revision for key in WORKER_KEYS.values() if key in entries
    )


def head_of(entries: Mapping[str, KeyValue]) -> Head:
    """What the keys say. What is no number counts as absent and is named in the faults."""
    faults: list[str] = []

    def number(key: str) -> int:
        entry = entries.get(key)
        if entry is None:
            return ABSENT
        # Dynamo writes -1 for what nobody has decided yet.
        text = entry.value.decode("ascii", errors="replace")
        if text == str(ABSENT):
            return ABSENT
        found = parse_number(text)
        if found is None:
            shown = entry.value[:_SHOWN].decode("utf-8", errors="replace")
            faults.append(f"{key}: found {shown!r}, wanted a whole number; it counts as absent")
            return ABSENT
        return found

    decision_id, acknowledged_id = number(DECISION_KEY), number(SCALED_KEY)
    workers = {role: count for role, key in WORKER_KEYS.items() if (count := number(key)) != ABSENT}
    decision = None
    if decision_id != ABSENT:
        revision = entries[DECISION_KEY].create_revision
        decision = Published(
            id=decision_id, workers=workers, series=IdSeries(name=str(revision), started=revision)
        )
    return Head(decision=decision, acknowledged_id=acknowledged_id, faults=tuple(faults))
