"""The two doors of forecasting: `forecast`, fast, inside a plan; `refit`, slow, outside of it.

Both are pure: the same history and state give the same answer, and nothing is kept here.
"""

from __future__ import annotations

import math

from slaplanner.core.forecast.outcome import LEVELS, Demand, Forecast
from slaplanner.core.forecast.state import ForecastState
from slaplanner.core.model import PredictorPolicy
from slaplanner.core.readings import Series
from slaplanner.core.reasons import Reason


def forecast(
    series: Series,
    *,
    policy: PredictorPolicy,
    state: ForecastState | None = None,
    horizon_steps: int = 1,
    isl_tokens: float = 3000.0,
    osl_tokens: float = 150.0,
) -> Forecast:
    """Extend *series* by *horizon_steps* intervals.

    Args:
        series: history on the planning grid; NaN is a gap.
        policy: which method, and its tuning.
        state: the last forecast's or refit's; None: learn what is needed from the history.
        horizon_steps: see `outcome.horizon_steps`.
        isl_tokens: mean input length while the history has none.
        osl_tokens: mean output length while the history has none.

    Returns:
        Always a usable forecast: never NaN, negative or infinite. When the method cannot answer, the
        last value stands in and `reason` says why.
    """
    requests = _last(series.requests, 0.0)
    isl = _last(series.isl_tokens, isl_tokens)
    osl = _last(series.osl_tokens, osl_tokens)
    known = any(math.isfinite(value) for value in series.requests)
    return Forecast(
        method=policy.type,
        requests=(requests,) * horizon_steps,
        isl_tokens=(isl,) * horizon_steps,
        osl_tokens=(osl,) * horizon_steps,
        prefill=_demand(requests * isl, horizon_steps),
        decode=_demand(requests * osl, horizon_steps),
        reason=Reason.FORECAST if known else Reason.WARMING_UP,
        message="" if known else "no point of history is known yet",
        state=state,
    )


def refit(
    series: Series, *, policy: PredictorPolicy, state: ForecastState | None, horizon_steps: int = 1
) -> ForecastState:
    """Fit again what is slow to fit; run it outside of the plan."""
    return state or ForecastState(
        policy=policy, step_s=series.step_s, horizon_steps=horizon_steps, end_s=series.end_s
    )


def _last(values: tuple[float, ...], default: float) -> float:
    return next((max(0.0, value) for value in reversed(values) if math.isfinite(value)), default)


def _demand(tokens: float, steps: int) -> Demand:
    return Demand(mean_tokens=(tokens,) * steps, bounds_tokens=((tokens,) * len(LEVELS),) * steps)
