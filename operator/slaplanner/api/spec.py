"""The SLAPolicy's spec: the one place that says which fields there are, what they mean and default to.

The CRD, its texts, the reference page and the offline check are derived from these models. Two rules
shape them. Every parent with defaults below it defaults to `{}` itself, else they would not act; so
nothing below such a parent is required, and no rule that `{}` breaks sits on it: those rules sit on
`Spec`. And what the code resolves (sizing, window, start-up) has no default here, because the API
server would store it and freeze old objects at it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field, Strict, StringConstraints

from slaplanner.api.behavior import BehaviorSpec
from slaplanner.api.built import CONNECTORS, PREDICTORS, SIZINGS, TARGET_KINDS
from slaplanner.api.fields import (
    DAY_S,
    Count,
    Flag,
    Gpus,
    ListMap,
    Milliseconds,
    ObjectName,
    OneOf,
    Part,
    Positive,
    Rule,
    Seconds,
    Text,
    Tokens,
    part,
)
from slaplanner.api.words import ConnectorType, MatchOperator, MetricsSource, TargetKind, Toggle
from slaplanner.core.model import Actuation, FallbackMode, Interpolation, Mode, PredictorType, Role, Sizing


class TargetRef(Part):
    """The deployment whose workers are scaled, in the policy's namespace."""

    api_version: (
        Annotated[str, StringConstraints(max_length=253, pattern=r"^nvidia\.com/[a-z0-9]+$")] | None
    ) = Field(
        default=None,
        description=(
            "Group and version of the target, such as nvidia.com/v1alpha1. Optional: only the group counts, "
            "the version is the newest that the cluster serves."
        ),
    )
    kind: Annotated[TargetKind, OneOf(TARGET_KINDS)] = Field(
        default=TargetKind.DYNAMO_GRAPH_DEPLOYMENT,
        description="Kind of the target: DynamoGraphDeployment. Immutable.",
    )
    name: ObjectName | None = Field(
        default=None,
        description="Name of the target, in the policy's namespace. Required for connector Kubernetes. Immutable.",
    )


class SlaSpec(Part):
    """The promise."""

    ttft: Milliseconds = Field(
        default=500.0,
        description=(
            "Target for the time to first token (TTFT), in milliseconds: from the arrival of a request "
            "to its first output token, time in the queue included."
        ),
    )
    itl: Milliseconds = Field(
        default=50.0,
        description=(
            "Target for the inter-token latency (ITL), in milliseconds: the time between two output "
            "tokens of a request, after the first."
        ),
    )
    isl: Tokens = Field(
        default=3000.0,
        description="Expected mean input sequence length (ISL), in tokens. Used until traffic is seen.",
    )
    osl: Tokens = Field(
        default=150.0,
        description="Expected mean output sequence length (OSL), in tokens. Used until traffic is seen.",
    )
    attainment: Annotated[float, Strict(), Field(ge=50, le=99.9)] = Field(
        default=99.0,
        description="Share of the requests that should meet the targets, in percent: 50 to 99.9.",
    )


class GpuBudget(Part):
    """A limit on what may be used."""

    max: Gpus | None = Field(
        default=None,
        description=(
            "GPUs that all replicas of this policy may use together, held at every moment of a change. Absent: no limit."
        ),
    )


class RoleSpec(Part):
    """What is said of one role."""

    name: Role = Field(
        description="The role: prefill, decode or agg (both in one worker). Only roles of the policy's mode."
    )
    component: Text | None = Field(
        default=None,
        description="Name of the role's component in the target. Needed only where it cannot be found there.",
    )
    gpus_per_replica: Gpus | None = Field(
        default=None,
        description="GPUs that one replica uses, all its nodes together. Absent: read from the target.",
    )
    min_replicas: Count = Field(default=1, description="Replicas that are never gone below.")
    max_replicas: Count | None = Field(
        default=None, description="Replicas that are never gone above. Absent: only the GPU budget limits."
    )
    fallback_replicas: Count | None = Field(
        default=None,
        description=(
            "Replicas while the load stays unknown, with fallback mode Static or CurrentIfHigher. "
            "Required for every role of the mode with Static."
        ),
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            rule="!has(self.maxReplicas) || self.minReplicas <= self.maxReplicas",
            message="minReplicas must not be above maxReplicas",
            path=".minReplicas",
        ),
    )


class ConfigMapRef(Part):
    """A ConfigMap in the policy's namespace."""

    name: ObjectName = Field(description="Name of the ConfigMap, in the policy's namespace.")


