"""The spec's `metrics`: which Prometheus, and which series in it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, Strict, StringConstraints

from slaplanner.api.fields import DAY_S, Part, Text
from slaplanner.core.model import MatchOperator, MetricsSource


class Matcher(Part):
    """One more condition on the labels of the metrics."""

    label: Annotated[str, StringConstraints(max_length=128, pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")] = Field(
        description="Name of the label."
    )
    operator: MatchOperator = Field(
        default=MatchOperator.EQUAL,
        description="How the label's value is compared: Equal, NotEqual, or by regular expression, Matches, NotMatches.",
    )
    value: Annotated[str, StringConstraints(max_length=512)] = Field(
        description="Value to compare with, or an RE2 expression that must match the whole value."
    )


class MetricsSpec(Part):
    """Where the traffic is read."""

    connection: Annotated[
        str, StringConstraints(max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    ] = Field(
        default="default",
        description="Name of a Prometheus connection that the operator's administrator has configured.",
    )
    source: MetricsSource = Field(
        default=MetricsSource.FRONTEND,
        description="Component whose metrics are read: Dynamo's Frontend or its Router.",
    )
    model: Text | None = Field(
        default=None,
        description="Value of the label `model`; case does not matter. Absent: the model that the target's workers serve.",
    )
    dynamo_namespace: Text | None = Field(
        default=None,
        description=(
            "Value of the label dynamo_namespace, without the hash of a worker set. "
            "Absent: <namespace>-<target>, as Dynamo's operator names it."
        ),
    )
    prefix: (
        Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[a-zA-Z_:][a-zA-Z0-9_:]*$")]
        | None
    ) = Field(
        default=None,
        description=(
            "Prefix of the frontend's metric names. Absent: the target's DYN_METRICS_PREFIX or --metrics-prefix, else dynamo_frontend."
        ),
    )
    matchers: Annotated[tuple[Matcher, ...], Field(max_length=8)] | None = Field(
        default=None,
        description="Further label conditions. A series is read only if it meets all of them.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    window_seconds: Annotated[int, Strict(), Field(ge=4, le=DAY_S)] | None = Field(
        default=None,
        description=(
            "Length of the window that one observation covers, in seconds; at least four scrape intervals of Prometheus. Absent: planning.intervalSeconds, at least 60."
        ),
    )
