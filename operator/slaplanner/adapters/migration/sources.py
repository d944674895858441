"""From the documents of a file to a policy: what there is, which deployment it is about, and what follows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from slaplanner.adapters.deployment.containers import alpha_containers, beta_containers, started
from slaplanner.adapters.deployment.graph import KIND as GRAPH
from slaplanner.adapters.deployment.graph import GraphDeployment, parse_graph
from slaplanner.adapters.deployment.roles import resolve_roles
from slaplanner.adapters.deployment.untrusted import items, mapping, text, whole
from slaplanner.adapters.migration.draft import Draft, MigrationError
from slaplanner.adapters.migration.planner_config import (
    MODES,
    apply_config,
    from_words,
    is_planner_config,
    normalized,
    parsed_config,
)
from slaplanner.adapters.migration.scalers import KINDS, apply_scaler
from slaplanner.core.errors import TargetError
from slaplanner.core.model import Mode, RolePolicy

REQUEST: Final = "DynamoGraphDeploymentRequest"
PROFILE_MAP: Final = "planner-profile-data"
"""The ConfigMap that Dynamo's profiler writes."""
_PROFILE_KEYS: Final = ("prefill_raw_data.json", "decode_raw_data.json")
_PLANNER_WORDS: Final = ("dynamo.planner", "planner_sla")

_SLA: Final = ("ttft", "itl", "isl", "osl")
_REQUEST_NOTES: Final = {
    "autoApply": "the policy is applied by you",
    "searchStrategy": "slaplanner searches no deployment; it sizes the one that runs",
    "workload": "the load is observed and forecast",
}


@dataclass(slots=True)
class SourceObjects:
    """What the documents hold."""

    graphs: list[Mapping[str, Any]] = field(default_factory=list)
    requests: list[Mapping[str, Any]] = field(default_factory=list)
    scalers: list[Mapping[str, Any]] = field(default_factory=list)
    configs: list[Mapping[str, Any]] = field(default_factory=list)
    profile_maps: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Migrated:
    """A policy, and what has no equal in it."""

    policy: Mapping[str, Any]
    notes: tuple[str, ...]


def is_migratable(document: object) -> bool:
    """Whether `migrate` would read this document for itself."""
    return mapping(document).get("kind") == REQUEST or (
        "kind" not in mapping(document) and is_planner_config(document)
    )


def migrate(documents: Iterable[object], *, target: str | None, namespace: str | None) -> Migrated:
    """The SLAPolicy that does what these documents say.

    Args:
        documents: planner configurations, ConfigMaps that hold them, deployments, deployment requests,
            autoscalers; decoded.
        target: name of the deployment where no document tells it.
        namespace: of the policy where no document tells it.

    Raises:
        MigrationError: there is nothing to migrate, or a value cannot be read.
    """
    found = _sorted(documents)
    draft = Draft()
    graph = _graph(found)
    if graph is not None:
        target, namespace = graph.name, graph.namespace or namespace
        words = _planner_words(found.graphs[0])
        flags = from_words(words)
        inline = parsed_config(str(flags.pop("config", "")))
        found.configs = [config for config in (inline, flags, *found.configs) if config]
        draft.put("mode", _mode(graph, found.configs))
    for request in found.requests:
        target, namespace = _request(request, found, draft, target), _own(request, "namespace") or namespace
    if not found.configs and not found.scalers:
        raise MigrationError(
            "found no planner configuration and no autoscaler, wanted one of them: planner_config.json, the "
            f"ConfigMap that holds it, a {GRAPH} with a planner in it, a {REQUEST}, an HPA or a ScaledObject"
        )
    for config in found.configs:
        apply_config(config, draft)
    if found.scalers:
        _scalers(found, graph, draft)
    is_virtual = mapping(draft.spec.get("connector")).get("type") == "Virtual"
    if not target and not is_virtual:
        raise MigrationError(
            "found nothing that names the deployment, wanted its manifest too, or --target NAME"
        )
    return Migrated(
        policy=_policy(draft, found, None if is_virtual else target, namespace), notes=tuple(draft.notes)
    )


def _sorted(documents: Iterable[object]) -> SourceObjects:
    found = SourceObjects()
    for document in (mapping(entry) for each in documents for entry in _unpacked(each)):
        kind = document.get("kind")
        if kind == GRAPH:
            found.graphs.append(document)
        elif kind == REQUEST:
            found.requests.append(document)
        elif kind in KINDS:
            found.scalers.append(document)
        elif kind == "ConfigMap":
            data = mapping(document.get("data"))
            found.configs += [
                config for config in map(parsed_text, data.values()) if is_planner_config(config)
            ]
            if data.keys() & set(_PROFILE_KEYS):
                found.profile_maps.append(_own(document, "name"))
        elif kind is None and is_planner_config(document):
            found.configs.append(document)
    return found


def parsed_text(value: object) -> Mapping[str, Any]:
    """A planner's configuration in a ConfigMap's entry: JSON or YAML of plain words."""
    content = text(value)
    parsed = parsed_config(content)
    if parsed or not content:
        return parsed
    try:
        return mapping(yaml.load(content, Loader=yaml.BaseLoader))  # noqa: S506 - it constructs nothing else
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}


def _unpacked(document: object) -> Iterator[object]:
    if text(mapping(document).get("kind")).endswith("List"):
        yield from items(mapping(document).get("items"))
    else:
        yield document


def _own(document: Mapping[str, Any], key: str) -> str:
    return text(mapping(document.get("metadata")).get(key))


