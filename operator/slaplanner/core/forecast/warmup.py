"""A warm-up trace in front of the history, so that a new policy does not start from nothing."""

from __future__ import annotations

from slaplanner.core.errors import ForecastError
from slaplanner.core.readings import Series

MOST_POINTS = 2500
"""As many as are ever learnt from."""


def warmed_up(warm_up: Series, history: Series) -> Series:
    """*history* with *warm_up* moved in time to end where it begins; at most `MOST_POINTS` in all.

    The warm-up gives way: a history that is long enough stays as it is.

    Raises:
        ForecastError: the two have different steps.
    """
    if warm_up.step_s != history.step_s:
        raise ForecastError(
            f"the warm-up has a point every {warm_up.step_s:g} s, wanted one every {history.step_s:g} s"
        )
    room = max(0, MOST_POINTS - len(history))
    before = slice(max(0, len(warm_up) - room), len(warm_up)) if room else slice(0, 0)
    return Series(
        end_s=history.end_s,
        step_s=history.step_s,
        requests=warm_up.requests[before] + history.requests,
        isl_tokens=warm_up.isl_tokens[before] + history.isl_tokens,
        osl_tokens=warm_up.osl_tokens[before] + history.osl_tokens,
    )
