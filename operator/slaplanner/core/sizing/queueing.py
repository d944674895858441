"""How long work waits: a queue in front of several workers.

`lateness` asks for the tail over a while: the work that waits is taken as a reflected Brownian
motion, which flows in with a mean and a variance per second and flows out as fast as the workers go.
Its law at any moment has a closed form (Harrison, Brownian motion and stochastic flow systems, 1985,
section 3.6) that holds below capacity, where it becomes the usual exponential tail, and above it,
where the backlog grows. `mean_wait_s` asks for the mean in the long run.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.special import erfc

from slaplanner.core.sizing.arrays import Floats

_MOMENTS = np.array([0.1, 0.3, 0.5, 0.7, 0.9])
"""Shares of the while at which the backlog is looked at."""
_HALVES = np.full(_MOMENTS.size, 0.5 / _MOMENTS.size)
"""What twice the probability at each moment counts in their mean."""

_LEAST_VARIANCE = 1e-12

_MOST_EXPONENT = 700.0
"""Against overflow, far above capacity: its erfc is 0 there, and what is lost with it below 0.011."""


def lateness(
    *,
    erlangs: Floats,
    variance_per_s: Floats,
    allowance_s: Floats,
    allowance_share: Floats,
    while_s: float,
) -> Callable[[int], Floats]:
    """Share of the arrivals that wait longer than they may, averaged over the while, for any number of workers.

    Args:
        erlangs: work that arrives per second, in worker-seconds; shape (levels,).
        variance_per_s: variance of that work, per second; shape (levels,).
        allowance_s: how long a request may wait; shape (kinds,). Negative: it is late anyway.
        allowance_share: share of the requests of each kind.
        while_s: how long this load lasts, from an empty queue on.

    Returns:
        How many serve, to shares of shape (levels,), between 0 and 1.
    """
    at_s = while_s * _MOMENTS
    # Work counts in units of sqrt(2) standard deviations of what comes until each moment; shape (levels, moments).
    unit = np.sqrt(np.maximum(variance_per_s, _LEAST_VARIANCE)[:, None] * (2.0 * at_s))
    done, come = (at_s / unit).ravel(), (erlangs[:, None] * at_s / unit).ravel()
    waiting = np.maximum(allowance_s, 0.0)[:, None] / unit.ravel()
    in_vain = allowance_s < 0.0

    def share(workers: int) -> Floats:
        drained, backlog = workers * done - come, workers * waiting
        # P(V_t > v) = N(-(v + d t) / s) + exp(-2 d v / var) N((d t - v) / s), and 2 N(-x sqrt(2)) = erfc(x)
        reflected = np.exp(np.minimum((-4.0 * drained) * backlog, _MOST_EXPONENT))
        twice = erfc(backlog + drained) + reflected * erfc(backlog - drained)
        twice[in_vain] = 2.0  # late whatever the queue; as everywhere here, twice the probability
        shares: Floats = (allowance_share @ twice).reshape(unit.shape) @ _HALVES
        return shares

    return share


def mean_wait_s(
    *, erlangs: float, workers: int, mean_s: float, second_moment_s2: float, dispersion: float
) -> float:
    """Mean wait in the long run; infinite at and above capacity.

    Sakasegawa's approximation of M/M/c (1977) times Allen and Cunneen's factor of variability.
    """
    load = erlangs / workers
    if load >= 1.0:
        return math.inf
    variability = (dispersion + second_moment_s2 / mean_s**2 - 1.0) / 2.0
    return float(
        load ** (math.sqrt(2.0 * (workers + 1)) - 1.0) / (workers * (1.0 - load)) * mean_s * variability
    )
