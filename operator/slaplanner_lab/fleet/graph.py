"""A DynamoGraphDeployment as its controller reads it: components, their replicas, the model.

Both API versions become the same words. What differs per graph (start-up time, faults, the kind of
workload that carries a component) is said by annotations, so a test or a demo needs one object only.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from slaplanner.core.model import Role
from slaplanner_lab.fleet import names
from slaplanner_lab.fleet.names import Json

GLOBAL_NAMESPACE = "dynamo"
"""Where components live that use the global Dynamo namespace."""

_SCALING_FIELDS = frozenset({"replicas", "scalingAdapter"})
"""A change of these starts no rollout."""

_MODEL_FLAGS = ("served-model-name", "model-name", "model", "model-path")

_ROLE_OF_NAME = {
    "VllmPrefillWorker": Role.PREFILL,
    "VllmDecodeWorker": Role.DECODE,
    "TRTLLMPrefillWorker": Role.PREFILL,
    "TRTLLMDecodeWorker": Role.DECODE,
    "prefill": Role.PREFILL,
    "decode": Role.DECODE,
}


class FleetError(ValueError):
    """An object or an option that the fleet cannot play, with what was found and wanted."""


class ComponentKind(StrEnum):
    """The workload that carries a component's replicas."""

    DEPLOYMENT = "Deployment"
    POD_CLIQUE = "PodClique"
    POD_CLIQUE_SCALING_GROUP = "PodCliqueScalingGroup"
    LEADER_WORKER_SET = "LeaderWorkerSet"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayedComponent:
    """One component of a graph."""

    name: str
    role: Role | None
    """None: no worker (frontend, planner, ...)."""
    replicas: int
    kind: ComponentKind
    revision: str
    """Changes with everything but the scale."""
    scaling_adapter: bool = False
    gpus_per_replica: int = 0
    model: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What shall go wrong with a graph."""

    crash_looping: Mapping[str, int] = field(default_factory=dict)
    """Replicas per component that never become ready."""
    capacity_gpus: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """One DynamoGraphDeployment."""

    namespace: str
    name: str
    uid: str
    generation: int
    dynamo_namespace: str
    components: tuple[PlayedComponent, ...]
    startup_s: float | None = None
    """Its own start-up time; None: the fleet's."""
    amplify: int | None = None
    """Its own share of the traffic; None: the fleet's."""
    faults: Faults = field(default_factory=Faults)

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def workers(self) -> tuple[PlayedComponent, ...]:
        return tuple(component for component in self.components if component.role is not None)

    @property
    def model(self) -> str:
        """What the frontend calls the model; the graph's name when no argument says one."""
        found = next((worker.model for worker in self.workers if worker.model), None)
        return found or self.name

    @property
    def worker_set(self) -> str:
        """What the workers' namespace ends with: it changes with every rollout of any of them."""
        templates = "".join(f"{worker.name}{worker.revision}" for worker in self.workers)
        return hashlib.sha256(templates.encode()).hexdigest()[:8]


def read_graph(obj: Json) -> Graph:
    """Read a DynamoGraphDeployment of either version.

    Raises:
        FleetError: the version is unknown, or a field or an annotation cannot be read.
    """
    try:
        return _read(obj)
    except (AttributeError, KeyError, TypeError) as error:
        raise FleetError(f"found an object of another shape than its schema's: {error!r}") from error


def _read(obj: Json) -> Graph:
    version = names.version_of(obj)
    if version not in (names.V1ALPHA1, names.V1BETA1):
        raise FleetError(f"found apiVersion {obj.get('apiVersion')!r}, wanted v1alpha1 or v1beta1")
    meta = obj["metadata"]
    annotations = meta.get("annotations") or {}
    raw = dict(_raw_components(obj, version))
    kinds = _kinds(annotations, raw)
    shared = any(component.get("globalDynamoNamespace") for component in raw.values())
    return Graph(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta.get("uid", ""),
        generation=meta.get("generation", 1),
        dynamo_namespace=GLOBAL_NAMESPACE if shared else f"{meta['namespace']}-{meta['name']}",
        components=tuple(_component(name, one, version, kinds[name]) for name, one in raw.items()),
        startup_s=_number(annotations, names.STARTUP_ANNOTATION),
        amplify=_whole(_number(annotations, names.AMPLIFY_ANNOTATION)),
        faults=Faults(
            crash_looping=_counts(annotations.get(names.CRASH_ANNOTATION, "")),
            capacity_gpus=_whole(_number(annotations, names.CAPACITY_ANNOTATION)),
        ),
    )