def _graph(found: SourceObjects) -> GraphDeployment | None:
    if len(found.graphs) > 1:
        names = ", ".join(_own(graph, "name") for graph in found.graphs)
        raise MigrationError(f"found {len(found.graphs)} deployments ({names}), wanted one at a time")
    try:
        return parse_graph(found.graphs[0]) if found.graphs else None
    except TargetError as error:
        raise MigrationError(str(error)) from error


def _planner_words(graph: Mapping[str, Any]) -> tuple[str, ...]:
    """The command line of the planner inside the graph; none where it has none."""
    spec = mapping(graph.get("spec"))
    services = [(mapping(service), alpha_containers) for service in mapping(spec.get("services")).values()]
    components = [(mapping(component), beta_containers) for component in items(spec.get("components"))]
    for component, containers in (*services, *components):
        for container in containers(component):
            words = started(container).words
            is_planner = "planner" in (component.get("componentType"), component.get("type"))
            if words and (is_planner or any(each in word for word in words for each in _PLANNER_WORDS)):
                return words
    return ()


def _mode(graph: GraphDeployment, configs: Sequence[Mapping[str, Any]]) -> str:
    for config in configs:
        mode = normalized(config).get("mode")
        if mode is not None:
            return str(mode)
    return next(
        (mode for mode in ("disagg", "agg", "prefill", "decode") if _components(graph, mode)), "disagg"
    )


def _components(graph: GraphDeployment, mode: str) -> dict[str, str]:
    """The graph's components that are sized in that mode, with their roles; none where it does not fit."""
    try:
        roles = tuple(RolePolicy(role=role) for role in Mode(mode).roles)
        return {entry.component.name: entry.role.value for entry in resolve_roles(graph, Mode(mode), roles)}
    except TargetError:
        return {}


def _scalers(found: SourceObjects, graph: GraphDeployment | None, draft: Draft) -> None:
    if graph is None:
        raise MigrationError(
            f"found an autoscaler, wanted the manifest of the {GRAPH} beside it: it names the roles"
        )
    roles = _components(graph, str(draft.spec["mode"]))
    for scaler in found.scalers:
        apply_scaler(scaler, graph, roles, draft)


def _request(request: Mapping[str, Any], found: SourceObjects, draft: Draft, target: str | None) -> str:
    """Turn a deployment request into a configuration; the name of the deployment that it makes."""
    spec, status = mapping(request.get("spec")), mapping(request.get("status"))
    old = mapping(mapping(spec.get("profilingConfig")).get("config"))
    planner = {**mapping(old.get("planner")), **mapping(mapping(spec.get("features")).get("planner"))}
    slas = {**mapping(old.get("sla")), **mapping(spec.get("sla"))}
    planner |= {
        key: slas[key] for key in _SLA if slas.get(key) is not None and key not in normalized(planner)
    }
    planner |= {
        key: value
        for key, value in mapping(spec.get("workload")).items()
        if key in ("isl", "osl") and key not in normalized(planner)
    }
    gpus = whole(mapping(spec.get("hardware")).get("totalGpus"))
    if gpus is not None and "max_gpu_budget" not in normalized(planner):
        planner["max_gpu_budget"] = gpus
        draft.note(f"hardware.totalGpus {gpus}: taken for gpuBudget.max")
    for key in ("e2eLatency", "optimizationType"):
        if key in slas:
            draft.note(f"sla.{key}: no equal; slaplanner promises TTFT and ITL")
    for key, why in _REQUEST_NOTES.items():
        if key in spec:
            draft.note(f"{key}: {why}")
    found.configs.append(planner)
    overrides = mapping(spec.get("deploymentOverrides"))
    made = text(status.get("dgdName")) or text(mapping(status.get("deployment")).get("name"))
    name = target or made or text(overrides.get("name")) or f"{_own(request, 'name')}-dgd"
    if not (target or made):
        draft.note(
            f"targetRef.name {name}: assumed of the request's name; kubectl get dgd shows the real one"
        )
    draft.note(
        "the deployment that the request made holds a planner of its own: take it out (docs/how-to/migrate.md)"
    )
    return name


def _policy(draft: Draft, found: SourceObjects, target: str | None, namespace: str | None) -> dict[str, Any]:
    spec = draft.spec
    profile = mapping(spec.get("profile"))
    if found.profile_maps or not profile:
        name = found.profile_maps[0] if found.profile_maps else PROFILE_MAP
        spec["profile"] = {"configMapRef": {"name": name}}
        if not found.profile_maps:
            draft.note(
                f"profile.configMapRef {PROFILE_MAP}: that is where Dynamo's profiler writes; the default search "
                "(rapid) leaves none, and then a profile has to be measured"
            )
    spec["actuation"] = "Observe"
    roles = [entry for entry in spec.pop("roles", ()) if entry["name"] in MODES[spec["mode"]]]
    order = (
        "targetRef",
        "mode",
        "actuation",
        "sla",
        "gpuBudget",
        "roles",
        "profile",
        "metrics",
        "planning",
        "behavior",
    )
    whole_spec = {
        **spec,
        **({"targetRef": {"name": target}} if target else {}),
        **({"roles": roles} if roles else {}),
    }
    return {
        "apiVersion": "slaplanner.io/v1alpha1",
        "kind": "SLAPolicy",
        "metadata": {"name": target or "migrated", **({"namespace": namespace} if namespace else {})},
        "spec": {
            **{key: whole_spec[key] for key in order if key in whole_spec},
            **{key: value for key, value in whole_spec.items() if key not in order},
        },
    }
