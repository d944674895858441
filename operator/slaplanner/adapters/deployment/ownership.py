"""Who owns which field of a deployment, read from its managedFields.

Three questions hang on it. Through which apiVersion do others write the deployment? Argo CD compares
field paths with the version in Git, so ours must be of the same version. And who else owns the
replicas? An applier that later drops them from its manifest takes them away if nobody else owns
them, and absent replicas mean 1. And who changed replicas that we had written?
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from slaplanner.adapters.deployment.connector import FIELD_MANAGER
from slaplanner.adapters.deployment.graph import V1ALPHA1, V1BETA1, GraphDeployment
from slaplanner.adapters.deployment.untrusted import mapping, text


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


def replica_writers(graph: GraphDeployment, component: str) -> tuple[str, ...]:
    """The managers besides us to whom another number of replicas than ours can be due.

    Nobody owns replicas that were taken away: a client-side apply of a whole list leaves none behind
    where its manifest is silent. Then it is whoever owns most of the component.
    """
    if owners := replica_managers(graph, component):
        return tuple(name for name in owners if name != FIELD_MANAGER)
    shares = [
        (leaves, text(entry.get("manager")))
        for entry in graph.managed_fields
        if entry.get("manager") != FIELD_MANAGER and (leaves := _share(entry, component))
    ]
    return (max(shares)[1],) if shares else ()


def scale_writers(managed_fields: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """The managers besides us that own the replicas of a scaling adapter, by whatever subresource."""
    return tuple(
        sorted(
            {
                text(entry.get("manager"))
                for entry in managed_fields
                if "f:replicas" in mapping(_fields(entry).get("f:spec"))
                and entry.get("manager") != FIELD_MANAGER
            }
        )
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
    """Names of the components whose replicas this entry owns."""
    return {name for name, fields in _components(entry) if "f:replicas" in fields}


def _share(entry: Mapping[str, Any], component: str) -> int:
    """How many of the component's fields this entry owns."""
    return sum(_leaves(fields) for name, fields in _components(entry) if name == component)


def _components(entry: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The components of which this entry owns something, in either version's paths."""
    if entry.get("subresource"):
        return
    spec = mapping(_fields(entry).get("f:spec"))
    for key, fields in mapping(spec.get("f:services")).items():
        yield key.removeprefix("f:"), mapping(fields)
    for key, fields in mapping(spec.get("f:components")).items():
        for name in _list_key(key):
            yield name, mapping(fields)


def _list_key(key: str) -> Iterator[str]:
    """The name in a managedFields key of a keyed list: `k:{"name":"decode"}`."""
    if key.startswith("k:"):
        try:
            name = mapping(json.loads(key.removeprefix("k:"))).get("name")
        except ValueError:
            return
        if isinstance(name, str):
            yield name
