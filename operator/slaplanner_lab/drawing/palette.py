"""One colour and one word for each thing that a figure shows, whichever figure it is.

No two things that stand in one figure differ by red against green alone: each has a line style, a shape or
a word of its own beside its colour. A page may show the colours that stand in `DARK` in another shade
when its reader prefers a dark one.
"""

from __future__ import annotations

from slaplanner.core.model import Role

PAPER, GROUND, INK, FAINT, GRID = "#fffffe", "#f6f8fa", "#1c2733", "#6b7785", "#e3e8ee"

ROLE = {Role.PREFILL: "#2a6fbb", Role.DECODE: "#c8641b", Role.AGG: "#7a5195"}
"""Replicas, and the latency that they decide."""

ARRIVED, ARRIVED_AREA = "#8a93a0", "#e6eaef"
FORECAST, FORECAST_BOUND = "#0f7f86", "#7fc4c8"
"""The forecast's mean, and the upper bound that sizes."""
LIMIT = "#c8443a"
"""A target, the promise, and what is beyond it."""
SAFE = "#2f7d4f"
"""What replicas carry inside the targets; no fleet can use less."""
ASIDE = "#c3c9d1"
"""What is shown for comparison alone."""
HIGHLIGHT = "#f4e4b8"
"""A span of time that is set apart."""

ARRIVED_WORD, FORECAST_WORD, BOUND_WORD, ASKED_WORD = "arrived", "forecast", "forecast's bound", "asked for"

DARK = {
    PAPER: "#1b222b",
    GROUND: "#12171d",
    INK: "#e4e9ef",
    FAINT: "#9aa6b4",
    GRID: "#323c48",
    ROLE[Role.PREFILL]: "#6aa7ea",
    ROLE[Role.DECODE]: "#f09a55",
    ROLE[Role.AGG]: "#b995d6",
    ARRIVED: "#9aa6b4",
    ARRIVED_AREA: "#2d3642",
    FORECAST: "#4fc3ca",
    FORECAST_BOUND: "#2b7f85",
    LIMIT: "#ff8177",
    SAFE: "#6fca95",
    ASIDE: "#5b6675",
    HIGHLIGHT: "#4a4023",
}
"""Each colour's shade on a dark page."""


def css_variables() -> str:
    """Every colour as a variable of a style sheet, and its shade where the reader prefers a dark page."""
    light = ";".join(f"{_variable(colour)}:{colour}" for colour in DARK)
    dark = ";".join(f"{_variable(colour)}:{shade}" for colour, shade in DARK.items())
    return f":root{{color-scheme:light dark;{light}}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}"


def as_variable(colour: str) -> str:
    """*colour* as a style sheet's value that follows the page.

    >>> as_variable("#1c2733")
    'var(--c1c2733)'
    """
    return f"var({_variable(colour)})"


def _variable(colour: str) -> str:
    return f"--c{colour.removeprefix('#')}"
