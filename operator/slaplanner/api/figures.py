"""What one status write is made from. Filled by whoever planned; `status` turns it into the document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slaplanner.api.conditions import Condition
from slaplanner.core.attainment import Attainment
from slaplanner.core.decision import Decision
from slaplanner.core.expected_latency import Expectation
from slaplanner.core.model import Fleet, Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetFacts:
    """The target as it was found; None is not known."""

    name: str | None = None
    kind: str | None = None
    api_version: str | None = None
    uid: str | None = None
    model: str | None = None
    dynamo_namespace: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Startup:
    """The start-up time that plans reckon with."""

    seconds: float
    source: str
    """Spec, Measured or Default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusFigures:
    """All that one status write reports. What is None is left out, never written as zero."""

    generation: int
    policy: Policy
    conditions: Sequence[Condition]
    target: TargetFacts | None = None
    fleet: Fleet | None = None
    decision: Decision | None = None
    expected: Sequence[Expectation] = ()
    """At the size that was decided."""
    startup: Startup | None = None
    last_hour: Attainment | None = None
    last_day: Attainment | None = None
    planner_state: Mapping[str, Any] | None = None


def significant(value: float) -> float | int:
    """Three significant digits.

    >>> significant(1234.5), significant(0.012345), significant(30.0)
    (1230, 0.0123, 30)
    """
    rounded = float(f"{value:.3g}")
    return int(rounded) if rounded.is_integer() else rounded
