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
        description="Reason as one word in CamelCase. Programs may rely on it."
    )
    message: Annotated[str, Field(max_length=32768)] = Field(
        description="Reason as a sentence, with the numbers."
    )


class TargetStatus(Part):
    """The target as it was found."""

    api_version: str | None = _said("API version through which the target is read.")
    kind: str | None = _said("Kind of the target.")
    name: str | None = _said("Name of the target.")
    uid: str | None = _said("UID of the target. It changes if the target is deleted and created again.")
    model: str | None = _said("Model that the target's workers serve.")
    dynamo_namespace: str | None = _said("Value of the label dynamo_namespace of the target's metrics.")


class RoleStatus(Part):
    """One role now."""

    name: Role = Field(description="The role: prefill, decode or agg.")
    component: str | None = _said("Name of the role's component in the target.")
    gpus_per_replica: int | None = _said("GPUs that one replica uses.")
    current: int | None = _said("Replicas that the target asks for now.")
    ready: int | None = _said("Replicas that serve requests now. Absent: the target does not report it.")
    desired: int | None = _said("Replicas that the last plan decided on.")
    raw: Figure | None = _said(
        "Replicas that the load needs, before rounding, bounds, stabilisation and budget."
    )
    limited_by: str | None = _said(
        "Why desired differs from raw rounded up, as one word. Absent: no limit applied."
    )


class GpusStatus(Part):
    """GPUs of all roles."""

    current: int | None = _said("GPUs of the current replicas.")
    desired: int | None = _said("GPUs of the desired replicas.")
    budget: int | None = _said("spec.gpuBudget.max. Absent: no limit.")


class ObservedStatus(Part):
    """What the last observation showed."""

    window_seconds: Figure | None = _said("Length of the observed window, in seconds.")
    requests_per_second: Figure | None = _said("Requests that arrived, per second. Absent: unknown.")
    isl: Figure | None = _said("Mean input sequence length, in tokens. Absent: unknown.")
    osl: Figure | None = _said("Mean output sequence length, in tokens. Absent: unknown.")
    ttft: Figure | None = _said("Mean time to first token, in milliseconds. Absent: unknown.")
    itl: Figure | None = _said("Mean inter-token latency, in milliseconds. Absent: unknown.")
    cached_tokens: Figure | None = _said(
        "Mean number of prompt tokens per request that a prefix cache served."
    )


class TokenRateStatus(Part):
    """The forecast load of one stage."""

    name: Role = Field(description="The stage: prefill counts input tokens, decode output tokens.")
    mean: Figure | None = _said("The forecast's mean, in tokens per second.")
    upper: Figure | None = _said(
        "Upper bound in tokens per second: the load stays below it with the probability spec.sla.attainment."
    )


class ForecastStatus(Part):
    """The forecast load."""

    predictor: str | None = _said(
        "Forecast method that was requested. The condition ForecastAvailable says whether it was used."
    )
    horizon_seconds: Figure | None = _said("How far ahead the forecast looks, in seconds.")
    requests_per_second: Figure | None = _said("Mean number of requests per second.")
    isl: Figure | None = _said("Mean input sequence length, in tokens.")
    osl: Figure | None = _said("Mean output sequence length, in tokens.")
    token_rates: Annotated[tuple[TokenRateStatus, ...], ListMap("name")] | None = _said("Load per stage.")


class UtilisationStatus(Part):
    """How full one role will be."""

    name: Role = Field(description="The role.")
    value: Figure | None = _said(
        "Forecast load divided by the load that the replicas can carry within the targets; 1 is full."
    )


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
    factor: Figure | None = _said(
        "Factor by which the profile's latency is multiplied; smoothed and bounded."
    )
    raw: Figure | None = _said("Last observed latency divided by the profile's.")
    ignored: str | None = _said("Why the last observation was skipped. Absent: it was used.")


class ShareStatus(Part):
    """A share that is known to lie between two figures."""

    lower: Figure | None = _said("Lower bound of the share that met the target, in percent.")
    upper: Figure | None = _said("Upper bound of the share that met the target, in percent.")


class MarginalsStatus(Part):
    """Each latency by itself: the two have no joint distribution in the metrics."""

    ttft: ShareStatus | None = _said("Requests whose time to first token met its target.")
    itl: ShareStatus | None = _said("Output tokens whose latency met its target.")


class BudgetLeftStatus(Part):
    """A share of the allowed misses that is known to lie between two figures."""

    lower: Figure | None = _said(
        "Lower bound of the share that is left, in percent. Below 0: more was missed than allowed."
    )
    upper: Figure | None = _said(
        "Upper bound of the share that is left, in percent. Below 0: more was missed than allowed."
    )


class ErrorBudgetStatus(Part):
    """What is left of the allowed misses, each latency by itself."""

    ttft: BudgetLeftStatus | None = _said("For the requests that may miss the TTFT target.")
    itl: BudgetLeftStatus | None = _said("For the tokens that may miss the ITL target.")


class AttainmentStatus(Part):
    """How well the promise was kept."""

    last_hour: MarginalsStatus | None = _said("Over the last hour.")
    last_day: MarginalsStatus | None = _said("Over the last 24 hours.")
    error_budget: ErrorBudgetStatus | None = _said(
        "Share of the misses allowed by spec.sla.attainment that is still unused over the last 24 hours."
    )


