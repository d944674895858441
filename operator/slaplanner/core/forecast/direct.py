"""Regression of the load at each step ahead on what just happened, learnt point by point.

A model that is fitted one step ahead and iterated adds up its faults on the way; regressing on the
distance itself does not (Marcellino, Stock and Watson, A comparison of direct and iterated multistep
AR methods, 2006). How much of the last moves goes on, and how far the load returns to its recent
means, is found by recursive least squares with forgetting. Before there is evidence the last value
stands: its prior is the random walk (Litterman, Forecasting with Bayesian vector autoregressions, 1986).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from slaplanner.core.arrays import Floats
from slaplanner.core.forecast.features import CHANNELS, Lookback

_MEANS = (5, 20)
"""Points of the recent means to which the load may return."""
_MOVES = 2
_FEATURES = _MOVES + len(_MEANS)
_RIDGE = 50.0
"""The prior counts as much as so many points with moves of the usual size."""
_FORGETTING = 0.995
"""Per point: it remembers about 200."""
_MEMORY = 0.05
"""Per point, of the usual move."""
_MOST = 6.0
"""One move counts at most so many usual ones when the usual move is learnt."""
_CAP = 3.0
"""A feature is at most so many usual moves; what it explains, half as much again."""


@dataclass(frozen=True, slots=True, eq=False)
class Direct:
    """Shapes: channels C, steps of the horizon K, features F, past points as the last step.

    `recent` (most points of a mean + 1, C): newest last, gaps filled with the value before them;
    `usual` (C,): the usual move; `weights` (C, K, F) and `spread` (C, K, F, F): the regressions;
    `features` (past, C, F), `levels` and `scales` (past, C): what each point was forecast from.
    """

    steps: Floats
    recent: Floats
    usual: Floats
    weights: Floats
    spread: Floats
    features: Floats
    levels: Floats
    scales: Floats

    @staticmethod
    def fresh(steps: Floats) -> Direct:
        past, knots = int(steps[-1]), len(steps)
        return Direct(
            steps=steps,
            recent=np.full((max(_MEANS) + 1, CHANNELS), np.nan),
            usual=np.full(CHANNELS, np.nan),
            weights=np.zeros((CHANNELS, knots, _FEATURES)),
            spread=np.broadcast_to(
                np.eye(_FEATURES) / _RIDGE, (CHANNELS, knots, _FEATURES, _FEATURES)
            ).copy(),
            features=np.zeros((past, CHANNELS, _FEATURES)),
            levels=np.full((past, CHANNELS), np.nan),
            scales=np.full((past, CHANNELS), np.nan),
        )

    @property
    def names(self) -> tuple[str, ...]:
        return ("direct regression",)

    def seen(self, value: Floats) -> Self:
        last = self.recent[-1]
        filled = np.where(np.isnan(value), last, value)
        recent = np.concatenate([self.recent[1:], filled[None]])
        # Before the first point there is no move; the first value stands for all before it.
        recent = np.where(np.isnan(recent), filled, recent)
        move = np.where(np.isnan(value), np.nan, np.abs(value - last))
        first = np.isnan(self.usual)
        most = np.where(self.usual > 0, _MOST * self.usual, np.inf)
        usual = np.where(first, move, self.usual + _MEMORY * (np.minimum(move, most) - self.usual))
        usual = np.where(np.isnan(move), self.usual, usual)
        scale = np.where(usual > 0, usual, np.nan)
        moves = [recent[-lag] - recent[-lag - 1] for lag in range(1, _MOVES + 1)]
        returns = [recent[-points:].mean(axis=0) - filled for points in _MEANS]
        features = np.stack([*moves, *returns], axis=-1) / scale[:, None]
        features = np.clip(np.where(np.isfinite(features), features, 0.0), -_CAP, _CAP)
        weights, spread = self._regressed(value)
        return replace(
            self,
            recent=recent,
            usual=usual,
            weights=weights,
            spread=spread,
            features=np.concatenate([features[None], self.features[:-1]]),
            levels=np.concatenate([filled[None], self.levels[:-1]]),
            scales=np.concatenate([scale[None], self.scales[:-1]]),
        )

    def _regressed(self, value: Floats) -> tuple[Floats, Floats]:
        """The regressions after the truth met what each step was forecast from."""
        ago = self.steps.astype(int) - 1
        inputs = np.moveaxis(self.features[ago], 0, 1)
        target = ((value - self.levels[ago]) / self.scales[ago]).T
        known = np.isfinite(target)
        target = np.clip(np.where(known, target, 0.0), -1.5 * _CAP, 1.5 * _CAP)
        seen = np.einsum("ckij,ckj->cki", self.spread, inputs)
        gain = seen / (_FORGETTING + np.sum(inputs * seen, axis=-1))[..., None]
        surprise = target - np.sum(inputs * self.weights, axis=-1)
        weights = self.weights + gain * surprise[..., None]
        spread = (self.spread - gain[..., :, None] * seen[..., None, :]) / _FORGETTING
        # Nothing new to learn from must not make the regression forget its prior.
        mean = np.trace(spread, axis1=-2, axis2=-1) / _FEATURES
        spread = spread / np.maximum(1.0, mean * _RIDGE)[..., None, None]
        return (
            np.where(known[..., None], weights, self.weights),
            np.where(known[..., None, None], spread, self.spread),
        )

    def paths(self, lookback: Lookback, steps: Floats) -> Floats:  # noqa: ARG002 - the protocol's
        moved = np.einsum("ckf,cf->ck", self.weights, self.features[0]) * self.scales[0][:, None]
        path: Floats = self.levels[0][:, None] + np.where(np.isfinite(moved), moved, 0.0)
        return path[None]
