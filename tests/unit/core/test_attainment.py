"""Shares that met a target, between the edges that a histogram has."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaplanner.core.attainment import Share, share_within
from slaplanner.core.readings import Histogram

TTFT = Histogram(edges=(100.0, 220.0, 470.0, math.inf), counts=(50.0, 30.0, 15.0, 5.0))


@pytest.mark.parametrize(
    ("target", "lower", "upper", "between"),
    [
        pytest.param(220, 80, 80, None, id="on-an-edge-it-is-exact"),
        pytest.param(300, 80, 95, (220, 470), id="between-edges-it-is-a-range"),
        pytest.param(50, 0, 50, (0, 100), id="below-the-first"),
        pytest.param(1000, 95, 100, (470, math.inf), id="beyond-the-last-finite"),
    ],
)
def test_share(target: float, lower: float, upper: float, between: tuple[float, float] | None) -> None:
    share = share_within(TTFT, target)

    assert share == Share(lower_percent=lower, upper_percent=upper, between=between)


def test_without_observations_there_is_no_share() -> None:
    assert share_within(Histogram(edges=(1.0, math.inf), counts=(0.0, 0.0)), 1) is None


@pytest.mark.parametrize(("lower", "upper"), [(-1, 50), (60, 50), (50, 101), (math.nan, 50)])
def test_a_share_that_is_none_cannot_be_made(lower: float, upper: float) -> None:
    with pytest.raises(ValueError, match="wanted both in order within 0 to 100"):
        Share(lower_percent=lower, upper_percent=upper)


latencies = st.lists(st.floats(0.1, 2000), min_size=1, max_size=60)
targets = st.floats(0, 3000)


def histogram(values: list[float]) -> Histogram:
    lows = (-math.inf, *TTFT.edges[:-1])
    counts = [
        float(sum(low < value <= high for value in values))
        for low, high in zip(lows, TTFT.edges, strict=True)
    ]
    return Histogram(edges=TTFT.edges, counts=tuple(counts))


@given(latencies, targets)
def test_the_true_share_lies_between_the_figures(values: list[float], target: float) -> None:
    share = share_within(histogram(values), target)
    assert share is not None
    true = 100 * sum(value <= target for value in values) / len(values)
    assert share.lower_percent <= true + 1e-9
    assert true <= share.upper_percent + 1e-9


@given(latencies, targets, targets)
def test_a_looser_target_never_lowers_either_figure(values: list[float], one: float, two: float) -> None:
    tight = share_within(histogram(values), min(one, two))
    loose = share_within(histogram(values), max(one, two))
    assert tight is not None
    assert loose is not None
    assert tight.lower_percent <= loose.lower_percent
    assert tight.upper_percent <= loose.upper_percent