class RoleMoveStatus(Part):
    """One role of a decision."""

    name: Role = Field(description="The role.")
    replicas: int = Field(description="Replicas.")


class AlarmStatus(Part):
    """What was observed between two plans and started the next one at once."""

    reason: str = Field(description="LoadAboveForecast, QueueGrows or Late.")
    time: str = Field(description="When it was observed.", json_schema_extra={"format": "date-time"})
    message: str | None = _said("What was observed, with the numbers.")


class DecisionStatus(Part):
    """One decision."""

    id: int = Field(description="Number of the decision; it grows by one with each.")
    time: str = Field(description="When it was taken.", json_schema_extra={"format": "date-time"})
    from_: Annotated[tuple[RoleMoveStatus, ...], Field(max_length=3)] | None = Field(
        default=None, alias="from", description="Replicas before, per role.", json_schema_extra=_ATOMIC
    )
    to: Annotated[tuple[RoleMoveStatus, ...], Field(max_length=3)] | None = Field(
        default=None, description="Replicas after, per role.", json_schema_extra=_ATOMIC
    )
    reason: str = Field(description="Reason as one word in CamelCase.")
    message: str | None = _said("Reason as a sentence, with the numbers.")
    trigger: str | None = _said(
        "What started the plan: grid, first, spec, target, profile, warmUp or glance."
    )
    alarm: AlarmStatus | None = _said(
        "What was observed between two plans. Present only if the trigger is glance."
    )


class PublishedStatus(Part):
    """The decision that an outside system has to carry out."""

    id: int = Field(description="Id of the decision; acknowledge it with this number.")
    prefill: int | None = _said("Wanted number of prefill workers. Absent: this policy does not plan them.")
    decode: int | None = _said("Wanted number of decode workers. Absent: this policy does not plan them.")
    time: str | None = Field(
        default=None, description="When it was published.", json_schema_extra={"format": "date-time"}
    )
    superseded: int | None = _said(
        "Id of the previous decision, if this one replaced it without an acknowledgement because maxWaitSeconds was over."
    )
    waiting_since: str | None = Field(
        default=None,
        description="Time since which a newer decision has been waiting for the acknowledgement of this one.",
        json_schema_extra={"format": "date-time"},
    )
    acknowledged_unpublished: int | None = _said(
        "Highest id that was acknowledged although no decision had it. It has no effect, except that later ids are higher."
    )


class AcknowledgedStatus(Part):
    """What an outside system has carried out."""

    id: int = Field(description="Id of the decision.")
    prefill: int | None = _said("Prefill workers of that decision.")
    decode: int | None = _said("Decode workers of that decision.")


class StartupStatus(Part):
    """How long a new replica takes until it serves."""

    seconds: Figure | None = _said("Start-up time that plans assume, in seconds.")
    source: str | None = _said("Where it comes from: Spec, Measured or Default.")


class SummaryStatus(Part):
    """Texts for the columns of `kubectl get`."""

    ttft: str | None = _said("Observed and target TTFT, in milliseconds: 431/500.")
    itl: str | None = _said("Observed and target ITL, in milliseconds: 28.1/50.")
    prefill: str | None = _said("Current and desired prefill replicas: 3/4.")
    decode: str | None = _said("Current and desired decode (or agg) replicas: 6/8.")
    gpus: str | None = _said("GPUs of the desired replicas and the budget: 20/64.")
    attained: str | None = _said(
        "Percent that met the worse of the two targets in the last hour, and the promise: 98.7/99. "
        "Two figures (0-88.8/99) mean that the histogram's buckets are too wide to tell."
    )
    why: str | None = _said(
        "Reason of the last decision, or the limit that kept a role from the replicas that the load needs."
    )


class Status(Part):
    """What the operator found, expects and decided."""

    observed_generation: int | None = _said("metadata.generation of the policy at the last plan.")
    conditions: Annotated[tuple[Condition, ...], ListMap("type")] | None = _said(
        "Ready, the conditions that it is computed from, and others that users should know."
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
    forecast: ForecastStatus | None = _said(
        "The load that is expected by the time that new replicas could serve."
    )
    expected: ExpectedStatus | None = _said(
        "Latencies and utilisation that are expected at the decided size and the forecast load."
    )
    correction: Annotated[tuple[CorrectionStatus, ...], ListMap("name")] | None = _said(
        "Observed latencies compared with the profile's, per stage."
    )
    attainment: AttainmentStatus | None = _said(
        "Share of requests and tokens that met the targets, separately for TTFT and ITL."
    )
    last_decision: DecisionStatus | None = _said("The last decision.")
    decisions: Annotated[tuple[DecisionStatus, ...], Field(max_length=DECISIONS_KEPT)] | None = Field(
        default=None, description="The last decisions, newest first.", json_schema_extra=_ATOMIC
    )
    last_published: PublishedStatus | None = _said("Connector Virtual: the last decision that was published.")
    last_acknowledged: AcknowledgedStatus | None = _said(
        "Connector Virtual: the last decision that was acknowledged. Its counts are those that run."
    )
    summary: SummaryStatus | None = _said("Texts for the columns of `kubectl get`.")
    planner_state: Annotated[str, Field(max_length=PLANNER_STATE_BYTES)] | None = _said(
        "State that a restarted operator cannot read back from Prometheus. Versioned JSON, for the operator only."
    )
