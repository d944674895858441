"""ARIMA: fitted by statsmodels outside of the plan, stepped here by its own state-space matrices.

A step of statsmodels' result objects costs milliseconds; the recursion itself (Durbin and Koopman,
Time series analysis by state space methods, section 4.3) costs microseconds for all channels at once,
and gives the same figures.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf, isfinite
from operator import mul
from typing import Self

import numpy as np

from slaplanner.core.arrays import Floats
from slaplanner.core.forecast.features import CHANNELS, Lookback
from slaplanner.core.model import PredictorPolicy

Order = tuple[int, int, int]

ORDERS: tuple[Order, ...] = ((0, 1, 1), (1, 1, 1), (2, 1, 1), (1, 0, 0), (1, 0, 1), (2, 0, 1))
"""(p, d, q) tried at each fit, beside the random walk (0, 1, 0)."""

WINDOW = 400
"""Points that a fit sees by default: enough for a handful of parameters, few enough to follow changes."""

_POINTS_PER_PARAMETER = 10


@dataclass(frozen=True, slots=True, eq=False)
class ArimaFit:
    """One channel's model in state-space form, on data that was centred and scaled.

    `transition` (n, n), `design` (n,), `noise` (n, n): covariance of the state's disturbance;
    `state` (n,), `covariance` (n, n): the prediction for the point after the last one seen.
    """

    order: Order
    transition: Floats
    design: Floats
    noise: Floats
    state: Floats
    covariance: Floats
    centre: float
    scale: float


def fit(values: Floats) -> ArimaFit | None:
    """The best of `ORDERS` on *values*, shape (points,), NaN for gaps.

    Best is the smallest mean absolute error of one step ahead, penalised per parameter as the
    Bayesian information criterion does. The likelihood fits the parameters of the chosen order, but
    does not choose between orders: bursts would choose for it.

    Returns:
        None while there are fewer than two known points.
    """
    known = values[np.isfinite(values)]
    if len(known) < 2:
        return None
    spread = float(np.std(known))
    walk = _random_walk(known[-1], spread if spread > 0 else 1.0)
    if spread <= 1e-9 * float(np.max(np.abs(known))):
        return walk
    centre = float(np.mean(known))
    scaled = (values - centre) / spread
    tail = values[1:]
    steps = np.abs(tail - _forward_filled(values)[:-1])[np.isfinite(tail)]
    best, best_score = None, np.log(float(np.mean(steps)) / spread + 1e-12)
    for order in ORDERS:
        parameters = order[0] + order[2] + (1 - order[1])
        if len(known) < _POINTS_PER_PARAMETER * (parameters + 1):
            continue
        guess = _guess(scaled, order)
        error = _one_step_error(scaled, order, guess)
        score = np.log(error + 1e-12) + 0.5 * np.log(len(known)) * parameters / len(known)
        if score < best_score:
            best, best_score = (order, guess), score
    if best is None:
        return walk
    return _fit_order(scaled, *best, centre=centre, spread=spread) or walk


def _forward_filled(values: Floats) -> Floats:
    at = np.maximum.accumulate(np.where(np.isfinite(values), np.arange(len(values)), 0))
    filled: Floats = values[at]
    return filled


def _random_walk(last: float, scale: float) -> ArimaFit:
    one = np.ones((1, 1))
    return ArimaFit((0, 1, 0), one, np.ones(1), one, np.zeros(1), one, float(last), scale)


def _guess(values: Floats, order: Order) -> list[float]:
    """AR and MA parameters by two regressions (Hannan and Rissanen, 1982); stable ones, or plain ones."""
    p, d, q = order
    plain = [0.2 if d else 0.6, 0.1][:p] + [-0.3 if d else 0.1, 0.0][:q]
    moved = np.diff(values) if d else values
    long = max(p, q) + max(2, min(8, len(moved) // 12))
    surprises = _residuals(moved, _lags(moved, long))
    columns = np.concatenate([_lags(moved, p), _lags(surprises, q)], axis=1)
    rows = np.isfinite(columns).all(axis=1) & np.isfinite(moved)
    if rows.sum() < 3 * (p + q):
        return plain
    found = np.linalg.lstsq(columns[rows], moved[rows], rcond=None)[0]
    stable = _is_stable(found[:p]) and _is_stable(-found[p:])
    return found.tolist() if stable else plain


def _lags(values: Floats, number: int) -> Floats:
    """Column k holds the value k + 1 points before, shape (points, number)."""
    lagged = np.full((len(values), number), np.nan)
    for lag in range(1, min(number, len(values) - 1) + 1):
        lagged[lag:, lag - 1] = values[:-lag]
    return lagged


def _residuals(values: Floats, columns: Floats) -> Floats:
    rows = np.isfinite(columns).all(axis=1) & np.isfinite(values)
    residuals = np.full(len(values), np.nan)
    if rows.sum() > columns.shape[1]:
        weights = np.linalg.lstsq(columns[rows], values[rows], rcond=None)[0]
        residuals[rows] = values[rows] - columns[rows] @ weights
    return residuals


def _is_stable(coefficients: Floats) -> bool:
    """Whether the roots of z^n - c1 z^(n-1) - ... lie well inside the unit circle."""
    return not len(coefficients) or bool(np.all(np.abs(np.roots([1.0, *-coefficients])) < 0.97))


def _one_step_error(values: Floats, order: Order, parameters: list[float]) -> float:
    """Mean absolute error of one step ahead, by the recursion itself; infinite if it cannot be told."""
    p, d, q = order
    moved = np.diff(values) if d else values
    ar, ma = parameters[:p], parameters[p:]
    past, shocks, errors = [0.0] * p, [0.0] * q, []
    for value in moved.tolist():
        told = sum(map(mul, ar, past)) + sum(map(mul, ma, shocks))
        shock = value - told if isfinite(value) else 0.0
        if isfinite(value):
            errors.append(abs(shock))
        past = [value if isfinite(value) else told, *past][:p]
        shocks = [shock, *shocks][:q]
    settled = errors[p + q :]
    return sum(settled) / len(settled) if settled else inf


def _fit_order(
    scaled: Floats, order: Order, guess: list[float], *, centre: float, spread: float
) -> ArimaFit | None:
    """Maximum likelihood from the guess; None when it does not come to usable figures."""
    from statsmodels.tsa.statespace.sarimax import SARIMAX  # noqa: PLC0415 - a second that most never need

    model = SARIMAX(scaled, order=order, trend=None, concentrate_scale=True)
    try:
        result = model.fit(
            start_params=guess, disp=False, maxiter=30, cov_type="none", warn_convergence=False
        )
    except (np.linalg.LinAlgError, ValueError):
        return None
    filtered = result.filter_results
    noise = filtered.selection[:, :, 0] @ filtered.state_cov[:, :, 0] @ filtered.selection[:, :, 0].T
    fitted = ArimaFit(
        order=order,
        transition=filtered.transition[:, :, 0],
        design=filtered.design[0, :, 0],
        noise=noise,
        state=filtered.predicted_state[:, -1],
        covariance=filtered.predicted_state_cov[:, :, -1],
        centre=centre,
        scale=spread,
    )
    parts = (noise, fitted.state, fitted.covariance, fitted.transition)
    return fitted if all(np.all(np.isfinite(part)) for part in parts) else None


@dataclass(frozen=True, slots=True, eq=False)
class Arima:
    """The fitted models of all channels, padded with zeros to one size; silent where there is none."""

    orders: tuple[Order | None, ...]
    transition: Floats
    design: Floats
    noise: Floats
    state: Floats
    covariance: Floats
    centre: Floats
    scale: Floats

    @staticmethod
    def of(fits: tuple[ArimaFit | None, ...]) -> Arima:
        size = max((len(fitted.design) for fitted in fits if fitted), default=1)
        matrices = np.zeros((3, CHANNELS, size, size))
        vectors = np.zeros((2, CHANNELS, size))
        centre, scale = np.full(CHANNELS, np.nan), np.ones(CHANNELS)
        for channel, fitted in enumerate(fits):
            if fitted is None:
                continue
            n = len(fitted.design)
            matrices[:, channel, :n, :n] = fitted.transition, fitted.noise, fitted.covariance
            vectors[:, channel, :n] = fitted.design, fitted.state
            centre[channel], scale[channel] = fitted.centre, fitted.scale
        return Arima(
            orders=tuple(fitted.order if fitted else None for fitted in fits),
            transition=matrices[0],
            noise=matrices[1],
            covariance=matrices[2],
            design=vectors[0],
            state=vectors[1],
            centre=centre,
            scale=scale,
        )

    @staticmethod
    def fresh() -> Arima:
        return Arima.of((None,) * CHANNELS)

    @property
    def names(self) -> tuple[str, ...]:
        return ("ARIMA",)

    def seen(self, value: Floats) -> Self:
        surprise = (value - self.centre) / self.scale - np.sum(self.design * self.state, axis=-1)
        seen_design = np.einsum("cij,cj->ci", self.covariance, self.design)
        variance = np.sum(self.design * seen_design, axis=-1)
        usable = np.isfinite(surprise) & (variance > 0)
        weight = np.where(usable, 1 / np.where(usable, variance, 1.0), 0.0)
        gain = seen_design * weight[:, None]
        state = self.state + gain * np.where(usable, surprise, 0.0)[:, None]
        covariance = self.covariance - gain[:, :, None] * seen_design[:, None, :]
        covariance = self.transition @ covariance @ self.transition.swapaxes(1, 2) + self.noise
        return replace(self, state=np.einsum("cij,cj->ci", self.transition, state), covariance=covariance)

    def paths(self, lookback: Lookback, steps: Floats) -> Floats:  # noqa: ARG002 - the protocol's
        state = self.state
        wanted = steps.astype(int)
        path = np.empty((1, CHANNELS, len(wanted)))
        for step in range(1, int(wanted[-1]) + 1):
            at = int(np.searchsorted(wanted, step))
            if wanted[at] == step:
                path[0, :, at] = np.sum(self.design * state, axis=-1) * self.scale + self.centre
            state = np.einsum("cij,cj->ci", self.transition, state)
        return path


def window(policy: PredictorPolicy) -> int:
    """Points of history that a fit sees."""
    return policy.window_size or WINDOW
