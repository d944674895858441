"""The status of a DynamoGraphDeployment, as Dynamo's operator reports it, from its replicas.

Which counts a component reports depends on the workload that carries it: an absent count means
"not reported". Conditions of others stay as they are.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from slaplanner_lab.fleet import names
from slaplanner_lab.fleet.graph import ComponentKind, Graph, PlayedComponent
from slaplanner_lab.fleet.names import Json
from slaplanner_lab.fleet.replicas import ComponentReplicas, Replica

_GROVE = frozenset({ComponentKind.POD_CLIQUE, ComponentKind.POD_CLIQUE_SCALING_GROUP})
"""Kinds for which Dynamo tells why they are not ready, and how many replicas are scheduled."""


class ReadyReason(StrEnum):
    """Reasons of the Ready condition, spelled as Dynamo spells them."""

    ALL_READY = "all_resources_are_ready"
    INSUFFICIENT_CAPACITY = "insufficient_capacity"
    PODS_NOT_READY = "pods_not_ready"
    UPDATING = "updating"
    MIXED = "mixed_not_ready_reasons"
    SOME_NOT_READY = "some_resources_are_not_ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentReadiness:
    """One component's part in the Ready condition."""

    component: str
    reason: ReadyReason
    message: str


def graph_status(
    graph: Graph, pools: Mapping[str, ComponentReplicas], previous: Json, *, version: str, now_s: float
) -> Json:
    """The whole status in the shape of *version*; *previous* is what the object has now.

    Returns a JSON merge patch: components that are gone are null, the conditions are the whole list.
    """
    verdicts = [judge(component, pools[component.name], now_s) for component in graph.components]
    ready = ready_condition(verdicts, generation=graph.generation, now_s=now_s)
    key = names.component_key(version)
    gone = set(previous.get(key) or {}) - {component.name for component in graph.components}
    return {
        "observedGeneration": graph.generation,
        "state": "successful" if ready["status"] == "True" else "pending",
        "conditions": merge_condition(previous.get("conditions") or [], ready),
        key: dict.fromkeys(sorted(gone))
        | {
            component.name: component_status(graph, component, pools[component.name], version, now_s)
            for component in graph.components
        },
        "rollingUpdate": rolling_update(graph, pools, previous.get("rollingUpdate"), version, now_s),
    }


def component_status(
    graph: Graph, component: PlayedComponent, pool: ComponentReplicas, version: str, now_s: float
) -> Json:
    """The counts of one component; only those that its kind has.

    Draining replicas are still there: they count in `replicas`, and nowhere else.
    """
    serving = len(pool.serving(now_s))
    resource = f"{graph.name}-{component.name.lower()}"
    status: Json = {
        "componentKind": component.kind.value,
        "componentNames": [resource],
        "replicas": len(pool.replicas),
        "updatedReplicas": len(_current(component, pool)),
    }
    if version == names.V1ALPHA1:
        status["componentName"] = resource
    if component.kind is not ComponentKind.POD_CLIQUE_SCALING_GROUP:
        status["readyReplicas"] = serving
    if component.kind in (ComponentKind.DEPLOYMENT, ComponentKind.POD_CLIQUE_SCALING_GROUP):
        status["availableReplicas"] = serving
    if component.kind in _GROVE:
        status["scheduledReplicas"] = sum(r.placed_s is not None for r in pool.replicas)
    return status


def _current(component: PlayedComponent, pool: ComponentReplicas) -> Sequence[Replica]:
    return [r for r in pool.alive if r.revision == component.revision]


def judge(component: PlayedComponent, pool: ComponentReplicas, now_s: float) -> ComponentReadiness:
    """Whether a component is ready, and if not, why."""
    serving, updated = len(pool.serving(now_s)), len(_current(component, pool))
    counts = f"desired={component.replicas} updated={updated} ready={serving}"
    if serving == updated == component.replicas and not pool.rolling_out:
        return ComponentReadiness(component=component.name, reason=ReadyReason.ALL_READY, message=counts)
    reason = ReadyReason.SOME_NOT_READY
    if component.kind in _GROVE:
        if any(r.placed_s is None for r in pool.alive):
            reason = ReadyReason.INSUFFICIENT_CAPACITY
        elif pool.rolling_out:
            reason = ReadyReason.UPDATING
        else:
            reason = ReadyReason.PODS_NOT_READY
    elif pool.rolling_out:
        reason = ReadyReason.UPDATING
    return ComponentReadiness(component=component.name, reason=reason, message=counts)


def ready_condition(verdicts: Sequence[ComponentReadiness], *, generation: int, now_s: float) -> Json:
    """The Ready condition: one common reason, or that there are several."""
    unready = [verdict for verdict in verdicts if verdict.reason is not ReadyReason.ALL_READY]
    reasons = {verdict.reason for verdict in unready}
    if not unready:
        reason, message = ReadyReason.ALL_READY, "All resources are ready"
    else:
        reason = reasons.pop() if len(reasons) == 1 else ReadyReason.MIXED
        message = "Resources not ready: " + "; ".join(f"{v.component}: {v.message}" for v in unready)
    return {
        "type": "Ready",
        "status": "False" if unready else "True",
        "reason": reason.value,
        "message": message,
        "observedGeneration": generation,
        "lastTransitionTime": timestamp(now_s),
    }


def merge_condition(conditions: Sequence[Json], new: Json) -> list[Json]:
    """Replace the condition of *new*'s type, in its place; its time moves only when its status does."""
    merged, found = [], False
    for condition in conditions:
        if condition.get("type") != new["type"]:
            merged.append(condition)
            continue
        found = True
        unmoved = condition.get("status") == new["status"]
        merged.append({**new, "lastTransitionTime": condition["lastTransitionTime"]} if unmoved else new)
    return merged if found else [*merged, new]


def rolling_update(
    graph: Graph, pools: Mapping[str, ComponentReplicas], previous: Json | None, version: str, now_s: float
) -> Json | None:
    """Progress of a rollout of the workers; only single-node deployments report one."""
    followed = [worker for worker in graph.workers if worker.kind is ComponentKind.DEPLOYMENT]
    rolling = [worker.name for worker in followed if pools[worker.name].rolling_out]
    updated = "updatedServices" if version == names.V1ALPHA1 else "updatedComponents"
    running = previous is not None and previous.get("phase") == "InProgress"
    if rolling:
        start = previous["startTime"] if previous is not None and running else timestamp(now_s)
        done = [worker.name for worker in followed if worker.name not in rolling]
        return {"phase": "InProgress", "startTime": start, "endTime": None, updated: done}
    if previous is not None and running:
        done = [worker.name for worker in followed]
        return {**previous, "phase": "Completed", "endTime": timestamp(now_s), updated: done}
    return previous


def timestamp(now_s: float) -> str:
    """Unix time as the API server writes it."""
    return dt.datetime.fromtimestamp(int(now_s), dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
