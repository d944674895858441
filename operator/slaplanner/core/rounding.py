"""The one rule by which a fractional need becomes replicas."""

from __future__ import annotations

import math

NOISE = 1e-9
"""Relative excess over a whole number that is float noise: 100 x 1.1 / 10 is 11.000000000000002.

Products of a dozen doubles are exact to about 1e-15; measurements are not to 1e-3."""


def whole_replicas(need: float) -> int:
    """The fewest whole replicas that cover *need* (>= 0, finite); any need at all takes one.

    >>> whole_replicas(100 * 1.1 / 10), whole_replicas(11.01), whole_replicas(0.0), whole_replicas(5e-324)
    (11, 12, 0, 1)

    Raises:
        ValueError: *need* is negative or not finite.
    """
    if not 0 <= need < math.inf:
        raise ValueError(f"a need is a finite number from 0, found {need}")
    if need == 0:
        return 0
    nearest = round(need)
    return max(1, nearest if need <= nearest * (1 + NOISE) else math.ceil(need))
