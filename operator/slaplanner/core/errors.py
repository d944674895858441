"""What can go wrong, as part of the domain. Each class has the reason that its condition shows.

    PlanningError
    ├── PolicyError            the policy contradicts itself
    ├── ProfileError           a profile cannot be used
    │   ├── ProfileNotFound
    │   └── ProfileFormatError
    ├── TargetError            the target cannot be planned for
    ├── MetricsError           a figure cannot be had
    ├── ForecastError          a forecaster failed
    │   ├── InsufficientHistory
    │   └── WarmUpError
    ├── ActuationError         a write was refused
    └── InternalError          a defect of the planner itself

Messages carry what was found and what was wanted.
"""

from __future__ import annotations

from typing import ClassVar

from slaplanner.core.reasons import Reason


class PlanningError(Exception):
    """Base of everything that a plan can fail with; the next plan is the retry."""

    default_reason: ClassVar[Reason] = Reason.PENDING

    def __init__(self, message: str, *, reason: Reason | None = None) -> None:
        super().__init__(message)
        self.reason = reason or self.default_reason


class PolicyError(PlanningError):
    """The policy cannot be read; nothing is planned until its generation changes."""

    default_reason = Reason.INVALID_SPEC


class ProfileError(PlanningError):
    """A profile cannot be used."""

    default_reason = Reason.PROFILE_INVALID


class ProfileNotFound(ProfileError):  # noqa: N818 - named after what was found: nothing
    """The ConfigMap, the directory or a file in it is absent."""

    default_reason = Reason.PROFILE_NOT_FOUND


class ProfileFormatError(ProfileError):
    """A profile does not parse, or its arrays do not fit together."""


class TargetError(PlanningError):
    """The target cannot be planned for."""

    default_reason = Reason.INVALID_TARGET


class MetricsError(PlanningError):
    """A figure cannot be had."""

    default_reason = Reason.PROMETHEUS_UNAVAILABLE


class ForecastError(PlanningError):
    """A forecaster failed on this history."""

    default_reason = Reason.FORECAST_FAILED


class InsufficientHistory(ForecastError):  # noqa: N818 - named after what was found: too little
    """A forecaster has fewer points than it needs."""

    default_reason = Reason.WARMING_UP

    def __init__(self, *, needed: int, found: int) -> None:
        super().__init__(f"needs {needed} points of history, found {found}")
        self.needed = needed
        self.found = found


class WarmUpError(ForecastError):
    """A warm-up trace cannot be had or read; forecasts go on without it."""

    default_reason = Reason.WARMUP_TRACE_UNUSABLE


class ActuationError(PlanningError):
    """A write to the target was refused."""

    default_reason = Reason.API_UNAVAILABLE


class InternalError(PlanningError):
    """Something raised what nobody foresaw: a defect of the planner itself."""

    default_reason = Reason.INTERNAL_ERROR

    @classmethod
    def of(cls, error: Exception) -> InternalError:
        """*error* as something that a plan can fail with."""
        return cls(f"a defect of the planner, please report it: {type(error).__name__}: {error}")
