"""Weighing methods by their recent loss on this very series, at each step of the horizon.

Two learners without tuning share the mean half and half. One weighs each method by how much the
mixture would have gained from more of it (ML-Poly: Gaillard, Stoltz and van Erven, A second-order
bound with excess losses, 2014): it finds combinations better than any single method. The other
weighs exponentially by discounted loss, and so follows the best single method quickly when the
series changes.

Token rates have one member more: requests times length, both as mixed here. Where the two move
independently, their product is told better by telling each of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from slaplanner.core.arrays import Floats
from slaplanner.core.forecast.features import CHANNELS, ISL, OSL, PREFILL, REQUESTS

_DISCOUNT = 0.98
"""Per point, of the exponential learner: it remembers about 50 points."""
_RATE = 3.0
_CLIP = 5.0
"""A single point moves the weights by at most so many usual errors."""
_SHARED = 0.5
"""Of what a point teaches about one step ahead, as much is the mean over all steps."""
_SURPRISE = 5.0
"""An error of so many usual ones: the series has changed, and old merits count for less."""
_KEPT_AFTER_SURPRISE = 0.5
_SCALE_MEMORY = 0.05
_LEARNERS = 2


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """Shapes: members E (the product last), channels C, steps of the horizon K, and as many past forecasts as the last step.

    `given` (past, E, C, K): what the members said; `said` (past, learners, C, K): what was made of it;
    `regret` and `square` (learners, E, C, K); `usual` (C, K): the usual error.
    """

    steps: Floats
    given: Floats
    said: Floats
    regret: Floats
    square: Floats
    usual: Floats

    @staticmethod
    def fresh(methods: int, steps: Floats) -> Mixture:
        members, past, knots = methods + 1, int(steps[-1]), len(steps)
        return Mixture(
            steps=steps,
            given=np.full((past, members, CHANNELS, knots), np.nan),
            said=np.full((past, _LEARNERS, CHANNELS, knots), np.nan),
            regret=np.zeros((_LEARNERS, members, CHANNELS, knots)),
            square=np.zeros((_LEARNERS, members, CHANNELS, knots)),
            usual=np.full((CHANNELS, knots), np.nan),
        )

    def learnt(self, value: Floats) -> Self:
        """After the truth, shape (channels,): every step's forecast of this very point is scored."""
        ago = self.steps.astype(int) - 1
        knots = np.arange(len(ago))
        members = np.moveaxis(self.given[ago, :, :, knots], 0, -1)
        mixed = np.moveaxis(self.said[ago, :, :, knots], 0, -1)
        truth = value[:, None]
        errors = np.abs(members - truth)
        size = _median(errors)
        scored = np.isfinite(size) & np.isfinite(mixed).all(axis=0)
        first = np.isnan(self.usual)
        usual = np.where(first, size, self.usual + _SCALE_MEMORY * (size - self.usual))
        usual = np.where(scored, usual, self.usual)
        slope = np.sign(mixed[0] - truth)
        gains = np.stack([slope * (mixed[0] - members), np.abs(mixed[1] - truth) - errors])
        gains = gains / np.maximum(usual, np.finfo(float).tiny)
        gains = np.clip(np.where(scored & np.isfinite(gains), gains, 0.0), -_CLIP, _CLIP)
        # Errors far ahead come late and overlap; those of the other steps tell of the same methods.
        gains = (1 - _SHARED) * gains + _SHARED * gains.mean(axis=-1, keepdims=True)
        kept = np.where(scored, np.array([1.0, _DISCOUNT])[:, None, None], 1.0)[:, None]
        surprised = scored & (np.abs(mixed - truth).min(axis=0) > _SURPRISE * usual)
        kept = np.where(surprised, _KEPT_AFTER_SURPRISE, 1.0) * kept
        return replace(
            self,
            usual=usual,
            regret=kept * self.regret + gains,
            square=kept * self.square + gains**2,
        )

    def weights(self, active: Floats) -> Floats:
        """Shape (learners, E, C, K); nothing for members that are silent."""
        members = active.shape[0]
        steady = np.maximum(self.regret[0], 0.0) / (1 + self.square[0])
        rate = _RATE * np.minimum(0.5, np.sqrt(np.log(members) / (1e-3 + self.square[1])))
        power = np.where(active, rate * self.regret[1], -np.inf)
        quick = rate * np.exp(power - np.max(power, axis=0))
        raw = np.stack([steady, quick]) * active
        total = raw.sum(axis=1, keepdims=True)
        equal = active / np.maximum(active.sum(axis=0), 1)
        return np.where(total > 0, raw / np.where(total > 0, total, 1.0), equal)

    def mixed(self, paths: Floats, *, again: bool = False) -> tuple[Self, Floats]:
        """Weigh *paths* of the methods (E - 1, C, K); gives the state that remembers them, and the means (C, K).

        *again*: for the same point as before, in the place of what was said then.
        """
        kept = slice(1, None) if again else slice(0, -1)
        paths = np.concatenate([paths, np.full_like(paths[:1], np.nan)])
        active = np.isfinite(paths)
        told = np.logical_or.reduce(active)
        active[-1, PREFILL:] = told[REQUESTS] & told[ISL : OSL + 1]
        weights = self.weights(active)
        means = _combined(weights[:, :, :PREFILL], paths[:, :PREFILL]).mean(axis=0)
        paths[-1, PREFILL:] = np.where(active[-1, PREFILL:], means[REQUESTS] * means[ISL : OSL + 1], np.nan)
        said = np.where(active.any(axis=0), _combined(weights, paths), np.nan)
        state = replace(
            self,
            given=np.concatenate([paths[None], self.given[kept]]),
            said=np.concatenate([said[None], self.said[kept]]),
        )
        return state, said.mean(axis=0)


def _combined(weights: Floats, paths: Floats) -> Floats:
    """What each learner makes of *paths*, shape (learners, C, K)."""
    combined: Floats = np.sum(weights * np.where(np.isfinite(paths), paths, 0.0), axis=1)
    return combined


def _median(values: Floats) -> Floats:
    """Along the first axis, of what is known; NaN where nothing is."""
    ranked = np.sort(values, axis=0)
    number = np.isfinite(values).sum(axis=0)
    low, high = np.maximum(number - 1, 0) // 2, number // 2
    high = np.minimum(high, len(values) - 1)
    middle = np.take_along_axis(ranked, low[None], 0)[0] + np.take_along_axis(ranked, high[None], 0)[0]
    median: Floats = middle / 2
    return median