def _raw_components(obj: Json, version: str) -> Iterator[tuple[str, Json]]:
    listed = (obj.get("spec") or {}).get(names.component_key(version)) or {}
    if version == names.V1ALPHA1:
        yield from ((name, component or {}) for name, component in listed.items())
    else:
        yield from ((component["name"], component) for component in listed)


def _component(name: str, raw: Json, version: str, kind: ComponentKind) -> PlayedComponent:
    template = {key: value for key, value in raw.items() if key not in _SCALING_FIELDS}
    adapter = raw.get("scalingAdapter")
    container = _main_container(raw, version)
    limits = (raw if version == names.V1ALPHA1 else container).get("resources") or {}
    gpus = (limits.get("limits") or limits.get("requests") or {}).get(
        "gpu" if version == names.V1ALPHA1 else "nvidia.com/gpu", 0
    )
    return PlayedComponent(
        name=name,
        role=_role(name, raw),
        replicas=1 if raw.get("replicas") is None else int(raw["replicas"]),
        kind=kind,
        revision=hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:8],
        scaling_adapter=adapter is not None and (version == names.V1BETA1 or adapter.get("enabled") is True),
        gpus_per_replica=_count(gpus, "GPUs") * int((raw.get("multinode") or {}).get("nodeCount", 1)),
        model=_model([*(container.get("command") or []), *(container.get("args") or [])]),
    )


def _role(name: str, raw: Json) -> Role | None:
    kind = raw.get("subComponentType") or raw.get("type") or raw.get("componentType")
    if kind in (Role.PREFILL, Role.DECODE):
        return Role(kind)
    if name in _ROLE_OF_NAME:
        return _ROLE_OF_NAME[name]
    return Role.AGG if kind == "worker" else None


def _main_container(raw: Json, version: str) -> Json:
    if version == names.V1ALPHA1:
        return (raw.get("extraPodSpec") or {}).get("mainContainer") or {}
    containers = ((raw.get("podTemplate") or {}).get("spec") or {}).get("containers") or []
    return next((one for one in containers if one.get("name") == "main"), {})


def _model(words: list[str]) -> str | None:
    """The model that the first of the flags names, in a list, as `--flag=value` or inside a script."""
    text = "\n".join(words)
    for flag in _MODEL_FLAGS:
        if found := re.search(rf"""--{flag}(?:=|[\s\\]+)["']?([^\s"'\\;]+)""", text):
            return found[1]
    return None


def _kinds(annotations: Mapping[str, str], raw: Mapping[str, Json]) -> dict[str, ComponentKind]:
    kinds = {
        name: ComponentKind.LEADER_WORKER_SET if component.get("multinode") else ComponentKind.DEPLOYMENT
        for name, component in raw.items()
    }
    for entry in filter(None, annotations.get(names.KIND_ANNOTATION, "").split(",")):
        component, _, kind = entry.strip().rpartition("=")
        if kind not in list(ComponentKind):
            raise FleetError(f"{names.KIND_ANNOTATION}: found {kind!r}, wanted one of {[*ComponentKind]}")
        kinds.update(dict.fromkeys([component] if component else kinds, ComponentKind(kind)))
    return kinds


def _counts(text: str) -> dict[str, int]:
    counts = {}
    for entry in filter(None, text.split(",")):
        component, _, count = entry.strip().partition("=")
        counts[component] = _count(count, f"{entry!r}, component=count")
    return counts


def _count(value: object, what: str) -> int:
    if not str(value).isdecimal():
        raise FleetError(f"{what}: found {value!r}, wanted a whole number of at least 0")
    return int(str(value))


def _number(annotations: Mapping[str, str], key: str) -> float | None:
    if key not in annotations:
        return None
    try:
        number = float(annotations[key])
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise FleetError(f"{key}: found {annotations[key]!r}, wanted a number of at least 0")
    return number


def _whole(number: float | None) -> int | None:
    return None if number is None else int(number)
