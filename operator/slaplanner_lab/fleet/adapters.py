"""Scaling adapters: which shall exist for a graph, what is copied into it, what their status says.

Pure: the results are objects and patches for the API server.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from slaplanner_lab.fleet import names
from slaplanner_lab.fleet.graph import Graph, PlayedComponent
from slaplanner_lab.fleet.names import Json
from slaplanner_lab.fleet.status import timestamp


def adapter_name(graph: str, component: str) -> str:
    return f"{graph}-{component.lower()}"


def adapter_object(graph: Graph, component: PlayedComponent, version: str) -> Json:
    """A new adapter, which starts from what the graph asks for and goes with it."""
    reference = "serviceName" if version == names.V1ALPHA1 else "componentName"
    return {
        "apiVersion": f"{names.GROUP}/{version}",
        "kind": names.ADAPTER_KIND,
        "metadata": {
            "name": adapter_name(graph.name, component.name),
            "namespace": graph.namespace,
            "labels": {names.SIMULATED_LABEL: "true", names.GRAPH_LABEL: graph.name},
            "ownerReferences": [
                {
                    "apiVersion": f"{names.GROUP}/{version}",
                    "kind": names.GRAPH_KIND,
                    "name": graph.name,
                    "uid": graph.uid,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": {
            "replicas": component.replicas,
            "dgdRef": {"name": graph.name, reference: component.name},
        },
    }


def missing(graph: Graph, present: Iterable[str]) -> tuple[PlayedComponent, ...]:
    """Components whose adapter is switched on and not there."""
    there = set(present)
    return tuple(
        component
        for component in graph.components
        if component.scaling_adapter and adapter_name(graph.name, component.name) not in there
    )


def surplus(graph: Graph, adapters: Mapping[str, Json]) -> tuple[str, ...]:
    """Adapters of this graph whose component is gone or has them switched off."""
    wanted = {adapter_name(graph.name, c.name) for c in graph.components if c.scaling_adapter}
    return tuple(
        name
        for name, adapter in adapters.items()
        if name not in wanted and adapter["spec"]["dgdRef"]["name"] == graph.name
    )


def copies(graph: Graph, adapters: Mapping[str, Json]) -> dict[str, int]:
    """Replicas by component that an adapter asks for and the graph does not have yet."""
    asked = {
        component: int(adapters[adapter_name(graph.name, component.name)]["spec"]["replicas"])
        for component in graph.components
        if component.scaling_adapter and adapter_name(graph.name, component.name) in adapters
    }
    return {component.name: count for component, count in asked.items() if count != component.replicas}


def copy_patch(obj: Json, replicas: Mapping[str, int]) -> list[Json]:
    """The JSON Patch that writes *replicas* into the graph as it was read."""
    version = names.version_of(obj)
    operations: list[Json] = [
        {"op": "replace", "path": "/metadata/resourceVersion", "value": obj["metadata"]["resourceVersion"]}
    ]
    if version == names.V1ALPHA1:
        paths = {name: name.replace("~", "~0").replace("/", "~1") for name in replicas}
    else:
        paths = {one["name"]: str(index) for index, one in enumerate(obj["spec"]["components"])}
    for name, count in replicas.items():
        path = f"/spec/{names.component_key(version)}/{paths[name]}"
        operations.append({"op": "add", "path": f"{path}/replicas", "value": count})
    return operations


def adapter_status(graph: Graph, component: PlayedComponent, previous: Json, now_s: float) -> Json | None:
    """The adapter's status as a merge patch; None when nothing changed."""
    status = {
        "replicas": component.replicas,
        "selector": f"nvidia.com/dynamo-graph-deployment-name={graph.name},"
        f"nvidia.com/dynamo-component={component.name}",
    }
    if all(previous.get(key) == value for key, value in status.items()):
        return None
    scaled = previous.get("replicas") not in (None, component.replicas)
    return {"status": status | ({"lastScaleTime": timestamp(now_s)} if scaled else {})}
