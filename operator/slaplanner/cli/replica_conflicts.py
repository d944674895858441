"""What in a repository will fight with a policy over replicas, found before it is applied.

A manifest that sets the replicas of a target's role takes them back with every apply, unless the tool
that applies it is told to ignore them, and a client-side apply does so even where a v1beta1 manifest is
silent; an autoscaler on the same target takes them back at any time. Found here are deployments,
scaling adapters, autoscalers and Argo CD's Applications among the documents of one run.
What generates manifests (Helm, Kustomize) is not run: validate its output.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Final

from slaplanner.adapters.deployment import FIELD_MANAGER
from slaplanner.adapters.deployment.graph import ADAPTER_KIND, GROUP, KIND, V1ALPHA1, parse_graph
from slaplanner.adapters.deployment.request_bodies import adapter_name
from slaplanner.adapters.deployment.roles import resolve_roles
from slaplanner.adapters.deployment.untrusted import items, mapping, text
from slaplanner.api.policy import SLAPolicy
from slaplanner.cli.manifest import Placed
from slaplanner.core.errors import PlanningError

GUIDE: Final = "docs/how-to/gitops.md"
_AUTOSCALERS: Final = ("HorizontalPodAutoscaler", "ScaledObject")
_APPLICATIONS: Final = ("Application", "ApplicationSet")
_SERVER_SIDE: Final = "ServerSideApply=true"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fight:
    """Somebody who will write the replicas of a policy's target."""

    where: Placed
    message: str


def fights(objects: Sequence[Placed], policies: Sequence[tuple[Placed, SLAPolicy]]) -> Iterator[Fight]:
    """Every fight among *objects* over the targets of *policies*."""
    applications = [one for one in objects if one.kind in _APPLICATIONS and one.group == "argoproj.io"]
    for placed, policy in policies:
        target = policy.spec.target_ref.name
        if target is None:
            continue
        near = [one for one in objects if one.is_near(placed.namespace)]
        graphs = [one for one in near if (one.kind, one.group, one.name) == (KIND, GROUP, target)]
        for graph in graphs:
            yield from _manifest(graph, policy, applications)
        for one in near:
            if one.kind in _AUTOSCALERS:
                yield from _autoscaler(one, policy, graphs)
            elif (one.kind, one.group) == (ADAPTER_KIND, GROUP):
                yield from _adapter(one, policy)


def _manifest(graph: Placed, policy: SLAPolicy, applications: Sequence[Placed]) -> Iterator[Fight]:
    scaled = _scaled(graph, policy)
    if not scaled:
        return
    set_here = [name for name in scaled if name in _counted(graph)]
    whose = f"SLAPolicy {policy.metadata.name!r} scales"
    concerned = [one for one in applications if _syncs(one, graph)]
    for application in concerned:
        if fight := _synced(application, graph, set_here or scaled, whose, set_here=bool(set_here)):
            yield fight
    if set_here and not concerned:
        yield Fight(
            where=graph,
            message=f"sets replicas of {', '.join(set_here)}, which {whose}: every apply writes them back; leave them out ({GUIDE})",
        )


def _synced(
    application: Placed, graph: Placed, components: Sequence[str], whose: str, *, set_here: bool
) -> Fight | None:
    """What happens when that Application syncs that manifest, which sets these replicas or is silent."""
    named = ", ".join(components)
    ignores, respects = _ignores(application, graph, components), _respects(application)
    if set_here and not ignores:
        return Fight(
            where=graph,
            message=f"sets replicas of {named}, which {whose}, and {application} does not ignore them: "
            f"leave them out, or ignore them ({GUIDE})",
        )
    if _has_list(graph) and ignores and respects:
        return Fight(
            where=application,
            message="RespectIgnoreDifferences=true keeps the whole list of components as it is in the "
            f"cluster, so changes of any of them in {graph} would never arrive: leave replicas of {named} "
            f"out of the manifest and RespectIgnoreDifferences out of the Application ({GUIDE})",
        )
    if set_here and not respects:
        return Fight(
            where=application,
            message=f"ignores replicas of {named}, which {whose}, when it compares and not when it syncs: "
            f"add RespectIgnoreDifferences=true, or leave replicas out of {graph} ({GUIDE})",
        )
    if _has_list(graph) and not _server_side(application, graph):
        return Fight(
            where=application,
            message=f"applies {graph} client-side, which sends its whole list of components: each sync of a "
            f"change sets the replicas of {named}, which {whose}, to 1; add ServerSideApply=true ({GUIDE})",
        )
    return None


def _scaled(graph: Placed, policy: SLAPolicy) -> list[str]:
    """Components that the policy scales."""
    core = policy.to_core()
    try:
        roles = resolve_roles(parse_graph(graph.content), core.mode, core.roles)
    except PlanningError:
        # A patch of some components, or a deployment that the policy cannot plan for: that is told elsewhere.
        return []
    return [role.component.name for role in roles]


