"""Reads a deployment, and the scaling adapters of the components that have one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from slaplanner.adapters.deployment.api_client import KubernetesApi
from slaplanner.adapters.deployment.connector import Identity, TargetState
from slaplanner.adapters.deployment.failures import ApiRefusal, Failure
from slaplanner.adapters.deployment.fleet_state import fleet_of
from slaplanner.adapters.deployment.graph import (
    ADAPTER_KIND,
    ADAPTER_PLURAL,
    GROUP,
    KIND,
    PLURAL,
    VERSIONS,
    Component,
    GraphDeployment,
    parse_graph,
)
from slaplanner.adapters.deployment.own_conditions import own_words
from slaplanner.adapters.deployment.ownership import replica_managers, replica_writers, scale_writers
from slaplanner.adapters.deployment.request_bodies import adapter_name
from slaplanner.adapters.deployment.roles import (
    RoleComponent,
    declared_model,
    dynamo_namespace,
    metrics_prefix,
    resolve_roles,
    runtime_namespaces,
)
from slaplanner.adapters.deployment.untrusted import items, mapping, text, whole
from slaplanner.core.errors import TargetError
from slaplanner.core.model import Mode, Role, RolePolicy
from slaplanner.core.reasons import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphTarget:
    """Which deployment, for which roles, and what the policy says of it itself."""

    namespace: str
    name: str
    mode: Mode
    roles: tuple[RolePolicy, ...] = ()
    model: str | None = None
    """`metrics.model`: beats what is found."""
    dynamo_namespace: str | None = None
    """`metrics.dynamoNamespace`: beats what is found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """A scaling adapter: the object that keeps a component's replicas."""

    name: str
    version: str
    replicas: int
    writers: tuple[str, ...]
    """Field managers besides us that own its replicas."""
    committed: int | None = None
    """What its controller has granted; None: it grants what is asked for, or does not say."""
    pending_reason: str = ""
    """Why it has not granted the rest."""

    @property
    def pending_message(self) -> str:
        granted = f"{ADAPTER_KIND} {self.name!r} has granted {self.committed} of {self.replicas} replicas"
        return f"{granted} ({self.pending_reason})" if self.pending_reason else granted


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentReading:
    """What was read: the deployment, who plays what in it, and its adapters by role."""

    graph: GraphDeployment
    roles: tuple[RoleComponent, ...]
    adapters: Mapping[Role, Adapter]
    state: TargetState


def look_at(api: KubernetesApi, target: GraphTarget) -> DeploymentReading:
    """Read the target.

    Raises:
        TargetError: it is absent, not served, not readable, or cannot be planned for.
    """
    try:
        body = api.get_served(target.namespace, PLURAL, target.name)
    except ApiRefusal as refusal:
        raise _unreadable(refusal.failure, target) from refusal
    graph = parse_graph(body)
    if graph.deleting:
        raise TargetError(
            f"{KIND} {graph.name!r} in namespace {graph.namespace!r} is being deleted",
            reason=Reason.TARGET_NOT_FOUND,
        )
    roles = resolve_roles(graph, target.mode, target.roles)
    adapters = {
        entry.role: _adapter(api, graph, entry.component)
        for entry in roles
        if entry.component.scaling_adapter
    }
    return DeploymentReading(
        graph=graph, roles=roles, adapters=adapters, state=_state(graph, target, roles, adapters)
    )


def adapter_trouble(failure: Failure, name: str, component: str) -> tuple[str, Reason]:
    """What to say of an adapter that could not be read or scaled, and the reason.

    An absent adapter is never a reason to edit the deployment: Dynamo's admission refuses that, and
    its controller would turn it back.
    """
    if failure.not_found or failure.not_served:
        message = (
            f"component {component!r} is scaled through {ADAPTER_KIND} {name!r}, which does not exist; "
            "the deployment itself is left alone"
        )
        return message, Reason.ADAPTER_NOT_FOUND
    return f"{ADAPTER_KIND} {name!r}: {failure.message}", failure.reason


def _state(
    graph: GraphDeployment,
    target: GraphTarget,
    roles: tuple[RoleComponent, ...],
    adapters: Mapping[Role, Adapter],
) -> TargetState:
    fleet = fleet_of(
        graph,
        roles,
        {role: adapter.replicas for role, adapter in adapters.items()},
        {role: adapter.committed for role, adapter in adapters.items() if adapter.committed is not None},
    )
    return TargetState(
        identity=Identity(
            namespace=target.namespace,
            name=target.name,
            uid=graph.uid,
            generation=graph.generation,
            resource_version=graph.resource_version,
            api_version=graph.api_version,
        ),
        fleet=fleet,
        dynamo_namespace=target.dynamo_namespace or dynamo_namespace(graph, roles),
        model=declared_model(graph, roles),
        runtime_namespaces=runtime_namespaces(graph, roles),
        metrics_prefix=metrics_prefix(graph),
        planners={component.name: component.planner for component in graph.components if component.planner},
        adapters={role: adapter.name for role, adapter in adapters.items()},
        replica_managers={
            entry.role: replica_managers(graph, entry.component.name)
            for entry in roles
            if entry.role not in adapters
        },
        replica_writers={
            entry.role: adapters[entry.role].writers
            if entry.role in adapters
            else replica_writers(graph, entry.component.name)
            for entry in roles
        },
        told=own_words(graph.conditions),
        waiting={
            state.role: graph.deferred_message
            if state.waits_for is Reason.SCALING_DEFERRED
            else adapters[state.role].pending_message
            for state in fleet.roles
            if state.waits_for is not None
        },
        ready_reason=graph.ready_reason,
        ready_message=graph.ready_message,
    )


def _adapter(api: KubernetesApi, graph: GraphDeployment, component: Component) -> Adapter:
    name = adapter_name(graph.name, component.name)
    try:
        body = api.get_served(graph.namespace, ADAPTER_PLURAL, name)
    except ApiRefusal as refusal:
        message, reason = adapter_trouble(refusal.failure, name, component.name)
        raise TargetError(message, reason=reason) from refusal
    replicas, status = whole(mapping(body.get("spec")).get("replicas")), mapping(body.get("status"))
    committed, pending = whole(status.get("committedReplicas")), text(status.get("pendingReason"))
    if committed is None and pending and whole(status.get("requestedReplicas")) is not None:
        committed = 0
    return Adapter(
        name=name,
        version=text(body.get("apiVersion")).removeprefix(f"{GROUP}/"),
        replicas=component.replicas if replicas is None else replicas,
        writers=scale_writers(map(mapping, items(mapping(body.get("metadata")).get("managedFields")))),
        committed=committed,
        pending_reason=pending,
    )


def _unreadable(failure: Failure, target: GraphTarget) -> TargetError:
    where = f"{KIND} {target.name!r} in namespace {target.namespace!r}"
    if failure.not_served:
        wanted = " or ".join(f"{GROUP}/{version}" for version in VERSIONS)
        return TargetError(
            f"the API server serves no {KIND} in {wanted}; is Dynamo's operator installed?",
            reason=Reason.TARGET_KIND_NOT_SERVED,
        )
    if failure.not_found:
        return TargetError(f"{where} does not exist", reason=Reason.TARGET_NOT_FOUND)
    return TargetError(f"{where} cannot be read: {failure.message}", reason=failure.reason)
