"""The running fleet: watches graphs and adapters, moves them by the clock, writes what they need.

One loop moves everything, so no two writers race for a graph; its writes run beside it, one batch
per graph at a time, and a refused or lost one is planned anew from what the watch says then.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import aiohttp

from slaplanner.core.model import Role
from slaplanner_lab.engine import Engine
from slaplanner_lab.fleet import names
from slaplanner_lab.fleet.graph import FleetError
from slaplanner_lab.fleet.kube import ApiError, Kube, follow
from slaplanner_lab.fleet.names import Json
from slaplanner_lab.fleet.options import Options
from slaplanner_lab.fleet.played import ApiWrite, Played

logger = logging.getLogger(__name__)

RETRY_S = 1.0
"""How long a graph rests after a write that failed for another reason than a conflict."""

_PATIENT = (404, 409)
"""The object changed or went meanwhile: the watch tells what to do next."""


class GroupNotServedError(Exception):
    """The definitions of Dynamo's objects are not installed."""


class SteadyClock:
    """Unix time that never jumps: read once, then carried on by the monotonic clock."""

    def __init__(self) -> None:
        self._origin_s = time.time() - time.monotonic()

    def __call__(self) -> float:
        return self._origin_s + time.monotonic()


@dataclass(slots=True)
class PlayedFleet:
    """All graphs that are played."""

    kube: Kube
    options: Options
    now: Callable[[], float] = field(default_factory=SteadyClock)
    played: dict[str, Played] = field(init=False, default_factory=dict)
    _adapters: dict[str, dict[str, Json]] = field(init=False, default_factory=dict)
    """By namespace and name."""
    _resting_until_s: dict[str, float] = field(init=False, default_factory=dict)
    _writing: dict[str, asyncio.Task[None]] = field(init=False, default_factory=dict)

    async def run(self) -> None:
        """Play until cancelled.

        Raises:
            GroupNotServedError: the cluster does not know the graphs.
        """
        versions = await self.kube.served_versions()
        version = next((v for v in (names.V1BETA1, names.V1ALPHA1) if v in versions), None)
        if version is None:
            raise GroupNotServedError(
                f"found {names.GROUP} served in {list(versions) or 'no version'}, wanted v1beta1 or v1alpha1:"
                " install the definitions first (slaplanner fleet install-crds)"
            )
        if self.options.engines is None:
            await asyncio.to_thread(warm_up, self.options)
        label = {} if self.options.every_graph else {"labelSelector": f"{names.SIMULATED_LABEL}=true"}
        graphs: asyncio.Queue[Json] = asyncio.Queue()
        adapters: asyncio.Queue[Json] = asyncio.Queue()
        namespace = self.options.namespace
        async with asyncio.TaskGroup() as tasks:
            where = names.collection_path(names.GRAPHS, version, namespace)
            tasks.create_task(follow(self.kube, where, graphs, label))
            where = names.collection_path(names.ADAPTERS, version, namespace)
            tasks.create_task(follow(self.kube, where, adapters, {}))
            tasks.create_task(self._take(graphs, self._graph_event))
            tasks.create_task(self._take(adapters, self._adapter_event))
            tasks.create_task(self._move())

    async def _take(self, changes: asyncio.Queue[Json], handle: Callable[[Json], None]) -> None:
        while True:
            handle(await changes.get())

    async def _move(self) -> None:
        while True:
            for key, played in self.played.items():
                now_s = self.now()
                played.move(now_s)
                idle = key not in self._writing and now_s >= self._resting_until_s.get(key, 0.0)
                if idle and (planned := played.writes(self._adapters.get(played.graph.namespace, {}), now_s)):
                    self._writing[key] = asyncio.create_task(self._write(key, planned))
            await asyncio.sleep(self.options.tick_s)

    async def _write(self, key: str, planned: list[ApiWrite]) -> None:
        try:
            for write in planned:
                await self._write_one(key, write)
        except (ApiError, aiohttp.ClientError, TimeoutError) as error:
            logger.warning("%s: a write was refused: %s", key, error)
            self._resting_until_s[key] = self.now() + RETRY_S
        finally:
            del self._writing[key]

    async def _write_one(self, key: str, write: ApiWrite) -> None:
        try:
            answer = await self.kube.request(
                write.method,
                write.path,
                write.body,
                content_type=write.content_type,
                **({} if write.method == "DELETE" else {"fieldManager": names.FIELD_MANAGER}),
            )
        except ApiError as error:
            if error.status not in _PATIENT:
                raise
            self._resting_until_s[key] = self.now() + self.options.tick_s
            return
        if write.method == "DELETE":
            return
        # the watch will say it, too; knowing it at once spares a conflict
        if answer["kind"] == names.GRAPH_KIND and key in self.played:
            self._see(answer)
        elif answer["kind"] == names.ADAPTER_KIND:
            self._see_adapter(answer)

    def _graph_event(self, event: Json) -> None:
        if event["type"] == "SYNC":
            for key in self.played.keys() - {_key(obj) for obj in event["items"]}:
                del self.played[key]
            for obj in event["items"]:
                self._see(obj)
        elif event["type"] == "DELETED":
            self.played.pop(_key(event["object"]), None)
        else:
            self._see(event["object"])

    def _see(self, obj: Json) -> None:
        key = _key(obj)
        known = self.played.get(key)
        try:
            if known is None or known.graph.uid != obj["metadata"]["uid"]:
                self.played[key] = Played.start(obj, self.options, self.now())
                logger.info("%s: playing model %s", key, self.played[key].graph.model)
            elif _version(obj) > _version(known.obj):
                known.observe(obj)
        except FleetError as error:
            logger.warning("%s: cannot be read: %s", key, error)

    def _adapter_event(self, event: Json) -> None:
        if event["type"] == "SYNC":
            self._adapters = {}
            for obj in event["items"]:
                self._see_adapter(obj)
        elif event["type"] == "DELETED":
            meta = event["object"]["metadata"]
            self._adapters.get(meta["namespace"], {}).pop(meta["name"], None)
        else:
            self._see_adapter(event["object"])

    def _see_adapter(self, obj: Json) -> None:
        meta = obj["metadata"]
        there = self._adapters.setdefault(meta["namespace"], {})
        if meta["name"] not in there or _version(obj) > _version(there[meta["name"]]):
            there[meta["name"]] = obj


def warm_up(options: Options) -> None:
    """Compile the engine's kernels before the first request waits for them."""
    engine = Engine(options.tables)
    workers = [engine.add_worker(role) for role in (Role.PREFILL, Role.DECODE, Role.DECODE)]
    engine.submit(arrival_s=[0.0, 0.0], isl_tokens=[100, 100], osl_tokens=[20, 20])
    engine.advance(0.01)
    engine.fail_worker(workers[1])
    engine.advance(1000.0)
    engine.drain_worker(workers[2])


def _key(obj: Json) -> str:
    return f"{obj['metadata']['namespace']}/{obj['metadata']['name']}"


def _version(obj: Json) -> int:
    """An answer to a write and an event of the watch may pass each other: the higher one is newer."""
    return int(obj["metadata"]["resourceVersion"])
