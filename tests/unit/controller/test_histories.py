"""A history that is kept and topped up is the history that a fresh reading would give."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaplanner.controller.histories import MOST_POINTS, OVERLAP_POINTS, joined, points_to_read
from slaplanner.core.readings import Series

STEP_S = 10.0


def series(end_s: float, *requests: float, step_s: float = STEP_S) -> Series:
    """Requests per step up to *end_s*, with the same numbers as lengths."""
    return Series(end_s=end_s, step_s=step_s, requests=requests, isl_tokens=requests, osl_tokens=requests)


def reading(truth: list[float], slot: int, points: int) -> Series:
    """What Prometheus answers at *slot*: the last *points* of the truth up to there."""
    return series(slot * STEP_S, *truth[max(0, slot + 1 - points) : slot + 1])


@given(
    truth=st.lists(st.floats(0, 100), min_size=30, max_size=30),
    slots=st.lists(st.integers(0, 29), min_size=1, max_size=8, unique=True).map(sorted),
)
def test_topping_up_gives_what_a_fresh_reading_gives(truth: list[float], slots: list[int]):
    """However many plans were skipped in between."""
    kept: Series | None = None
    for slot in slots:
        points = points_to_read(kept, end_s=slot * STEP_S, interval_s=STEP_S)
        kept = joined(kept, reading(truth, slot, points))
    assert kept == reading(truth, slots[-1], MOST_POINTS)


def test_a_gap_between_the_copy_and_the_reading_stays_unknown():
    kept = joined(series(100.0, 1.0, 2.0), series(140.0, 5.0, 6.0))
    assert kept.requests[:2] == (1.0, 2.0)
    assert [math.isnan(value) for value in kept.requests] == [False, False, True, True, False, False]


@pytest.mark.parametrize(
    ("kept", "end_s"),
    [
        pytest.param(None, 100.0, id="nothing-kept"),
        pytest.param(series(100.0, 1.0, step_s=5.0), 110.0, id="another-interval"),
        pytest.param(series(100.0, 1.0), 90.0, id="clock-set-back"),
        pytest.param(series(100.0, 1.0), 113.0, id="another-grid"),
        pytest.param(series(100.0), 110.0, id="an-empty-copy"),
    ],
)
def test_a_copy_that_does_not_fit_is_read_anew(kept: Series | None, end_s: float):
    assert points_to_read(kept, end_s=end_s, interval_s=STEP_S) == MOST_POINTS


def test_only_what_is_new_is_read_and_the_seam_once_more():
    assert points_to_read(series(100.0, 1.0), end_s=130.0, interval_s=STEP_S) == 3 + OVERLAP_POINTS


def test_a_reading_of_another_interval_replaces_the_copy():
    read = series(200.0, 1.0, 2.0, step_s=20.0)
    assert joined(series(190.0, 9.0), read) == read


def test_the_copy_does_not_grow_without_end():
    kept = series(10_000.0, *[1.0] * MOST_POINTS)
    assert len(joined(kept, series(10_010.0, 1.0, 2.0))) == MOST_POINTS
