"""Who owns which field of a deployment, read from its managedFields.

Two questions hang on it. Through which apiVersion do others write the deployment? Argo CD compares
field paths with the version in Git, so ours must be of the same version. And who else owns the
replicas? An applier that later drops them from its manifest takes them away if nobody else owns
them, and absent replicas mean 1.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from slaplanner.adapters.target.connector import FIELD_MANAGER
from slaplanner.adapters.target.graph import V1ALPHA1, V1BETA1, GraphDeployment
from slaplanner.adapters.target.shapes import mapping, text


def write_version(graph: GraphDeployment, served: Iterable[str]) -> str:
    """The apiVersion to write through: the one that others apply, else v1beta1, else what is served.

    Among several managers the one that owns most of the spec counts, appliers before updaters.
    """
    usable = [version for version in (V1BETA1, V1ALPHA1) if version in set(served)]
    ranked = sorted(
        (
            (entry.get("operation") == "Apply", _leaves(_fields(entry).get("f:spec")), _version(entry))
            for entry in graph.managed_fields
            if _is_about_spec(entry) and entry.get("manager") != FIELD_MANAGER and _version(entry) in usable
        ),
        reverse=True,
    )
    if ranked:
        return ranked[0][2]
    return usable[0] if usable else graph.api_version


def replica_managers(graph: GraphDeployment, component: str) -> tuple[str, ...]:
    """The managers, ours among them, that own the component's replicas."""
    return tuple(
        sorted({text(entry.get("manager")) for entry in graph.managed_fields if component in _owned(entry)})
    )


def applied_by_us(graph: GraphDeployment) -> tuple[str, ...]:
    """Components whose replicas one of our own server-side applies owns.

    Each later apply has to name them again: an applier that leaves a field out gives it up, and a
    field that nobody else owns is deleted then.
    """
    owned = {
        component
        for entry in graph.managed_fields
        if entry.get("manager") == FIELD_MANAGER and entry.get("operation") == "Apply"
        for component in _owned(entry)
    }
    return tuple(component.name for component in graph.components if component.name in owned)


def is_droppable(graph: GraphDeployment, component: str) -> bool:
    """Somebody else could take the component's replicas away by leaving them out of a manifest."""
    managers = replica_managers(graph, component)
    return bool(managers) and FIELD_MANAGER not in managers


def _is_about_spec(entry: Mapping[str, Any]) -> bool:
    return not entry.get("subresource") and "f:spec" in _fields(entry)


def _fields(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    return mapping(entry.get("fieldsV1"))


def _version(entry: Mapping[str, Any]) -> str:
    return text(entry.get("apiVersion"))


def _leaves(fields: object) -> int:
    children = mapping(fields)
    return sum(map(_leaves, children.values())) if children else 1


def _owned(entry: Mapping[str, Any]) -> set[str]:
    """Names of the components whose replicas this entry owns, in either version's paths."""
    if entry.get("subresource"):
        return set()
    spec = mapping(_fields(entry).get("f:spec"))
    services = {
        key.removeprefix("f:")
        for key, value in mapping(spec.get("f:services")).items()
        if "f:replicas" in mapping(value)
    }
    components = {
        name
        for key, value in mapping(spec.get("f:components")).items()
        if "f:replicas" in mapping(value)
        for name in _list_key(key)
    }
    return services | components


def _list_key(key: str) -> Iterator[str]:
    """The name in a managedFields key of a keyed list: `k:{"name":"decode"}`."""
    if key.startswith("k:"):
        try:
            name = mapping(json.loads(key.removeprefix("k:"))).get("name")
        except ValueError:
            return
        if isinstance(name, str):
            yield name
