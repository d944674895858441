"""Walk-forward backtests: every forecast is made from the past alone, then met by what came.

The first tenth of a series is warm-up. All methods are scored on the same points; one that is too
slow for that is scored on an evenly spaced sample of them, and says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from slaplanner.core.arrays import Floats
from slaplanner.core.forecast import Forecast, ForecastState, forecast, refit
from slaplanner.core.forecast.custom_method import Forecaster, Own
from slaplanner.core.forecast.features import Lookback, point, points
from slaplanner.core.forecast.online_forecaster import Learner
from slaplanner.core.forecast.service import told
from slaplanner.core.model import PredictorPolicy, PredictorType
from slaplanner.core.readings import Series

WARM_UP_SHARE = 0.1

SLOW_SAMPLE = 300
"""Origins at which a slow method is asked; Prophet takes 0.1 to 0.5 s for each."""

LEVELS = (0.9, 0.99)

TARGETS = ("requests", "prefill", "decode")


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """What is tried: one of the built-in predictors, or a user's own."""

    name: str
    policy: PredictorPolicy = field(default_factory=PredictorPolicy)
    own: Forecaster | None = None

    @property
    def is_slow(self) -> bool:
        return self.own is None and self.policy.type is PredictorType.PROPHET

    @staticmethod
    def builtin(kind: PredictorType, *, log1p: bool = False) -> Method:
        return Method(name=kind.value, policy=PredictorPolicy(type=kind, log1p=log1p))


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastScore:
    """How forecasts of one target met the truth. Shares and losses are relative to the mean load."""

    wape: float
    """Weighted absolute percentage error of one step ahead: sum of errors over sum of truth."""
    wape_horizon: float
    """The same at the last step of the horizon."""
    coverage: dict[float, float]
    """Per level: the share of points at or under the upper bound, at the end of the horizon."""
    pinball: dict[float, float]
    """Per level: mean pinball loss of the upper bound over the mean load."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MethodResult:
    """One method on one series. Arrays have one entry per point of the series, NaN where not scored."""

    method: Method
    scores: dict[str, ForecastScore]
    ms_median: float
    """CPU time of one forecast of the three series, in ms."""
    ms_p99: float
    refit_ms: tuple[float, ...]
    """CPU time of each refit, in ms: outside of the plan."""
    sampled: int | None
    """Origins asked, when not all were."""
    ahead: dict[str, Floats]
    """Per target: one step ahead."""
    at_horizon: dict[str, Floats]
    """Per target: made a horizon before."""
    upper: dict[str, dict[float, Floats]]
    """Per token rate and level: the bound made a horizon before."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Backtest:
    """All methods on one series. `truth`: per target, one entry per point."""

    series: Series
    horizon_steps: int
    first_scored: int
    truth: dict[str, Floats]
    outcomes: tuple[MethodResult, ...]


class _Walk:
    """A method led along a series, as the operator would: learn, fit when due, look ahead."""

    def __init__(self, method: Method, horizon_steps: int) -> None:
        self._method, self._steps = method, horizon_steps
        self._state: ForecastState | None = None
        self._learner = Learner.of((Own(method.name, method.own),), horizon_steps) if method.own else None
        self.cpu_s: list[float] = []
        self.refit_s: list[float] = []

    def at(self, past: Series, *, may_refit: bool) -> Forecast:
        """The forecast after the last point of *past*."""
        started = time.thread_time()
        outlook = self._own(past) if self._learner else self._builtin(past)
        self.cpu_s.append(time.thread_time() - started)
        if may_refit and self._state is not None and self._state.refit_due:
            started = time.thread_time()
            self._state = refit(
                past, policy=self._method.policy, state=self._state, horizon_steps=self._steps
            )
            self.refit_s.append(time.thread_time() - started)
            outlook = self._builtin(past)
        return outlook

    def _builtin(self, past: Series) -> Forecast:
        outlook = forecast(past, policy=self._method.policy, state=self._state, horizon_steps=self._steps)
        self._state = outlook.state
        return outlook

    def _own(self, past: Series) -> Forecast:
        assert self._learner is not None
        index = len(past) - 1
        with np.errstate(all="ignore"):
            self._learner = self._learner.learnt(point(past, index), Lookback(past, index), least=1)
            return told(past, self._learner, self._method.policy.type, horizon=self._steps)


