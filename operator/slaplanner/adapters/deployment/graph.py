"""A DynamoGraphDeployment of either version, parsed into one shape.

v1alpha1 keeps a map `services`, v1beta1 a list `components`; here both are components with the same
fields.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from slaplanner.adapters.deployment.args import metrics_prefix_from, model_from, stage_from
from slaplanner.adapters.deployment.component_status import ComponentStatus, counts_of, rolls_out
from slaplanner.adapters.deployment.containers import (
    alpha_containers,
    alpha_gpus,
    alpha_pod,
    beta_containers,
    beta_pod,
    claim_templates,
    device_gpus,
    pod_gpus,
    started,
)
from slaplanner.adapters.deployment.inner_planners import GraphPlanner, planner_of
from slaplanner.adapters.deployment.untrusted import items, mapping, text, whole
from slaplanner.core.errors import TargetError
from slaplanner.core.model import Role
from slaplanner.core.reasons import ConditionStatus

GROUP = "nvidia.com"
KIND = "DynamoGraphDeployment"
PLURAL = "dynamographdeployments"
ADAPTER_KIND = "DynamoGraphDeploymentScalingAdapter"
ADAPTER_PLURAL = "dynamographdeploymentscalingadapters"
V1BETA1 = f"{GROUP}/v1beta1"
V1ALPHA1 = f"{GROUP}/v1alpha1"
VERSIONS = ("v1beta1", "v1alpha1")
"""Served versions that are understood, in the order in which they are preferred."""

_WORKER_HASHES = ("nvidia.com/current-worker-hash-v2", "nvidia.com/current-worker-hash")
"""Annotations of Dynamo's operator; each rollout of the workers changes their value."""

_DEFERRED = "ScalingDeferred"
"""Condition of deployments whose rollouts replace all components in step (Grove, since Dynamo 1.6)."""

GLOBAL_DYNAMO_NAMESPACE = "dynamo"
_PLANNER = "planner"
_NODES_WHEN_UNSAID = 2
"""What the CRD defaults `multinode.nodeCount` to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One service of the graph."""

    name: str
    type: str = ""
    sub_type: str = ""
    replicas: int = 1
    """Absent in the spec means 1."""
    nodes: int = 1
    """Nodes that one replica spans."""
    node_gpus: int | None = None
    """GPUs per node by limits, else requests, else `device.resources`; None when none of them says."""
    claim_templates: tuple[str, ...] = ()
    """ResourceClaimTemplates that its containers use, which may stand for GPUs."""
    model: str | None = None
    """What its command line calls the model."""
    metrics_prefix: str | None = None
    """How its containers say that the names of their metrics begin; None: they do not say."""
    started_as: str = ""
    """The stage of a request that its command line starts the engine for (see `args.stage_from`)."""
    scaling_adapter: bool = False
    global_dynamo_namespace: bool = False
    planner: GraphPlanner | None = None
    """Present when the component is a planner that runs and is not known to advise only."""
    rollout: bool = False
    status: ComponentStatus = field(default_factory=ComponentStatus)

    @property
    def scales(self) -> bool:
        """It is a planner that scales the graph, as far as its pod tells."""
        return self.planner is not None

    @property
    def declared(self) -> str:
        """The stage of a request that it declares: prefill, decode, encode, ...; empty: none."""
        return self.sub_type or (self.type if self.type in (Role.PREFILL, Role.DECODE) else "")

    @property
    def stage(self) -> str:
        """The stage that it declares, else that it is started for; empty: it does not say."""
        return self.declared or self.started_as

    @property
    def gpus_per_replica(self) -> int | None:
        """Reported, else over all nodes as the pod asks for them; None when neither says."""
        if self.status.gpus_per_replica is not None:
            return self.status.gpus_per_replica
        return None if self.node_gpus is None else self.node_gpus * self.nodes


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphDeployment:
    """One deployment: identity, components, and how it says it is."""

    namespace: str
    name: str
    uid: str
    resource_version: str
    api_version: str
    generation: int | None = None
    observed_generation: int | None = None
    components: tuple[Component, ...] = ()
    component_groups: tuple[str, ...] = ()
    ready: bool | None = None
    """None: no Ready condition."""
    ready_reason: str = ""
    ready_message: str = ""
    scaling_deferred: bool = False
    """Dynamo carries no change of replicas out until a rollout has ended."""
    deferred_message: str = ""
    deleting: bool = False
    managed_fields: tuple[Mapping[str, Any], ...] = ()
    conditions: tuple[Mapping[str, Any], ...] = ()
    worker_hashes: tuple[str, ...] = ()
    """Of the worker sets that run now; none: not told."""

    @property
    def status_is_current(self) -> bool:
        """The status is about this generation of the spec (or the controller does not say)."""
        if self.observed_generation is None or self.generation is None:
            return True
        return self.observed_generation >= self.generation

    def component(self, name: str) -> Component | None:
        return next((component for component in self.components if component.name == name), None)

    def index(self, name: str) -> int:
        """Where the component stands in v1beta1's list.

        Raises:
            ValueError: the graph has no such component.
        """
        return [component.name for component in self.components].index(name)


