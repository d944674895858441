"""What a plan reads: the history on the planning grid, and histograms."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaplanner.core.readings import Histogram, Series


def history(*requests: float) -> Series:
    return Series(
        end_s=1e6,
        step_s=60.0,
        requests=requests,
        isl_tokens=tuple(10.0 * one for one in requests),
        osl_tokens=tuple(2.0 * one for one in requests),
    )


@given(requests=st.lists(st.floats(0.0, 1e6), max_size=20), data=st.data())
def test_the_first_points_are_the_history_as_it_was_then(requests: list[float], data: st.DataObject) -> None:
    whole = history(*requests)
    length = data.draw(st.integers(0, len(requests)))
    past = whole.first(length)
    assert (past.requests, past.isl_tokens, past.osl_tokens) == (
        whole.requests[:length],
        whole.isl_tokens[:length],
        whole.osl_tokens[:length],
    )
    assert past.end_s == 1e6 - 60.0 * (len(requests) - length)
    assert whole.first(len(requests)) == whole


def test_lists_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="equally many points, found"):
        Series(end_s=0.0, step_s=60.0, requests=(1.0,), isl_tokens=(), osl_tokens=())


@pytest.mark.parametrize(
    ("edges", "counts", "highest"),
    [
        ((1.0, 2.0, 4.0), (3.0, 1.0, 0.0), 2.0),
        ((1.0, 2.0, math.inf), (3.0, 0.0, 1.0), 2.0),
        ((math.inf,), (5.0,), 0.0),
        ((1.0, math.inf), (0.0, 0.0), 0.0),
        ((), (), 0.0),
    ],
)
def test_the_highest_bucket_with_an_observation(
    edges: tuple[float, ...], counts: tuple[float, ...], highest: float
) -> None:
    assert Histogram(edges=edges, counts=counts).highest == highest
