"""Every reason, once: the same word in the condition, the event, the metric label and the log."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ConditionStatus(StrEnum):
    """Whether a condition holds, in Kubernetes' words."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"

    @classmethod
    def of(cls, *, holds: bool | None) -> ConditionStatus:
        """The word for *holds*; None is unknown."""
        return cls.UNKNOWN if holds is None else cls.TRUE if holds else cls.FALSE

    @classmethod
    def truth_of(cls, word: object) -> bool | None:
        """What *word* says; None for `Unknown` and for anything that is no such word."""
        return {str(cls.TRUE): True, str(cls.FALSE): False}.get(word) if isinstance(word, str) else None


class ConditionType(StrEnum):
    """The conditions of an SLAPolicy. `Ready` is computed from the others."""

    READY = "Ready"
    TARGET_RESOLVED = "TargetResolved"
    PROFILE_LOADED = "ProfileLoaded"
    METRICS_AVAILABLE = "MetricsAvailable"
    FORECAST_AVAILABLE = "ForecastAvailable"
    SLA_ATTAINABLE = "SLAAttainable"
    SLA_MET = "SLAMet"
    BUDGET_LIMITED = "BudgetLimited"
    PROGRESSING = "Progressing"
    FALLBACK = "Fallback"
    PAUSED = "Paused"
    TARGET_CONFLICT = "TargetConflict"


