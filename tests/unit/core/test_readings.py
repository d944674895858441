"""The history that a plan reads: points on the planning grid."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaplanner.core.readings import Series


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
