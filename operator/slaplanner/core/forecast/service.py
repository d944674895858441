"""The two functions of forecasting: `forecast` is fast and runs inside a plan; `refit` is slow and runs beside it.

Both are pure: the same history and state give the same answer, and nothing is kept here.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from slaplanner.core.arrays import Floats
from slaplanner.core.errors import ForecastError
from slaplanner.core.forecast import arima, prophet
from slaplanner.core.forecast.calibration import LEVELS
from slaplanner.core.forecast.features import (
    CHANNELS,
    ISL,
    PREFILL,
    REQUESTS,
    Expert,
    Lookback,
    point,
    points,
)
from slaplanner.core.forecast.online_forecaster import Learner, experts, knots
from slaplanner.core.forecast.outcome import Forecast, TokenForecast
from slaplanner.core.forecast.state import ForecastState
from slaplanner.core.model import PredictorPolicy, PredictorType
from slaplanner.core.readings import Series
from slaplanner.core.reasons import Reason

MOST_POINTS = 2500
"""Points that are ever learnt from: two weeks of 10-minute intervals and some; older ones say nothing."""

HURRY_POINTS = 64
"""Points that a plan may learn at once; with more to learn, a refit has to do it."""

_FITS_ON_REPLAY = 3
"""ARIMA fits while a whole history is learnt: its errors must be those of a model that came before."""


def forecast(
    series: Series,
    *,
    policy: PredictorPolicy,
    state: ForecastState | None = None,
    horizon_steps: int = 1,
    isl_tokens: float = 3000.0,
    osl_tokens: float = 150.0,
    forget_last: bool = False,
) -> Forecast:
    """Extend *series* by *horizon_steps* intervals.

    Args:
        series: history on the planning grid; NaN is a gap.
        policy: which method, and its tuning.
        state: the last forecast's or refit's; None: learn what is needed from the history.
        horizon_steps: see `outcome.horizon_steps`.
        isl_tokens: mean input length while the history has none.
        osl_tokens: mean output length while the history has none.
        forget_last: the last point only stands in for one that is not known yet: the state to keep ends before it.

    Returns:
        Always a usable forecast: never NaN, negative or infinite. When the method cannot answer, the
        last value stands in and `reason` says why.
    """
    steps = max(1, horizon_steps)
    lengths = (isl_tokens, osl_tokens)
    try:
        with np.errstate(all="ignore"):
            kept = None
            if forget_last:
                before = series.first(len(series) - 1)
                kept = state = _advanced(before, policy, state, steps, most=HURRY_POINTS)
            learnt = _advanced(series, policy, state, steps, most=HURRY_POINTS)
            reason, message = _standing(learnt)
            return told(
                series,
                learnt.learner,
                policy.type,
                horizon=steps,
                lengths=lengths,
                reason=reason,
                message=message,
                state=kept or learnt,
            )
    except Exception as error:  # noqa: BLE001 - a plan goes on whatever a forecaster does; the reason says so
        return _last_value(series, policy, steps, lengths, error)


def refit(
    series: Series, *, policy: PredictorPolicy, state: ForecastState | None, horizon_steps: int = 1
) -> ForecastState:
    """Learn all of *series*, and fit again what is slow to fit; run it outside of the plan.

    Never raises for what the history holds: a fit that fails is told by the state's `trouble`, and by
    the reason of the forecasts that are made from it.
    """
    with np.errstate(all="ignore"):
        if state is not None and not state.complete:
            state = None
        if not _continues(series, policy, state, horizon_steps):
            state = None
            length = min(len(series), MOST_POINTS)
            for part in range(1, _FITS_ON_REPLAY):
                earlier = series.first(len(series) - length + length * part // _FITS_ON_REPLAY)
                if policy.type in {PredictorType.ARIMA, PredictorType.AUTO} and len(earlier):
                    state = _fitted(
                        earlier, _advanced(earlier, policy, state, horizon_steps, most=MOST_POINTS)
                    )
        return _fitted(series, _advanced(series, policy, state, horizon_steps, most=MOST_POINTS))


def _continues(
    series: Series, policy: PredictorPolicy, state: ForecastState | None, horizon_steps: int
) -> bool:
    """Whether *state* lies at or before the end of *series*, and no gap is between them."""
    if state is None or not state.fits(policy=policy, step_s=series.step_s, horizon_steps=horizon_steps):
        return False
    return 0 <= round((series.end_s - state.end_s) / series.step_s) <= len(series)


def _advanced(
    series: Series, policy: PredictorPolicy, state: ForecastState | None, horizon_steps: int, *, most: int
) -> ForecastState:
    """The state after the end of *series*, which learns at most the newest *most* points."""
    if state is None or not _continues(series, policy, state, horizon_steps):
        state = ForecastState(
            policy=policy,
            step_s=series.step_s,
            horizon_steps=horizon_steps,
            end_s=series.end_s - len(series) * series.step_s,
            learner=Learner.of(experts(policy, knots(horizon_steps)), horizon_steps),
        )
    new = round((series.end_s - state.end_s) / series.step_s)
    learner = state.learner
    least = _least(policy)
    for index in range(len(series) - min(new, most), len(series)):
        value = point(series, index)
        if learner.points == 0 and not value[REQUESTS] > 0:
            continue
        learner = learner.learnt(value, Lookback(series, index, policy.log1p), least=least)
    hurried = new > most and most < MOST_POINTS
    return replace(state, learner=learner, end_s=series.end_s, complete=state.complete and not hurried)


def _least(policy: PredictorPolicy) -> int:
    """Points before which the last value stands in."""
    if policy.type in {PredictorType.CONSTANT, PredictorType.KALMAN}:
        return 0
    return policy.min_observations


def _fitted(series: Series, state: ForecastState) -> ForecastState:
    """With the slow methods of the policy fitted on the end of *series*."""
    policy, learner = state.policy, state.learner
    if learner.points < max(2, policy.min_observations):
        return state
    trouble: tuple[Reason, str] | None = None
    members: list[Expert] = []
    try:
        match policy.type:
            case PredictorType.ARIMA | PredictorType.AUTO:
                values = _window(series, arima.window(policy), log1p=policy.log1p)
                wanted = range(CHANNELS if policy.type is PredictorType.AUTO else PREFILL)
                fits = [arima.fit(values[:, channel]) for channel in wanted]
                members.append(arima.Arima.of((*fits, *[None] * (CHANNELS - len(fits)))))
            case PredictorType.PROPHET:
                values = _window(series, prophet.window(policy), log1p=policy.log1p)
                members.append(
                    prophet.fit(values, end_s=series.end_s, step_s=series.step_s, steps=state.horizon_steps)
                )
            case PredictorType.CONSTANT | PredictorType.KALMAN:
                pass
    except ForecastError as error:
        trouble = (error.reason, str(error))
    lookback = Lookback(series, len(series) - 1, policy.log1p)
    return replace(
        state,
        learner=learner.refitted(tuple(members), lookback, least=_least(policy)),
        fitted_points=learner.points,
        trouble=trouble,
    )


def _window(series: Series, length: int, *, log1p: bool) -> Floats:
    """The newest points from the first traffic on, shape (points, channels)."""
    values = points(series, max(0, len(series) - length), len(series))
    begun = np.flatnonzero(values[:, REQUESTS] > 0)
    values = values[begun[0] :] if len(begun) else values
    return np.log1p(values) if log1p else values


def _standing(state: ForecastState) -> tuple[Reason, str]:
    """Whether the method itself made the outlook, and if not, why."""
    learner, policy = state.learner, state.policy
    if learner.points == 0:
        return Reason.WARMING_UP, "no traffic in the history yet"
    if learner.points < _least(policy):
        return (
            Reason.WARMING_UP,
            f"{learner.points} of {policy.min_observations} points of history; the last value stands in",
        )
    if state.trouble:
        return state.trouble[0], f"{state.trouble[1]}; the last value stands in"
    if policy.type in {PredictorType.ARIMA, PredictorType.PROPHET} and not _fresh(learner):
        return (
            Reason.WARMING_UP,
            f"{policy.type.value} is not fitted to the newest points yet; the last value stands in",
        )
    return Reason.FORECAST, ""


def _fresh(learner: Learner) -> bool:
    """Whether the fitted method reaches over the whole horizon."""
    (expert,) = learner.experts
    if isinstance(expert, prophet.Prophet):
        return expert.age + int(learner.steps[-1]) <= expert.path.shape[1] and bool(
            np.isfinite(expert.path[REQUESTS]).all()
        )
    return isinstance(expert, arima.Arima) and expert.orders[REQUESTS] is not None


def told(
    series: Series,
    learner: Learner,
    method: PredictorType,
    *,
    horizon: int,
    lengths: tuple[float, float] = (1.0, 1.0),
    reason: Reason = Reason.FORECAST,
    message: str = "",
    state: ForecastState | None = None,
) -> Forecast:
    """A learner's outlook as a forecast; *lengths* (ISL, OSL) where none were ever seen."""
    outlook = _every_step(learner.outlook, learner.steps, horizon)
    defaults = np.array([max(0.0, _newest(series.requests)), *lengths])[:, None]
    # The token rates are the other two channels, and the products of the first three where they are unknown.
    counts = np.where(np.isfinite(outlook[:PREFILL]), outlook[:PREFILL], defaults)
    tokens = outlook[PREFILL:]
    means = np.where(np.isfinite(tokens), tokens, counts[REQUESTS] * counts[ISL:])
    bounds = _every_step(learner.bounds.swapaxes(1, 2), learner.steps, horizon).swapaxes(1, 2)
    bounds = np.where(np.isfinite(bounds), bounds, means[:, :, None])
    requests, isl, osl = map(tuple, counts.tolist())
    prefill, decode = (
        TokenForecast(mean_tokens=tuple(mean), bounds_tokens=tuple(map(tuple, rows)))
        for mean, rows in zip(means.tolist(), bounds.tolist(), strict=True)
    )
    return Forecast(
        method=method,
        requests=requests,
        isl_tokens=isl,
        osl_tokens=osl,
        prefill=prefill,
        decode=decode,
        reason=reason,
        message=message,
        state=state,
    )


