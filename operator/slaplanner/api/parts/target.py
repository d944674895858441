"""The spec's `targetRef`, `connector` and `roles`: what is scaled, by whom, within which bounds."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from slaplanner.api.enums import CONNECTORS, TARGET_KINDS, ConnectorType, TargetKind, VirtualBackend, choices
from slaplanner.api.fields import Count, Gpus, ObjectName, OneOf, Part, Rule, Seconds, Text
from slaplanner.core.model import Role


class TargetRef(Part):
    """The deployment whose workers are scaled, in the policy's namespace."""

    api_version: (
        Annotated[str, StringConstraints(max_length=253, pattern=r"^nvidia\.com/[a-z0-9]+$")] | None
    ) = Field(
        default=None,
        description=(
            "Group and version of the target, such as nvidia.com/v1alpha1. Optional. Only the group is used: the operator reads the newest version that the cluster serves."
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


class GpuBudget(Part):
    """A limit on what may be used."""

    max: Gpus | None = Field(
        default=None,
        description=(
            "Maximum number of GPUs for all replicas of this policy together. The limit also holds at every moment while replicas change. Absent: no limit."
        ),
    )


class RoleSpec(Part):
    """What is said of one role."""

    name: Role = Field(
        description="The role: prefill, decode or agg (both in one worker). Only roles of the policy's mode."
    )
    component: Text | None = Field(
        default=None,
        description="Name of the role's component in the target. Needed only if the operator cannot find it there.",
    )
    gpus_per_replica: Gpus | None = Field(
        default=None,
        description="Number of GPUs of one replica, summed over all its nodes. Absent: read from the target.",
    )
    min_replicas: Count = Field(default=1, description="Minimum number of replicas.")
    max_replicas: Count | None = Field(
        default=None, description="Maximum number of replicas. Absent: only the GPU budget limits the role."
    )
    fallback_replicas: Count | None = Field(
        default=None,
        description=(
            "Number of replicas while the load stays unknown, in fallback modes Static and CurrentIfHigher. "
            "Required for every role if fallback.mode is Static."
        ),
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            rule="!has(self.maxReplicas) || self.minReplicas <= self.maxReplicas",
            message="minReplicas must not be above maxReplicas",
            path=".minReplicas",
        ),
    )


class EtcdRef(Part):
    """Which etcd."""

    connection: Annotated[
        str, StringConstraints(max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    ] = Field(
        description="Name of an etcd connection that the operator's administrator has configured.",
    )


class VirtualSpec(Part):
    """Where decisions are published, and for whom."""

    backend: VirtualBackend = Field(
        description=(
            "Kubernetes publishes in status.lastPublished and reads acknowledgements from the annotation "
            "slaplanner.io/scaled-decision-id; Etcd publishes in etcd, under the keys of Dynamo's own planner."
        )
    )
    etcd: EtcdRef | None = Field(
        default=None, description="Which etcd, with backend Etcd only. Absent: the connection default."
    )
    dynamo_namespace: Annotated[
        str, StringConstraints(max_length=253, pattern=r"^[A-Za-z0-9_][-._A-Za-z0-9]*$")
    ] = Field(
        description=(
            "Dynamo namespace of the fleet: the label dynamo_namespace of its metrics, and with backend Etcd "
            "a part of the keys."
        ),
    )
    model: Text = Field(
        description="Model that the fleet serves: the label model of its metrics, in lower case.",
    )
    max_wait_seconds: Seconds | None = Field(
        default=None,
        description=(
            "Seconds that a new decision waits for the acknowledgement of the previous one. After that it is published anyway. Absent: the operator's SCALING_MAX_WAIT_TIME, else 1800."
        ),
    )
    check_interval_seconds: Seconds | None = Field(
        default=None,
        description=(
            "Seconds between two checks for an acknowledgement. "
            "Absent: the operator's SCALING_CHECK_INTERVAL, else 10."
        ),
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            rule="self.backend == 'Etcd' || !has(self.etcd)",
            message="etcd is for backend Etcd only",
            path=".etcd",
        ),
    )


class ConnectorSpec(Part):
    """Who carries the decisions out."""

    type: Annotated[ConnectorType, OneOf(CONNECTORS)] = Field(
        default=ConnectorType.KUBERNETES,
        description=f"Who carries the decisions out. {choices(CONNECTORS)} Immutable.",
    )
    virtual: VirtualSpec | None = Field(
        default=None,
        description="Where decisions are published. Required with type Virtual, not allowed otherwise.",
    )
