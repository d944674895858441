"""Requests in short steps, from the counters' own values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaplanner.adapters.prometheus import Deadline, Scope
from slaplanner.adapters.prometheus.arrivals import MAX_STEPS, ArrivalCounts, read_arrivals
from tests.fakes import FakePrometheus, Points

SCOPE = Scope(model="llama")
END_S = 1_700_000_000


def counter(*values: float | None, step_s: int = 15) -> Points:
    first = END_S - (len(values) - 1) * step_s
    return {first + index * step_s: value for index, value in enumerate(values) if value is not None}


def read(*counters: Points, window_s: float = 60, scrapes: float = 4) -> ArrivalCounts:
    return read_arrivals(
        FakePrometheus(tracks={"counter": counters}),
        SCOPE,
        at_s=END_S + 0.75,
        window_s=window_s,
        scrapes=scrapes,
        deadline=Deadline.after(60),
    )


@pytest.mark.parametrize(
    ("counters", "counts"),
    [
        pytest.param([counter(10, 11, 13, 13, 20)], (1, 2, 0, 7), id="growth"),
        pytest.param([counter(10, 11, 13, 13, 20), counter(0, 1, 1, 2, 2)], (2, 2, 1, 7), id="of-all-pods"),
        pytest.param([counter(10, 14, 3, 5, 5)], (4, 3, 2, 0), id="a-restarted-counter-begins-anew"),
        pytest.param([counter(10, None, 16, 17, 17)], (1, 0), id="a-gap-is-left-out"),
        pytest.param(
            [counter(10, 11, 13, 13, 20), counter(0, None, 1, 2, 2)],
            (1, 7),
            id="a-gap-of-one-pod-leaves-out-all",
        ),
        pytest.param([counter(None, None, 600, 601, 603)], (1, 2), id="a-birth-is-no-growth"),
        pytest.param([counter(None, None, None, None, 603)], (), id="one-sample"),
        pytest.param([counter(5, float("nan"), 7, 8, 9)], (1, 1), id="nan-is-a-gap"),
        pytest.param([counter(5, -1, 7, 8, 1e308)], (1,), id="what-is-no-count-is-a-gap"),
        pytest.param([], (), id="no-series"),
    ],
)
def test_steps(counters: list[Points], counts: tuple[float, ...]) -> None:
    assert read(*counters).counts == counts


@pytest.mark.parametrize(
    ("window_s", "scrapes", "step_s"),
    [
        pytest.param(180, 12, 15, id="one-scrape"),
        pytest.param(60, 60, 1, id="one-second"),
        pytest.param(3600, 240, 60, id="whole-scrapes-at-most-60-steps"),
        pytest.param(180, 181, 3, id="an-extra-sample-at-1-s"),
        pytest.param(180, 13, 15, id="an-extra-sample-at-15-s"),
        pytest.param(180, 11, 15, id="a-sample-missed"),
        pytest.param(180, 15, 12, id="an-unusual-interval"),
        pytest.param(180, 1, 0, id="one-sample-tells-nothing"),
        pytest.param(180, 0, 0, id="none"),
        pytest.param(180, float("nan"), 0, id="nan"),
    ],
)
def test_the_step_follows_the_scrape_interval(window_s: float, scrapes: float, step_s: int) -> None:
    arrivals = read(dict.fromkeys(range(END_S - 3600, END_S + 1), 1.0), window_s=window_s, scrapes=scrapes)
    assert arrivals.step_s == step_s
    assert len(arrivals.counts) <= MAX_STEPS


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=20))
def test_steps_add_up_to_the_growth(growth: list[int]) -> None:
    values = [sum(growth[:index]) for index in range(len(growth) + 1)]
    arrivals = read(counter(*values), window_s=15 * len(growth), scrapes=len(growth))
    assert sum(arrivals.counts) == sum(growth)


def test_a_value_that_prometheus_repeats_without_a_sample_is_a_gap() -> None:
    """It goes on answering the last one for five minutes."""
    values = counter(10, 11, 11, 11, 14)
    stamps = {at_s: at_s - 15 * repeated for at_s, repeated in zip(values, (0, 0, 1, 2, 0), strict=True)}
    arrivals = read_arrivals(
        FakePrometheus(tracks={"counter": [values], "stamped": [stamps]}),
        SCOPE,
        at_s=END_S,
        window_s=60,
        scrapes=4,
        deadline=Deadline.after(60),
    )
    assert arrivals.counts == (1,)


def test_growth_counts_over_the_time_between_its_samples() -> None:
    """A step that is no whole number of scrapes holds one sample more or less, and not more requests."""
    values, stamps = {}, {}
    for back in range(4):
        at_s = END_S - 20 * back
        stamps[at_s] = at_s - at_s % 15
        values[at_s] = 2.0 * stamps[at_s]
    arrivals = read_arrivals(
        FakePrometheus(tracks={"counter": [values], "stamped": [stamps]}),
        SCOPE,
        at_s=END_S,
        window_s=60,
        scrapes=3,
        deadline=Deadline.after(60),
    )
    assert arrivals.counts == pytest.approx((40.0,) * 3)
