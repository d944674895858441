"""The nearest never-falling sequence: what physics says a noisy latency curve must be."""

from __future__ import annotations

from collections.abc import Sequence


def never_falling(values: Sequence[float]) -> list[float]:
    """Least-squares fit to *values* among sequences that never fall (pool adjacent violators).

    Each fitted value is the mean of a run of neighbouring values, so none leaves their range, and a
    sequence that never falls is returned as it is.

    >>> never_falling([1.0, 4.0, 2.0, 5.0])
    [1.0, 3.0, 3.0, 5.0]
    """
    runs: list[tuple[float, int]] = []
    for value in values:
        mean, size = value, 1
        while runs and runs[-1][0] > mean:
            left, count = runs.pop()
            mean = (left * count + mean * size) / (count + size)
            size += count
        runs.append((mean, size))
    return [mean for mean, size in runs for _ in range(size)]
