"""Names and paths of the objects that the fleet plays with, and its own annotations."""

from __future__ import annotations

from typing import Any, Final

Json = dict[str, Any]
"""One Kubernetes object, or a part of one, as the API server sends it."""

GROUP: Final = "nvidia.com"
V1ALPHA1: Final = "v1alpha1"
V1BETA1: Final = "v1beta1"
GRAPH_KIND: Final = "DynamoGraphDeployment"
GRAPHS: Final = "dynamographdeployments"
ADAPTER_KIND: Final = "DynamoGraphDeploymentScalingAdapter"
ADAPTERS: Final = "dynamographdeploymentscalingadapters"

FIELD_MANAGER: Final = "slaplanner-fleet"
SIMULATED_LABEL: Final = "slaplanner.io/simulated"
"""`true` on a DynamoGraphDeployment that has no controller but the fleet."""

GRAPH_LABEL: Final = "nvidia.com/dynamo-graph-deployment-name"
OPERATOR_USER: Final = "system:serviceaccount:dynamo-system:dynamo-operator"
"""Whom Dynamo's admission lets edit replicas that belong to a scaling adapter."""

PREFIX: Final = "fleet.slaplanner.io/"
KIND_ANNOTATION: Final = PREFIX + "kind"
"""What carries the replicas: `Deployment`, `PodClique`, ...; or per component: `decode=PodClique`."""
STARTUP_ANNOTATION: Final = PREFIX + "startup-seconds"
CRASH_ANNOTATION: Final = PREFIX + "crash-looping"
"""Replicas that never become ready: `decode=1`, several separated by commas."""
CAPACITY_ANNOTATION: Final = PREFIX + "capacity-gpus"
"""GPUs that the graph's replicas can be placed on; absent: enough."""


def component_key(version: str) -> str:
    """Where a version lists its components, in spec and in status."""
    return "services" if version == V1ALPHA1 else "components"


def version_of(obj: Json) -> str:
    """The version part of an object's apiVersion."""
    return str(obj.get("apiVersion", "")).rpartition("/")[2]


AMPLIFY_ANNOTATION: Final = PREFIX + "amplify"
"""Requests per request of the trace, for this graph; 0: no traffic."""


def collection_path(resource: str, version: str, namespace: str | None = None) -> str:
    """All objects of *resource*, in one namespace or in all."""
    scope = f"/namespaces/{namespace}" if namespace else ""
    return f"/apis/{GROUP}/{version}{scope}/{resource}"


def object_path(resource: str, version: str, namespace: str, name: str, subresource: str = "") -> str:
    """One object, or a subresource of it."""
    return f"{collection_path(resource, version, namespace)}/{name}" + (
        f"/{subresource}" if subresource else ""
    )
