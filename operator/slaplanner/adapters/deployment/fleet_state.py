"""Turns a deployment's status into the core's values: serving, present, rolling out, settled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from slaplanner.adapters.deployment.graph import Component, GraphDeployment
from slaplanner.adapters.deployment.roles import RoleComponent, carries_requests
from slaplanner.core.model import Fleet, Role, RoleState
from slaplanner.core.reasons import Reason

INSUFFICIENT_CAPACITY = "insufficient_capacity"
MIXED_REASONS = "mixed_not_ready_reasons"


def fleet_of(
    graph: GraphDeployment,
    roles: Iterable[RoleComponent],
    adapter_replicas: Mapping[Role, int] | None = None,
    committed: Mapping[Role, int] | None = None,
) -> Fleet:
    """The fleet as the planner sees it.

    Args:
        graph: the deployment, just read.
        roles: who plays what in it.
        adapter_replicas: what the scaling adapters ask for, for roles that have one: they are ahead of
            the deployment until its controller has copied their number.
        committed: what the adapters' controller has granted of it, where it says so.
    """
    asked, granted = adapter_replicas or {}, committed or {}
    entries = tuple(roles)
    scaled = {entry.component.name for entry in entries}
    return Fleet(
        roles=tuple(
            _role_state(graph, entry, asked.get(entry.role), granted.get(entry.role)) for entry in entries
        ),
        ready=graph.ready is True,
        observed=graph.status_is_current,
        incomplete=tuple(
            f"{component.name} ({component.status.serving} of {component.replicas} replicas serve)"
            for component in graph.components
            if component.name not in scaled and _misses(component)
        ),
        unserved=tuple(
            component.name
            for component in graph.components
            if component.name not in scaled
            and carries_requests(component)
            and component.replicas > 0
            and component.status.serving == 0
        ),
    )


def _misses(component: Component) -> bool:
    serving = component.status.serving
    return serving is not None and serving < component.replicas


def _role_state(
    graph: GraphDeployment, entry: RoleComponent, asked: int | None, committed: int | None
) -> RoleState:
    component, counts = entry.component, entry.component.status
    replicas = component.replicas if asked is None else asked
    granted = replicas if committed is None else committed
    # The deployment has what was granted, and its status is about that.
    arrived = granted == component.replicas and graph.status_is_current
    waits_for = _waits_for(graph, granted, replicas)
    if counts.replicas is None:
        settled = arrived and graph.ready is True
    else:
        serving = counts.serving
        agrees = serving == replicas if serving is not None else graph.ready is True
        settled = arrived and counts.updated == replicas and agrees
    return RoleState(
        role=entry.role,
        component=component.name,
        replicas=replicas,
        serving=counts.serving,
        present=counts.replicas if arrived else None,
        gpus_per_replica=entry.gpus_per_replica,
        rollout=component.rollout,
        settled=settled and not component.rollout and waits_for is None,
        updated=counts.updated,
        waits_for=waits_for,
        unschedulable=_unschedulable(graph, entry, replicas),
    )


def _waits_for(graph: GraphDeployment, granted: int, replicas: int) -> Reason | None:
    if graph.scaling_deferred:
        return Reason.SCALING_DEFERRED
    return Reason.NOT_COMMITTED if granted != replicas else None


def _unschedulable(graph: GraphDeployment, entry: RoleComponent, replicas: int) -> bool:
    """The deployment waits for capacity, and this role is (or may be) one that waits.

    Only Grove tells these reasons apart. Where it counts what it has scheduled, the count decides;
    else every role that is not served in full is suspected.
    """
    counts = entry.component.status
    if graph.ready is not False or graph.ready_reason not in (INSUFFICIENT_CAPACITY, MIXED_REASONS):
        return False
    if counts.scheduled is not None:
        return counts.scheduled < replicas
    if graph.ready_reason == MIXED_REASONS:
        return False
    return counts.serving is None or counts.serving < replicas
