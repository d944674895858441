"""The SLAPolicy's spec: its fields, their meaning and their defaults.

The CRD, its texts, the reference page and the offline check are derived from these models. Two rules shape them:

- The API server applies a nested default only if the parent exists. So a parent with defaults below it defaults to
  `{}` and must be valid when it is empty: nothing below it is required, and rules that `{}` would break stand on `Spec`.
- What the code resolves (sizing, window, start-up time) has no default here, because the API server would store the
  default and old policies would keep it for ever.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from slaplanner.api.enums import CONNECTORS, TARGET_KINDS
from slaplanner.api.fields import ListMap, Part, Rule, part
from slaplanner.api.parts.behavior import BehaviorSpec
from slaplanner.api.parts.metrics import MetricsSpec
from slaplanner.api.parts.planning import PlanningSpec
from slaplanner.api.parts.profile import ProfileSpec
from slaplanner.api.parts.promise import FallbackSpec, SlaSpec
from slaplanner.api.parts.target import ConnectorSpec, GpuBudget, RoleSpec, TargetRef
from slaplanner.core.model import Actuation, Mode


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
        description="Enforce writes replicas to the target. Observe plans and reports but writes nothing to the target.",
    )
    sla: SlaSpec = part(
        SlaSpec, "The latency targets, and the request lengths to assume until traffic has been observed."
    )
    gpu_budget: GpuBudget | None = Field(default=None, description="A limit on the GPUs. Absent: none.")
    roles: Annotated[tuple[RoleSpec, ...], Field(max_length=3), ListMap("name")] | None = Field(
        default=None,
        description="Bounds and properties of each role, at most one entry per role. A role without an entry has the defaults.",
    )
    profile: ProfileSpec = part(
        ProfileSpec, "Measured speed of one replica: exactly one of configMapRef and path."
    )
    metrics: MetricsSpec = part(
        MetricsSpec, "Which Prometheus is read, and which of its series belong to the target."
    )
    planning: PlanningSpec = part(PlanningSpec, "When the operator plans, and how.")
    behavior: BehaviorSpec = part(
        BehaviorSpec,
        "How fast each role may grow and shrink. The fields mean the same as in a HorizontalPodAutoscaler.",
    )
    fallback: FallbackSpec = part(FallbackSpec, "What the operator does while the load stays unknown.")
    connector: ConnectorSpec = part(ConnectorSpec, "Who carries the decisions out.")

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            rule="self.connector.type != 'Kubernetes' || has(self.targetRef.name)",
            message="targetRef.name is required",
            path=".targetRef.name",
        ),
        Rule(
            rule=(
                "self.connector.type != 'Virtual'"
                " || (!has(self.targetRef.name) && !has(self.targetRef.apiVersion))"
            ),
            message="targetRef is for connector Kubernetes: with Virtual there is no target in the cluster",
            path=".targetRef",
        ),
        Rule(
            rule="(self.connector.type == 'Virtual') == has(self.connector.virtual)",
            message="connector.virtual is required with connector Virtual, and not allowed without it",
            path=".connector.virtual",
        ),
        Rule(
            rule="self.connector.type != 'Virtual' || self.mode != 'agg'",
            message="connector Virtual publishes prefill and decode workers: mode agg has neither",
            path=".mode",
        ),
        Rule(
            rule=(
                "self.connector.type != 'Virtual' || (has(self.roles)"
                " && (self.mode == 'disagg' ? ['prefill', 'decode'] : [self.mode])"
                ".all(n, self.roles.exists(r, r.name == n && has(r.gpusPerReplica))))"
            ),
            message="connector Virtual needs gpusPerReplica for every role of the mode",
            path=".roles",
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
