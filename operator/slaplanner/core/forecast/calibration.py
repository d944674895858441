"""Upper bounds that hold as often as they say, learnt from the forecaster's own errors.

Split-conformal prediction on a rolling window (Vovk, Gammerman and Shafer, Algorithmic learning in a
random world, 2005): the errors at the end of the horizon, divided by how large errors are just now,
are ranked, and the bound is the forecast plus the ranked error of its level. How large errors are
just now can be told in several ways (see `error_scales`); each gives a bound, and the bounds are weighed by
their recent pinball loss, level by level, by the same rule as forecasts are (see `mixture`).

The rarest levels are not ranked: one error more or less would move them. What errors are above their
90th percentile is taken for exponential (peaks over a threshold on scaled errors: McNeil and Frey,
Estimation of tail-related risk measures for heteroscedastic financial time series, 2000).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from slaplanner.core.arrays import Floats
from slaplanner.core.forecast.error_scales import PRIOR_ERROR, YARDSTICKS, Errors

LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975, 0.99, 0.995)
"""The levels at which bounds are learnt; between them they are interpolated."""

ROLES = 2
"""Token rates: prefill, decode."""

WINDOW = 1000
"""Errors remembered: the 99th percentile needs some hundreds."""

_RECENT = 50
_VIEWS = ((0, WINDOW), (1, WINDOW), (2, WINDOW), (3, WINDOW), (4, WINDOW), (1, _RECENT), (4, _RECENT))
"""What bounds are made from: a yardstick, and how many of the newest errors are ranked on it."""
_ON_RECENT = np.array([yardstick for yardstick, newest in _VIEWS if newest < WINDOW])
"""Yardsticks that are also looked at on the newest errors alone; those views stand last."""
_YARDSTICK = np.array([yardstick for yardstick, _ in _VIEWS])
"""Of each view."""
_CEILING = 2.0
"""Bounds end at so many times the largest rate of the past; nothing that was seen supports more."""

_LEVELS = np.array(LEVELS)
_LEVELS_LESS_1 = _LEVELS - 1
_TINY = np.finfo(float).tiny
_HALF = np.array([0.06, 0.19, 0.32, 0.45, 0.6, 0.76, 0.93, 1.15, 1.44, 1.96])
_PRIOR_SCORES = 1.25 * np.stack([_HALF, -_HALF], axis=1).ravel()
"""Twenty errors of a Gaussian in units of its mean absolute error; the extremes are dropped last."""
_ANCHOR = LEVELS.index(0.9)
"""From this level on points above the bound are rare, so what they teach is shared by the levels."""
_EXPLORE = np.array([0.05] * (_ANCHOR + 1) + [0.4] * (len(LEVELS) - _ANCHOR - 1))
"""Share of the weight that all views have alike: more where hardly any errors tell them apart."""
_EARNED, _SHARED = 1 - _EXPLORE, _EXPLORE / len(_VIEWS)
"""Of each level's weight: the part that views earn, and what each has of the rest."""
_RANKED = _ANCHOR + 1
"""Levels that are ranked; what follows is the tail."""
_UNKNOWN = (math.nan,) * YARDSTICKS
_PRIOR_UNITS = np.array([1.0, 1.0, 1.0, PRIOR_ERROR**0.5, PRIOR_ERROR])
"""The usual error on each yardstick, as long as it is the prior's share of the load."""


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """Shapes: roles R, yardsticks J, views V, levels L, steps of the horizon K.

    `errors`: one for each role; `scores` (R of (J, n)): errors on each yardstick, oldest first. As many past
    forecasts as the last step is ahead, the newest first: `means` (R, K): what was forecast; `yards` (R, J):
    how large errors were, NaN while assumed; `bounds` (R, V, L) and `said` (R, L): each view's bounds, and
    their mixture.
    """

    ages: tuple[int, ...]
    """How many forecasts ago each step of the horizon was told; 0 is the newest."""
    errors: tuple[Errors, ...]
    scores: tuple[Floats, ...]
    means: tuple[list[list[float]], ...]
    yards: tuple[list[tuple[float, ...]], ...]
    bounds: tuple[Floats, ...]
    said: tuple[Floats, ...]
    regret: Floats
    square: Floats
    loss: Floats

    @staticmethod
    def fresh(steps: Floats) -> Calibration:
        past, levels = int(steps[-1]), len(LEVELS)
        return Calibration(
            ages=tuple((steps.astype(int) - 1).tolist()),
            errors=(Errors.fresh(len(steps)),) * ROLES,
            scores=(_PRIOR_UNITS[:, None] * _PRIOR_SCORES,) * ROLES,
            means=([[math.nan] * len(steps)] * ROLES,) * past,
            yards=([_UNKNOWN] * ROLES,) * past,
            bounds=(np.full((ROLES, len(_VIEWS), levels), np.nan),) * past,
            said=(np.full((ROLES, levels), np.nan),) * past,
            regret=np.zeros((ROLES, len(_VIEWS), levels)),
            square=np.zeros((ROLES, len(_VIEWS), levels)),
            loss=np.full((ROLES, levels), np.nan),
        )

    @property
    def is_surprised(self) -> bool:
        """Whether errors have lately grown so much that the series must have changed."""
        return any(errors.is_surprised for errors in self.errors)

    def learnt(self, truth: Floats) -> Self:
        """After the true token rates, shape (roles,); NaN is a gap."""
        errors, scores = [], []
        for role, rate in enumerate(truth.tolist()):
            told = [self.means[age][role][step] for step, age in enumerate(self.ages)]
            before, ranked = self.errors[role], self.scores[role]
            after = before.learnt(rate, told)
            if before.tells_of(error := rate - told[-1]):
                found = zip(self.yards[-1][role], after.yardsticks(told[-1]), strict=True)
                score = error / np.array([late if math.isnan(yard) else yard for yard, late in found])
                ranked = _remembered(ranked, score, forget=before.count < len(_PRIOR_SCORES))
            errors.append(after)
            scores.append(ranked)
        loss, gain = self._judged(truth)
        return replace(
            self,
            errors=tuple(errors),
            scores=tuple(scores),
            regret=self.regret + gain,
            square=self.square + gain**2,
            loss=loss,
        )

    def _judged(self, truth: Floats) -> tuple[Floats, Floats]:
        """The usual pinball loss after the bounds that met their point, and what more of each view had gained."""
        at = truth[:, None, None]
        bounds, said = self.bounds[-1], self.said[-1]
        scored = np.isfinite(said[:, None]).all(axis=2, keepdims=True) & np.isfinite(at)
        above = at - bounds
        size = np.maximum(_LEVELS * above, _LEVELS_LESS_1 * above).sum(axis=1) / len(_VIEWS)
        loss = np.where(np.isnan(self.loss), size, self.loss + 0.05 * (size - self.loss))
        loss = np.where(scored[:, 0], loss, self.loss)
        mixed = said[:, None]
        # How fast the pinball loss falls as a bound rises.
        fall = np.where(mixed >= at, _LEVELS_LESS_1, _LEVELS)
        gain = fall * (bounds - mixed) / np.maximum(loss[:, None], _TINY)
        gain = np.minimum(np.maximum(np.where(scored & np.isfinite(gain), gain, 0.0), -5.0), 5.0)
        gain[:, :, _ANCHOR:] = gain[:, :, _ANCHOR:].sum(axis=2, keepdims=True) / (len(LEVELS) - _ANCHOR)
        return loss, gain

    def bounded(self, means: Floats, *, again: bool = False) -> tuple[Self, Floats]:
        """Bounds for token rates *means* (R, K); gives the state that remembers them, and (R, K, L).

        *again*: for the same point as before, in the place of what was said then.
        """
        kept = slice(1, None) if again else slice(-1)
        ends = means[:, -1].tolist()
        errors = tuple(one.assuming(end) for one, end in zip(self.errors, ends, strict=True))
        yards = [one.yardsticks(end) for one, end in zip(errors, ends, strict=True)]
        # An error on an assumed yardstick would tell how wrong the assumption was, for as long as it is
        # remembered. It is measured when it is known, on what was found by then.
        known = [_UNKNOWN if one.is_assumed else found for one, found in zip(errors, yards, strict=True)]
        at_end = means[:, -1:, None]
        each = self._by_view(at_end, np.array(yards))
        ceiling = np.array([max(_CEILING * one.peak, end) for one, end in zip(errors, ends, strict=True)])
        each = np.minimum(np.maximum(np.where(np.isfinite(each), each, at_end), 0.0), ceiling[:, None, None])
        weights = np.maximum(self.regret, 0.0) / (1 + self.square)
        total = weights.sum(axis=1, keepdims=True)
        weights = np.where(total > 0, weights / np.where(total > 0, total, 1.0), 1 / len(_VIEWS))
        weights = _EARNED * weights + _SHARED
        said = np.maximum.accumulate(np.sum(weights * each, axis=1), axis=-1)
        state = replace(
            self,
            errors=errors,
            means=(means.tolist(), *self.means[kept]),
            yards=(known, *self.yards[kept]),
            bounds=(each, *self.bounds[kept]),
            said=(said, *self.said[kept]),
        )
        # At every step: the margin at the end, less where errors are smaller before it.
        shares = np.array([one.shares() for one in errors])
        margin = (said - means[:, -1:])[:, None]
        return state, np.maximum(means[:, :, None] + shares[:, :, None] * margin, 0.0)

    def _by_view(self, end: Floats, yards: Floats) -> Floats:
        """What each view makes of the errors so far, shape (R, V, L); *end* (R, 1, 1), *yards* (R, J)."""
        scores = _quantiles(self.scores).take(_YARDSTICK, axis=1)
        # The newest are too few to have a tail: theirs stays that of all.
        newest = [scores[_ON_RECENT, -_RECENT:] for scores in self.scores]
        scores[:, YARDSTICKS:, :_RANKED] = _quantiles(newest, tail=False)
        bounds: Floats = end + scores * yards.take(_YARDSTICK, axis=1)[:, :, None]
        return bounds


def _remembered(scores: Floats, score: Floats, *, forget: bool) -> Floats:
    """With one more error on each yardstick; *forget*, or more than a window: without the oldest."""
    kept = scores[:, 1:] if forget or scores.shape[1] >= WINDOW else scores
    return np.concatenate([kept, score[:, None]], axis=1)


def _quantiles(scores: Sequence[Floats], *, tail: bool = True) -> Floats:
    """Of each row (rows, n) at every level, with the correction for finite samples; (R, rows, levels).

    Without *tail* only at the levels that are ranked. The roles go together, unless a gap left one of
    them with fewer errors.
    """
    if len({one.shape for one in scores}) > 1:
        return np.concatenate([_quantiles([one], tail=tail) for one in scores])
    ranked = np.array(scores)
    ranked.sort(axis=-1)
    places = _places(ranked.shape[-1])
    common: Floats = ranked.take(places.low, axis=-1) * places.low_share
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
    low_share: Floats
    high_share: Floats
    """How much either counts."""
    beyond: int
    """Errors above the threshold of the tail."""
    rarer: Floats
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
