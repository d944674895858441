"""Who else scales the same target: HorizontalPodAutoscalers, KEDA ScaledObjects, planners inside it.

KEDA that is not installed has no ScaledObjects. A listing that we may not read is reported as
unchecked and does not stop the planner: an administrator who grants less wants less looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from slaplanner.adapters.deployment.api_client import KubernetesApi
from slaplanner.adapters.deployment.connector import Rival, Rivals, TargetState
from slaplanner.adapters.deployment.failures import ApiRefusal
from slaplanner.adapters.deployment.graph import ADAPTER_KIND, GROUP, KIND
from slaplanner.adapters.deployment.untrusted import items, mapping, text
from slaplanner.core.model import Role
from slaplanner.core.reasons import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    kind: str
    group: str
    version: str
    plural: str


_HPA = _Kind(
    kind="HorizontalPodAutoscaler", group="autoscaling", version="v2", plural="horizontalpodautoscalers"
)
_SCALED_OBJECT = _Kind(kind="ScaledObject", group="keda.sh", version="v1alpha1", plural="scaledobjects")


def autoscalers_of(api: KubernetesApi, state: TargetState) -> Rivals:
    """Who scales the deployment or one of the adapters of its roles."""
    found: list[Rival] = []
    unchecked: list[str] = []
    for kind in (_HPA, _SCALED_OBJECT):
        try:
            objects = api.list(kind.group, kind.version, state.identity.namespace, kind.plural)
        except ApiRefusal as refusal:
            if not refusal.failure.not_served:
                unchecked.append(f"{kind.plural} were not looked at: {refusal.failure.message}")
            continue
        for scaler in objects:
            found.extend(_claims(kind, scaler, state))
    return Rivals(found=tuple(found), unchecked=tuple(unchecked))


def planners_of(api: KubernetesApi, state: TargetState) -> tuple[Rival, ...]:
    """The planners inside the target that scale it, or whose configuration does not tell."""

    def read(name: str) -> Mapping[str, str] | str:
        try:
            return api.config_map(state.identity.namespace, name)
        except ApiRefusal as refusal:
            if refusal.failure.not_found:
                return f"ConfigMap {name!r} does not exist"
            return f"ConfigMap {name!r} cannot be read: {refusal}"

    told = {name: planner.scales(read) for name, planner in state.planners.items()}
    return tuple(
        Rival(
            reason=Reason.OTHER_PLANNER,
            name=f"planner component {name!r}"
            + (f", whose configuration is not known: {why}" if why else ""),
        )
        for name, why in told.items()
        if why is not None
    )


def _claims(kind: _Kind, scaler: Mapping[str, Any], state: TargetState) -> Iterator[Rival]:
    if kind is _HPA and _is_kedas(scaler):
        return
    reference = mapping(mapping(scaler.get("spec")).get("scaleTargetRef"))
    group = text(reference.get("apiVersion")).partition("/")[0]
    scaled = (text(reference.get("kind")), text(reference.get("name")))
    name = f"{kind.kind} {text(mapping(scaler.get('metadata')).get('name'))!r}"
    if group != GROUP:
        return
    if scaled == (KIND, state.identity.name):
        yield Rival(reason=Reason.OTHER_AUTOSCALER, name=name)
    for role, adapter in state.adapters.items():
        if scaled == (ADAPTER_KIND, adapter):
            yield Rival(reason=Reason.OTHER_AUTOSCALER, name=name, role=Role(role))


def _is_kedas(autoscaler: Mapping[str, Any]) -> bool:
    """KEDA works through an HPA of its own; the ScaledObject is what a user would look for."""
    owners = items(mapping(autoscaler.get("metadata")).get("ownerReferences"))
    return any(mapping(owner).get("kind") == _SCALED_OBJECT.kind for owner in owners)