def _counted(graph: Placed) -> set[str]:
    """Components whose replicas the manifest sets."""
    spec = mapping(graph.content.get("spec"))
    return {
        str(name) for name, service in mapping(spec.get("services")).items() if "replicas" in mapping(service)
    } | {
        text(mapping(component).get("name"))
        for component in items(spec.get("components"))
        if "replicas" in mapping(component)
    }


def _has_list(graph: Placed) -> bool:
    return graph.content.get("apiVersion") != V1ALPHA1


def _autoscaler(scaler: Placed, policy: SLAPolicy, graphs: Sequence[Placed]) -> Iterator[Fight]:
    reference = mapping(mapping(scaler.content.get("spec")).get("scaleTargetRef"))
    if text(reference.get("apiVersion")).partition("/")[0] != GROUP:
        return
    target = policy.spec.target_ref.name or ""
    kind, name = text(reference.get("kind")), text(reference.get("name"))
    known = {adapter_name(target, component) for graph in graphs for component in _scaled(graph, policy)}
    adapts = name in known if known else name.startswith(adapter_name(target, ""))
    if (kind, name) == (KIND, target) or (kind == ADAPTER_KIND and adapts):
        yield Fight(
            where=scaler,
            message=f"scales {kind} {name!r}, which SLAPolicy {policy.metadata.name!r} scales: "
            "the policy would write nothing (TargetConflict); keep one of the two",
        )


def _adapter(adapter: Placed, policy: SLAPolicy) -> Iterator[Fight]:
    spec = mapping(adapter.content.get("spec"))
    if "replicas" in spec and mapping(spec.get("dgdRef")).get("name") == policy.spec.target_ref.name:
        yield Fight(
            where=adapter,
            message=f"sets the replicas that SLAPolicy {policy.metadata.name!r} scales through it: every apply "
            f"writes them back; Dynamo's operator makes the adapter, leave it out ({GUIDE})",
        )


def _settings(application: Placed) -> Mapping[str, Any]:
    """The spec that decides: an ApplicationSet's lies in its template."""
    spec = mapping(application.content.get("spec"))
    return (
        mapping(mapping(spec.get("template")).get("spec")) if application.kind == "ApplicationSet" else spec
    )


def _syncs(application: Placed, graph: Placed) -> bool:
    """Whether the Application's sources can hold the manifest, by their paths; a template may hold any."""
    spec = _settings(application)
    sources = [mapping(one) for one in (*items(spec.get("sources")), spec.get("source")) if one]
    parts = PurePath(graph.file).parts[:-1]
    for source in sources:
        path = text(source.get("path"))
        if not path and ("chart" in source or "ref" in source):
            continue
        wanted = PurePath(path).parts
        if "{{" in path or graph.file == "<stdin>" or path in ("", "."):
            return True
        if any(parts[at : at + len(wanted)] == wanted for at in range(len(parts))):
            return True
    return False


def _ignores(application: Placed, graph: Placed, components: Sequence[str]) -> bool:
    rules = [
        rule
        for rule in map(mapping, items(_settings(application).get("ignoreDifferences")))
        if rule.get("group", "") in (GROUP, "*")
        and rule.get("kind") in (KIND, "*")
        and rule.get("name", graph.name) == graph.name
        and rule.get("namespace", graph.namespace) == graph.namespace
    ]
    pointers = [text(pointer) for rule in rules for pointer in items(rule.get("jsonPointers"))]
    here, elsewhere = ("components", "services") if _has_list(graph) else ("services", "components")
    return any(
        FIELD_MANAGER in items(rule.get("managedFieldsManagers"))
        or any(
            "replicas" in path and (here in path or elsewhere not in path)
            for path in map(text, items(rule.get("jqPathExpressions")))
        )
        for rule in rules
    ) or all(
        any(
            f"{place}/replicas".startswith(f"{pointer}/") or pointer == f"{place}/replicas"
            for pointer in pointers
        )
        for place in _places(graph, components)
    )


def _places(graph: Placed, components: Sequence[str]) -> list[str]:
    """JSON pointers to these components."""
    if not _has_list(graph):
        return [f"/spec/services/{name.replace('~', '~0').replace('/', '~1')}" for name in components]
    listed = items(mapping(graph.content.get("spec")).get("components"))
    names = [text(mapping(component).get("name")) for component in listed]
    return [f"/spec/components/{names.index(name)}" for name in components]


def _options(obj: Any) -> list[Any]:
    return items(mapping(mapping(obj).get("syncPolicy")).get("syncOptions"))


def _respects(application: Placed) -> bool:
    return "RespectIgnoreDifferences=true" in _options(_settings(application))


def _server_side(application: Placed, graph: Placed) -> bool:
    annotations = mapping(mapping(graph.content.get("metadata")).get("annotations"))
    of_object = text(annotations.get("argocd.argoproj.io/sync-options")).replace(" ", "").split(",")
    if "ServerSideApply=false" in of_object:
        return False
    return _SERVER_SIDE in of_object or _SERVER_SIDE in _options(_settings(application))
