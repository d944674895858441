"""What measured misses have shown of a role: the share of late requests at each utilisation.

The profile and a model of queues and batches propose how much a replica carries. Utilisation is the load in
those terms: 1 is what the model takes for just good enough. For each level of it the memory keeps which share
of the requests was late. So it does not matter where the model is wrong: an engine that is slower than its
profile, or only at some batches, heavy tails, crowds. What counts is up to which level the promise was kept,
and that is the learnt factor by which the model's replicas are multiplied.

    worse      acts at the next plan: the share that a level shows is the mean of its last windows, and one
               window in which many are late is far above what the promise allows
    better     is believed level by level: levels that were not tried yet are believed to be as the model says,
               less a margin for the engine, and a fleet shrinks towards them in steps
    unrelated  misses that do not become fewer at a lower utilisation are not the load's, and more replicas
               would not help: only what exceeds them counts
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression
from scipy.special import ndtr, ndtri

from slaplanner.core.arrays import Floats

_PER_OCTAVE = 4
LEVELS = 2.0 ** (np.arange(-6 * _PER_OCTAVE, _PER_OCTAVE + 1) / _PER_OCTAVE)
"""Utilisations: from 1/64 to 2, four for each doubling."""
_LOG = np.log(LEVELS)

ENGINE_MARGIN = 1.15
"""Engines differ from their profiles by 10 to 20 %: until it was seen, so much less is expected of them."""

STEEPNESS = 8.0
"""Misses grow at least with this power of the utilisation, where they are the load's: by a sixth more load they
become four times as many. It tells of levels above those that were seen."""

SPREAD = 0.1
"""Of the utilisation, as a standard deviation of its logarithm: how far a level below one with misses has fewer."""

UNSEEN_WINDOWS = 0.5
"""What is expected of a level counts as much as half a window that shows it."""

MOST_WINDOWS = 10.0
"""A level's share is the mean of about so many windows, and follows changes as fast."""

SEEN_WINDOWS = 0.25
"""Less than this tells nothing about a level."""

MEMORY_S = 3600.0
"""Time constant after which a level that is not seen any more is forgotten."""

FULL_WEIGHT_REQUESTS = 50.0
"""Requests at which a window counts half; with n it counts n / (n + this)."""

TRIED_WINDOWS = 0.5
"""A level was tried when so much was seen of it."""

STRIDE = 1.25
"""A fleet shrinks to at most so many times the highest utilisation that was seen to keep the promise."""

_APART, _FAR_APART = 1.5, 8.0
"""Levels that differ by such a factor tell whether misses are the load's. Where more than half are late at the
higher one it takes the larger: an overload makes everybody late at any level, and engines are at most four times
slower than profiled."""

