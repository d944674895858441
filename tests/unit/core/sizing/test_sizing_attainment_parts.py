"""The parts of sizing by attainment, each against what is known exactly."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaplanner.core.model import Role
from slaplanner.core.readings import Histogram, Known, Observation, Series, Unknown
from slaplanner.core.reasons import Reason
from slaplanner.core.sizing.burstiness import Burstiness
from slaplanner.core.sizing.coverage import INDEPENDENCE, LEVELS, Coverage
from slaplanner.core.sizing.inflow import coming_sequences
from slaplanner.core.sizing.lengths import lengths
from slaplanner.core.sizing.queueing import lateness, mean_wait_s
from slaplanner.core.sizing.seen import BELIEVED_RISE, SeenLoads, held_to
from slaplanner.core.state import PlannerState, from_document, to_document

INF = float("inf")
UNKNOWN = Unknown(Reason.NOT_REPORTED, "not part of the question")


def late(
    *, erlangs: float, workers: int, allowance_s: float = 1.0, variance: float = 0.25, while_s: float = 30.0
) -> float:
    share = lateness(
        erlangs=np.array([erlangs]),
        variance_per_s=np.array([variance]),
        allowance_s=np.array([allowance_s]),
        allowance_share=np.array([1.0]),
        while_s=while_s,
    )
    return float(share(workers)[0])


@given(mean=st.floats(1.0, 5e4), counts=st.lists(st.floats(0.0, 1e4), min_size=4, max_size=4))
def test_lengths_keep_the_mean_whatever_the_buckets_say(mean: float, counts: list[float]) -> None:
    some = lengths(mean, Histogram(edges=(100.0, 1000.0, 10_000.0, INF), counts=tuple(counts)))
    assert some.mean == pytest.approx(mean, rel=1e-6)
    assert some.share.sum() == pytest.approx(1.0)
    assert some.second_moment >= mean**2 * (1 - 1e-9)


def test_a_handful_of_requests_has_a_mean_and_no_shape() -> None:
    some = lengths(500.0, Histogram(edges=(100.0, INF), counts=(3.0, 4.0)))
    assert some.tokens.tolist() == [500.0]


def test_below_capacity_the_tail_is_the_exponential_one_of_heavy_traffic() -> None:
    # M/M/1 at load 0.9 with services of 0.1 s: P(V > 1 s) = exp(-(1 - 0.9) x 1 / 0.1) without the chance to wait
    seen = late(erlangs=0.9, workers=1, variance=2 * 0.9 * 0.1, while_s=1e5)
    assert seen == pytest.approx(np.exp(-2 * 0.1 * 1.0 / (2 * 0.9 * 0.1)), rel=0.02)


def test_above_capacity_requests_are_late_once_the_backlog_passes_their_allowance() -> None:
    # 6 erlangs on 4 workers: the wait grows by half a second per second, so after 2 of 30 s all are late.
    assert late(erlangs=6.0, workers=4, variance=1e-6) == pytest.approx(1.0, abs=1e-9)
    assert late(erlangs=4.1, workers=4, variance=1e-6, allowance_s=0.5) == pytest.approx(0.4, abs=0.21)


@given(
    erlangs=st.floats(0.0, 40.0),
    workers=st.integers(1, 40),
    variance=st.floats(0.0, 100.0),
    allowance_s=st.floats(-1.0, 10.0),
)
def test_more_workers_never_make_more_late(
    erlangs: float, workers: int, variance: float, allowance_s: float
) -> None:
    few = late(erlangs=erlangs, workers=workers, variance=variance, allowance_s=allowance_s)
    more = late(erlangs=erlangs, workers=workers + 1, variance=variance, allowance_s=allowance_s)
    assert 0.0 <= more <= few + 1e-9 <= 1.0 + 1e-9


def test_the_mean_wait_of_one_server_is_pollaczek_and_khinchines() -> None:
    wait = mean_wait_s(erlangs=0.8, workers=1, mean_s=0.1, second_moment_s2=0.01, dispersion=1.0)
    assert wait == pytest.approx(0.8 * 0.1 / (2 * 0.2))


def test_at_capacity_the_mean_wait_is_infinite() -> None:
    assert mean_wait_s(erlangs=2.0, workers=2, mean_s=0.1, second_moment_s2=0.01, dispersion=1.0) == INF


def test_the_mass_of_all_levels_is_one_however_long_replicas_are_held() -> None:
    for held_s in (0.0, 300.0, 3600.0):
        assert Coverage.held(window_s=held_s, horizon_s=150.0).mass.sum() == pytest.approx(1.0)


def test_the_longer_replicas_are_held_the_less_a_high_level_weighs() -> None:
    tails = [Coverage.held(window_s=held_s, horizon_s=150.0).mass[5:].sum() for held_s in (0.0, 150.0, 300.0)]
    assert tails[0] == pytest.approx(0.1)
    assert tails[1] == pytest.approx(0.1**2**INDEPENDENCE)
    assert tails[2] == pytest.approx(0.1**3**INDEPENDENCE)


def test_recommendations_that_share_their_past_err_together_more_often_than_by_chance() -> None:
    alone, thrice = (
        Coverage.held(window_s=held_s, horizon_s=150.0).mass[5:].sum() for held_s in (0.0, 300.0)
    )
    assert alone**3 < thrice < alone


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


def loads(*requests: float, isl: float = 100.0) -> SeenLoads:
    history = Series(
        end_s=0.0,
        step_s=10.0,
        requests=requests,
        isl_tokens=tuple(isl if count else float("nan") for count in requests),
        osl_tokens=(1.0,) * len(requests),
    )
    return SeenLoads.of(history)[Role.PREFILL]


def test_loads_count_from_the_first_traffic_on_and_gaps_are_no_silence() -> None:
    nan = float("nan")
    assert loads(0.0, 0.0, 3.0, 0.0, nan, 1.0).tokens_s.tolist() == [0.0, 10.0, 30.0]
    assert loads(0.0, 0.0, 3.0, 0.0, nan, 1.0).usual_tokens_s == pytest.approx(40.0 / 3.0)


@pytest.mark.parametrize("none", [loads(), loads(0.0, 0.0)], ids=["no history", "no traffic yet"])
def test_without_a_load_the_forecast_stands(none: SeenLoads) -> None:
    told = np.linspace(1.0, 1e6, len(LEVELS))
    assert held_to(none.supported(LEVELS), told, mean=0.0).tolist() == told.tolist()


def test_bursts_are_as_likely_as_they_were() -> None:
    once_in_twenty = loads(*([0.0] * 19 + [1000.0]) * 10)
    told = np.full(2, 5e4)
    held = held_to(once_in_twenty.supported((0.9, 0.97)), told, mean=500.0)
    assert held.tolist() == [BELIEVED_RISE * 500.0, 10_000.0]


def test_a_short_history_does_not_speak_of_rare_loads() -> None:
    told = np.full(2, 5e4)
    held = held_to(loads(*[10.0] * 30).supported((0.9, 0.99)), told, mean=100.0)
    assert held.tolist() == [BELIEVED_RISE * 100.0, 5e4]


@given(
    requests=st.lists(st.floats(0.0, 1e4), max_size=60),
    told=st.lists(st.floats(0.0, 1e9), min_size=len(LEVELS), max_size=len(LEVELS)),
    mean=st.floats(0.0, 1e6),
)
def test_nothing_is_raised_by_what_was_seen(requests: list[float], told: list[float], mean: float) -> None:
    bounds = np.sort(np.array(told))
    held = held_to(loads(*requests).supported(LEVELS), bounds, mean=mean)
    assert (held <= bounds).all()
    assert (held >= np.minimum(bounds, BELIEVED_RISE * mean)).all()


def test_where_little_is_expected_its_misses_are_few_beside_the_usual() -> None:
    coverage = Coverage.held(window_s=0.0, horizon_s=150.0)
    load = np.ones(len(LEVELS))
    expected, quiet = coverage.counted(load, usual=0.0), coverage.counted(load, usual=4.0)
    assert (expected.share.sum(), expected.tokens_s) == pytest.approx((1.0, 1.0))
    assert (quiet.share.sum(), quiet.tokens_s) == pytest.approx((0.25, 4.0))


def seen(*, arrived: float, completed: float, inflight: float, queued: float = 0.0) -> Observation:
    return Observation(
        window_s=60.0,
        requests=Known(arrived),
        isl_tokens=Known(100.0),
        osl_tokens=Known(100.0),
        ttft_ms=UNKNOWN,
        itl_ms=UNKNOWN,
        request_duration_s=UNKNOWN,
        queued=Known(queued),
        inflight=Known(inflight),
        osl_histogram=Histogram(edges=(1000.0, INF), counts=(completed, 0.0)),
    )


def coming(observation: Observation) -> float:
    return coming_sequences(
        observation, interval_s=60.0, ahead_s=240.0, burstiness=Burstiness(), prefill_workers=2
    )


def test_fewer_completions_than_arrivals_tell_that_answers_became_longer() -> None:
    assert coming(seen(arrived=900.0, completed=400.0, inflight=500.0)) > 500.0 + 240.0 * 5.0


@pytest.mark.parametrize(
    "observation",
    [
        seen(arrived=900.0, completed=860.0, inflight=500.0),
        seen(arrived=900.0, completed=400.0, inflight=500.0, queued=200.0),
    ],
    ids=["within chance", "prompts pile up"],
)
def test_chance_and_a_queue_of_prompts_say_nothing_of_answers(observation: Observation) -> None:
    assert coming(observation) == 0.0
