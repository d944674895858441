"""The parts of sizing by attainment, each against what is known exactly."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaplanner.core.readings import Histogram
from slaplanner.core.sizing.burstiness import Burstiness
from slaplanner.core.sizing.length_memory import Mix
from slaplanner.core.sizing.lengths import lengths
from slaplanner.core.state import PlannerState, from_document, to_document

INF = float("inf")


@given(mean=st.floats(1.0, 5e4), counts=st.lists(st.floats(0.0, 1e4), min_size=4, max_size=4))
def test_lengths_keep_the_mean_whatever_the_buckets_say(mean: float, counts: list[float]) -> None:
    some = lengths(mean, Histogram(edges=(100.0, 1000.0, 10_000.0, INF), counts=tuple(counts)))
    assert some.mean == pytest.approx(mean, rel=1e-6)
    assert some.share.sum() == pytest.approx(1.0)
    assert some.second_moment >= mean**2 * (1 - 1e-9)


def test_a_handful_of_requests_has_a_mean_and_no_shape() -> None:
    some = lengths(500.0, Histogram(edges=(100.0, INF), counts=(3.0, 4.0)))
    assert some.tokens.tolist() == [500.0]


STEP_S = 5.0


@pytest.mark.parametrize(
    ("arrivals", "clump_s"),
    [((), 0.0), ((1.0, 2.0, 1.0, 2.0), 0.0), ((50.0,) * 6, 0.0), ((0.0, 40.0) * 6, 2 * STEP_S)],
    ids=["nothing", "too few", "even", "every other step"],
)
def test_a_clump_is_as_long_as_its_requests_would_take_at_the_mean_rate(
    arrivals: tuple[float, ...], clump_s: float
) -> None:
    assert Burstiness().after(arrivals, STEP_S).clump_s == pytest.approx(clump_s, rel=0.1)


def test_poisson_arrivals_come_in_no_clumps() -> None:
    rng = np.random.default_rng(5)
    memory = Burstiness()
    for _ in range(200):
        memory = memory.after(tuple(rng.poisson(40.0, 12).astype(float)), STEP_S)
    assert memory.index(np.array([8.0]))[0] == pytest.approx(1.15, abs=0.25)


@given(counts=st.lists(st.floats(0.0, 1e4), min_size=4, max_size=12), times=st.floats(1.0, 100.0))
def test_copies_of_all_requests_clump_as_long_and_crowd_as_many_times_more(
    counts: list[float], times: float
) -> None:
    one = Burstiness().after(tuple(1e3 * count for count in counts), STEP_S)
    more = Burstiness().after(tuple(1e3 * times * count for count in counts), STEP_S)
    rate = np.array([one.square**0.5])
    # Poisson's part is the only one that does not grow with the square.
    assert more.clump_s + 0.01 >= one.clump_s
    assert more.index(times * rate)[0] >= one.index(rate)[0] * 0.99


def test_silence_teaches_nothing_about_bursts() -> None:
    memory = Burstiness(excess=7.0, square=4.0, plans=10.0)
    assert memory.after((0.0,) * 12, STEP_S) == memory


@given(st.lists(st.lists(st.floats(0.0, 1e6), min_size=0, max_size=12), max_size=5))
def test_burstiness_reads_back_as_what_was_written(windows: list[list[float]]) -> None:
    memory = Burstiness()
    for window in windows:
        memory = memory.after(tuple(window), STEP_S)
    assert Burstiness.from_document(memory.to_document()) == memory


def test_burstiness_outlives_the_operator() -> None:
    memory = Burstiness().after((0.0, 123.4, 0.0, 77.7) * 3, STEP_S)
    state = PlannerState(target="uid", burstiness=memory)
    assert from_document(json.loads(json.dumps(to_document(state)))).burstiness == memory


@pytest.mark.parametrize(
    "document",
    [[-1.0, 1.0, 1.0], [float("nan"), 1.0, 1.0], [INF, 1.0, 1.0], [1.0, 1.0, 99.0], [1.0], ["x", 1, 1], None],
    ids=["negative", "NaN", "infinite", "more plans than remembered", "too short", "a word", "nothing"],
)
def test_a_document_that_is_no_burstiness_is_refused(document: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        Burstiness.from_document(document)


EDGES = (100.0, 1000.0, INF)


@given(windows=st.lists(st.lists(st.floats(0.0, 1e9), min_size=3, max_size=3), max_size=5))
def test_a_mix_reads_back_as_what_was_written(windows: list[list[float]]) -> None:
    memory = Mix()
    for at, counts in enumerate(windows, start=1):
        histogram = Histogram(edges=EDGES, counts=tuple(counts))
        memory = memory.after(histogram, window_s=60.0, now_s=37.3 * at)
    assert Mix.from_document(json.loads(json.dumps(memory.to_document()))) == memory


def test_one_window_of_long_prompts_moves_a_mix_by_a_part_only() -> None:
    usual, strange = (
        Histogram(edges=EDGES, counts=counts) for counts in ((90.0, 10.0, 0.0), (10.0, 90.0, 0.0))
    )
    memory = Mix()
    for at in range(1, 20):
        memory = memory.after(usual, window_s=60.0, now_s=60.0 * at)
    mixed = memory.after(strange, window_s=60.0, now_s=1200.0).histogram(strange)
    assert mixed is not None
    assert 0.1 < mixed.counts[1] / mixed.total < 0.3


def test_other_buckets_begin_afresh_and_without_any_there_is_no_shape() -> None:
    memory = Mix().after(Histogram(edges=EDGES, counts=(1.0, 2.0, 3.0)), window_s=60.0, now_s=60.0)
    other = Histogram(edges=(50.0, INF), counts=(5.0, 5.0))
    assert memory.histogram(other) == other
    assert memory.after(other, window_s=60.0, now_s=120.0).counts == other.counts
    assert memory.histogram(None) is None


@pytest.mark.parametrize("document", [[-1.0], [0.0, INF], [], ["x"], None])
def test_a_document_that_is_no_mix_is_refused(document: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        Mix.from_document(document)
