"""The share of late requests, read from buckets that are wider than the question."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.special import ndtri

from slaplanner.core.attainment import share_within
from slaplanner.core.readings import Histogram
from slaplanner.core.sizing.late_share import share_late

INF = float("inf")
DYNAMO_ITL_MS = (1.9, 3.5, 6.7, 13.0, 24.0, 45.0, 84.0, 160.0, INF)


def histogram(values: np.ndarray, edges: tuple[float, ...]) -> Histogram:
    counts = np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges))
    return Histogram(edges=edges, counts=tuple(counts.astype(float).tolist()))


@given(
    counts=st.lists(st.floats(0.0, 1e6), min_size=9, max_size=9),
    target=st.floats(0.5, 500.0),
    mean=st.floats(0.1, 500.0),
)
def test_a_guess_stays_within_what_the_buckets_allow(counts: list[float], target: float, mean: float) -> None:
    some = Histogram(edges=DYNAMO_ITL_MS, counts=tuple(counts))
    late, within = share_late(some, target=target, mean=mean), share_within(some, target)
    if late is None or within is None:
        assert late is None
        assert within is None
        return
    assert 1.0 - within.upper_percent / 100.0 - 1e-6 <= late <= 1.0 - within.lower_percent / 100.0 + 1e-6


@pytest.mark.parametrize("middle", [14.0, 18.0, 20.0, 21.0])
@pytest.mark.parametrize("spread", [0.03, 0.06])
def test_latencies_around_a_mean_are_told_apart_inside_one_wide_bucket(middle: float, spread: float) -> None:
    values = middle * np.exp(np.random.default_rng(3).normal(0.0, spread, 4000))
    late = share_late(histogram(values, DYNAMO_ITL_MS), target=20.0, mean=float(values.mean()))
    assert late == pytest.approx(float(np.mean(values > 20.0)), abs=0.12)


def test_a_tail_that_falls_as_a_power_is_met_between_two_edges() -> None:
    values = 100.0 * (1.0 + np.random.default_rng(4).pareto(1.5, 20_000))
    edges = (220.0, 470.0, 1000.0, 2200.0, 4700.0, INF)
    late = share_late(histogram(values, edges), target=1500.0, mean=float(values.mean()))
    assert late == pytest.approx(float(np.mean(values > 1500.0)), rel=0.1)


def test_a_target_that_is_an_edge_is_no_guess() -> None:
    some = Histogram(edges=(10.0, 20.0, INF), counts=(70.0, 20.0, 10.0))
    assert share_late(some, target=20.0, mean=12.0) == pytest.approx(0.1)
    assert share_late(some, target=1e9, mean=12.0) == pytest.approx(0.0, abs=0.1)


def test_no_observation_says_nothing() -> None:
    assert share_late(Histogram(edges=(10.0,), counts=(0.0,)), target=5.0, mean=1.0) is None


@given(middle=st.floats(10.5, 11.6), spread=st.floats(0.05, 0.1), most=st.floats(12.6, 13.1))
def test_a_tail_that_ends_inside_the_narrow_bucket_of_the_target_is_still_seen(
    middle: float, spread: float, most: float
) -> None:
    """An engine whose ITL levels off near the target: nobody is far above it, and many are just above."""
    edges = (*np.geomspace(2.0, 200.0, 40).tolist(), INF)
    values = np.minimum(middle * np.exp(spread * ndtri((np.arange(20_000) + 0.5) / 20_000)), most)
    target = 12.45  # in the bucket from 11.8 to 13.2, and nothing lies beyond it
    share = float(np.mean(values > target))
    assume(share > 0.01)
    late = share_late(histogram(values, edges), target=target, mean=float(values.mean()))
    assert late is not None
    assert share / 5 < late < 1.5 * share
