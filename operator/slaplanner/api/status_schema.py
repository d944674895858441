"""The SLAPolicy's status: what the operator reports. Written by `status`, never read as a wish.

Nothing is required and bounds are few: a status that the server refuses would cost its users the
report just when something is wrong. What is bounded (lists, `plannerState`) the builders keep.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, PlainSerializer

from slaplanner.api.fields import ListMap, Part
from slaplanner.core.model import Role
from slaplanner.core.reasons import ConditionStatus

DECISIONS_KEPT = 10
MESSAGE_CHARS = 1024
PLANNER_STATE_BYTES = 4096


def significant(value: float) -> float | int:
    """Three significant digits: more would be noise, and each digit that moves costs a write to every watcher.

    >>> significant(1234.5), significant(0.012345), significant(30.0)
    (1230, 0.0123, 30)
    """
    rounded = float(f"{value:.3g}")
    return int(rounded) if rounded.is_integer() else rounded


Figure = Annotated[float, PlainSerializer(significant)]
"""A measured or computed figure; it is rounded once, when the status is written."""

_ATOMIC: dict[str, Any] = {"x-kubernetes-list-type": "atomic"}


def _said(description: str) -> Any:
    return Field(default=None, description=description)


class Condition(Part):
    """metav1.Condition."""

    type: Annotated[str, Field(max_length=316)] = Field(description="Type of the condition, in CamelCase.")
    status: Annotated[
        str, Field(max_length=16, json_schema_extra={"enum": [str(status) for status in ConditionStatus]})
    ] = Field(description="True, False or Unknown.")
    observed_generation: Annotated[int, Field(ge=0)] | None = _said(
        "metadata.generation of the policy that the condition was set for."
    )
    last_transition_time: str = Field(
        description="When the status of the condition last changed.",
        json_schema_extra={"format": "date-time"},
    )
    reason: Annotated[str, Field(min_length=1, max_length=1024)] = Field(
        description="Why, as one word in CamelCase. Programs may rely on it."
    )
    message: Annotated[str, Field(max_length=32768)] = Field(description="Why, for people, with the numbers.")


class TargetStatus(Part):
    """What was found."""

    api_version: str | None = _said("API version through which the target is read.")
    kind: str | None = _said("Kind of the target.")
    name: str | None = _said("Name of the target.")
    uid: str | None = _said("Identity of the target; a new one means that it was recreated.")
    model: str | None = _said("Model that the target's workers serve.")
    dynamo_namespace: str | None = _said(
        "Value of the label dynamo_namespace that the metrics are read under."
    )


class RoleStatus(Part):
    """One role now."""

    name: Role = Field(description="The role: prefill, decode or agg.")
    component: str | None = _said("Name of the role's component in the target.")
    gpus_per_replica: int | None = _said("GPUs that one replica uses.")
    current: int | None = _said("Replicas that the target asks for now.")
    ready: int | None = _said("Replicas that serve requests now. Absent: not reported.")
    desired: int | None = _said("Replicas that the last plan decided on.")
    raw: Figure | None = _said(
        "Replicas that the load needs, before rounding, bounds, stabilisation and budget."
    )
    limited_by: str | None = _said("Why desired differs from raw, as one word. Absent: it does not.")


class GpusStatus(Part):
    """GPUs of all roles."""

    current: int | None = _said("GPUs of the current replicas.")
    desired: int | None = _said("GPUs of the desired replicas.")
    budget: int | None = _said("spec.gpuBudget.max. Absent: no limit.")


class ObservedStatus(Part):
    """What the last observation showed."""

    window_seconds: Figure | None = _said("Seconds that the observation looked back on.")
    requests_per_second: Figure | None = _said("Requests that arrived, per second. Absent: unknown.")
    isl: Figure | None = _said("Mean input sequence length, in tokens. Absent: unknown.")
    osl: Figure | None = _said("Mean output sequence length, in tokens. Absent: unknown.")
    ttft: Figure | None = _said("Mean time to first token, in milliseconds. Absent: unknown.")
    itl: Figure | None = _said("Mean inter-token latency, in milliseconds. Absent: unknown.")
    cached_tokens: Figure | None = _said("Mean prompt tokens per request that a prefix cache served.")


class TokenRateStatus(Part):
    """The forecast load of one stage."""

    name: Role = Field(description="The stage: prefill counts input tokens, decode output tokens.")
    mean: Figure | None = _said("The forecast's mean, in tokens per second.")
    upper: Figure | None = _said(
        "What is not exceeded with the probability spec.sla.attainment, in tokens per second."
    )


class ForecastStatus(Part):
    """What is expected to come."""

    predictor: str | None = _said(
        "Method that was asked for; the condition ForecastAvailable says whether it could."
    )
    horizon_seconds: Figure | None = _said("How far ahead the figures lie, in seconds.")
    requests_per_second: Figure | None = _said("Mean of the requests, per second.")
    isl: Figure | None = _said("Mean input sequence length, in tokens.")
    osl: Figure | None = _said("Mean output sequence length, in tokens.")
    token_rates: Annotated[tuple[TokenRateStatus, ...], ListMap("name")] | None = _said("Load per stage.")


class UtilisationStatus(Part):
    """How full one role will be."""

    name: Role = Field(description="The role.")
    value: Figure | None = _said("Forecast load over what the replicas carry inside the targets; 1 is full.")


class ExpectedStatus(Part):
    """What the decided size should give."""

    ttft: Figure | None = _said("Mean time to first token at the decided size, in milliseconds.")
    itl: Figure | None = _said("Mean inter-token latency at the decided size, in milliseconds.")
    utilisation: Annotated[tuple[UtilisationStatus, ...], ListMap("name")] | None = _said(
        "How full each role will be."
    )


class CorrectionStatus(Part):
    """How the observed latency of one stage compares with the profile's."""

    name: Role = Field(description="The stage: prefill is about TTFT, decode about ITL.")
    factor: Figure | None = _said("Factor on the profile's latency as it is used: smoothed and bounded.")
    raw: Figure | None = _said("Last observed latency over the profile's.")
    ignored: str | None = _said("Why the last observation was not learnt from. Absent: it was.")