class Reason(StrEnum):
    """Why. Each member's docstring is what a user reads in the reference."""

    # Ready
    PENDING = "Pending"
    """No plan was made yet."""
    PLANNED = "Planned"
    """The last plan ran on known figures."""

    # Any condition
    INTERNAL_ERROR = "InternalError"
    """A defect of the planner itself ended this step; the log has its traceback."""

    # TargetResolved
    RESOLVED = "Resolved"
    """The target, its roles, model and GPUs were found."""
    VIRTUAL = "Virtual"
    """Decisions are published; there is no target in the cluster."""
    TARGET_NOT_FOUND = "TargetNotFound"
    TARGET_KIND_NOT_SERVED = "TargetKindNotServed"
    ROLE_NOT_FOUND = "RoleNotFound"
    DUPLICATE_ROLE = "DuplicateRole"
    """Two components of the target play the same role."""
    MODEL_NOT_FOUND = "ModelNotFound"
    MODEL_MISMATCH = "ModelMismatch"
    """Prefill and decode serve different models."""
    COMPONENT_GROUPS_UNSUPPORTED = "ComponentGroupsUnsupported"
    GPUS_UNKNOWN = "GPUsUnknown"
    """GPUs per replica cannot be read while a budget is set."""
    INVALID_TARGET = "InvalidTarget"
    """The target cannot be read as a DynamoGraphDeployment."""
    INVALID_SPEC = "InvalidSpec"
    """The policy cannot be read; admission should have refused it."""
    ADAPTER_NOT_FOUND = "AdapterNotFound"
    """A component is scaled through an adapter that does not exist."""

    # Writing
    FORBIDDEN = "Forbidden"
    """The API server refused for want of a permission."""
    ADMISSION_DENIED = "AdmissionDenied"
    CONFLICT = "Conflict"
    """Somebody else changed the object meanwhile."""
    API_UNAVAILABLE = "APIUnavailable"
    ETCD_UNAVAILABLE = "EtcdUnavailable"
    """The etcd that decisions are published in does not answer."""
    ETCD_REFUSED = "EtcdRefused"
    """etcd answered, and refused: a user, a password, a permission."""

    # What was done, and what became of the memory (events)
    SCALED = "Scaled"
    """Replicas were written."""
    PLANNER_STATE_DROPPED = "PlannerStateDropped"
    """status.plannerState is not what a planner wrote: planning starts afresh."""

    # What stands where decisions are published (events)
    PUBLICATION_LOST = "PublicationLost"
    """The last decision was deleted or overwritten; it is published again."""
    PUBLICATION_UNREADABLE = "PublicationUnreadable"
    """Something else than a number stands where an id or a count should."""
    ACKNOWLEDGEMENT_OLD = "AcknowledgementOld"
    ACKNOWLEDGEMENT_UNPUBLISHED = "AcknowledgementUnpublished"
    """An id is acknowledged that was never published."""

    # ProfileLoaded
    LOADED = "Loaded"
    LOADED_WITH_FAULTS = "LoadedWithFaults"
    """The profile is used; its consistency checks found faults."""
    PROFILE_NOT_FOUND = "ProfileNotFound"
    PROFILE_INVALID = "ProfileInvalid"
    PROFILE_PATH_NOT_ALLOWED = "ProfilePathNotAllowed"

    # MetricsAvailable, readings
    METRICS_READ = "MetricsRead"
    IDLE = "Idle"
    """Answered, and there was no traffic."""
    ZERO_UNPROVEN = "ZeroUnproven"
    """No request was counted, and some may have come all the same; the message says why."""
    PROMETHEUS_UNAVAILABLE = "PrometheusUnavailable"
    PROMETHEUS_REJECTED = "PrometheusRejected"
    """Prometheus answered with an error of the request (4xx)."""
    CONNECTION_UNKNOWN = "ConnectionUnknown"
    """The policy names a connection that the administrator did not configure."""
    CONNECTION_NOT_ALLOWED = "ConnectionNotAllowed"
    """The administrator's settings do not let policies of this namespace use the connection."""
    NO_SERIES = "NoSeries"
    """No series matches, and nothing shows that the frontend is merely idle."""
    SERIES_UNDER_OTHER_LABELS = "SeriesUnderOtherLabels"
    """Nothing is under the names and labels that were asked for; the message lists what there is."""
    COUNTER_SILENT = "CounterSilent"
    """The counter of requests is absent or stands at 0 while other series speak of work."""
    STALE = "Stale"
    NOT_A_NUMBER = "NotANumber"
    CLOCK_OFF = "ClockOff"
    """The clocks of Prometheus and of the operator differ, so old figures may be taken for new ones."""
    LENGTHS_UNKNOWN = "LengthsUnknown"
    """Requests arrive and none has produced its first token: a stall."""
    NOT_REPORTED = "NotReported"
    """This source does not have the figure."""

    # Why a plan runs between two points of the grid
    LOAD_ABOVE_FORECAST = "LoadAboveForecast"
    """More requests arrived in the last half minute than the forecast of the last plan allows."""
    QUEUE_GROWS = "QueueGrows"
    """More requests wait or are in flight than there would be if all were in time."""
    LATE = "Late"
    """The mean latency of the last half minute is above its target."""

    # ForecastAvailable
    FORECAST = "Forecast"
    WARMING_UP = "WarmingUp"
    """History is short: the last value stands in."""
    FORECAST_FAILED = "ForecastFailed"
    PREDICTOR_NOT_INSTALLED = "PredictorNotInstalled"
    WARMUP_TRACE_UNUSABLE = "WarmupTraceUnusable"
    """The forecast is made without the trace, or from what was read of it before."""

    # SLAAttainable
    ATTAINABLE = "Attainable"
    TTFT_UNATTAINABLE = "TTFTUnattainable"
    ITL_UNATTAINABLE = "ITLUnattainable"

    # SLAMet
    TARGETS_MET = "TargetsMet"
    """Over the last hour at least the promised share met each target."""
    TARGETS_MISSED = "TargetsMissed"
    """Over the last hour less than the promised share met a target."""
    BUCKETS_TOO_COARSE = "BucketsTooCoarse"
    """The frontend's histogram buckets are too wide around a target to tell whether the promise was kept."""
    NOTHING_SERVED = "NothingServed"
    """No request was observed in the last hour."""

    # BudgetLimited
    WITHIN_BUDGET = "WithinBudget"
    NO_BUDGET = "NoBudget"
    BUDGET_EXCEEDED = "BudgetExceeded"
    """More GPUs would be needed than the budget has: the decision was cut."""
    BUDGET_INFEASIBLE = "BudgetInfeasible"
    """The floors alone need more GPUs than the budget has."""

    REPLICA_CEILING = "ReplicaCeiling"
    """Neither gpuBudget.max nor maxReplicas is set, so the administrator's replicaCeiling cut the decision."""

    # Progressing
    SCALING = "Scaling"
    ROLLING_OUT = "RollingOut"
    STABLE = "Stable"
    AWAITING_ACKNOWLEDGEMENT = "AwaitingAcknowledgement"
    """A decision is published and not yet acknowledged."""
    ACKNOWLEDGEMENT_OVERDUE = "AcknowledgementOverdue"
    """Not acknowledged within connector.virtual.maxWaitSeconds."""
    UNSCHEDULABLE = "Unschedulable"
    SCALING_DEFERRED = "ScalingDeferred"
    """Dynamo accepts replicas and carries them out after a rollout: the role waits."""
    NOT_COMMITTED = "NotCommitted"
    """The scaling adapter has not granted what was asked for, as under a power budget."""
    NOT_OBSERVED = "NotObserved"
    """The status is about an older generation of the target's spec: no shrinking."""
    BLOCKED = "Blocked"
    """The target has not become ready for long; the message says since when and by whom."""

    # Fallback
    FALLBACK_HOLD = "FallbackHold"
    FALLBACK_STATIC = "FallbackStatic"
    FALLBACK_CURRENT_IF_HIGHER = "FallbackCurrentIfHigher"
    NOT_IN_FALLBACK = "NotInFallback"

    # Paused
    PAUSED = "Paused"
    PAUSED_SCALE_IN = "PausedScaleIn"
    PAUSED_SCALE_OUT = "PausedScaleOut"
    PAUSED_BY_UNKNOWN_VALUE = "PausedByUnknownValue"
    NOT_PAUSED = "NotPaused"

    # TargetConflict
    NO_CONFLICT = "NoConflict"
    OTHER_POLICY = "OtherPolicy"
    OTHER_AUTOSCALER = "OtherAutoscaler"
    """An HPA or a ScaledObject scales the same target."""
    OTHER_PLANNER = "OtherPlanner"
    """A planner inside the deployment scales it."""
    OTHER_FIELD_MANAGER = "OtherFieldManager"
    """Somebody keeps writing the replicas back."""

    # Decisions
    SCALE_UP = "ScaleUp"
    SCALE_DOWN = "ScaleDown"
    REBALANCE = "Rebalance"
    """One role grows, the other shrinks."""
    STEADY = "Steady"
    """The size already fits."""
    HOLD_UNKNOWN = "HoldUnknown"
    """A figure is unknown, and unknown never scales down."""
    OVER_BUDGET = "OverBudget"
    """The spec asks for more than the budget: shrunk at once."""

    # Limits on a role, in the order in which they act
    SHRINKS_BY_STEPS = "ShrinksBySteps"
    """Kept because so few replicas were not seen to keep the promise yet: they are tried step by step."""
    TOO_FEW_REPLICAS = "TooFewReplicas"
    """Raised to minReplicas."""
    TOO_MANY_REPLICAS = "TooManyReplicas"
    """Cut to maxReplicas."""
    WITHIN_TOLERANCE = "WithinTolerance"
    STABILIZED_DOWN = "StabilizedDown"
    """Kept high by the scale-down window."""
    NEEDED_SOONER = "NeededSooner"
    """Kept for what comes before replicas ordered now would serve."""
    STABILIZED_UP = "StabilizedUp"
    """Kept low by the scale-up window."""
    SCALE_UP_LIMIT = "ScaleUpLimit"
    SCALE_DOWN_LIMIT = "ScaleDownLimit"
    SCALE_UP_DISABLED = "ScaleUpDisabled"
    SCALE_DOWN_DISABLED = "ScaleDownDisabled"
    LOWER_BOUND_LOAD = "LowerBoundLoad"
    """The load is at least what was seen, perhaps more: no shrinking."""
    WORK_IN_FLIGHT = "WorkInFlight"
    """Kept for the requests that the role holds now: no shrinking below what carries them."""
    PARKED = "Parked"
    """All roles have 0 replicas and no request is seen: somebody parked the fleet, and it stays so."""
    ROLLOUT_BLOCKS = "RolloutBlocks"
    NOT_READY_BLOCKS_SHRINK = "NotReadyBlocksShrink"
    GPU_BUDGET = "GPUBudget"


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """Something odd that was seen while planning or publishing, worth telling once."""

    reason: Reason
    message: str
