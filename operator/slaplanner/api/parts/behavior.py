"""The spec's `behavior`: the Horizontal Pod Autoscaler's words (autoscaling/v2), per role."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, Strict

from slaplanner.api.fields import Count, Part, Seconds, SecondsOrNone, part
from slaplanner.core.model import Behavior, RateLimit, RateUnit, ScalingRules, SelectPolicy


class RateLimitSpec(Part):
    """One rate limit."""

    type: RateUnit = Field(description="What `value` counts: Replicas, or Percent of the replicas.")
    value: Count = Field(description="The largest change within a period, in replicas or percent.")
    period_seconds: Seconds = Field(description="Length of the period, in seconds.")

    def to_core(self) -> RateLimit:
        return RateLimit(unit=self.type, value=self.value, period_s=float(self.period_seconds))


class ScalingRulesSpec(Part):
    """One direction. The two directions differ in one default alone."""

    stabilization_window_seconds: SecondsOrNone = Field(
        default=0,
        description=(
            "Seconds of past recommendations to consider; a role grows to the lowest of them. 0: it grows at once."
        ),
    )
    policies: Annotated[tuple[RateLimitSpec, ...], Field(max_length=4)] | None = Field(
        default=None,
        description="Rate limits; selectPolicy chooses among them. Absent or empty: no rate limit.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    select_policy: SelectPolicy = Field(
        default=SelectPolicy.MAX,
        description="Which rate limit applies: Max (the one that allows the largest change) or Min (the smallest). Disabled forbids any change in this direction.",
    )
    tolerance: Annotated[float, Strict(), Field(ge=0, le=1)] = Field(
        default=0.0,
        description="The role is left alone if the wanted replicas differ by less than this share from the current ones: 0 to 1; 0.1 is 10 percent.",
    )

    def to_core(self) -> ScalingRules:
        return ScalingRules(
            stabilization_window_s=float(self.stabilization_window_seconds),
            policies=tuple(limit.to_core() for limit in self.policies or ()),
            select=self.select_policy,
            tolerance=self.tolerance,
        )


class ScaleDownSpec(ScalingRulesSpec):
    """Shrinking thinks longer than growing: what was given up costs minutes to get back."""

    stabilization_window_seconds: SecondsOrNone = Field(
        default=300,
        description=(
            "Seconds of past recommendations to consider; a role shrinks to the highest of them. 0: it shrinks at once."
        ),
    )


class BehaviorSpec(Part):
    """Both directions."""

    scale_up: ScalingRulesSpec = part(ScalingRulesSpec, "How a role grows.")
    scale_down: ScaleDownSpec = part(ScaleDownSpec, "How a role shrinks.")

    def to_core(self) -> Behavior:
        return Behavior(scale_up=self.scale_up.to_core(), scale_down=self.scale_down.to_core())
