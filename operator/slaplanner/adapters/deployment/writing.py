"""The three kinds of writes to a target: a patch of the deployment, an adapter's scale, and taking ownership."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from slaplanner.adapters.deployment import request_bodies
from slaplanner.adapters.deployment.api_client import KubernetesApi
from slaplanner.adapters.deployment.failures import ApiRefusal
from slaplanner.adapters.deployment.graph import (
    ADAPTER_PLURAL,
    GROUP,
    KIND,
    PLURAL,
    V1ALPHA1,
    V1BETA1,
    GraphDeployment,
    parse_graph,
)
from slaplanner.adapters.deployment.ownership import applied_by_us, is_droppable, write_version
from slaplanner.adapters.deployment.reading import Adapter, adapter_trouble
from slaplanner.core.errors import ActuationError
from slaplanner.core.rebalance import ReplicaWrite


def scale_adapter(api: KubernetesApi, namespace: str, adapter: Adapter, write: ReplicaWrite) -> None:
    """Set a component's replicas through its scaling adapter.

    Raises:
        ActuationError: it was refused, or the adapter is gone.
    """
    try:
        api.patch(
            adapter.version,
            namespace,
            ADAPTER_PLURAL,
            adapter.name,
            request_bodies.scale_patch(write.replicas),
            content_type=request_bodies.MERGE_PATCH,
            subresource="scale",
        )
    except ApiRefusal as refusal:
        message, reason = adapter_trouble(refusal.failure, adapter.name, write.component)
        raise ActuationError(message, reason=reason) from refusal


def patch_replicas(
    api: KubernetesApi, graph: GraphDeployment, moves: Iterable[ReplicaWrite]
) -> GraphDeployment:
    """Set the replicas of several components of the deployment at once.

    Returns:
        The deployment after the write.

    Raises:
        ActuationError: nothing was written (reason Conflict: *graph* is stale).
    """
    planned = tuple(moves)
    return _patched(
        api,
        graph,
        lambda version: request_bodies.replicas_patch(graph, planned, version),
        content_type=request_bodies.JSON_PATCH,
    )


def take_ownership(api: KubernetesApi, graph: GraphDeployment, components: Iterable[str]) -> None:
    """Own the replicas of *components* at the values that they have, where only others own them.

    The apply is not forced and changes nothing but the ownership. It names every component that an
    earlier apply of ours owns, also those of another policy on this deployment.

    Raises:
        ActuationError: it was refused (reason Conflict: *graph* is stale).
    """
    wanted = {name for name in components if is_droppable(graph, name)}
    if not wanted:
        return
    wanted.update(applied_by_us(graph))
    values: Mapping[str, int] = {
        component.name: component.replicas for component in graph.components if component.name in wanted
    }
    _patched(
        api,
        graph,
        lambda version: request_bodies.ownership_apply(graph, values, version),
        content_type=request_bodies.APPLY_PATCH,
    )


def _patched(
    api: KubernetesApi,
    graph: GraphDeployment,
    body: Callable[[str], object],
    *,
    content_type: str,
) -> GraphDeployment:
    """Send the body for the version that others apply; for the one that was read if that is not served."""
    served = (V1BETA1, V1ALPHA1) if graph.api_version == V1BETA1 else (V1ALPHA1,)
    for version in dict.fromkeys((write_version(graph, served), graph.api_version)):
        try:
            answer = api.patch(
                version.removeprefix(f"{GROUP}/"),
                graph.namespace,
                PLURAL,
                graph.name,
                body(version),
                content_type=content_type,
            )
        except ApiRefusal as refusal:
            if refusal.failure.not_served and version != graph.api_version:
                continue
            raise ActuationError(
                f"{KIND} {graph.name!r}: {refusal.failure.message}", reason=refusal.failure.reason
            ) from refusal
        return parse_graph(answer)
    raise AssertionError("the version that was read ends the loop")
