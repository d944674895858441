"""One SLAPolicy as read from the cluster or a file: checked once here, trusted everywhere after.

The spec is checked though admission did so already: a rule that is newer than the stored object,
or a file that never met an API server, must not slip through.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from slaplanner.api.annotations import pause_request
from slaplanner.api.enums import DEFAULT_SIZING, Toggle
from slaplanner.api.parts.planning import PlanningSpec
from slaplanner.api.parts.target import RoleSpec
from slaplanner.api.rules import violations
from slaplanner.api.schema import spec_schema
from slaplanner.api.spec import Spec
from slaplanner.core.errors import PolicyError
from slaplanner.core.model import Fallback, KalmanTuning, Policy, PredictorPolicy, Role, RolePolicy, Sla

GROUP = "slaplanner.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "SLAPolicy"
PLURAL = "slapolicies"
FINALIZER = f"{GROUP}/finalizer"

SHORTEST_WINDOW_S = 60
"""Window of an absent `metrics.windowSeconds` under short intervals: at least four scrapes of the usual 15 s."""


class Metadata(BaseModel):
    """What the planner reads of an object's metadata."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)

    name: str
    namespace: str = "default"
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    creation_timestamp: str = ""
    deletion_timestamp: str | None = None
    annotations: dict[str, str] = Field(default_factory=dict)


class SLAPolicy(BaseModel):
    """An SLAPolicy: who it is and what it wants. The status is written, never read, through `status`."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    metadata: Metadata
    spec: Spec

    @staticmethod
    def parse(document: Mapping[str, Any]) -> SLAPolicy:
        """Check a decoded object and apply the defaults.

        Raises:
            PolicyError: a field or a rule is broken; the message names the field, what was found and
                what was wanted.
        """
        try:
            policy = SLAPolicy.model_validate({**document, "metadata": _metadata(document.get("metadata"))})
        except ValidationError as error:
            raise PolicyError("; ".join(_line(fault) for fault in error.errors())) from error
        written = policy.spec.model_dump(mode="json", by_alias=True, exclude_none=True)
        broken = violations(spec_schema(), written, "spec")
        if broken:
            raise PolicyError("; ".join(f"{fault.path}: {fault.message}" for fault in broken))
        return policy

    def to_core(self) -> Policy:
        """The policy with every default resolved and the pause annotation read."""
        return spec_to_core(self.spec, self.metadata.annotations)


def spec_to_core(spec: Spec, annotations: Mapping[str, str] | None = None) -> Policy:
    """Resolve *spec* under *annotations*: the defaults that the schema leaves to the code included."""
    planning = spec.planning
    window_s = spec.metrics.window_seconds or max(planning.interval_seconds, SHORTEST_WINDOW_S)
    named = {entry.name: entry for entry in spec.roles or ()}
    return Policy(
        mode=spec.mode,
        sla=Sla(
            ttft_ms=spec.sla.ttft,
            itl_ms=spec.sla.itl,
            isl_tokens=spec.sla.isl,
            osl_tokens=spec.sla.osl,
            attainment_percent=spec.sla.attainment,
        ),
        roles=tuple(_role(named.get(role) or RoleSpec(name=role)) for role in spec.mode.roles),
        gpu_budget=spec.gpu_budget.max if spec.gpu_budget else None,
        interval_s=float(planning.interval_seconds),
        window_s=float(window_s),
        sizing=planning.sizing or DEFAULT_SIZING,
        interpolation=spec.profile.interpolation,
        predictor=_predictor(planning),
        correction=planning.correction is Toggle.ENABLED,
        startup_s=None if planning.startup_seconds is None else float(planning.startup_seconds),
        behavior=spec.behavior.to_core(),
        fallback=Fallback(after=spec.fallback.after, mode=spec.fallback.mode),
        pause=pause_request(annotations or {}).pause,
        actuation=spec.actuation,
    )


def _role(entry: RoleSpec) -> RolePolicy:
    return RolePolicy(
        role=Role(entry.name),
        component=entry.component,
        gpus_per_replica=entry.gpus_per_replica,
        min_replicas=entry.min_replicas,
        max_replicas=entry.max_replicas,
        fallback_replicas=entry.fallback_replicas,
    )


def _predictor(planning: PlanningSpec) -> PredictorPolicy:
    predictor = planning.predictor
    kalman = predictor.kalman
    return PredictorPolicy(
        type=predictor.type,
        log1p=predictor.log1p,
        window_size=predictor.window_size,
        min_observations=predictor.min_observations,
        kalman=KalmanTuning(q_level=kalman.q_level, q_trend=kalman.q_trend, r=kalman.r),
    )


def _metadata(found: Any) -> Any:
    """Metadata as the API server stores it: a null is an absent field, a generated name has its prefix."""
    if not isinstance(found, Mapping):
        return found
    kept = {key: value for key, value in found.items() if value is not None}
    kept.setdefault("name", kept.get("generateName"))
    if isinstance(annotations := kept.get("annotations"), Mapping):
        kept["annotations"] = {key: value for key, value in annotations.items() if value is not None}
    return kept


def _line(fault: Any) -> str:
    """One line for one of pydantic's faults: the path as a user writes it, and the message."""
    path = ""
    for step in fault["loc"]:
        path += f"[{step}]" if isinstance(step, int) else f".{step}"
    return f"{path.lstrip('.')}: {fault['msg']}"