_LATE_DIGITS, _WEIGHT_DIGITS = 5, 2
"""Decimals kept, in memory as in the status, so that a restart changes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Experience:
    """One role's memory. Shapes: one figure for each of `LEVELS`."""

    late: tuple[float, ...] = (0.0,) * LEVELS.size
    """Share of the requests that was late."""
    windows: tuple[float, ...] = (0.0,) * LEVELS.size
    """How many windows said so; the older the less."""
    at_s: float | None = None

    def after(
        self, *, utilisation: float, late: float, requests: float, window_s: float, now_s: float
    ) -> Self:
        """The memory after one more window.

        Args:
            utilisation: of the window, see above.
            late: share of its requests that were late.
            requests: in the window; a handful says little.
            window_s: its length; only what has passed of it since the last look is new.
            now_s: Unix seconds.
        """
        elapsed_s = window_s if self.at_s is None else max(0.0, now_s - self.at_s)
        news = min(1.0, elapsed_s / window_s) * requests / (requests + FULL_WEIGHT_REQUESTS)
        windows = np.array(self.windows) * math.exp(-elapsed_s / MEMORY_S)
        shares = np.array(self.late)
        place = min(
            max(float(np.interp(math.log(max(utilisation, 1e-9)), _LOG, np.arange(_LOG.size))), 0.0),
            _LOG.size - 1.0,
        )
        low = min(int(place), _LOG.size - 2)
        for level, part in ((low, low + 1.0 - place), (low + 1, place - low)):
            weight = news * part
            if weight > 0.0:
                shares[level] += (late - shares[level]) * weight / (windows[level] + weight)
                windows[level] = min(MOST_WINDOWS, windows[level] + weight)
        windows = windows.round(_WEIGHT_DIGITS)
        return type(self)(
            late=tuple(np.where(windows > 0.0, shares, 0.0).round(_LATE_DIGITS).tolist()),
            windows=tuple(windows.tolist()),
            at_s=round(now_s),
        )

    def highest(self, allowed: float, *, just_enough: float = 1.0) -> float:
        """The highest utilisation to plan for, with so much *allowed* to be late.

        At it half of that may be late; the other half is for loads above the forecast's upper level.

        Args:
            allowed: share late.
            just_enough: the utilisation that the model takes for just good enough on the engine as it was measured.
        """
        most = 0.5 * allowed
        late, windows = np.array(self.late), np.array(self.windows)
        seen = windows > SEEN_WINDOWS
        late = np.maximum(late - self._unrelated(late, np.flatnonzero(seen)), 0.0)
        weight = windows + UNSEEN_WINDOWS
        share = (
            late * windows + _expected(late, windows, seen, allowed, just_enough) * UNSEEN_WINDOWS
        ) / weight
        share = isotonic_regression(share, weights=weight).x
        above = np.flatnonzero(share > most)
        if not above.size or above[0] == 0:
            return float(LEVELS[0] if above.size else LEVELS[-1])
        high = int(above[0])
        below, beyond = max(float(share[high - 1]), 1e-6), float(share[high])
        part = math.log(max(most, below) / below) / math.log(beyond / below)
        return math.exp(float(_LOG[high - 1] + part * (_LOG[high] - _LOG[high - 1])))

    def fewest(self, need: float, *, current: int, allowed: float) -> int:
        """The fewest replicas that a fleet of *current* ones may shrink to, for a model's *need*; 0: any.

        A step beyond the highest utilisation that was seen with at most *allowed* late; and one replica, however
        large a step that is, where ten windows have shown that level.
        """
        windows = np.array(self.windows)
        good = np.flatnonzero((windows >= TRIED_WINDOWS) & (np.array(self.late) <= allowed))
        if not good.size:
            return 0
        fewest = math.ceil(need / (STRIDE * float(LEVELS[good[-1]])))
        if fewest >= current and windows[good[-2:]].sum() >= MOST_WINDOWS:
            fewest = current - 1
        return min(current, fewest)

    @staticmethod
    def _unrelated(late: Floats, seen: NDArray[np.intp]) -> float:
        """The share late that is there at any load: what is left if the rest falls with the utilisation."""
        if not seen.size:
            return 0.0
        apart = np.where(late[seen] > 0.5, _FAR_APART, _APART)
        higher = seen[LEVELS[seen] > 0.999 * apart * LEVELS[seen[0]]]
        if not higher.size:
            return 0.0
        first = seen[0]
        ratio = float(LEVELS[first] / LEVELS[higher[0]])
        return max(0.0, (float(late[first]) - ratio * float(late[higher[0]])) / (1.0 - ratio))

    def to_document(self) -> dict[str, Any]:
        """Plain JSON values, short: levels that were seen, each with its share and its windows."""
        seen = [
            [level, late, windows]
            for level, (late, windows) in enumerate(zip(self.late, self.windows, strict=True))
            if windows
        ]
        return {"at": self.at_s, "lev": seen}

    @classmethod
    def from_document(cls, document: Any) -> Self:
        """Read back what `to_document` wrote.

        Raises:
            KeyError, TypeError, ValueError, IndexError: it is not such a document.
        """
        late, windows = [0.0] * LEVELS.size, [0.0] * LEVELS.size
        for level, share, weight in document["lev"]:
            if level < 0 or not (0.0 <= share <= 1.0 and 0.0 <= weight <= MOST_WINDOWS):
                raise ValueError(f"a level has a share and a weight, found {[level, share, weight]}")
            late[level], windows[level] = float(share), float(weight)
        at_s = document["at"]
        return cls(
            late=tuple(late),
            windows=tuple(windows),
            at_s=None if at_s is None else float(at_s),
        )


def _expected(
    late: Floats, windows: Floats, seen: NDArray[np.bool_], allowed: float, just_enough: float
) -> Floats:
    """What each level is expected to show, before it was seen: by the model, and by the levels beside it."""
    expected = allowed * (LEVELS / just_enough * ENGINE_MARGIN) ** STEEPNESS
    known = np.flatnonzero(seen)
    if known.size:
        # Above a level that was seen there are more; how many, is known of the next few, and above the last.
        times = LEVELS / LEVELS[known, None]
        near = (times > 1.0) & ((times <= STRIDE) | (LEVELS[known[-1]] < LEVELS))
        rise = np.where(near, late[known, None] * times**STEEPNESS, 0.0)
        # Below it there are not more, once it was seen often enough to be sure.
        sure = windows[known, None] >= 0.5 * MOST_WINDOWS
        most = np.where(sure & (times < 1.0), late[known, None], np.inf)
        expected = np.minimum(np.maximum(expected, rise.max(axis=0)), most.min(axis=0))
    bad = np.flatnonzero(late > allowed)
    if bad.size:
        # Below a level with too many there are fewer, as far as loads spread.
        fall = ndtr(ndtri(np.minimum(late[bad, None], 0.9999)) - (_LOG[bad, None] - _LOG) / SPREAD)
        fall *= np.minimum(1.0, windows[bad, None])
        expected = np.maximum(expected, np.where(LEVELS[bad, None] > LEVELS, fall, 0.0).max(axis=0))
    told: Floats = np.minimum(expected, 1.0)
    return told
