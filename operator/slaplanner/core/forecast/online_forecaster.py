"""One forecast method, or a mixture of many, that learns point by point. Immutable."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from slaplanner.core.arrays import Floats
from slaplanner.core.forecast.arima import Arima
from slaplanner.core.forecast.calibration import LEVELS, ROLES, Calibration
from slaplanner.core.forecast.direct import Direct
from slaplanner.core.forecast.features import CHANNELS, ISL, LARGEST, OSL, PREFILL, REQUESTS, Expert, Lookback
from slaplanner.core.forecast.kalman import Kalman
from slaplanner.core.forecast.mixture import Mixture
from slaplanner.core.forecast.plateaus import RecentWindow, RunMean
from slaplanner.core.forecast.prophet import Prophet
from slaplanner.core.forecast.seasonal import DAY_S, WEEK_S, Seasonal
from slaplanner.core.forecast.smoothing import AdaptiveGain, DampedTrend, Smoothing
from slaplanner.core.model import PredictorPolicy, PredictorType

_MOST_KNOTS = 8
"""Steps of the horizon that are learnt one by one; a longer path is straight between them."""


def knots(horizon_steps: int) -> Floats:
    """The learnt steps: all of a short horizon, else denser where it begins.

    >>> knots(3).tolist()
    [1.0, 2.0, 3.0]
    >>> knots(60).tolist()
    [1.0, 2.0, 3.0, 6.0, 10.0, 19.0, 33.0, 60.0]
    """
    if horizon_steps <= _MOST_KNOTS:
        return np.arange(1.0, horizon_steps + 1)
    return np.unique(np.round(np.geomspace(1, horizon_steps, _MOST_KNOTS)))


def experts(policy: PredictorPolicy, steps: Floats) -> tuple[Expert, ...]:
    """What a policy's predictor is made of, before the first point; *steps* as `knots` gives them."""
    match policy.type:
        case PredictorType.CONSTANT:
            return (Smoothing.of(1.0),)
        case PredictorType.KALMAN:
            return (Kalman.fresh(policy.kalman),)
        case PredictorType.ARIMA:
            return (Arima.fresh(),)
        case PredictorType.PROPHET:
            return (Prophet.fresh(),)
        case PredictorType.AUTO:
            return (
                Smoothing.of(1.0, 0.8, 0.6, 0.4, 0.2),
                DampedTrend.of((0.8, 0.3, 0.8), (0.5, 0.2, 0.9), (0.3, 0.1, 0.9)),
                AdaptiveGain.fresh(),
                RunMean.of((1.0, 12.0), (1.5, 4.0), (2.0, 12.0), (3.0, 12.0)),
                RecentWindow.fresh(),
                Kalman.fresh(policy.kalman),
                Direct.fresh(steps),
                Seasonal.of("day", DAY_S),
                Seasonal.of("week", WEEK_S),
                Arima.fresh(),
            )


@dataclass(frozen=True, slots=True, eq=False)
class Learner:
    """`outlook` (channels, knots): means after the last point; `bounds` (roles, knots, levels)."""

    steps: Floats
    experts: tuple[Expert, ...]
    mixture: Mixture | None
    """None: one method, whose token rates are the products of its means."""
    calibration: Calibration
    last: Floats
    points: int
    """Points with a known number of requests."""
    outlook: Floats
    bounds: Floats

    @staticmethod
    def of(members: tuple[Expert, ...], horizon_steps: int) -> Learner:
        steps = knots(horizon_steps)
        number = sum(len(member.names) for member in members)
        return Learner(
            steps=steps,
            experts=members,
            mixture=Mixture.fresh(number, steps) if number > 1 else None,
            calibration=Calibration.fresh(steps),
            last=np.full(CHANNELS, np.nan),
            points=0,
            outlook=np.full((CHANNELS, len(steps)), np.nan),
            bounds=np.full((ROLES, len(steps), len(LEVELS)), np.nan),
        )

    def learnt(self, value: Floats, lookback: Lookback, *, least: int) -> Self:
        """After one more point, shape (channels,); the last value stands in before *least* points."""
        seen = np.log1p(value) if lookback.log1p else value
        learnt = replace(
            self,
            experts=tuple(expert.seen(seen) for expert in self.experts),
            mixture=self.mixture.learnt(value) if self.mixture else None,
            calibration=self.calibration.learnt(value[PREFILL:]),
            last=np.where(np.isnan(value), self.last, value),
            points=self.points + bool(np.isfinite(value[REQUESTS])),
        )
        return learnt.projected(lookback, least=least)

    def projected(self, lookback: Lookback, *, least: int, again: bool = False) -> Self:
        """Look ahead from the last point; *again*: after a fit, in the place of the outlook before it."""
        paths = np.concatenate([expert.paths(lookback, self.steps) for expert in self.experts])
        if lookback.log1p:
            paths = np.expm1(np.minimum(paths, np.log(LARGEST)))
        paths = np.minimum(np.maximum(paths, 0.0), LARGEST**2)
        mixture = self.mixture
        if mixture is None:
            mean = paths[0]
        else:
            mixture, mean = mixture.mixed(paths, again=again)
        # The last value stands in.
        outlook = np.where(np.isfinite(mean) & (self.points >= least), mean, self.last[:, None])
        if mixture is None:
            outlook[PREFILL:] = outlook[REQUESTS] * outlook[ISL : OSL + 1]
        outlook = np.maximum(outlook, 0.0)
        calibration, bounds = self.calibration.bounded(outlook[PREFILL:], again=again)
        return replace(self, mixture=mixture, calibration=calibration, outlook=outlook, bounds=bounds)

    def refitted(self, members: tuple[Expert, ...], lookback: Lookback, *, least: int) -> Self:
        """With freshly fitted experts in the place of those of their kind."""
        fresh = {member.names: member for member in members}
        kept = tuple(fresh.get(expert.names, expert) for expert in self.experts)
        return replace(self, experts=kept).projected(lookback, least=least, again=True)
