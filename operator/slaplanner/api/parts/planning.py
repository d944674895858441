"""The spec's `planning`: when and how is planned."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, Strict

from slaplanner.api.built import PREDICTORS, SIZINGS, choices
from slaplanner.api.fields import DAY_S, Flag, OneOf, Part, Positive, Seconds, part
from slaplanner.api.words import Toggle
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


class PredictorSpec(Part):
    """How the load is forecast."""

    type: Annotated[PredictorType, OneOf(PREDICTORS)] = Field(
        default=PredictorType.AUTO,
        description=f"Method of the forecast. {choices(PREDICTORS)}",
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
            f"How a forecast becomes replicas. {choices(SIZINGS)} "
            "Absent: the best method of the operator's version; status.sizing shows which."
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
