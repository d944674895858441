"""Upper bounds that hold as often as they say, learnt from the forecaster's own errors.

Split-conformal prediction on a rolling window (Vovk, Gammerman and Shafer, Algorithmic learning in a
random world, 2005): the errors at the end of the horizon, divided by how large errors are just now,
are ranked, and the bound is the forecast plus the ranked error of its level. How large errors are
just now can be told in several ways; each gives a bound, and the bounds are weighed by their recent
pinball loss, level by level, by the same rule as forecasts are (see `mixture`).

The rarest levels are not ranked: one error more or less would move them. What errors are above their
90th percentile is taken for exponential (peaks over a threshold on scaled errors: McNeil and Frey,
Estimation of tail-related risk measures for heteroscedastic financial time series, 2000).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from slaplanner.core.forecast.channels import Array

LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975, 0.99, 0.995)
"""The levels at which bounds are learnt; between them they are interpolated."""

ROLES = 2
"""Token rates: prefill, decode."""

WINDOW = 1000
"""Errors remembered: the 99th percentile needs some hundreds."""

_MEMORIES = np.array([0.1, 0.03, 0.003])
"""Per point, of the usual errors: quick, steady, slow."""
_YARDSTICKS = 5
_RECENT = 50
_VIEWS = ((0, WINDOW), (1, WINDOW), (2, WINDOW), (3, WINDOW), (4, WINDOW), (1, _RECENT), (4, _RECENT))
"""What bounds are made from: a yardstick, and how many of the newest errors are ranked on it."""
_ON_RECENT = np.array([yardstick for yardstick, newest in _VIEWS if newest < WINDOW])
"""Yardsticks that are also looked at on the newest errors alone."""
_PRIOR_ERROR = 0.1
"""Usual error before any was seen, as a share of the load."""
_PRIOR_POINTS = 4.0
_LEAST_SHARE = 0.1
"""Of the slow usual error: a quiet hour does not make errors impossible."""
_MOST_TIMES = 6.0
"""One error counts at most so many usual ones when the usual error is learnt."""
_SURPRISE = 2.5
"""Quick usual error over the slow one, from which models are fitted again."""
_CEILING = 2.0
"""Bounds end at so many times the largest rate of the past; nothing that was seen supports more."""
_PEAK_MEMORY = 0.9995

_LEVELS = np.array(LEVELS)
_TINY = np.finfo(float).tiny
_HALF = np.array([0.06, 0.19, 0.32, 0.45, 0.6, 0.76, 0.93, 1.15, 1.44, 1.96])
_PRIOR_SCORES = 1.25 * np.stack([_HALF, -_HALF], axis=1).ravel()
"""Twenty errors of a Gaussian in units of its mean absolute error; the extremes are dropped last."""
_ANCHOR = LEVELS.index(0.9)
"""From this level on points above the bound are rare, so what they teach is shared by the levels."""
_EXPLORE = np.array([0.05] * (_ANCHOR + 1) + [0.4] * (len(LEVELS) - _ANCHOR - 1))
"""Share of the weight that all views have alike: more where hardly any errors tell them apart."""
_RANKED = _ANCHOR + 1
"""Levels that are ranked; what follows is the tail."""
_PRIOR_UNITS = np.array([1.0, 1.0, 1.0, _PRIOR_ERROR**0.5, _PRIOR_ERROR])
"""The usual error on each yardstick, as long as it is the prior's share of the load."""


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """Shapes: roles R, yardsticks J, levels L, steps of the horizon K, past forecasts as the last step.

    `means` (past, R, K): what was forecast; `yards` (past, R, J): how large errors were, NaN while assumed;
    `bounds` (past, R, J, L) and `said` (past, R, L): each yardstick's bounds, and their mixture;
    `scores` (R, J, n): ranked errors, oldest first; `usual` (R, memories); `by_step` (R, K): usual
    errors at each step; `peak` (R,); `count` (R,): errors seen.
    """

    steps: Array
    means: Array
    yards: Array
    bounds: Array
    said: Array
    scores: tuple[Array, ...]
    usual: Array
    by_step: Array
    peak: Array
    count: Array
    regret: Array
    square: Array
    loss: Array

    @staticmethod
    def fresh(steps: Array) -> Calibration:
        past, levels = int(steps[-1]), len(LEVELS)
        return Calibration(
            steps=steps,
            means=np.full((past, ROLES, len(steps)), np.nan),
            yards=np.full((past, ROLES, _YARDSTICKS), np.nan),
            bounds=np.full((past, ROLES, len(_VIEWS), levels), np.nan),
            said=np.full((past, ROLES, levels), np.nan),
            scores=(_PRIOR_UNITS[:, None] * _PRIOR_SCORES,) * ROLES,
            usual=np.full((ROLES, len(_MEMORIES)), np.nan),
            by_step=np.full((ROLES, len(steps)), np.nan),
            peak=np.zeros(ROLES),
            count=np.zeros(ROLES),
            regret=np.zeros((ROLES, len(_VIEWS), levels)),
            square=np.zeros((ROLES, len(_VIEWS), levels)),
            loss=np.full((ROLES, levels), np.nan),
        )

    @property
    def is_surprised(self) -> bool:
        """Whether errors have lately grown so much that the series must have changed."""
        return bool(np.any(self.usual[:, 0] > _SURPRISE * self.usual[:, -1]))

    def learnt(self, truth: Array) -> Self:
        """After the true token rates, shape (roles,); NaN is a gap."""
        known = np.isfinite(truth)
        peak = np.where(known, np.maximum(self.peak * _PEAK_MEMORY, truth), self.peak)
        ago = self.steps.astype(int) - 1
        missed = np.abs(truth[:, None] - self.means[ago, :, np.arange(len(ago))].T)
        memory = np.maximum(_MEMORIES, (1 / (_PRIOR_POINTS + self.count))[:, None])
        slow = memory[:, -1:]
        by_step = np.where(np.isnan(self.by_step), missed, self.by_step + slow * (missed - self.by_step))
        by_step = np.where(np.isnan(missed), self.by_step, by_step)
        error = truth - self.means[-1, :, -1]
        scored = np.isfinite(error) & np.isfinite(self.usual).all(axis=1)
        most = np.where(self._assumes, np.inf, _MOST_TIMES)[:, None] * self.usual
        size = np.minimum(np.abs(error)[:, None], most)
        usual = np.where(scored[:, None], self.usual + memory * (size - self.usual), self.usual)
        found = self._yardsticks(self.means[-1, :, -1], usual, peak)
        yards = np.where(np.isnan(self.yards[-1]), found, self.yards[-1])
        scores = tuple(
            self._remembered(role, error[role] / yards[role]) if scored[role] else self.scores[role]
            for role in range(ROLES)
        )
        loss, gain = self._judged(truth)
        return replace(
            self,
            peak=peak,
            by_step=by_step,
            usual=usual,
            scores=scores,
            count=self.count + scored,
            regret=self.regret + gain,
            square=self.square + gain**2,
            loss=loss,
        )

    @property
    def _assumes(self) -> NDArray[np.bool_]:
        """Whether the usual error is more the prior than what was seen, shape (R,)."""
        return np.less(self.count, _PRIOR_POINTS)

    def _remembered(self, role: int, score: Array) -> Array:
        scores = self.scores[role]
        full = self.count[role] < len(_PRIOR_SCORES) or scores.shape[1] >= WINDOW
        return np.concatenate([scores[:, 1:] if full else scores, score[:, None]], axis=1)

    def _judged(self, truth: Array) -> tuple[Array, Array]:
        """The usual pinball loss after the bounds that met their point, and what more of each view had gained."""
        at = truth[:, None, None]
        scored = np.isfinite(self.said[-1]).all(axis=1)[:, None, None] & np.isfinite(at)
        each = np.where(at >= self.bounds[-1], _LEVELS, _LEVELS - 1) * (at - self.bounds[-1])
        size = each.sum(axis=1) / len(_VIEWS)
        loss = np.where(np.isnan(self.loss), size, self.loss + 0.05 * (size - self.loss))
        loss = np.where(scored[:, 0], loss, self.loss)
        mixed = self.said[-1][:, None]
        slope = np.where(mixed >= at, 1 - _LEVELS, -_LEVELS)
        gain = slope * (mixed - self.bounds[-1]) / np.maximum(loss[:, None], _TINY)
        gain = np.minimum(np.maximum(np.where(scored & np.isfinite(gain), gain, 0.0), -5.0), 5.0)
        gain[:, :, _ANCHOR:] = gain[:, :, _ANCHOR:].sum(axis=2, keepdims=True) / (len(LEVELS) - _ANCHOR)
        return loss, gain

    def bounded(self, means: Array, *, again: bool = False) -> tuple[Self, Array]:
        """Bounds for token rates *means* (R, K); gives the state that remembers them, and (R, K, L).

        *again*: for the same point as before, in the place of what was said then.
        """
        kept = slice(1, None) if again else slice(0, -1)
        end = means[:, -1]
        usual = np.where(np.isnan(self.usual), (_PRIOR_ERROR * end)[:, None], self.usual)
        usual = np.where(usual > 0, usual, np.nan)
        yards = self._yardsticks(end, usual, self.peak)
        # An error on an assumed yardstick would tell how wrong the assumption was, for as long as it is
        # remembered. It is measured when it is known, on what was found by then.
        known = np.where(self._assumes[:, None], np.nan, yards)
        each = self._by_view(end, yards)
        ceiling = np.maximum(_CEILING * self.peak, end)[:, None, None]
        each = np.minimum(np.maximum(np.where(np.isfinite(each), each, end[:, None, None]), 0.0), ceiling)
        weights = np.maximum(self.regret, 0.0) / (1 + self.square)
        total = weights.sum(axis=1, keepdims=True)
        weights = np.where(total > 0, weights / np.where(total > 0, total, 1.0), 1 / len(_VIEWS))
        weights = (1 - _EXPLORE) * weights + _EXPLORE / len(_VIEWS)
        said = np.maximum.accumulate(np.sum(weights * each, axis=1), axis=-1)
        state = replace(
            self,
            usual=usual,
            means=np.concatenate([means[None], self.means[kept]]),
            yards=np.concatenate([known[None], self.yards[kept]]),
            bounds=np.concatenate([each[None], self.bounds[kept]]),
            said=np.concatenate([said[None], self.said[kept]]),
        )
        return state, self._along(means, said)

    @staticmethod
    def _yardsticks(end: Array, usual: Array, peak: Array) -> Array:
        """How large errors are just now, shape (R, J): quick, steady, slow, and two that know the load."""
        floored = np.maximum(usual, _LEAST_SHARE * usual[:, -1:])
        load = np.maximum(end, 0.02 * peak)
        with_load = np.sqrt(load * floored[:, 1])
        by_load = np.sqrt(load * np.maximum(peak, end))
        return np.concatenate([floored, with_load[:, None], by_load[:, None]], axis=1)

    def _by_view(self, end: Array, yards: Array) -> Array:
        """What each view makes of the errors so far, shape (R, views, L)."""
        of_all = _quantiles(self.scores)
        common = _quantiles([scores[_ON_RECENT, -_RECENT:] for scores in self.scores], tail=False)
        # The newest are too few to have a tail.
        of_newest = np.concatenate([common, of_all[:, _ON_RECENT, _RANKED:]], axis=-1)
        scores = np.concatenate([of_all, of_newest], axis=1)
        on = np.concatenate([yards, yards[:, _ON_RECENT]], axis=1)
        bounds: Array = end[:, None, None] + scores * on[:, :, None]
        return bounds

    def _along(self, means: Array, said: Array) -> Array:
        """Bounds at every step: the margin at the end, less where errors are smaller before it."""
        ratio = np.minimum(np.maximum(self.by_step / self.by_step[:, -1:], 0.0), 1.0)
        ratio = np.where(np.isfinite(ratio), ratio, 1.0)
        margin = said - means[:, -1:]
        along: Array = np.maximum(means[:, :, None] + ratio[:, :, None] * margin[:, None, :], 0.0)
        return along


