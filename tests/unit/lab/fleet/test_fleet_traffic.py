"""A trace in real time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaplanner_lab.fleet.traffic import Replay, skip, take
from slaplanner_lab.simulation.traffic import Traffic


def replay(*at_s: float, start_s: float = 100.0, length_s: float = 0.0) -> Replay:
    count = len(at_s)
    traffic = Traffic(
        arrival_s=np.array(at_s), isl_tokens=np.arange(1.0, count + 1), osl_tokens=np.ones(count)
    )
    return Replay(traffic=traffic, start_s=start_s, length_s=length_s)


def test_each_request_arrives_once_at_its_time() -> None:
    now, first = take(replay(0.0, 1.0, 2.5), 101.0)
    assert first.at_s.tolist() == [100.0, 101.0]
    now, second = take(now, 110.0)
    assert second.at_s.tolist() == [102.5]
    assert second.isl_tokens.tolist() == [3.0]
    assert now.ended


def test_a_looped_trace_begins_anew_and_never_ends() -> None:
    now, arrived = take(replay(0.0, 1.0, length_s=10.0), 121.5)
    assert arrived.at_s.tolist() == [100.0, 101.0, 110.0, 111.0, 120.0, 121.0]
    assert not now.ended


def test_what_is_skipped_is_not_played_later() -> None:
    now = skip(replay(0.0, 1.0, 2.0, 3.0), 101.5)
    assert take(now, 110.0)[1].at_s.tolist() == [102.0, 103.0]


@given(
    st.lists(st.floats(0.0, 30.0), min_size=1, max_size=20).map(sorted),
    st.lists(st.floats(0.0, 20.0), max_size=10),
    st.sampled_from([0.0, 31.0]),
)
def test_however_often_one_looks_the_same_requests_arrive(
    at_s: list[float], looks: list[float], length_s: float
) -> None:
    whole = take(replay(*at_s, length_s=length_s), 100.0 + sum(looks))[1]
    now, now_s = replay(*at_s, length_s=length_s), 100.0
    pieces = []
    for pause_s in looks:
        now_s += pause_s
        now, piece = take(now, now_s)
        pieces += piece.at_s.tolist()
    _, piece = take(now, 100.0 + sum(looks))
    assert pieces + piece.at_s.tolist() == pytest.approx(whole.at_s.tolist())
