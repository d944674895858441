"""A warm-up trace stands in front of the history, and gives way to it."""

from __future__ import annotations

import pytest

from slaplanner.core.errors import ForecastError
from slaplanner.core.forecast import forecast, warmed_up
from slaplanner.core.forecast.warmup import MOST_POINTS
from slaplanner.core.model import PredictorPolicy
from slaplanner.core.readings import Series
from slaplanner.core.reasons import Reason


def _series(length: int, *, requests: float, end_s: float, step_s: float = 60.0) -> Series:
    return Series(
        end_s=end_s,
        step_s=step_s,
        requests=(requests,) * length,
        isl_tokens=(100.0,) * length,
        osl_tokens=(10.0,) * length,
    )


def test_the_warm_up_ends_where_the_history_begins() -> None:
    both = warmed_up(_series(3, requests=7.0, end_s=1.0), _series(2, requests=9.0, end_s=6000.0))
    assert both.requests == (7.0, 7.0, 7.0, 9.0, 9.0)
    assert both.end_s == 6000.0


def test_a_new_policy_forecasts_at_once_with_a_warm_up() -> None:
    first = _series(1, requests=100.0, end_s=6000.0)
    assert forecast(first, policy=PredictorPolicy()).reason is Reason.WARMING_UP
    warm = warmed_up(_series(20, requests=100.0, end_s=0.0), first)
    assert forecast(warm, policy=PredictorPolicy()).reason is Reason.FORECAST


@pytest.mark.parametrize(
    ("history", "kept"),
    [
        pytest.param(1, MOST_POINTS - 1, id="the-newest-of-a-long-warm-up"),
        pytest.param(MOST_POINTS, 0, id="nothing-before-a-long-history"),
        pytest.param(MOST_POINTS + 5, 0, id="a-longer-history-stays"),
    ],
)
def test_the_warm_up_gives_way_to_the_history(history: int, kept: int) -> None:
    both = warmed_up(_series(4000, requests=7.0, end_s=0.0), _series(history, requests=9.0, end_s=0.0))
    assert both.requests.count(7.0) == kept
    assert both.requests.count(9.0) == history


def test_a_warm_up_on_another_grid_is_refused() -> None:
    with pytest.raises(ForecastError, match="a point every 30 s, wanted one every 60 s"):
        warmed_up(_series(3, requests=7.0, end_s=0.0, step_s=30.0), _series(3, requests=7.0, end_s=0.0))
