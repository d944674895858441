"""The bodies of the requests that change replicas, as values.

Only `replicas` is ever written. A JSON Patch has the resourceVersion as a `replace`, because a stale one is then refused
as a conflict (409); a `test` would give a bare 422. In v1beta1 components are a list, so a `test` on the name makes sure
that the index still is that component.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from slaplanner.adapters.deployment.graph import KIND, V1BETA1, GraphDeployment
from slaplanner.core.rebalance import ReplicaWrite

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"

JsonPatch = list[dict[str, Any]]


def replicas_patch(graph: GraphDeployment, writes: Iterable[ReplicaWrite], api_version: str) -> JsonPatch:
    """Set the replicas of all *writes* at once, or of none."""
    patch: JsonPatch = [
        {"op": "replace", "path": "/metadata/resourceVersion", "value": graph.resource_version}
    ]
    for write in writes:
        if api_version == V1BETA1:
            path = f"/spec/components/{graph.index(write.component)}"
            patch.append({"op": "test", "path": f"{path}/name", "value": write.component})
        else:
            path = f"/spec/services/{_escaped(write.component)}"
        patch.append({"op": "add", "path": f"{path}/replicas", "value": write.replicas})
    return patch


def ownership_apply(graph: GraphDeployment, replicas: Mapping[str, int], api_version: str) -> dict[str, Any]:
    """A server-side apply that owns the replicas of these components at these values.

    It holds the resourceVersion: values that somebody changed meanwhile must not be turned back.
    """
    if api_version == V1BETA1:
        spec: dict[str, Any] = {
            "components": [{"name": name, "replicas": count} for name, count in replicas.items()]
        }
    else:
        spec = {"services": {name: {"replicas": count} for name, count in replicas.items()}}
    return {
        "apiVersion": api_version,
        "kind": KIND,
        "metadata": {
            "name": graph.name,
            "namespace": graph.namespace,
            "resourceVersion": graph.resource_version,
        },
        "spec": spec,
    }


def scale_patch(replicas: int) -> dict[str, Any]:
    """The body for the `scale` subresource of a scaling adapter."""
    return {"spec": {"replicas": replicas}}


def adapter_name(graph_name: str, component: str) -> str:
    """The scaling adapter of a component, as Dynamo names it."""
    return f"{graph_name}-{component.lower()}"


def _escaped(segment: str) -> str:
    """A JSON Pointer segment (RFC 6901, section 3)."""
    return segment.replace("~", "~0").replace("/", "~1")
