"""Which component of a graph plays which role, and what the roles agree on.

A role is found by what the component declares (`subComponentType`, or the type itself), else by the
names that Dynamo's own deployments use, else by how its engine is started. `roles[].component` of
the policy answers where none of them does. Two components that declare the same role are refused
even then: a policy that sized one pool of two would read the traffic of both. Mode agg sizes the
worker that says nothing of a stage; what only encodes or embeds plays no role in any mode.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from slaplanner.adapters.deployment.gpu_claims import ClaimReader, claimed_gpus, no_claims
from slaplanner.adapters.deployment.graph import GLOBAL_DYNAMO_NAMESPACE, Component, GraphDeployment
from slaplanner.core.errors import TargetError
from slaplanner.core.model import Mode, Role, RolePolicy
from slaplanner.core.reasons import Reason

DYNAMO_NAMES = {
    Role.PREFILL: ("VllmPrefillWorker", "prefill", "TRTLLMPrefillWorker"),
    Role.DECODE: ("VllmDecodeWorker", "decode", "TRTLLMDecodeWorker"),
}
"""vLLM; SGLang and the mocker; TensorRT-LLM (which also writes Trtllm: case does not count)."""

_FRONTEND = "frontend"
_FRONT_DOORS = (_FRONTEND, "epp")
"""Where a graph takes requests from outside: its frontend, or the gateway's endpoint picker."""
_HELPER_NAME = re.compile(r"encode|processor|embed", re.IGNORECASE)
_WORKER_TYPES = ("worker", "prefill", "decode")
_SILENT_TYPES = ("", "worker", "main")
"""Types that say nothing of the role; older manifests call every component `main`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleComponent:
    """A role and the component that plays it."""

    role: Role
    component: Component
    gpus_per_replica: int | None
    """The policy's word, else the component's; None when neither says."""


def resolve_roles(
    graph: GraphDeployment, mode: Mode, policies: Iterable[RolePolicy] = (), *, claim: ClaimReader = no_claims
) -> tuple[RoleComponent, ...]:
    """The components that *mode* sizes, in its order.

    GPUs that only a ResourceClaimTemplate tells are looked up with *claim*.

    Raises:
        TargetError: a role is played by nobody, or by several; components are grouped.
    """
    if graph.component_groups:
        raise TargetError(
            f"{_title(graph)} groups components ({', '.join(graph.component_groups)} in "
            "spec.experimental.componentGroups); a group scales as one unit, which is not supported",
            reason=Reason.COMPONENT_GROUPS_UNSUPPORTED,
        )
    by_role = {policy.role: policy for policy in policies}
    resolved = []
    for role in mode.roles:
        policy = by_role.get(role, RolePolicy(role=role))
        component = _component_of(graph, role, policy.component)
        gpus = policy.gpus_per_replica
        if gpus is None:
            gpus = component.gpus_per_replica
        if gpus is None and (claimed := claimed_gpus(component.claim_templates, claim)) is not None:
            gpus = claimed * component.nodes
        resolved.append(RoleComponent(role=role, component=component, gpus_per_replica=gpus))
    _distinct(graph, resolved)
    return tuple(resolved)


def carries_requests(component: Component) -> bool:
    """No request of the model is served without it: a front door, or the workers of one stage of all requests."""
    names = {name.lower() for known in DYNAMO_NAMES.values() for name in known}
    is_stage = component.stage in (Role.PREFILL, Role.DECODE)
    return component.type in _FRONT_DOORS or is_stage or component.name.lower() in names


def declared_model(graph: GraphDeployment, roles: Iterable[RoleComponent]) -> str | None:
    """The model that the status names, else the components' arguments; None when neither tells it.

    Lower-cased: models are compared without case.

    Raises:
        TargetError: the roles serve different models.
    """
    entries = tuple(roles)
    reported = {entry.role: entry.component.status.served_model for entry in entries}
    written = {entry.role: entry.component.model for entry in entries}
    told = {role: model for role, model in (reported if any(reported.values()) else written).items() if model}
    if len({model.lower() for model in told.values()}) > 1:
        found = ", ".join(f"{role} {model!r}" for role, model in told.items())
        raise TargetError(
            f"the roles of {_title(graph)} serve different models: {found}; one model is wanted",
            reason=Reason.MODEL_MISMATCH,
        )
    return next((model.lower() for model in told.values()), None)


def discovered_model(dynamo_namespace: str, labels: Iterable[str]) -> str:
    """The only model among the *labels* that are seen under the deployment's namespace, lower-cased.

    Raises:
        TargetError: none or several are seen.
    """
    seen = sorted({model.lower() for model in labels})
    if len(seen) == 1:
        return seen[0]
    where = f"the model labels under dynamo_namespace {dynamo_namespace!r}"
    found = f"{where} are {', '.join(seen)}" if seen else f"there are none of {where}"
    raise TargetError(
        f"no argument of the target names its model and {found}; set metrics.model",
        reason=Reason.MODEL_NOT_FOUND,
    )


def dynamo_namespace(graph: GraphDeployment, roles: Iterable[RoleComponent]) -> str:
    """The label value under which the deployment's metrics stand."""
    if any(entry.component.global_dynamo_namespace for entry in roles):
        return GLOBAL_DYNAMO_NAMESPACE
    return f"{graph.namespace}-{graph.name}"


