"""More users than a trace has: each request several times, the copies a little earlier or later.

Copies at the very same time would be bursts that no service sees: N at once, N times as uneven as chance.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

JITTER_S = 5.0
"""A copy arrives up to so much earlier or later than its original, as other users would."""


def jittered(
    arrival_s: npt.NDArray[np.float64], copies: int, *, seed: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Each arrival *copies* times: the original, the others jittered by up to `JITTER_S`.

    Copies that would arrive before 0 are mirrored into the trace, those after the last arrival come with
    it.

    Args:
        arrival_s: never falling, not before 0; shape (requests,).
        copies: how many of each, the original included.
        seed: of the jitter.

    Returns:
        Arrivals in order, and the request that each is a copy of; both of shape (copies x requests,).

    Raises:
        ValueError: *copies* is below 1.

    >>> arrivals, of = jittered(np.array([10.0, 20.0]), 3, seed=0)
    >>> sorted(of.tolist()), bool((np.diff(arrivals) >= 0).all())
    ([0, 0, 0, 1, 1, 1], True)
    """
    if copies < 1:
        raise ValueError(f"a trace is amplified 1 or more times, found {copies}")
    rng = np.random.default_rng(seed)
    jitter_s = rng.uniform(-JITTER_S, JITTER_S, (copies - 1, arrival_s.size))
    all_s = np.concatenate([arrival_s, *np.abs(arrival_s + jitter_s)])
    all_s = np.minimum(all_s, arrival_s[-1])
    order = np.argsort(all_s, kind="stable")
    return all_s[order], order % arrival_s.size
