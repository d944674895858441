"""The deployment that a policy means, among the objects of a manifest file.

Real files hold more than the deployment: the ConfigMaps, volumes and resource claims that it needs,
and sometimes several deployments.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from slaplanner.adapters.deployment.gpu_claims import CLAIM_GROUP, CLAIM_KIND
from slaplanner.adapters.deployment.graph import GROUP, KIND, GraphDeployment, parse_graph
from slaplanner.adapters.deployment.untrusted import items, mapping, text
from slaplanner.core.errors import TargetError

_NAMED = 10
"""Objects that a message lists by name; a file may hold hundreds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifests:
    """A deployment, and what lies beside it in its file."""

    graph: GraphDeployment
    claims: Mapping[str, Mapping[str, Any]]
    """ResourceClaimTemplates by name."""

    def claim(self, name: str) -> Mapping[str, Any] | None:
        return self.claims.get(name)


def graph_among(documents: Iterable[object], *, name: str | None, namespace: str | None = None) -> Manifests:
    """The only deployment of *documents*, else that which a policy names.

    Args:
        documents: the decoded objects; lists, as `kubectl get -o yaml` writes them, are unpacked.
        name: the policy's `targetRef.name`; None: it has none.
        namespace: the policy's; a deployment without a namespace may be in any.

    Raises:
        TargetError: there is no deployment, or several and none or more than one of that name; the one
            that is meant does not parse.
    """
    objects = [mapping(entry) for document in documents for entry in _unpacked(document)]
    graphs = [entry for entry in objects if entry.get("kind") == KIND and _group(entry) == GROUP]
    if not graphs:
        kinds = _listed(dict.fromkeys(text(entry.get("kind")) or "no kind" for entry in objects))
        raise TargetError(f"found {kinds or 'no object'}, wanted a {KIND} of {GROUP}")
    meant = graphs
    if len(meant) > 1:
        meant = [graph for graph in graphs if _metadata(graph, "name") == name]
    if len(meant) > 1 and namespace:
        meant = [graph for graph in meant if _metadata(graph, "namespace") in ("", namespace)]
    if len(meant) != 1:
        wanted = (
            f"{name!r}, which the policy's targetRef names" if name else "one, or a targetRef that names one"
        )
        raise TargetError(f"found {len(graphs)} graphs, {_listed(map(_title, graphs))}; wanted {wanted}")
    return Manifests(
        graph=parse_graph(meant[0]),
        claims={
            _metadata(entry, "name"): entry
            for entry in objects
            if entry.get("kind") == CLAIM_KIND and _group(entry) == CLAIM_GROUP
        },
    )


def _unpacked(document: object) -> Iterator[object]:
    """The document itself, or the members of a list."""
    if text(mapping(document).get("kind")).endswith("List"):
        yield from items(mapping(document).get("items"))
    elif document is not None:
        yield document


def _group(entry: Mapping[str, Any]) -> str:
    return text(entry.get("apiVersion")).partition("/")[0]


def _metadata(entry: Mapping[str, Any], key: str) -> str:
    return text(mapping(entry.get("metadata")).get(key))


def _title(graph: Mapping[str, Any]) -> str:
    name, namespace = _metadata(graph, "name"), _metadata(graph, "namespace")
    return f"{namespace}/{name}" if namespace else name or "one without a name"


def _listed(names: Iterable[str]) -> str:
    shown = list(names)
    more = f" and {len(shown) - _NAMED} more" if len(shown) > _NAMED else ""
    return ", ".join(shown[:_NAMED]) + more
