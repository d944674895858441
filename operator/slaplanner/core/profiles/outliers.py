"""Points that both neighbours contradict: a latency that falls where it must rise, and by far."""

from __future__ import annotations

from collections.abc import Sequence

CONTRADICTION = 0.3
"""Relative distance from the line between the neighbours from which a falling latency is no noise.

Repeated measurements of one point differ by a few percent; the one outlier known in published
profiles is off by 107 %, the worst honest point by 13 %."""

FALL = 0.1
"""Relative fall from one point to the next that is more than noise; less is levelled instead."""


def contradicted(x: Sequence[float], y: Sequence[float]) -> tuple[int, ...]:
    """Indices of the inner points that break the rise of *y* over *x* and lie far off their neighbours.

    `x` rises strictly. The worst point goes first and the rest are judged without it, so that a
    good point beside a bad one stays. End points are never set aside: they have one neighbour.

    >>> contradicted([1, 2, 3, 4, 5], [10.0, 20.0, 90.0, 40.0, 50.0])
    (2,)
    """
    kept = list(range(len(x)))
    aside: list[int] = []
    while True:
        worst, worst_distance = -1, CONTRADICTION
        for position in range(1, len(kept) - 1):
            before, here, after = kept[position - 1 : position + 2]
            if y[here] >= (1 - FALL) * y[before] and y[after] >= (1 - FALL) * y[here]:
                continue
            share = (x[here] - x[before]) / (x[after] - x[before])
            line = y[before] + share * (y[after] - y[before])
            distance = abs(y[here] - line) / line
            if distance > worst_distance:
                worst, worst_distance = here, distance
        if worst < 0:
            return tuple(sorted(aside))
        kept.remove(worst)
        aside.append(worst)
