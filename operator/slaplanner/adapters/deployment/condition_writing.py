"""Writing `SLAPlanned` and `SLAMet` to a deployment, in the way that its version allows."""

from __future__ import annotations

from collections.abc import Iterable

from slaplanner.adapters.deployment import request_bodies
from slaplanner.adapters.deployment.api_client import KubernetesApi
from slaplanner.adapters.deployment.failures import ApiRefusal
from slaplanner.adapters.deployment.graph import GROUP, KIND, PLURAL, V1BETA1, GraphDeployment, parse_graph
from slaplanner.adapters.deployment.own_conditions import (
    GraphCondition,
    conditions_apply,
    conditions_patch,
    merged,
    own_conditions,
)
from slaplanner.core.errors import ActuationError, TargetError
from slaplanner.core.reasons import Reason

CONFLICT_ATTEMPTS = 5
"""A list that is written whole conflicts with the deployment's own controller, which writes it often."""


def report_conditions(
    api: KubernetesApi, namespace: str, name: str, wanted: Iterable[GraphCondition], *, now: str
) -> bool:
    """Make the deployment carry exactly *wanted* of ours; everything else on it stays.

    Args:
        api: the API server.
        namespace: the deployment's.
        name: the deployment's.
        wanted: none removes ours.
        now: RFC 3339, for conditions whose status changed.

    Returns:
        Whether something was written. A deployment that is gone, or not served, has nothing to say.

    Raises:
        ActuationError: it was refused.
    """
    conditions = tuple(wanted)
    refusal: ApiRefusal | None = None
    for _ in range(CONFLICT_ATTEMPTS):
        try:
            graph = parse_graph(api.get_served(namespace, PLURAL, name))
            return _write(api, graph, conditions, now)
        except ApiRefusal as refused:
            if refused.failure.not_found or refused.failure.not_served:
                return False
            refusal = refused
            if refused.failure.reason is not Reason.CONFLICT:
                break
        except TargetError as unreadable:
            raise ActuationError(str(unreadable), reason=unreadable.reason) from unreadable
    assert refusal is not None
    raise ActuationError(
        f"conditions of {KIND} {name!r}: {refusal.failure.message}", reason=refusal.failure.reason
    ) from refusal


def _write(api: KubernetesApi, graph: GraphDeployment, wanted: tuple[GraphCondition, ...], now: str) -> bool:
    whole_list = merged(graph.conditions, wanted, now=now, generation=graph.generation)
    if whole_list is None:
        return False
    keyed = graph.api_version == V1BETA1 and bool(wanted)
    if keyed:
        ours = own_conditions(graph.conditions, wanted, now=now, generation=graph.generation)
        body = conditions_apply(graph, ours)
    else:
        body = conditions_patch(graph, whole_list)
    api.patch(
        graph.api_version.removeprefix(f"{GROUP}/"),
        graph.namespace,
        PLURAL,
        graph.name,
        body,
        content_type=request_bodies.APPLY_PATCH if keyed else request_bodies.MERGE_PATCH,
        subresource="status",
        force=True if keyed else None,
    )
    return True
