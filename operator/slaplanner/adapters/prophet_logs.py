"""Keeps Prophet's own log lines, three and more per fit, out of the output."""

from __future__ import annotations

import logging


def hush_prophet() -> None:
    """Let warnings of Prophet and its sampler through, and nothing less; call it before they are imported."""
    sampler = logging.getLogger("cmdstanpy")
    # Without a handler it would set a level and a handler of its own when it is imported.
    if not sampler.handlers:
        sampler.addHandler(logging.NullHandler())
    sampler.setLevel(logging.WARNING)
    # An error of its own for a plotting package that nothing here uses.
    logging.getLogger("prophet.plot").setLevel(logging.CRITICAL)
