"""How the fields of v1alpha1 and v1beta1 correspond, a few fields at a time.

A `FieldMap` covers fields that must be read together (a type and its sub-type). Its two functions
give the other version's fields, and None where that version has no words for what was found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from slaplanner_lab.fleet.names import Json

_BETA_TYPES = frozenset({"frontend", "worker", "prefill", "decode", "planner", "epp"})
_GPU = {"gpu": "nvidia.com/gpu"}
_POD_FIELDS = frozenset({"mainContainer"})

Mapper = Callable[[Json], Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldMap:
    """Fields that belong together, in both versions, and the way from one to the other."""

    alpha: tuple[str, ...]
    beta: tuple[str, ...]
    to_beta: Mapper
    to_alpha: Mapper


def _renamed(alpha: str, beta: str) -> FieldMap:
    return FieldMap(
        alpha=(alpha,),
        beta=(beta,),
        to_beta=lambda fields: {beta: fields[alpha]} if alpha in fields else {},
        to_alpha=lambda fields: {alpha: fields[beta]} if beta in fields else {},
    )


def _type_to_beta(fields: Json) -> Json:
    kind = fields.get("subComponentType") or fields.get("componentType")
    return {"type": kind} if kind in _BETA_TYPES else {}


def _type_to_alpha(fields: Json) -> Json:
    if "type" not in fields:
        return {}
    if fields["type"] in ("prefill", "decode"):
        return {"componentType": "worker", "subComponentType": fields["type"]}
    return {"componentType": fields["type"]}


def _adapter_to_beta(fields: Json) -> Json:
    return {"scalingAdapter": {}} if (fields.get("scalingAdapter") or {}).get("enabled") is True else {}


def _adapter_to_alpha(fields: Json) -> Json:
    return {"scalingAdapter": {"enabled": True}} if "scalingAdapter" in fields else {}


def _resources_to_beta(resources: Json) -> Json:
    """`gpu` is called by its full name, `custom` resources stand beside the others; a GPU type has no place."""
    return {
        kind: {
            _GPU.get(name, name): value
            for name, value in {**amounts, **(amounts.get("custom") or {})}.items()
            if name not in ("custom", "gpuType")
        }
        for kind, amounts in resources.items()
    }


def _resources_to_alpha(resources: Json) -> Json:
    plain = {"cpu": "cpu", "memory": "memory", **{beta: alpha for alpha, beta in _GPU.items()}}
    converted = {}
    for kind, amounts in resources.items():
        named = {plain[name]: value for name, value in amounts.items() if name in plain}
        custom = {name: value for name, value in amounts.items() if name not in plain}
        converted[kind] = named | ({"custom": custom} if custom else {})
    return converted


def _pods_to_beta(fields: Json) -> Json:
    """`extraPodSpec` (a pod spec and its main container apart) and `resources` become a pod template."""
    pod = fields.get("extraPodSpec") or {}
    main = dict(pod.get("mainContainer") or {})
    if fields.get("resources"):
        main["resources"] = _resources_to_beta(fields["resources"])
    spec = {key: value for key, value in pod.items() if key not in _POD_FIELDS}
    if main:
        spec["containers"] = [{**main, "name": "main"}, *(spec.get("containers") or [])]
    return {"podTemplate": {"spec": spec}} if spec else {}


def _pods_to_alpha(fields: Json) -> Json:
    spec = dict((fields.get("podTemplate") or {}).get("spec") or {})
    containers = spec.pop("containers", None) or []
    mains = [one for one in containers if one.get("name") == "main"]
    others = [one for one in containers if one.get("name") != "main"]
    converted: Json = {}
    if mains:
        main = {key: value for key, value in mains[0].items() if key not in ("name", "resources")}
        if mains[0].get("resources"):
            converted["resources"] = _resources_to_alpha(mains[0]["resources"])
        if main:
            spec["mainContainer"] = main
    if others:
        spec["containers"] = others
    return converted | ({"extraPodSpec": spec} if spec else {})


def _names_to_beta(fields: Json) -> Json:
    found = fields.get("componentNames") or [n for n in (fields.get("componentName"),) if n]
    return {"componentNames": found} if found else {}


def _names_to_alpha(fields: Json) -> Json:
    found = fields.get("componentNames") or []
    return {"componentName": found[-1], "componentNames": found} if found else {}


def _same(*fields: str) -> tuple[FieldMap, ...]:
    return tuple(_renamed(field, field) for field in fields)


ORDER: Final = "components"
"""Stands for the components' names in their order; v1alpha1 has a map, whose names are sorted."""

_ORDER = FieldMap(
    alpha=(ORDER,),
    beta=(ORDER,),
    to_beta=dict,
    to_alpha=lambda fields: {ORDER: sorted(fields[ORDER])} if ORDER in fields else {},
)

SPEC: Final = (
    _ORDER,
    _renamed("envs", "env"),
    *_same("annotations", "labels", "priorityClassName", "backendFramework", "restart"),
)
"""The spec, its components apart."""

COMPONENT: Final = (
    FieldMap(
        alpha=("componentType", "subComponentType"),
        beta=("type",),
        to_beta=_type_to_beta,
        to_alpha=_type_to_alpha,
    ),
    FieldMap(
        alpha=("scalingAdapter",),
        beta=("scalingAdapter",),
        to_beta=_adapter_to_beta,
        to_alpha=_adapter_to_alpha,
    ),
    FieldMap(
        alpha=("resources", "extraPodSpec"),
        beta=("podTemplate",),
        to_beta=_pods_to_beta,
        to_alpha=_pods_to_alpha,
    ),
    _renamed("envs", "env"),
    *_same("replicas", "multinode", "globalDynamoNamespace", "modelRef"),
)
"""One service of `spec.services`, one entry of `spec.components`."""

STATUS: Final = (_ORDER, *_same("observedGeneration", "state", "conditions", "restart", "checkpoints"))
"""The status, its components and the rolling update apart."""

COMPONENT_STATUS: Final = (
    FieldMap(
        alpha=("componentName", "componentNames"),
        beta=("componentNames",),
        to_beta=_names_to_beta,
        to_alpha=_names_to_alpha,
    ),
    *_same("componentKind", "runtimeNamespace", "replicas", "updatedReplicas", "readyReplicas"),
    *_same("availableReplicas", "scheduledReplicas", "gpusPerReplica"),
)
"""One entry of `status.services` or `status.components`."""

ROLLING_UPDATE: Final = (
    _renamed("updatedServices", "updatedComponents"),
    *_same("phase", "startTime", "endTime"),
)
