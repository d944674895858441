"""Which values of an enum work today: one joins the schema, and every check, by joining its list here.

A policy that names a part which does not exist yet is refused at admission, instead of being
accepted and silently served by another part.
"""

from __future__ import annotations

from slaplanner.api.words import ConnectorType, TargetKind
from slaplanner.core.model import PredictorType, Sizing

TARGET_KINDS = (TargetKind.DYNAMO_GRAPH_DEPLOYMENT,)
PREDICTORS = (PredictorType.AUTO, PredictorType.CONSTANT)
SIZINGS = (Sizing.THROUGHPUT,)
CONNECTORS = (ConnectorType.KUBERNETES,)

DEFAULT_SIZING = Sizing.THROUGHPUT
"""What an absent `planning.sizing` means. Resolved in code: a default that the API server stores
would freeze existing policies at the method of their day."""