def runtime_namespaces(graph: GraphDeployment, roles: Iterable[RoleComponent]) -> tuple[str, ...]:
    """The Dynamo namespaces of the worker sets that run now; none where nothing tells them.

    Dynamo gives each generation of workers a namespace of its own, `<base>-<hash>`, which series of
    workers and routers bear instead of the deployment's. Newer versions report it in the status, older
    ones keep the hash in an annotation.
    """
    entries = tuple(roles)
    base = dynamo_namespace(graph, entries)
    reported = [entry.component.status.runtime_namespace for entry in entries]
    names = (*filter(None, reported), *(f"{base}-{worker_hash}" for worker_hash in graph.worker_hashes))
    return tuple(dict.fromkeys(names))


def metrics_prefix(graph: GraphDeployment) -> str | None:
    """How the frontend's metrics are named; None: nothing overrides Dynamo's own prefix.

    A frontend that runs beside another component's container (a sidecar) says it there.
    """
    frontends = [component for component in graph.components if component.type == _FRONTEND]
    told = (component.metrics_prefix for component in (*frontends, *graph.components))
    return next(filter(None, told), None)


def _component_of(graph: GraphDeployment, role: Role, named: str | None) -> Component:
    if named is not None:
        return _named(graph, role, named)
    found = _whole_request_workers(graph) if role is Role.AGG else _stage_workers(graph, role)
    if len(found) > 1:
        raise _duplicate(graph, role, found)
    if not found:
        raise TargetError(
            f"no component of {_title(graph)} plays {role}: found {_described(graph)}; wanted one whose "
            f"type or subComponentType says so, or one of Dynamo's names; roles[].component can name it",
            reason=Reason.ROLE_NOT_FOUND,
        )
    return found[0]


def _named(graph: GraphDeployment, role: Role, named: str) -> Component:
    """The component that the policy names, unless the graph contradicts it."""
    component = graph.component(named)
    if component is None:
        names = ", ".join(component.name for component in graph.components)
        raise TargetError(
            f"roles[].component says that {named!r} is the {role} worker; {_title(graph)} has only {names}",
            reason=Reason.ROLE_NOT_FOUND,
        )
    if role is Role.AGG:
        if component.stage == Role.PREFILL:
            raise _wrong_mode(graph, [component])
        return component
    declared = _declaring(graph, role)
    if declared and declared != [component]:
        raise _duplicate(graph, role, dict.fromkeys((*declared, component)))
    if component.declared not in ("", role):
        raise TargetError(
            f"roles[].component says that {named!r} is the {role} worker; {_title(graph)} says that it is "
            f"{component.declared}",
            reason=Reason.ROLE_NOT_FOUND,
        )
    return component


