"""How figures are written in messages."""

from __future__ import annotations

from functools import lru_cache

_WHOLE = 100.0
"""From here on three digits have no fraction."""


_EXACT_DIGITS = 4
_EXACT_DECIMALS = 9


def exact(value: float) -> float:
    """*value* with the four significant digits that `exactly` writes: figures that are used as they are quoted."""
    return round(float(f"{value:.{_EXACT_DIGITS}g}"), _EXACT_DECIMALS)


def exactly(value: float) -> str:
    """A figure of `exact`, all its digits, thousands separated, no exponent.

    >>> exactly(exact(12345.6)), exactly(exact(0.0123456)), exactly(3.0), exactly(0.0)
    ('12,350', '0.01235', '3', '0')
    """
    return f"{value:,.{_EXACT_DECIMALS}f}".rstrip("0").rstrip(".")


@lru_cache(maxsize=1024)
def figure(value: float) -> str:
    """Three significant digits, thousands separated, no exponent.

    >>> figure(12345.6), figure(0.012345), figure(3.0), figure(0)
    ('12,300', '0.0123', '3', '0')

    Kept for a while, because a plan says the same figures in its message, its findings and its reasons.
    """
    rounded = float(f"{value:.3g}")
    if abs(rounded) >= _WHOLE:
        return f"{rounded:,.0f}"
    return f"{rounded:,.10f}".rstrip("0").rstrip(".") if rounded else "0"
