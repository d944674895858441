"""How large errors are just now: what each figure stands for, and what it does when something is unknown."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaplanner.core.forecast.error_scales import PRIOR_ERROR, YARDSTICKS, Errors

RATES = st.floats(1e-3, 1e9)
MAYBE = RATES | st.just(math.nan)


def after(*errors: float, load: float = 1000.0) -> Errors:
    """Errors of this size, one after the other, of forecasts one and two steps ahead alike."""
    learnt = Errors.fresh(2).assuming(load)
    for error in errors:
        learnt = learnt.learnt(load + error, (load, load))
    return learnt


def test_before_any_error_a_share_of_the_load_stands_in() -> None:
    assert Errors.fresh(2).assuming(1000.0).usual == pytest.approx((PRIOR_ERROR * 1000.0,) * 3)
    assert Errors.fresh(2).assuming(1000.0).is_assumed
    assert all(map(math.isnan, Errors.fresh(2).assuming(0.0).usual)), "of no load it says nothing"


def test_the_quick_memory_follows_and_the_slow_one_stays() -> None:
    calm = after(*[10.0] * 300)
    assert calm.usual == pytest.approx((10.0,) * 3, rel=0.2)
    assert not calm.is_surprised
    quick, steady, slow = calm.learnt(1050.0, (1000.0, 1000.0)).usual
    assert quick - 10.0 > steady - 10.0 > slow - calm.usual[-1] > 0.0


def test_a_series_that_changes_surprises() -> None:
    assert after(*[10.0] * 300, *[300.0] * 10).is_surprised


def test_one_wild_error_counts_as_a_few_usual_ones() -> None:
    calm = after(*[10.0] * 300)
    wild, large = (calm.learnt(1000.0 + error, (1000.0, 1000.0)) for error in (1e9, 60.5))
    assert wild.usual == pytest.approx(large.usual, rel=0.01)


def test_a_gap_teaches_nothing() -> None:
    known = after(10.0, -20.0)
    assert known.learnt(math.nan, (1000.0, 1000.0)) == known


def test_an_unknown_forecast_teaches_the_peak_alone() -> None:
    known = after(10.0, -20.0)
    learnt = known.learnt(5000.0, (math.nan, math.nan))
    assert (learnt.usual, learnt.by_step, learnt.count) == (known.usual, known.by_step, known.count)
    assert learnt.peak == 5000.0


def test_a_quiet_hour_makes_no_error_impossible() -> None:
    busy = after(*[100.0] * 300)
    assert all(yard > 0.0 for yard in busy.yardsticks(0.0))
    assert len(busy.yardsticks(0.0)) == YARDSTICKS


@given(st.lists(st.tuples(MAYBE, MAYBE, MAYBE), max_size=30), RATES)
def test_figures_stay_in_their_bounds_whatever_comes(
    points: list[tuple[float, float, float]], load: float
) -> None:
    learnt = Errors.fresh(2).assuming(load)
    for truth, *told in points:
        learnt = learnt.learnt(truth, told)
    assert all(usual > 0.0 and math.isfinite(usual) for usual in learnt.usual)
    assert all(0.0 <= share <= 1.0 for share in learnt.shares())
    assert all(yard > 0.0 and math.isfinite(yard) for yard in learnt.yardsticks(load))
    assert learnt.peak <= max((truth for truth, *_ in points if not math.isnan(truth)), default=0.0)