def _declaring(graph: GraphDeployment, role: Role) -> list[Component]:
    return [component for component in graph.components if component.declared == role.value]


def _stage_workers(graph: GraphDeployment, role: Role) -> list[Component]:
    """Who plays prefill or decode: by declaration, else by Dynamo's names, else by how it is started."""
    if declared := _declaring(graph, role):
        return declared
    silent = _silent(graph)
    names = {name.lower() for name in DYNAMO_NAMES[role]}
    by_name = [component for component in silent if component.name.lower() in names]
    return by_name or [component for component in silent if component.started_as == role.value]


def _silent(graph: GraphDeployment) -> list[Component]:
    """Components that declare nothing of their role."""
    return [
        component
        for component in graph.components
        if component.type in _SILENT_TYPES and not component.sub_type
    ]


def _whole_request_workers(graph: GraphDeployment) -> list[Component]:
    """Workers that both prefill and decode. Encoders, processors and embedding workers do neither.

    A lone decode worker behind a frontend takes whole requests, since nobody else prefills there. In
    a graph without a frontend it is one pool of several, and their other half lies elsewhere.

    Raises:
        TargetError: the graph's workers say that they prefill, or only decode (reason RoleNotFound).
    """
    typed = [component for component in graph.components if component.type in _WORKER_TYPES]
    workers = typed or [component for component in _silent(graph) if component.gpus_per_replica]
    prefilling = [component for component in workers if component.stage == Role.PREFILL]
    decoding = [component for component in workers if component.stage == Role.DECODE]
    whole = [component for component in workers if not component.stage]
    lone = not whole and len(decoding) == 1 and decoding[0].started_as != Role.DECODE
    if prefilling or (decoding and not whole and not (lone and _has_front_door(graph))):
        raise _wrong_mode(graph, [*prefilling, *decoding])
    found = [*whole, *decoding]
    # Names decide last: they are the users' own, and only a hint.
    return [component for component in found if not _HELPER_NAME.search(component.name)] or found


def _has_front_door(graph: GraphDeployment) -> bool:
    return any(component.type in _FRONT_DOORS for component in graph.components)


def _wrong_mode(graph: GraphDeployment, found: Iterable[Component]) -> TargetError:
    """Mode agg was asked for, and the workers take one stage each."""
    stages = {component.name: component.stage for component in found}
    says = ", ".join(f"{name!r} says that it is {stage}" for name, stage in stages.items())
    both = len(set(stages.values())) > 1 or any(
        not component.stage for component in graph.components if component.type in _WORKER_TYPES
    )
    fitting = Mode.DISAGG if both else Mode(next(iter(stages.values())))
    return TargetError(
        f"mode agg sizes workers that take whole requests; in {_title(graph)} {says}; wanted mode {fitting}",
        reason=Reason.ROLE_NOT_FOUND,
    )


def _distinct(graph: GraphDeployment, resolved: Iterable[RoleComponent]) -> None:
    seen: dict[str, Role] = {}
    for entry in resolved:
        other = seen.setdefault(entry.component.name, entry.role)
        if other is not entry.role:
            raise TargetError(
                f"{entry.component.name!r} of {_title(graph)} would be both the {other} and the "
                f"{entry.role} worker",
                reason=Reason.DUPLICATE_ROLE,
            )


def _duplicate(graph: GraphDeployment, role: Role, found: Iterable[Component]) -> TargetError:
    components = tuple(found)
    names = ", ".join(component.name for component in components)
    declared = role is not Role.AGG and any(component.declared for component in components)
    way_out = "" if declared else "; where only one of them does, roles[].component names it"
    return TargetError(
        f"{names} of {_title(graph)} all play {role}; several pools of one role are not supported{way_out}",
        reason=Reason.DUPLICATE_ROLE,
    )


def _title(graph: GraphDeployment) -> str:
    return f"DynamoGraphDeployment {graph.name!r}"


def _described(graph: GraphDeployment) -> str:
    return ", ".join(
        f"{component.name} ({component.stage or component.type or 'no type'})"
        for component in graph.components
    )
