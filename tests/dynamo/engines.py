"""Real processes behind a graph that the fleet plays: Dynamo's frontend, and a simulated worker per replica."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from slaplanner.core.model import Role
from slaplanner_lab.fleet.graph import Graph
from slaplanner_lab.fleet.names import Json
from slaplanner_lab.fleet.replicas import ComponentReplicas
from tests.dynamo.parts import Frontend, Model, Site, Worker
from tests.testbed.dynamo_wheels import WORKERS_VERSION

LOOK_EVERY_S = 0.5
"""How often a process that starts is asked whether it is ready."""
GRACE_S = 30.0
"""As a pod's: so long may a worker finish what it has. Dynamo's own aborts its requests after 5 s."""

_Replica = tuple[str, int]
"""A component's name and its replica's id."""


class ProcessEngines:
    """Starts a process for each replica that has its place, and ends it when it drains or is gone.

    Satisfies `slaplanner_lab.fleet.engines.Engines`. `stop` ends all of them.
    """

    def __init__(
        self, graph: Graph, model: Model, directory: Path, *, version: str = WORKERS_VERSION
    ) -> None:
        self.graph = graph
        self.now_s = 0.0
        self._model = model
        self._version = version
        self._site = Site(directory=directory, namespace=graph.dynamo_namespace)
        self._workers: dict[_Replica, Worker] = {}
        self._ready: set[_Replica] = set()
        self._ending: dict[_Replica, Future[None]] = {}
        self._threads = ThreadPoolExecutor(max_workers=8, thread_name_prefix="ending")
        self._looked_s = 0.0
        self.frontend = Frontend(self._site, version=version)
        self.frontend.launch()
        self._frontend_answers = False

    def advance(self, now_s: float, pools: Mapping[str, ComponentReplicas]) -> None:
        self.now_s = now_s
        roles = {worker.name: worker.role or Role.AGG for worker in self.graph.workers}
        wanted: set[_Replica] = set()
        for name, role in roles.items():
            for replica in pools[name].replicas:
                key = (name, replica.id)
                if replica.draining or replica.placed_s is None or replica.crashing:
                    continue
                wanted.add(key)
                if key not in self._workers:
                    self._workers[key] = Worker(
                        self._site, self._model, mode=role.value, revision=self.graph.worker_set
                    )
                # One that has died begins again, as a kubelet does it.
                self._workers[key].start()
        for key in self._workers.keys() - wanted:
            worker = self._workers.pop(key)
            self._ready.discard(key)
            self._ending[key] = self._threads.submit(worker.stop, grace_s=GRACE_S)
        self._look()

    def up(self) -> Mapping[str, frozenset[int]]:
        found = {component.name: frozenset[int]() for component in self.graph.components}
        for name, number in self._ready:
            found[name] |= {number}
        if self._frontend_answers:
            served = {worker.name for worker in self.graph.workers}
            found |= {
                c.name: frozenset(range(c.replicas)) for c in self.graph.components if c.name not in served
            }
        return found

    def drained(self, pools: Mapping[str, ComponentReplicas]) -> dict[str, frozenset[int]]:
        ended = {key for key, future in self._ending.items() if future.done()}
        return {
            name: frozenset(
                r.id
                for r in pool.replicas
                if r.draining and ((name, r.id) in ended or (name, r.id) not in self._ending)
            )
            for name, pool in pools.items()
        }

    def restart_frontend(self) -> None:
        """A process on the same port: what it counted is lost."""
        self.frontend.stop(grace_s=0)
        self.frontend.launch()
        self._frontend_answers = False

    def report(self) -> Json:
        return {"frontend": self.frontend.url, "workers": len(self._workers), "ready": len(self._ready)}

    def stop(self) -> None:
        """End every process, at once."""
        self.frontend.stop(grace_s=0)
        for worker in self._workers.values():
            worker.stop(grace_s=0)
        self._threads.shutdown(wait=True)

    def _look(self) -> None:
        """Ask those that start whether they are ready, and see who has died."""
        self._ready = {key for key in self._ready if self._workers[key].running}
        if time.monotonic() < self._looked_s + LOOK_EVERY_S:
            return
        self._looked_s = time.monotonic()
        self._frontend_answers = self._frontend_answers or self.frontend.answers()
        self._ready |= {k for k, worker in self._workers.items() if k not in self._ready and worker.ready()}
