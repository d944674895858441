"""What a forecast is: a path as far as a new worker needs, and how high the load may be at its end.

Sizing needs token rates (requests x ISL for prefill, requests x OSL for decode), and the errors of a
product are not the product of the errors. So the upper bounds are those of the token rates themselves.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from slaplanner.core.arrays import Floats
from slaplanner.core.forecast.calibration import LEVELS
from slaplanner.core.forecast.state import ForecastState
from slaplanner.core.model import PredictorType
from slaplanner.core.reasons import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenForecast:
    """Tokens per interval that one role will have to process.

    `mean_tokens`: one figure per step of the horizon. `bounds_tokens`: per step, one figure per level
    of `LEVELS`, never falling with the level. All finite and never negative.
    """

    mean_tokens: tuple[float, ...]
    bounds_tokens: tuple[tuple[float, ...], ...]

    def upper(self, level: float, step: int | None = None) -> float:
        """The rate that is not exceeded with probability *level*, in tokens per interval.

        Args:
            level: one-sided, as a fraction; held to the range of `LEVELS`.
            step: 1 is the coming interval; None: the end of the horizon.

        Raises:
            ValueError: the step lies outside the horizon.
        """
        steps = len(self.bounds_tokens)
        at = steps if step is None else step
        if not 1 <= at <= steps:
            raise ValueError(f"step {at} lies outside the horizon of {steps} steps")
        bounds = self.bounds_tokens[at - 1]
        left, right, share = _place(level)
        return bounds[left] + share * (bounds[right] - bounds[left])


def uppers(demands: Sequence[TokenForecast], levels: tuple[float, ...]) -> Floats:
    """`TokenForecast.upper` of several levels at every step of the horizon, shape (demands, steps, levels)."""
    bounds = np.array([demand.bounds_tokens for demand in demands])
    left, right, share = _places(levels)
    low: Floats = bounds.take(left, axis=-1)
    return low + share * (bounds.take(right, axis=-1) - low)


@lru_cache(maxsize=64)
def _place(level: float) -> tuple[int, int, float]:
    """The levels of `LEVELS` around *level*, and the share of the way from one to the other.

    Sizing asks for the same few levels in every plan.
    """
    right = bisect_left(LEVELS, level)
    if right in {0, len(LEVELS)}:
        at = min(right, len(LEVELS) - 1)
        return at, at, 0.0
    low, high = LEVELS[right - 1], LEVELS[right]
    # Linear in log(1 - level): the scale on which the tails of most loads are nearly straight.
    share = math.log((1 - low) / (1 - level)) / math.log((1 - low) / (1 - high))
    return right - 1, right, share


@lru_cache(maxsize=8)
def _places(levels: tuple[float, ...]) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
    """`_place` of each level."""
    left, right, share = zip(*map(_place, levels), strict=True)
    return np.array(left, dtype=np.intp), np.array(right, dtype=np.intp), np.array(share)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """The coming intervals: paths of means, upper bounds, and where they come from.

    `requests` counts per interval; `isl_tokens` and `osl_tokens` are means per request; each has one
    figure per step, step 1 first, all finite and never negative.
    """

    method: PredictorType
    """What the policy asked for; `reason` says whether it could be had."""
    requests: tuple[float, ...]
    isl_tokens: tuple[float, ...]
    osl_tokens: tuple[float, ...]
    prefill: TokenForecast
    decode: TokenForecast
    reason: Reason = Reason.FORECAST
    message: str = ""
    lifted_from: float | None = None
    """Requests of the coming interval as they were forecast, where the last half minute brought more; else None."""
    state: ForecastState | None = field(default=None, repr=False, compare=False)
    """What was learnt up to the last point; pass it to the next forecast."""
    error: Exception | None = field(default=None, repr=False, compare=False)
    """The defect that made the forecaster fail, for the log; None: it did not fail."""

    @property
    def horizon_steps(self) -> int:
        return len(self.requests)

    @property
    def available(self) -> bool:
        """The method that was asked for made this forecast."""
        return self.reason is Reason.FORECAST


def horizon_steps(*, interval_s: float, startup_s: float) -> int:
    """Steps until a worker that is asked for now has served a whole interval's worth of waiting.

    >>> horizon_steps(interval_s=60, startup_s=120)
    3
    >>> horizon_steps(interval_s=180, startup_s=120)
    2
    """
    return max(1, math.ceil((interval_s + startup_s) / interval_s))