class ProfileSpec(Part):
    """Measured speed of one replica."""

    config_map_ref: ConfigMapRef | None = Field(
        default=None,
        description=(
            "ConfigMap that holds the profile under the keys prefill_raw_data.json and decode_raw_data.json. "
            "Exactly one of configMapRef and path is given."
        ),
    )
    path: Annotated[str, StringConstraints(max_length=1024, pattern=r"^/")] | None = Field(
        default=None,
        description=(
            "Absolute path of a profile directory that is mounted into the operator, below a directory that its "
            "administrator allows. Exactly one of configMapRef and path is given."
        ),
    )
    interpolation: Interpolation = Field(
        default=Interpolation.MONOTONE,
        description=(
            "How values between the measured points are found. Monotone never leaves the range of the "
            "neighbouring measurements; Cubic reproduces Dynamo's own planner."
        ),
    )


class Matcher(Part):
    """One more condition on the labels of the metrics."""

    label: Annotated[str, StringConstraints(max_length=128, pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")] = Field(
        description="Name of the label."
    )
    operator: MatchOperator = Field(
        default=MatchOperator.EQUAL,
        description="How the label's value is compared: Equal, NotEqual, or by regular expression, Matches, NotMatches.",
    )
    value: Annotated[str, StringConstraints(max_length=512)] = Field(
        description="What it is compared with: a value, or an RE2 expression that must match the whole value."
    )


class MetricsSpec(Part):
    """Where the traffic is read."""

    connection: Annotated[
        str, StringConstraints(max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    ] = Field(
        default="default",
        description="Name of a Prometheus connection that the operator's administrator has configured.",
    )
    source: MetricsSource = Field(
        default=MetricsSource.FRONTEND,
        description="Whose metrics are read: Dynamo's Frontend, or its Router.",
    )
    model: Text | None = Field(
        default=None,
        description="Value of the label model. Absent: the model that the target's workers serve, in lower case.",
    )
    dynamo_namespace: Text | None = Field(
        default=None,
        description="Value of the label dynamo_namespace. Absent: <namespace>-<target>, as Dynamo's operator names it.",
    )
    matchers: Annotated[tuple[Matcher, ...], Field(max_length=8)] | None = Field(
        default=None,
        description="Further conditions that every series must meet, all of them.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    window_seconds: Annotated[int, Strict(), Field(ge=4, le=DAY_S)] | None = Field(
        default=None,
        description=(
            "What one observation looks back on, in seconds; at least four scrapes of Prometheus. "
            "Absent: planning.intervalSeconds, at least 60."
        ),
    )


class KalmanSpec(Part):
    """Variances of the local linear trend."""

    q_level: Positive = Field(
        default=1.0, description="Variance of the level's noise, per step. Dynamo's q_level."
    )
    q_trend: Positive = Field(
        default=0.1, description="Variance of the trend's noise, per step. Dynamo's q_trend."
    )
    r: Positive = Field(default=10.0, description="Variance of the observation's noise. Dynamo's r.")


class PredictorSpec(Part):
    """How the load is forecast."""

    type: Annotated[PredictorType, OneOf(PREDICTORS)] = Field(
        default=PredictorType.AUTO,
        description="Method of the forecast. Auto chooses; Constant expects the last value to stay.",
    )
    log1p: Flag = Field(
        default=False,
        alias="log1p",
        description="Whether the series is forecast on a logarithmic scale, log(1 + x).",
    )
    window_size: Annotated[int, Strict(), Field(ge=0, le=10_000)] = Field(
        default=0,
        description="Points of history that are used, one per planning interval. 0: what the method needs, bounded.",
    )
    min_observations: Annotated[int, Strict(), Field(ge=1, le=10_000)] = Field(
        default=5,
        description="Points of history below which the last value stands in for the forecast.",
    )
    kalman: KalmanSpec = part(KalmanSpec, "Tuning of the Kalman filter, which only the type Kalman reads.")


class PlanningSpec(Part):
    """When and how is planned."""

    interval_seconds: Annotated[int, Strict(), Field(ge=5, le=DAY_S)] = Field(
        default=180, description="Seconds between two plans: 5 to 86400."
    )
    sizing: Annotated[Sizing, OneOf(SIZINGS)] | None = Field(
        default=None,
        description=(
            "How a forecast becomes replicas. Throughput divides the load by what one replica carries at "
            "the targets. Absent: the best method of the operator's version; status.sizing shows which."
        ),
    )
    predictor: PredictorSpec = part(PredictorSpec, "How the load of the next interval is forecast.")
    correction: Toggle = Field(
        default=Toggle.ENABLED,
        description="Whether observed latencies correct the profile's: Enabled or Disabled.",
    )
    startup_seconds: Seconds | None = Field(
        default=None,
        description=(
            "Seconds from the creation of a replica's pod until it is ready. "
            "Absent: measured from the target's own scale-ups, 120 until one was seen."
        ),
    )


class FallbackSpec(Part):
    """What holds while the load stays unknown."""

    after: Annotated[int, Strict(), Field(ge=1, le=1000)] = Field(
        default=3, description="Failed observations in a row after which the mode below takes over."
    )
    mode: FallbackMode = Field(
        default=FallbackMode.HOLD,
        description=(
            "Hold keeps what runs; Static sets the roles' fallbackReplicas; CurrentIfHigher sets them "
            "unless more are running."
        ),
    )


class ConnectorSpec(Part):
    """Who carries decisions out."""

    type: Annotated[ConnectorType, OneOf(CONNECTORS)] = Field(
        default=ConnectorType.KUBERNETES,
        description="Who carries decisions out: Kubernetes scales the target in this cluster. Immutable.",
    )


def _immutable(path: str, values: tuple[StrEnum, ...]) -> tuple[Rule, ...]:
    """Forbid a change of an enum that has a default; one with a single value cannot change anyway."""
    if len(values) == 1:
        return ()
    return (Rule(rule=f"self.{path} == oldSelf.{path}", message=f"{path} is immutable", path=f".{path}"),)


class Spec(Part):
    """What is wanted."""

    target_ref: TargetRef = part(TargetRef, "The deployment whose workers are scaled.")
    mode: Mode = Field(
        default=Mode.DISAGG,
        description=(
            "Which roles are sized: disagg (prefill and decode workers), prefill or decode (one of the two), "
            "agg (workers that do both). Immutable."
        ),
    )
    actuation: Actuation = Field(
        default=Actuation.ENFORCE,
        description="Enforce carries decisions out; Observe plans and reports, and writes nothing to the target.",
    )
    sla: SlaSpec = part(
        SlaSpec, "The latency targets, and the lengths that are expected before traffic is known."
    )
    gpu_budget: GpuBudget | None = Field(default=None, description="A limit on the GPUs. Absent: none.")
    roles: Annotated[tuple[RoleSpec, ...], Field(max_length=3), ListMap("name")] | None = Field(
        default=None,
        description="Bounds and facts per role, one entry each. Roles without an entry have the defaults.",
    )
    profile: ProfileSpec = part(
        ProfileSpec, "Measured speed of one replica: exactly one of configMapRef and path."
    )
    metrics: MetricsSpec = part(MetricsSpec, "Where the traffic is read, and which series are the target's.")
    planning: PlanningSpec = part(PlanningSpec, "When and how is planned.")
    behavior: BehaviorSpec = part(
        BehaviorSpec, "How fast, and after how much thought, each role grows and shrinks; the HPA's words."
    )
    fallback: FallbackSpec = part(FallbackSpec, "What holds when the load stays unknown.")
    connector: ConnectorSpec = part(ConnectorSpec, "Who carries decisions out.")

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            rule="self.connector.type != 'Kubernetes' || has(self.targetRef.name)",
            message="targetRef.name is required",
            path=".targetRef.name",
        ),
        Rule(
            rule="has(self.profile.configMapRef) != has(self.profile.path)",
            message="exactly one of profile.configMapRef and profile.path is required",
            path=".profile",
        ),
        Rule(
            rule=(
                "!has(self.roles) || self.roles.all(r, r.name == self.mode"
                " || (self.mode == 'disagg' && r.name in ['prefill', 'decode']))"
            ),
            message="only roles of the mode may be listed: prefill and decode with disagg, else the mode itself",
            path=".roles",
        ),
        Rule(
            rule=(
                "self.fallback.mode != 'Static' || (has(self.roles)"
                " && (self.mode == 'disagg' ? ['prefill', 'decode'] : [self.mode])"
                ".all(n, self.roles.exists(r, r.name == n && has(r.fallbackReplicas))))"
            ),
            message="fallback mode Static needs fallbackReplicas for every role of the mode",
            path=".roles",
        ),
        Rule(rule="self.mode == oldSelf.mode", message="mode is immutable", path=".mode"),
        Rule(
            rule=(
                "has(self.targetRef.name) == has(oldSelf.targetRef.name)"
                " && (!has(self.targetRef.name) || self.targetRef.name == oldSelf.targetRef.name)"
            ),
            message="targetRef.name is immutable",
            path=".targetRef.name",
        ),
        *_immutable("targetRef.kind", TARGET_KINDS),
        *_immutable("connector.type", CONNECTORS),
    )