def _quantiles(scores: Sequence[Array], *, tail: bool = True) -> Array:
    """Of each row (rows, n) at every level, with the correction for finite samples; (R, rows, levels).

    Without *tail* only at the levels that are ranked. The roles go together, unless a gap left one of
    them with fewer errors.
    """
    if len({one.shape for one in scores}) > 1:
        return np.concatenate([_quantiles([one], tail=tail) for one in scores])
    ranked = np.array(scores)
    ranked.sort(axis=-1)
    places = _places(ranked.shape[-1])
    common: Array = ranked.take(places.low, axis=-1) * places.low_share
    common += ranked.take(places.high, axis=-1) * places.high_share
    if not tail:
        return common
    threshold = ranked[..., -places.beyond - 1, None]
    excess = ranked[..., -places.beyond :].sum(axis=-1, keepdims=True) / places.beyond - threshold
    return np.concatenate([common, np.maximum(threshold + excess * places.rarer, common[..., -1:])], axis=-1)


class _Places(NamedTuple):
    """Where the levels lie among so many ranked errors."""

    low: NDArray[np.intp]
    high: NDArray[np.intp]
    """Each ranked level lies between these two."""
    low_share: Array
    high_share: Array
    """How much either counts."""
    beyond: int
    """Errors above the threshold of the tail."""
    rarer: Array
    """Of each level of the tail: how much rarer than the threshold, in logarithms."""


@lru_cache(maxsize=8)
def _places(number: int) -> _Places:
    at = np.minimum(_LEVELS[:_RANKED] * (number + 1) - 1, number - 1)
    low = at.astype(np.intp)
    beyond = round(number * (1 - LEVELS[_ANCHOR]))
    # As many errors as lie above the threshold, and the coming one, of all and the coming one.
    rarer = (beyond + 1) / ((number + 1) * (1 - _LEVELS[_RANKED:]))
    return _Places(
        low=low,
        high=np.minimum(low + 1, number - 1),
        low_share=1 - (at - low),
        high_share=at - low,
        beyond=beyond,
        rarer=np.log(rarer),
    )
