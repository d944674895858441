"""Requests drawn from what Prometheus remembers have its counts and its lengths."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaplanner.core.readings import Histogram, Series
from slaplanner_lab.drawn_trace import DrawError, LengthWindow, draw

HOUR_S = 3600
STEP_S = 60.0
COUNTS = st.lists(st.one_of(st.floats(0, 200), st.just(math.nan)), min_size=1, max_size=80)


def window(*, isl_mean: float = 700.0, osl_mean: float = 90.0) -> LengthWindow:
    return LengthWindow(
        isl=Histogram(edges=(100.0, 1000.0, 4000.0, math.inf), counts=(10.0, 80.0, 10.0, 0.0)),
        osl=Histogram(edges=(50.0, 200.0, math.inf), counts=(30.0, 69.0, 1.0)),
        isl_mean_tokens=isl_mean,
        osl_mean_tokens=osl_mean,
    )


def history(counts: list[float]) -> Series:
    blank = (math.nan,) * len(counts)
    return Series(
        end_s=len(counts) * STEP_S, step_s=STEP_S, requests=tuple(counts), isl_tokens=blank, osl_tokens=blank
    )


@given(counts=COUNTS, seed=st.integers(0, 5))
def test_each_interval_has_its_count_and_an_unknown_one_has_none(counts: list[float], seed: int) -> None:
    known = [count for count in counts if not math.isnan(count)]
    try:
        drawn = draw(history(counts), {0: window()}, window_s=HOUR_S, seed=seed)
    except DrawError:
        assert sum(known) < 1
        return
    assert (np.diff(drawn.arrivals_ms) >= 0).all()
    assert (drawn.known_intervals, drawn.unknown_intervals) == (len(known), len(counts) - len(known))
    reached = expected = 0.0
    for number, count in enumerate(counts):
        mine = int(((drawn.arrivals_ms // int(STEP_S * 1000)) == number).sum())
        assert mine == 0 if math.isnan(count) else abs(mine - count) < 1
        reached, expected = reached + mine, expected + (0 if math.isnan(count) else count)
        assert abs(reached - expected) <= 0.5 + 1e-6
    assert drawn.isl_tokens.min() >= 1
    assert drawn.isl_tokens.max() <= 4000


@given(isl_mean=st.floats(200, 1200))
def test_lengths_follow_the_histogram_and_keep_its_mean(isl_mean: float) -> None:
    drawn = draw(history([20_000.0]), {0: window(isl_mean=isl_mean)}, window_s=HOUR_S, seed=1)
    shares = [(drawn.isl_tokens <= edge).mean() for edge in (100, 1000)]
    assert shares == pytest.approx([0.1, 0.9], abs=0.01)
    low, high = 0.8 * 100 + 0.1 * 1000, 0.1 * 100 + 0.8 * 1000 + 0.1 * 4000
    possible = min(max(isl_mean, low + 0.02 * (high - low)), low + 0.98 * (high - low))
    assert drawn.isl_tokens.mean() == pytest.approx(possible, rel=0.05)


def test_the_same_seed_draws_the_same_and_another_one_others() -> None:
    first, again, other = (
        draw(history([50.0] * 3), {0: window()}, window_s=HOUR_S, seed=seed) for seed in (7, 7, 8)
    )
    assert (first.isl_tokens == again.isl_tokens).all()
    assert (first.arrivals_ms == again.arrivals_ms).all()
    assert (first.arrivals_ms != other.arrivals_ms).any()


def test_an_hour_without_lengths_borrows_those_of_the_busiest() -> None:
    drawn = draw(history([10.0] * 120), {0: window()}, window_s=HOUR_S, seed=0)
    assert len(drawn.isl_tokens) == 1200
    bare = LengthWindow(isl=None, osl=None, isl_mean_tokens=math.nan, osl_mean_tokens=math.nan)
    borrowed = draw(history([10.0] * 120), {0: window(), 1: bare}, window_s=HOUR_S, seed=0)
    assert borrowed.isl_tokens.max() <= 4000


@pytest.mark.parametrize(
    ("counts", "windows", "named"),
    [
        pytest.param([math.nan] * 3, {0: window()}, "no interval", id="nothing-known"),
        pytest.param([0.0, 0.2], {0: window()}, "found no request in 2 intervals", id="idle"),
        pytest.param([3e7], {0: window()}, "take fewer days", id="too-many"),
        pytest.param([5.0], {}, "found no histogram of ISL", id="no-lengths"),
    ],
)
def test_what_cannot_be_drawn_is_said(
    counts: list[float], windows: dict[int, LengthWindow], named: str
) -> None:
    with pytest.raises(DrawError, match=named):
        draw(history(counts), windows, window_s=HOUR_S, seed=0)
