"""One graph that the fleet plays: its replicas, its traffic, and what must be written for it.

Still without a cluster: `move` takes the clock, `writes` returns what the API server shall be told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slaplanner_lab.fleet import adapters, names
from slaplanner_lab.fleet.engines import Engines
from slaplanner_lab.fleet.graph import Faults, Graph, PlayedComponent, read_graph
from slaplanner_lab.fleet.kube import JSON_PATCH, MERGE
from slaplanner_lab.fleet.names import Json
from slaplanner_lab.fleet.options import Options
from slaplanner_lab.fleet.replicas import ComponentReplicas, Wanted, adopt, step
from slaplanner_lab.fleet.serving import Serving
from slaplanner_lab.fleet.status import graph_status
from slaplanner_lab.simulation.traffic import Traffic


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiWrite:
    """One call to the API server."""

    method: str
    path: str
    body: Any = None
    content_type: str = "application/json"


@dataclass(slots=True, kw_only=True)
class Played:
    """The moving parts of one graph."""

    obj: Json
    """As the API server last sent it."""
    graph: Graph
    pools: dict[str, ComponentReplicas]
    serving: Engines
    startup_s: float
    faults: Faults | None = None
    """Told over the control port; they replace the annotations'."""

    @classmethod
    def start(cls, obj: Json, options: Options, now_s: float) -> Played:
        """Begin to play *obj*; replicas that its status already calls serving go on serving.

        Raises:
            FleetError: the object cannot be read.
        """
        graph = read_graph(obj)
        pools = {
            one.name: adopt(serving=_serving(obj, one), revision=one.revision, now_s=now_s)
            for one in graph.components
        }
        serving = _played(graph, options, now_s) if options.engines is None else options.engines(graph)
        return cls(obj=obj, graph=graph, pools=pools, serving=serving, startup_s=options.startup_s)

    def observe(self, obj: Json) -> None:
        """Take a newer state of the object.

        Raises:
            FleetError: it cannot be read; the old state stays.
        """
        graph = read_graph(obj)
        renamed = (graph.model, graph.dynamo_namespace) != (self.graph.model, self.graph.dynamo_namespace)
        self.obj, self.graph, self.serving.graph = obj, graph, graph
        self.pools = {one.name: self.pools.get(one.name, ComponentReplicas()) for one in graph.components}
        if renamed:
            self.serving.restart_frontend()

    def move(self, now_s: float) -> None:
        """Serve until *now_s*, then let replicas come and go."""
        self.serving.advance(now_s, self.pools)
        drained, up = self.serving.drained(self.pools), self.serving.up()
        faults = self.faults or self.graph.faults
        for component in self.graph.components:
            wanted = Wanted(
                replicas=component.replicas,
                revision=component.revision,
                startup_s=self.startup_s if self.graph.startup_s is None else self.graph.startup_s,
                crash_looping=faults.crash_looping.get(component.name, 0),
                up=None if up is None else up.get(component.name, frozenset()),
                drained=drained[component.name],
                placeable=self._placeable(component, faults.capacity_gpus),
            )
            self.pools[component.name] = step(self.pools[component.name], wanted, now_s)

    def writes(self, present: Mapping[str, Json], now_s: float) -> list[ApiWrite]:
        """What the API server shall be told now; *present*: the adapters of this namespace by name.

        Nothing for an object that is being deleted: an adapter that comes back would keep it for ever,
        because a deletion in the foreground waits until all that it owns are gone.
        """
        if self.obj["metadata"].get("deletionTimestamp"):
            return []
        graph, version = self.graph, names.version_of(self.obj)
        planned: list[ApiWrite] = []
        for component in adapters.missing(graph, present):
            body = adapters.adapter_object(graph, component, version)
            planned.append(
                ApiWrite(
                    method="POST",
                    path=names.collection_path(names.ADAPTERS, version, graph.namespace),
                    body=body,
                )
            )
        planned += [
            ApiWrite(method="DELETE", path=names.object_path(names.ADAPTERS, version, graph.namespace, name))
            for name in adapters.surplus(graph, present)
        ]
        for component in graph.components:
            name = adapters.adapter_name(graph.name, component.name)
            if component.scaling_adapter and name in present:
                status = adapters.adapter_status(graph, component, present[name].get("status") or {}, now_s)
                path = names.object_path(names.ADAPTERS, version, graph.namespace, name, "status")
                if status is not None:
                    planned.append(ApiWrite(method="PATCH", path=path, body=status, content_type=MERGE))
        planned += self._writes_to_graph(present, now_s)
        return planned

    def _writes_to_graph(self, present: Mapping[str, Json], now_s: float) -> list[ApiWrite]:
        """At most one: each makes the object as it was read a past one."""
        graph, version = self.graph, names.version_of(self.obj)
        if asked := adapters.copies(graph, present):
            patch = adapters.copy_patch(self.obj, asked)
            path = names.object_path(names.GRAPHS, version, graph.namespace, graph.name)
            return [ApiWrite(method="PATCH", path=path, body=patch, content_type=JSON_PATCH)]
        previous = self.obj.get("status") or {}
        status = graph_status(graph, self.pools, previous, version=version, now_s=now_s)
        if _merged(previous, status) == previous:
            return []
        stamp = {"resourceVersion": self.obj["metadata"]["resourceVersion"]}
        path = names.object_path(names.GRAPHS, version, graph.namespace, graph.name, "status")
        return [
            ApiWrite(
                method="PATCH", path=path, body={"metadata": stamp, "status": status}, content_type=MERGE
            )
        ]

    def _placeable(self, component: PlayedComponent, capacity_gpus: int | None) -> int | None:
        if capacity_gpus is None or component.gpus_per_replica == 0:
            return None
        held = sum(
            one.gpus_per_replica
            * sum(replica.placed_s is not None for replica in self.pools[one.name].replicas)
            for one in self.graph.components
        )
        return max(0, capacity_gpus - held) // component.gpus_per_replica

    def report(self) -> Json:
        """What really happens, for tests and people."""
        now_s = self.serving.now_s
        return {
            "model": self.graph.model,
            "dynamoNamespace": self.graph.dynamo_namespace,
            "replicas": {
                component.name: {
                    "wanted": component.replicas,
                    "serving": len(self.pools[component.name].serving(now_s)),
                    "present": len(self.pools[component.name].replicas),
                }
                for component in self.graph.components
            },
            **self.serving.report(),
        }


def _played(graph: Graph, options: Options, now_s: float) -> Serving:
    return Serving(
        graph=graph,
        tables=options.tables,
        dialect=options.dialect,
        traffic=_share(options, graph.amplify),
        loop_s=options.loop_s,
        now_s=now_s,
        targets=options.targets,
    )


def _share(options: Options, own: int | None) -> Traffic | None:
    """The traffic of a graph that may have a factor of its *own*."""
    copies = options.amplify if own is None else own
    if options.traffic is None or copies == 0:
        return None
    return options.traffic.amplified(copies, seed=options.seed)


def _serving(obj: Json, component: PlayedComponent) -> int:
    """Replicas that serve already, by the object's own status: the fleet was restarted."""
    counts = ((obj.get("status") or {}).get(names.component_key(names.version_of(obj))) or {}).get(
        component.name
    ) or {}
    return min(component.replicas, int(counts.get("availableReplicas") or counts.get("readyReplicas") or 0))


def _merged(previous: Json, patch: Json) -> Json:
    """JSON merge patch (RFC 7386) of objects."""
    merged = dict(previous)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            before = merged.get(key)
            merged[key] = _merged(before if isinstance(before, dict) else {}, value)
        else:
            merged[key] = value
    return merged
