"""Enums that only the boundary knows, and which values of an enum work today.

A value joins the schema, its texts and every check by joining its list below. A policy that names a part which does
not exist yet is refused at admission, instead of being accepted and silently served by another part. The enums that
decide how to plan are in `core.model`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from slaplanner.core.model import PredictorType, Sizing


class TargetKind(StrEnum):
    """What can be a target."""

    DYNAMO_GRAPH_DEPLOYMENT = "DynamoGraphDeployment"


class ConnectorType(StrEnum):
    """Who carries a decision out."""

    KUBERNETES = "Kubernetes"
    VIRTUAL = "Virtual"


class VirtualBackend(StrEnum):
    """Where the virtual connector publishes decisions."""

    KUBERNETES = "Kubernetes"
    ETCD = "Etcd"


class Toggle(StrEnum):
    """A part that can be switched off."""

    ENABLED = "Enabled"
    DISABLED = "Disabled"


TARGET_KINDS = (TargetKind.DYNAMO_GRAPH_DEPLOYMENT,)
PREDICTORS = tuple(PredictorType)
SIZINGS = tuple(Sizing)
CONNECTORS = (ConnectorType.KUBERNETES, ConnectorType.VIRTUAL)

DEFAULT_SIZING = Sizing.ATTAINMENT
"""What an absent `planning.sizing` means. Resolved in code: a default that the API server stores
would freeze existing policies at the method of their day."""

_SAID: Mapping[StrEnum, str] = {
    PredictorType.AUTO: "is the best method of this version of the operator",
    PredictorType.CONSTANT: "uses the last value",
    PredictorType.ARIMA: "fits an autoregressive model and chooses its order again when the series changes",
    PredictorType.KALMAN: "follows a local linear trend",
    PredictorType.PROPHET: "learns daily and weekly patterns and needs the operator's extra `prophet`",
    Sizing.THROUGHPUT: "divides the load by what one replica carries at the targets",
    Sizing.ATTAINMENT: "finds the smallest size at which sla.attainment percent of the requests meet the targets; "
    "it uses the forecast and the profile, and corrects both by the misses that were measured",
    ConnectorType.KUBERNETES: "scales the target in this cluster",
    ConnectorType.VIRTUAL: "publishes decisions for an outside system that carries them out",
}


def choices(values: tuple[StrEnum, ...]) -> str:
    """What each of *values* does, as a sentence.

    >>> choices((ConnectorType.KUBERNETES,))
    'Kubernetes scales the target in this cluster.'
    """
    return "; ".join(f"{value} {_SAID[value]}" for value in values) + "."