class ShareStatus(Part):
    """A share that is known to lie between two figures."""

    lower: Figure | None = _said("At least this share met the target, in percent.")
    upper: Figure | None = _said("At most this share met the target, in percent.")


class MarginalsStatus(Part):
    """Each latency by itself: the two have no joint distribution in the metrics."""

    ttft: ShareStatus | None = _said("Requests whose time to first token met its target.")
    itl: ShareStatus | None = _said("Output tokens whose latency met its target.")


class BudgetLeftStatus(Part):
    """A share of the allowed misses that is known to lie between two figures."""

    lower: Figure | None = _said("At least this share is left, in percent. Below 0: overspent.")
    upper: Figure | None = _said("At most this share is left, in percent. Below 0: overspent.")


class ErrorBudgetStatus(Part):
    """What is left of the allowed misses, each latency by itself."""

    ttft: BudgetLeftStatus | None = _said("Of the requests that may miss the TTFT target.")
    itl: BudgetLeftStatus | None = _said("Of the tokens that may miss the ITL target.")


class AttainmentStatus(Part):
    """How well the promise was kept."""

    last_hour: MarginalsStatus | None = _said("Over the last hour.")
    last_day: MarginalsStatus | None = _said("Over the last 24 hours.")
    error_budget: ErrorBudgetStatus | None = _said(
        "How much of the misses that spec.sla.attainment allows is left of the last 24 hours."
    )


class RoleMoveStatus(Part):
    """One role of a decision."""

    name: Role = Field(description="The role.")
    replicas: int = Field(description="Replicas.")


class AlarmStatus(Part):
    """What was seen between two plans and made the next one run at once."""

    reason: str = Field(description="LoadAboveForecast, QueueGrows or Late.")
    time: str = Field(description="When it was seen.", json_schema_extra={"format": "date-time"})
    message: str | None = _said("What was seen, with the numbers.")


class DecisionStatus(Part):
    """One decision."""

    id: int = Field(description="Counts the policy's decisions.")
    time: str = Field(description="When it was taken.", json_schema_extra={"format": "date-time"})
    from_: Annotated[tuple[RoleMoveStatus, ...], Field(max_length=3)] | None = Field(
        default=None, alias="from", description="Replicas before, per role.", json_schema_extra=_ATOMIC
    )
    to: Annotated[tuple[RoleMoveStatus, ...], Field(max_length=3)] | None = Field(
        default=None, description="Replicas after, per role.", json_schema_extra=_ATOMIC
    )
    reason: str = Field(description="Why, as one word in CamelCase.")
    message: str | None = _said("Why, for people, with the numbers.")
    trigger: str | None = _said(
        "Why the plan ran when it did: grid, first, spec, target, profile, warmUp or glance."
    )
    alarm: AlarmStatus | None = _said("What a glance between two plans saw, where the trigger is glance.")