def backtest(
    series: Series,
    methods: Sequence[Method],
    *,
    horizon_steps: int,
    progress: Callable[[str, int, int], None] = lambda _name, _done, _of: None,
) -> Backtest:
    """Lead each method along *series*.

    Args:
        series: the whole history; a method only ever sees what lies before its forecast.
        methods: what is tried.
        horizon_steps: the horizon at whose end bounds and the second error are scored.
        progress: called with a method's name, points done, and points in all.

    Raises:
        ForecastError: a user's own forecaster answered nonsense.
    """
    truth = _truth(series)
    first = max(1, int(np.ceil(WARM_UP_SHARE * len(series))))
    outcomes = [
        _outcome(series, method, truth=truth, first=first, horizon=horizon_steps, progress=progress)
        for method in methods
    ]
    return Backtest(
        series=series,
        horizon_steps=horizon_steps,
        first_scored=first,
        truth=truth,
        outcomes=tuple(outcomes),
    )


def _truth(series: Series) -> dict[str, Floats]:
    values = points(series, 0, len(series))
    return {"requests": values[:, 0], "prefill": values[:, 3], "decode": values[:, 4]}


def _outcome(
    series: Series,
    method: Method,
    *,
    truth: dict[str, Floats],
    first: int,
    horizon: int,
    progress: Callable[[str, int, int], None],
) -> MethodResult:
    length = len(series)
    asked = _asked(length, max(0, first - horizon)) if method.is_slow else None
    ahead = {target: np.full(length, np.nan) for target in TARGETS}
    at_horizon = {target: np.full(length, np.nan) for target in TARGETS}
    upper = {target: {level: np.full(length, np.nan) for level in LEVELS} for target in TARGETS[1:]}
    walk = _Walk(method, horizon)
    for origin in range(length - 1):
        scored = asked is None or origin in asked
        outlook = walk.at(series.first(origin + 1), may_refit=scored)
        progress(method.name, origin + 1, length - 1)
        if not scored:
            continue
        paths = {
            "requests": outlook.requests,
            "prefill": outlook.prefill.mean_tokens,
            "decode": outlook.decode.mean_tokens,
        }
        end = origin + horizon
        for target, path in paths.items():
            ahead[target][origin + 1] = path[0]
            if end < length:
                at_horizon[target][end] = path[-1]
        for target, demand in (("prefill", outlook.prefill), ("decode", outlook.decode)):
            for level in LEVELS:
                if end < length:
                    upper[target][level][end] = demand.upper(level)
    cpu_ms = 1000 * np.array(walk.cpu_s[max(0, first - 1) :])
    return MethodResult(
        method=method,
        scores={
            target: _score(truth[target], ahead[target], at_horizon[target], upper.get(target, {}), first)
            for target in TARGETS
        },
        ms_median=float(np.median(cpu_ms)),
        ms_p99=float(np.quantile(cpu_ms, 0.99)),
        refit_ms=tuple(1000 * seconds for seconds in walk.refit_s),
        sampled=SLOW_SAMPLE if asked is not None and len(asked) == SLOW_SAMPLE else None,
        ahead=ahead,
        at_horizon=at_horizon,
        upper=upper,
    )


def _asked(length: int, start: int) -> frozenset[int]:
    origins = np.arange(start, length - 1)
    if len(origins) > SLOW_SAMPLE:
        origins = np.unique(np.linspace(start, length - 2, SLOW_SAMPLE).round().astype(int))
    return frozenset(origins.tolist())


def _score(
    truth: Floats,
    ahead: Floats,
    at_horizon: Floats,
    upper: dict[float, Floats],
    first: int,
) -> ForecastScore:
    coverage = {}
    for level, bound in upper.items():
        met = _met(truth, bound, first)
        coverage[level] = float(np.mean(truth[met] <= bound[met])) if met.any() else float("nan")
    return ForecastScore(
        wape=wape(truth, ahead, first),
        wape_horizon=wape(truth, at_horizon, first),
        coverage=coverage,
        pinball={level: pinball(truth, bound, level, first) for level, bound in upper.items()},
    )


def pinball(truth: Floats, bound: Floats, level: float, first: int = 0) -> float:
    """Sum of pinball losses of an upper bound over the sum of the truth, from point *first* on."""
    met = _met(truth, bound, first)
    error = truth[met] - bound[met]
    return _share(np.where(error >= 0, level * error, (level - 1) * error), truth[met])


def wape(truth: Floats, guess: Floats, first: int = 0) -> float:
    """Sum of absolute errors over the sum of the truth, from point *first* on; gaps do not count."""
    met = _met(truth, guess, first)
    return _share(np.abs(truth[met] - guess[met]), truth[met])


def _met(truth: Floats, guess: Floats, first: int) -> npt.NDArray[np.bool_]:
    met: npt.NDArray[np.bool_] = np.isfinite(truth) & np.isfinite(guess) & (np.arange(len(truth)) >= first)
    return met


def _share(parts: Floats, whole: Floats) -> float:
    total = float(whole.sum())
    if total <= 0:
        return 0.0 if float(np.sum(parts)) == 0 else float("nan")
    return float(parts.sum()) / total
