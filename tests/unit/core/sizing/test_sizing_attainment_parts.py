"""The parts of sizing by attainment, each against what is known exactly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaplanner.core.readings import Histogram, Known, Observation, Unknown
from slaplanner.core.reasons import Reason
from slaplanner.core.sizing.burstiness import Burstiness, dispersion
from slaplanner.core.sizing.coverage import Coverage
from slaplanner.core.sizing.inflow import coming_sequences
from slaplanner.core.sizing.lengths import lengths
from slaplanner.core.sizing.queueing import mean_wait_s, share_late

INF = float("inf")
UNKNOWN = Unknown(Reason.NOT_REPORTED, "not part of the question")


def late(
    *, erlangs: float, workers: int, allowance_s: float = 1.0, variance: float = 0.25, while_s: float = 30.0
) -> float:
    return float(
        share_late(
            erlangs=np.array([erlangs]),
            workers=workers,
            variance_per_s=np.array([variance]),
            allowance_s=np.array([allowance_s]),
            allowance_share=np.array([1.0]),
            while_s=while_s,
        )[0]
    )


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
    assert tails[1] == pytest.approx(0.01)
    assert tails[2] == pytest.approx(0.001)


@pytest.mark.parametrize(
    ("arrivals", "index"),
    [((), None), ((1.0, 2.0, 1.0, 2.0), None), ((50.0,) * 6, 1.0), ((0.0, 40.0) * 6, 40.0)],
    ids=["nothing", "too few", "even", "every other step"],
)
def test_dispersion_is_variance_over_mean_of_neighbours(
    arrivals: tuple[float, ...], index: float | None
) -> None:
    found = dispersion(arrivals)
    assert found == index if index is None else found == pytest.approx(index, rel=0.1)


def test_poisson_arrivals_have_dispersion_one() -> None:
    rng = np.random.default_rng(5)
    memory = Burstiness()
    for _ in range(200):
        memory = memory.after(tuple(rng.poisson(40.0, 12).astype(float)))
    assert memory.index == pytest.approx(1.15, abs=0.25)


def test_silence_teaches_nothing_about_bursts() -> None:
    memory = Burstiness(index=7.0, plans=10.0)
    assert memory.after((0.0,) * 12) == memory


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
    return coming_sequences(observation, interval_s=60.0, ahead_s=240.0, dispersion=1.0, prefill_workers=2)


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