class PublishedStatus(Part):
    """What an outside system is to carry out."""

    id: int = Field(description="Id of the decision; acknowledge it with this number.")
    prefill: int | None = _said("Prefill workers that there should be. Absent: not planned by this policy.")
    decode: int | None = _said("Decode workers that there should be. Absent: not planned by this policy.")
    time: str | None = Field(
        default=None, description="When it was published.", json_schema_extra={"format": "date-time"}
    )
    superseded: int | None = _said(
        "Id of the decision that it replaced unacknowledged, after the longest wait."
    )
    waiting_since: str | None = Field(
        default=None,
        description="Since when a newer decision waits for this one's acknowledgement.",
        json_schema_extra={"format": "date-time"},
    )
    acknowledged_unpublished: int | None = _said(
        "Highest id that was acknowledged before it was published. It acknowledges nothing; later ids are above it."
    )


class AcknowledgedStatus(Part):
    """What an outside system has carried out."""

    id: int = Field(description="Id of the decision.")
    prefill: int | None = _said("Prefill workers of that decision.")
    decode: int | None = _said("Decode workers of that decision.")


class StartupStatus(Part):
    """How long a new replica takes until it serves."""

    seconds: Figure | None = _said("Start-up time that plans reckon with, in seconds.")
    source: str | None = _said("Where it comes from: Spec, Measured or Default.")


class SummaryStatus(Part):
    """Ready-made texts of the printer columns."""

    ttft: str | None = _said("Observed and target TTFT, in milliseconds: 431/500.")
    itl: str | None = _said("Observed and target ITL, in milliseconds: 28.1/50.")
    prefill: str | None = _said("Current and desired prefill replicas: 3/4.")
    decode: str | None = _said("Current and desired decode (or agg) replicas: 6/8.")
    gpus: str | None = _said("GPUs of the desired replicas and the budget: 20/64.")
    attained: str | None = _said(
        "Percent that met the worse of the two targets in the last hour, and the promise: 98.7/99. "
        "Two figures (0-88.8/99): the histogram's buckets leave it open."
    )
    why: str | None = _said(
        "Reason of the last decision, or the limit that kept replicas from the load's need."
    )


class Status(Part):
    """What the operator found, expects and decided."""

    observed_generation: int | None = _said("metadata.generation that the last plan was made for.")
    conditions: Annotated[tuple[Condition, ...], ListMap("type")] | None = _said(
        "Ready and what it is computed from, and what else users should know."
    )
    target: TargetStatus | None = _said("The target as it was found.")
    roles: Annotated[tuple[RoleStatus, ...], ListMap("name")] | None = _said("Replicas per role, and why.")
    gpus: GpusStatus | None = _said("GPUs of all roles together.")
    sizing: str | None = _said(
        "How forecasts become replicas: spec.planning.sizing or this version's default."
    )
    startup: StartupStatus | None = _said("How long a new replica takes until it serves.")
    observed: ObservedStatus | None = _said(
        "What the last observation showed. Absent figures are unknown, not zero."
    )
    forecast: ForecastStatus | None = _said("What is expected until new replicas could serve.")
    expected: ExpectedStatus | None = _said("What the decided size should give under the forecast.")
    correction: Annotated[tuple[CorrectionStatus, ...], ListMap("name")] | None = _said(
        "How observed latencies compare with the profile's, per stage."
    )
    attainment: AttainmentStatus | None = _said("Shares that met the targets, each latency by itself.")
    last_decision: DecisionStatus | None = _said("The last decision.")
    decisions: Annotated[tuple[DecisionStatus, ...], Field(max_length=DECISIONS_KEPT)] | None = Field(
        default=None, description="The last decisions, newest first.", json_schema_extra=_ATOMIC
    )
    last_published: PublishedStatus | None = _said(
        "Connector Virtual: the decision that was published last, whoever is to carry it out."
    )
    last_acknowledged: AcknowledgedStatus | None = _said(
        "Connector Virtual: the decision that was acknowledged last; its counts are those that run."
    )
    summary: SummaryStatus | None = _said("Ready-made texts of the printer columns.")
    planner_state: Annotated[str, Field(max_length=PLANNER_STATE_BYTES)] | None = _said(
        "What a restarted operator cannot read back from Prometheus: versioned JSON, for the operator only."
    )
