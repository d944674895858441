"""All reasons. The same word is used in the condition, the event, the metric label and the log."""

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
    """Why something is as it is. The docstring of a member says what it means to a user."""

    # Ready
    PENDING = "Pending"
    """No plan was made yet."""
    PLANNED = "Planned"
    """The last plan was made from known figures."""

    # Any condition
    INTERNAL_ERROR = "InternalError"
    """A bug of the planner ended this step. The log has its traceback."""

    # TargetResolved
    RESOLVED = "Resolved"
    """The target, its roles, model and GPUs were found."""
    VIRTUAL = "Virtual"
    """Decisions are published; there is no target in the cluster."""
    TARGET_NOT_FOUND = "TargetNotFound"
    """There is no deployment of that name in the namespace of the policy."""
    TARGET_KIND_NOT_SERVED = "TargetKindNotServed"
    """The cluster does not serve DynamoGraphDeployments, because Dynamo's definitions are not installed."""
    ROLE_NOT_FOUND = "RoleNotFound"
    """No component of the target plays a role of the mode."""
    DUPLICATE_ROLE = "DuplicateRole"
    """Two components of the target play the same role."""
    MODEL_NOT_FOUND = "ModelNotFound"
    """The manifest does not say which model is served, and the metrics do not show one either."""
    MODEL_MISMATCH = "ModelMismatch"
    """Prefill and decode serve different models."""
    COMPONENT_GROUPS_UNSUPPORTED = "ComponentGroupsUnsupported"
    """The target uses componentGroups, which are not planned."""
    GPUS_UNKNOWN = "GPUsUnknown"
    """The GPUs per replica cannot be read from the target."""
    INVALID_TARGET = "InvalidTarget"
    """The target cannot be read as a DynamoGraphDeployment."""
    INVALID_SPEC = "InvalidSpec"
    """The policy is not valid. The API server refuses such a policy today, so it is older than the rule."""
    ADAPTER_NOT_FOUND = "AdapterNotFound"
    """A component is scaled through an adapter that does not exist."""

    # Writing
    FORBIDDEN = "Forbidden"
    """The operator lacks a permission on the API server."""
    ADMISSION_DENIED = "AdmissionDenied"
    """An admission policy or webhook of the cluster refused the write."""
    CONFLICT = "Conflict"
    """Somebody else changed the object at the same time."""
    API_UNAVAILABLE = "APIUnavailable"
    """The API server does not answer."""
    ETCD_UNAVAILABLE = "EtcdUnavailable"
    """etcd does not answer."""
    ETCD_REFUSED = "EtcdRefused"
    """etcd refused the user, the password or a permission."""

    # What was done, and what became of the memory (events)
    SCALED = "Scaled"
    """Replicas were written."""
    PLANNER_STATE_DROPPED = "PlannerStateDropped"
    """status.plannerState cannot be read, so the planner starts without its memory."""

    # What stands where decisions are published (events)
    PUBLICATION_LOST = "PublicationLost"
    """The last decision was deleted or overwritten; it is published again."""
    PUBLICATION_UNREADABLE = "PublicationUnreadable"
    """An id or a count is not a number."""
    ACKNOWLEDGEMENT_OLD = "AcknowledgementOld"
    """An older decision was acknowledged again."""
    ACKNOWLEDGEMENT_UNPUBLISHED = "AcknowledgementUnpublished"
    """An id was acknowledged that no decision has."""

    # ProfileLoaded
    LOADED = "Loaded"
    """The profile was read and its checks found no fault."""
    LOADED_WITH_FAULTS = "LoadedWithFaults"
    """The profile is used, although its consistency checks found faults."""
    PROFILE_NOT_FOUND = "ProfileNotFound"
    """There is no such ConfigMap, entry or directory."""
    PROFILE_INVALID = "ProfileInvalid"
    """The profile cannot be read; the message names the place."""
    PROFILE_PATH_NOT_ALLOWED = "ProfilePathNotAllowed"
    """The path is not below a directory that the administrator allows."""

    # MetricsAvailable, readings
    METRICS_READ = "MetricsRead"
    """Load and lengths were read."""
    IDLE = "Idle"
    """Prometheus answered, and there was no request."""
    ZERO_UNPROVEN = "ZeroUnproven"
    """No request was counted, but some may have arrived. The message says why."""
    PROMETHEUS_UNAVAILABLE = "PrometheusUnavailable"
    """Prometheus does not answer."""
    PROMETHEUS_REJECTED = "PrometheusRejected"
    """Prometheus answered with an error of the request (4xx)."""
    CONNECTION_UNKNOWN = "ConnectionUnknown"
    """The policy names a connection that the administrator did not configure."""
    CONNECTION_NOT_ALLOWED = "ConnectionNotAllowed"
    """The administrator's settings do not let policies of this namespace use the connection."""
    NO_SERIES = "NoSeries"
    """No series matches, and nothing proves that the frontend is idle."""
    SERIES_UNDER_OTHER_LABELS = "SeriesUnderOtherLabels"
    """No series has these names and labels. The message lists similar ones."""
    COUNTER_SILENT = "CounterSilent"
    """The counter of requests is absent or 0, but other series show work."""
    STALE = "Stale"
    """The newest sample is too old."""
    NOT_A_NUMBER = "NotANumber"
    """Prometheus answered with NaN or an infinite number."""
    CLOCK_OFF = "ClockOff"
    """The clocks of Prometheus and of the operator differ, so old figures may look new."""
    LENGTHS_UNKNOWN = "LengthsUnknown"
    """Requests arrive, but none has produced a token yet."""
    NOT_REPORTED = "NotReported"
    """The source of the metrics does not report this figure."""

    # Why a plan runs between two points of the grid
    LOAD_ABOVE_FORECAST = "LoadAboveForecast"
    """More requests arrived in the last half minute than the forecast of the last plan allows."""
    QUEUE_GROWS = "QueueGrows"
    """More requests wait or are in flight than would be if all were on time."""
    LATE = "Late"
    """The mean latency of the last half minute is above its target."""

    # ForecastAvailable
    FORECAST = "Forecast"
    """The predictor made a forecast."""
    WARMING_UP = "WarmingUp"
    """The history is short, so the last value is used."""
    FORECAST_FAILED = "ForecastFailed"
    """The predictor failed, so the last value is used."""
    PREDICTOR_NOT_INSTALLED = "PredictorNotInstalled"
    """The predictor needs an extra that this operator's image does not contain; the last value is used."""
    WARMUP_TRACE_UNUSABLE = "WarmupTraceUnusable"
    """The warm-up trace cannot be read, so the forecast is made without it or from an earlier copy."""

    # SLAAttainable
    ATTAINABLE = "Attainable"
    """By the profile, a single request meets both targets at the observed lengths."""
    TTFT_UNATTAINABLE = "TTFTUnattainable"
    """By the profile, even an idle replica misses the TTFT target at the observed lengths."""
    ITL_UNATTAINABLE = "ITLUnattainable"
    """By the profile, even the smallest batch misses the ITL target at the observed lengths."""

    # SLAMet
    TARGETS_MET = "TargetsMet"
    """At least the promised share met each target in the last hour."""
    TARGETS_MISSED = "TargetsMissed"
    """Less than the promised share met a target in the last hour."""
    BUCKETS_TOO_COARSE = "BucketsTooCoarse"
    """The frontend's histogram buckets are too wide around a target to tell whether the promise was kept."""
    NOTHING_SERVED = "NothingServed"
    """No request was observed in the last hour."""

    # BudgetLimited
    WITHIN_BUDGET = "WithinBudget"
    """The wanted replicas fit into the budget."""
    NO_BUDGET = "NoBudget"
    """No budget is set."""
    BUDGET_EXCEEDED = "BudgetExceeded"
    """The decision was cut, because the load needs more GPUs than the budget has."""
    BUDGET_INFEASIBLE = "BudgetInfeasible"
    """The minimum replicas alone need more GPUs than the budget has."""

    REPLICA_CEILING = "ReplicaCeiling"
    """Neither gpuBudget.max nor maxReplicas is set, so the administrator's replicaCeiling cut the decision."""

    # Progressing
    SCALING = "Scaling"
    """The target does not have the wanted replicas yet."""
    ROLLING_OUT = "RollingOut"
    """The target replaces its replicas by new ones."""
    STABLE = "Stable"
    """The target has the wanted replicas, and all are ready."""
    AWAITING_ACKNOWLEDGEMENT = "AwaitingAcknowledgement"
    """A decision was published and has not been acknowledged yet."""
    ACKNOWLEDGEMENT_OVERDUE = "AcknowledgementOverdue"
    """A decision was not acknowledged within connector.virtual.maxWaitSeconds."""
    UNSCHEDULABLE = "Unschedulable"
    """The cluster has no room for some replicas."""
    SCALING_DEFERRED = "ScalingDeferred"
    """Dynamo accepted the replicas but applies them only after a rollout, so the role waits."""
    NOT_COMMITTED = "NotCommitted"
    """The scaling adapter granted fewer replicas than requested, for example because of a power budget."""
    NOT_OBSERVED = "NotObserved"
    """The target's status describes an older generation of its spec, so nothing shrinks."""
    BLOCKED = "Blocked"
    """The target has not been ready for a long time. The message says since when and which component blocks it."""

    # Fallback
    FALLBACK_HOLD = "FallbackHold"
    """The load is unknown, so the current replicas are kept."""
    FALLBACK_STATIC = "FallbackStatic"
    """The load is unknown, so fallbackReplicas are set."""
    FALLBACK_CURRENT_IF_HIGHER = "FallbackCurrentIfHigher"
    """The load is unknown, so fallbackReplicas are set unless more are running."""
    NOT_IN_FALLBACK = "NotInFallback"
    """The load is known, or was unknown for fewer plans than fallback.after."""

    # Paused
    PAUSED = "Paused"
    """The annotation pauses both directions."""
    PAUSED_SCALE_IN = "PausedScaleIn"
    """The annotation pauses shrinking."""
    PAUSED_SCALE_OUT = "PausedScaleOut"
    """The annotation pauses growing."""
    PAUSED_BY_UNKNOWN_VALUE = "PausedByUnknownValue"
    """The annotation has a value that is not known, which pauses both directions."""
    NOT_PAUSED = "NotPaused"
    """No annotation pauses the policy."""

    # TargetConflict
    NO_CONFLICT = "NoConflict"
    """Nobody else scales the roles of this policy."""
    OTHER_POLICY = "OtherPolicy"
    """An older policy scales the same role."""
    OTHER_AUTOSCALER = "OtherAutoscaler"
    """An HPA or a ScaledObject scales the same target."""
    OTHER_PLANNER = "OtherPlanner"
    """A planner component of the deployment itself scales it."""
    OTHER_FIELD_MANAGER = "OtherFieldManager"
    """Another field manager keeps resetting the replicas."""

    # Decisions
    SCALE_UP = "ScaleUp"
    """Replicas are added."""
    SCALE_DOWN = "ScaleDown"
    """Replicas are removed."""
    REBALANCE = "Rebalance"
    """One role grows, the other shrinks."""
    STEADY = "Steady"
    """The current replicas already fit the load."""
    HOLD_UNKNOWN = "HoldUnknown"
    """A figure is unknown, so nothing shrinks."""
    OVER_BUDGET = "OverBudget"
    """The target had more GPUs than the budget, so it was shrunk at once."""

    # Limits on a role, in the order in which they act
    SHRINKS_BY_STEPS = "ShrinksBySteps"
    """Shrunk by one step only, because fewer replicas have not yet been seen to meet the targets."""
    TOO_FEW_REPLICAS = "TooFewReplicas"
    """Raised to minReplicas."""
    TOO_MANY_REPLICAS = "TooManyReplicas"
    """Cut to maxReplicas."""
    WITHIN_TOLERANCE = "WithinTolerance"
    """Left alone because the change is smaller than the tolerance."""
    STABILIZED_DOWN = "StabilizedDown"
    """Kept high by the scale-down window."""
    NEEDED_SOONER = "NeededSooner"
    """Kept, because the load needs them again before new replicas could serve."""
    STABILIZED_UP = "StabilizedUp"
    """Kept low by the scale-up window."""
    SCALE_UP_LIMIT = "ScaleUpLimit"
    """Cut to what the rate limits of scaleUp allow."""
    SCALE_DOWN_LIMIT = "ScaleDownLimit"
    """Kept higher, because the rate limits of scaleDown allow no larger change."""
    SCALE_UP_DISABLED = "ScaleUpDisabled"
    """Not grown, because scaleUp is disabled."""
    SCALE_DOWN_DISABLED = "ScaleDownDisabled"
    """Not shrunk, because scaleDown is disabled."""
    LOWER_BOUND_LOAD = "LowerBoundLoad"
    """The observed load is only a lower bound, so the role does not shrink."""
    WORK_IN_FLIGHT = "WorkInFlight"
    """Kept, because the requests in flight need them."""
    PARKED = "Parked"
    """All roles have 0 replicas and there is no request. The fleet stays parked."""
    ROLLOUT_BLOCKS = "RolloutBlocks"
    """Left alone while a rollout runs."""
    NOT_READY_BLOCKS_SHRINK = "NotReadyBlocksShrink"
    """Not shrunk while the target is not ready."""
    GPU_BUDGET = "GPUBudget"
    """Cut to the GPU budget."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """Something unusual that was observed while planning or publishing; it is reported once."""

    reason: Reason
    message: str
