"""The spec's `planning`: when and how is planned."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, Strict, StringConstraints

from slaplanner.api.enums import PREDICTORS, SIZINGS, Toggle, choices
from slaplanner.api.fields import DAY_S, Flag, OneOf, Part, Positive, Rule, Seconds, part
from slaplanner.api.parts.profile import ConfigMapRef
from slaplanner.core.model import PredictorType, Sizing


class KalmanSpec(Part):
    """Variances of the local linear trend."""

    q_level: Positive = Field(
        default=1.0, description="Variance of the level's noise, per step. Dynamo's q_level."
    )
    q_trend: Positive = Field(
        default=0.1, description="Variance of the trend's noise, per step. Dynamo's q_trend."
    )
    r: Positive = Field(default=10.0, description="Variance of the observation's noise. Dynamo's r.")


class WarmupTraceSpec(Part):
    """Requests of earlier days, which the predictor learns before the policy has a history of its own."""

    config_map_ref: ConfigMapRef | None = Field(
        default=None,
        description=(
            "ConfigMap whose only entry, under any key, is a trace: JSON lines of timestamp (ms), input_length "
            "and output_length (tokens), plain in data or gzipped in binaryData. "
            "Exactly one of configMapRef and path is given."
        ),
    )
    path: Annotated[str, StringConstraints(max_length=1024, pattern=r"^/")] | None = Field(
        default=None,
        description=(
            "Absolute path of such a trace that is mounted into the operator, below a directory that its "
            "administrator allows for profiles. Exactly one of configMapRef and path is given."
        ),
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            rule="has(self.configMapRef) != has(self.path)",
            message="exactly one of warmupTrace.configMapRef and warmupTrace.path is required",
        ),
    )


class PredictorSpec(Part):
    """How the load is forecast."""

    type: Annotated[PredictorType, OneOf(PREDICTORS)] = Field(
        default=PredictorType.AUTO,
        description=f"Method of the forecast. {choices(PREDICTORS)}",
    )
    log1p: Flag = Field(
        default=False,
        alias="log1p",
        description="Whether to forecast the series on a logarithmic scale, log(1 + x).",
    )
    window_size: Annotated[int, Strict(), Field(ge=0, le=10_000)] = Field(
        default=0,
        description="Number of points of history to use, one per planning interval. 0: as many as the method needs, up to a fixed limit.",
    )
    min_observations: Annotated[int, Strict(), Field(ge=1, le=10_000)] = Field(
        default=5,
        description="Minimum number of points of history. With fewer, the last value is used as the forecast.",
    )
    kalman: KalmanSpec = part(KalmanSpec, "Tuning of the Kalman filter. Used only if type is Kalman.")
    warmup_trace: WarmupTraceSpec | None = Field(
        default=None,
        description=(
            "A recorded trace that is put before the history while the history is short, as if the trace had ended when the history begins. Absent: the predictor starts without any history."
        ),
    )


class PlanningSpec(Part):
    """When the operator plans, and how."""

    interval_seconds: Annotated[int, Strict(), Field(ge=5, le=DAY_S)] = Field(
        default=180, description="Seconds between two plans: 5 to 86400."
    )
    sizing: Annotated[Sizing, OneOf(SIZINGS)] | None = Field(
        default=None,
        description=(
            f"How a forecast becomes replicas. {choices(SIZINGS)} "
            "Absent: the best method of the operator's version; status.sizing shows which."
        ),
    )
    predictor: PredictorSpec = part(PredictorSpec, "How the load of the next interval is forecast.")
    correction: Toggle = Field(
        default=Toggle.ENABLED,
        description="Whether the profile's latencies are corrected by the observed ones: Enabled or Disabled.",
    )
    startup_seconds: Seconds | None = Field(
        default=None,
        description=(
            "Seconds from the creation of a replica's pod until it is ready. "
            "Absent: measured from the target's own scale-ups; 120 until one has been measured."
        ),
    )
