"""What in a repository will fight with a policy over replicas, found before it is applied.

A manifest that sets the replicas of a target's role takes them back with every apply, unless the tool
that applies it is told to ignore them; an autoscaler on the same target takes them back at any time.
Found here are deployments, autoscalers and Argo CD's Applications among the documents of one run.
What generates manifests (Helm, Kustomize) is not run: validate its output.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Final

from slaplanner.adapters.target import FIELD_MANAGER
from slaplanner.adapters.target.graph import ADAPTER_KIND, GROUP, KIND, V1ALPHA1, parse_graph
from slaplanner.adapters.target.roles import resolve_roles
from slaplanner.adapters.target.shapes import items, mapping, text
from slaplanner.adapters.target.writes import adapter_name
from slaplanner.api.policy import SLAPolicy
from slaplanner.cli.placed import Placed
from slaplanner.core.errors import PlanningError

GUIDE: Final = "docs/how-to/gitops.md"
_AUTOSCALERS: Final = ("HorizontalPodAutoscaler", "ScaledObject")
_APPLICATIONS: Final = ("Application", "ApplicationSet")


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
        for one in objects:
            if not one.is_near(placed.namespace):
                continue
            if one.kind == KIND and one.group == GROUP and one.name == target:
                yield from _manifest(one, policy, applications)
            elif one.kind in _AUTOSCALERS:
                yield from _autoscaler(one, policy)


def _manifest(graph: Placed, policy: SLAPolicy, applications: Sequence[Placed]) -> Iterator[Fight]:
    set_here = _replicas_set(graph, policy)
    if not set_here:
        return
    named = ", ".join(set_here)
    whose = f"SLAPolicy {policy.metadata.name!r} scales"
    concerned = [one for one in applications if _syncs(one, graph)]
    for application in concerned:
        if not _ignores(application, graph, set_here):
            yield Fight(
                where=graph,
                message=f"sets replicas of {named}, which {whose}, and {application} does not ignore them: "
                f"leave them out, or ignore them ({GUIDE})",
            )
        elif not _respects(application):
            yield Fight(
                where=application,
                message=f"ignores replicas of {named}, which {whose}, when it compares and not when it syncs: "
                f"add RespectIgnoreDifferences=true, or leave replicas out of {graph} ({GUIDE})",
            )
        elif graph.content.get("apiVersion") != V1ALPHA1:
            yield Fight(
                where=application,
                message="RespectIgnoreDifferences=true keeps the whole list of components as it is in the "
                f"cluster, so changes of any of them in {graph} would never arrive: leave replicas of {named} "
                f"out of the manifest and RespectIgnoreDifferences out of the Application ({GUIDE})",
            )
    if not concerned:
        yield Fight(
            where=graph,
            message=f"sets replicas of {named}, which {whose}: every apply writes them back; leave them out ({GUIDE})",
        )


def _replicas_set(graph: Placed, policy: SLAPolicy) -> list[str]:
    """Components that the policy scales and whose replicas the manifest sets."""
    spec = mapping(graph.content.get("spec"))
    counted = {
        str(name) for name, service in mapping(spec.get("services")).items() if "replicas" in mapping(service)
    } | {
        text(mapping(component).get("name"))
        for component in items(spec.get("components"))
        if "replicas" in mapping(component)
    }
    core = policy.to_core()
    try:
        roles = resolve_roles(parse_graph(graph.content), core.mode, core.roles)
    except PlanningError:
        # A patch of some components, or a deployment that the policy cannot plan for: that is told elsewhere.
        return []
    return [role.component.name for role in roles if role.component.name in counted]


def _autoscaler(scaler: Placed, policy: SLAPolicy) -> Iterator[Fight]:
    reference = mapping(mapping(scaler.content.get("spec")).get("scaleTargetRef"))
    if text(reference.get("apiVersion")).partition("/")[0] != GROUP:
        return
    target = policy.spec.target_ref.name or ""
    kind, name = text(reference.get("kind")), text(reference.get("name"))
    if (kind, name) == (KIND, target) or (kind == ADAPTER_KIND and name.startswith(adapter_name(target, ""))):
        yield Fight(
            where=scaler,
            message=f"scales {kind} {name!r}, which SLAPolicy {policy.metadata.name!r} scales: "
            "the policy would write nothing (TargetConflict); keep one of the two",
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
    for path in (text(source.get("path")) for source in sources):
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
    pointers = {text(pointer) for rule in rules for pointer in items(rule.get("jsonPointers"))}
    return any(
        FIELD_MANAGER in items(rule.get("managedFieldsManagers"))
        or any("replicas" in text(path) for path in items(rule.get("jqPathExpressions")))
        for rule in rules
    ) or all(f"/spec/services/{name}/replicas" in pointers for name in components)


def _respects(application: Placed) -> bool:
    options = mapping(_settings(application).get("syncPolicy")).get("syncOptions")
    return "RespectIgnoreDifferences=true" in items(options)