def _every_step(rows: Floats, learnt: Floats, horizon: int) -> Floats:
    """Paths at every step of the horizon, from those at the *learnt* ones; steps are the last axis."""
    if len(learnt) == horizon == learnt[-1]:
        return rows
    steps = np.arange(1, horizon + 1)
    paths = np.array([np.interp(steps, learnt, row) for row in rows.reshape(-1, len(learnt))])
    return paths.reshape(*rows.shape[:-1], horizon)


def _newest(values: tuple[float, ...]) -> float:
    return next((value for value in reversed(values) if math.isfinite(value)), 0.0)


def _last_value(
    series: Series, policy: PredictorPolicy, steps: int, lengths: tuple[float, float], error: Exception
) -> Forecast:
    """What can be said when everything else failed."""
    newest = [_newest(values) for values in (series.requests, series.isl_tokens, series.osl_tokens)]
    requests = min(max(newest[0], 0.0), 1e15)
    isl, osl = (
        min(max(value, 0.0), 1e15) or default for value, default in zip(newest[1:], lengths, strict=True)
    )
    demands = [
        TokenForecast(mean_tokens=(tokens,) * steps, bounds_tokens=((tokens,) * len(LEVELS),) * steps)
        for tokens in (requests * isl, requests * osl)
    ]
    return Forecast(
        method=policy.type,
        requests=(requests,) * steps,
        isl_tokens=(isl,) * steps,
        osl_tokens=(osl,) * steps,
        prefill=demands[0],
        decode=demands[1],
        reason=Reason.FORECAST_FAILED,
        message=f"{type(error).__name__}: {error}; the last value stands in",
        error=error,
    )