def parse_graph(manifest: object) -> GraphDeployment:
    """Parse what the API server answered, or a manifest from a file.

    Raises:
        TargetError: it is no DynamoGraphDeployment of a known version, or has no components.
    """
    body = mapping(manifest)
    api_version, kind = text(body.get("apiVersion")), text(body.get("kind"))
    if kind != KIND or api_version not in (V1BETA1, V1ALPHA1):
        raise TargetError(
            f"found {kind or 'no kind'} in {api_version or 'no apiVersion'}, wanted {KIND} in "
            f"{V1BETA1} or {V1ALPHA1}"
        )
    metadata, spec, status = (mapping(body.get(key)) for key in ("metadata", "spec", "status"))
    conditions = tuple(mapping(condition) for condition in items(status.get("conditions")))
    by_type = {text(condition.get("type")): condition for condition in reversed(conditions)}
    ready, deferred = by_type.get("Ready", {}), by_type.get(_DEFERRED, {})
    parse = _beta_components if api_version == V1BETA1 else _alpha_components
    components = tuple(parse(spec, status))
    if not components:
        wanted = "components" if api_version == V1BETA1 else "services"
        raise TargetError(f"{KIND} {metadata.get('name')!r} has no spec.{wanted}")
    return GraphDeployment(
        namespace=text(metadata.get("namespace")),
        name=text(metadata.get("name")),
        uid=text(metadata.get("uid")),
        resource_version=text(metadata.get("resourceVersion")),
        api_version=api_version,
        generation=whole(metadata.get("generation")),
        observed_generation=whole(status.get("observedGeneration")),
        components=components,
        component_groups=tuple(
            text(mapping(group).get("name"))
            for group in items(mapping(spec.get("experimental")).get("componentGroups"))
        ),
        ready=ConditionStatus.truth_of(ready.get("status")),
        ready_reason=text(ready.get("reason")),
        ready_message=text(ready.get("message")),
        scaling_deferred=ConditionStatus.truth_of(deferred.get("status")) is True,
        deferred_message=text(deferred.get("message")),
        deleting="deletionTimestamp" in metadata,
        managed_fields=tuple(mapping(entry) for entry in items(metadata.get("managedFields"))),
        conditions=conditions,
        worker_hashes=tuple(
            filter(None, (text(mapping(metadata.get("annotations")).get(key)) for key in _WORKER_HASHES))
        ),
    )


def _alpha_components(spec: Mapping[str, Any], status: Mapping[str, Any]) -> list[Component]:
    shared_env = items(spec.get("envs"))
    return [
        _component(
            str(name),
            service,
            status,
            shared_env,
            component_type=text(service.get("componentType")),
            pod=alpha_pod(service),
            containers=alpha_containers(service),
            gpu_limit=alpha_gpus(service, "limits"),
            gpu_request=alpha_gpus(service, "requests"),
            adapter=mapping(service.get("scalingAdapter")).get("enabled") is True,
        )
        for name, value in mapping(spec.get("services")).items()
        for service in (mapping(value),)
    ]


def _beta_components(spec: Mapping[str, Any], status: Mapping[str, Any]) -> list[Component]:
    shared_env = items(spec.get("env"))
    return [
        _component(
            text(component.get("name")),
            component,
            status,
            shared_env,
            component_type=text(component.get("type")),
            pod=beta_pod(component),
            containers=containers,
            gpu_limit=pod_gpus(containers, "limits"),
            gpu_request=pod_gpus(containers, "requests"),
            adapter=isinstance(component.get("scalingAdapter"), Mapping),
        )
        for component in map(mapping, items(spec.get("components")))
        for containers in (beta_containers(component),)
    ]


def _component(
    name: str,
    value: Mapping[str, Any],
    status: Mapping[str, Any],
    shared_env: Sequence[Any],
    *,
    component_type: str,
    pod: Mapping[str, Any],
    containers: Sequence[Mapping[str, Any]],
    gpu_limit: int | None,
    gpu_request: int | None,
    adapter: bool,
) -> Component:
    starts = [started(container, shared_env) for container in containers]
    replicas = whole(value.get("replicas"))
    replicas = 1 if replicas is None else replicas
    component_type = component_type.lower()
    counts = counts_of(status, name)
    return Component(
        name=name,
        type=component_type,
        sub_type=text(value.get("subComponentType")).lower(),
        replicas=replicas,
        nodes=_nodes(value),
        node_gpus=next(
            (gpus for gpus in (gpu_limit, gpu_request, device_gpus(value)) if gpus is not None), None
        ),
        claim_templates=claim_templates(pod, containers),
        model=next(filter(None, (model_from(start.words) for start in starts)), None),
        metrics_prefix=next(filter(None, (metrics_prefix_from(one.words, one.env) for one in starts)), None),
        started_as=next(filter(None, (stage_from(start.words) for start in starts)), ""),
        scaling_adapter=adapter,
        global_dynamo_namespace=value.get("globalDynamoNamespace") is True,
        planner=planner_of(pod, containers, starts) if component_type == _PLANNER and replicas > 0 else None,
        rollout=rolls_out(status, name, counts),
        status=counts,
    )


def _nodes(component: Mapping[str, Any]) -> int:
    if not isinstance(component.get("multinode"), Mapping):
        return 1
    nodes = whole(component["multinode"].get("nodeCount"))
    return _NODES_WHEN_UNSAID if nodes is None else nodes
