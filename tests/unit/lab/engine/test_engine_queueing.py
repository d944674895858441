"""The engine against queueing theory, where theory is exact."""

from __future__ import annotations

import numpy as np
import pytest

from slaplanner.core.model import Role
from slaplanner_lab.engine import Engine, EngineTables
from tests.theory import mean_wait_mdc

SERVICE_S = 0.1
ITL_S = 0.01
REQUESTS = 60_000


def played(*, workers: int, load: float, osl: int = 1) -> Engine:
    """Poisson arrivals that keep *workers* prefill workers busy for *load* of the time."""
    rng = np.random.default_rng(1)
    engine = Engine(EngineTables.constant(ttft_ms=1e3 * SERVICE_S, itl_ms=1e3 * ITL_S))
    engine.set_workers(Role.PREFILL, workers)
    engine.set_workers(Role.DECODE, 1)
    arrivals = np.cumsum(rng.exponential(SERVICE_S / (workers * load), REQUESTS))
    engine.submit(arrival_s=arrivals, isl_tokens=np.full(REQUESTS, 100), osl_tokens=np.full(REQUESTS, osl))
    engine.advance(float(arrivals[-1]))
    return engine


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_the_series_for_one_server_is_pollaczek_and_khinchines(load: float) -> None:
    assert mean_wait_mdc(1, load) == pytest.approx(load / (2 * (1 - load)), rel=1e-6)


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8, 0.9])
@pytest.mark.parametrize("workers", [1, 2, 5, 20])
def test_prompts_wait_as_in_m_d_c(workers: int, load: float) -> None:
    requests = played(workers=workers, load=load).requests()
    waited_s = np.nanmean(requests.prefill_start_s - requests.arrival_s)
    assert waited_s == pytest.approx(SERVICE_S * mean_wait_mdc(workers, load), rel=0.1, abs=3e-5)


def test_the_number_of_prompts_inside_follows_littles_law() -> None:
    engine = played(workers=3, load=0.8)
    requests, horizon_s = engine.requests(), engine.now_s
    inside_s = np.minimum(requests.first_token_s, horizon_s)
    inside_s[np.isnan(inside_s)] = horizon_s
    mean_inside = (inside_s - requests.arrival_s).sum() / horizon_s
    rate = REQUESTS / horizon_s
    assert mean_inside == pytest.approx(rate * np.nanmean(requests.ttft_ms) / 1e3, rel=1e-3)


def test_a_batch_at_constant_speed_is_m_d_infinity() -> None:
    osl = 51
    engine = played(workers=4, load=0.5, osl=osl)
    rng = np.random.default_rng(2)
    seen = []
    start_s = engine.now_s
    arrivals = start_s + np.cumsum(rng.exponential(0.05, 20_000))
    engine.submit(arrival_s=arrivals, isl_tokens=np.full(20_000, 100), osl_tokens=np.full(20_000, osl))
    for k in range(900):
        engine.advance(start_s + 10.0 + k)
        seen.append(engine.gauges(Role.DECODE).running)
    erlangs = 20.0 * (osl - 1) * ITL_S
    assert np.mean(seen) == pytest.approx(erlangs, rel=0.05)
    assert np.var(seen) == pytest.approx(erlangs, rel=0.2)


def test_sequences_in_decode_follow_littles_law_where_speed_depends_on_the_batch() -> None:
    """In time average, whatever ITL and admission do: batches of all sizes, and a KV that fills."""
    rng = np.random.default_rng(4)
    tables = EngineTables(
        ttft_ms=np.full(2, 1e3 * SERVICE_S),
        isl_step_tokens=1e6,
        itl_ms=np.array([[10.0, 20.0, 40.0], [15.0, 30.0, 60.0]]),
        shortest_context_tokens=50.0,
        context_ratio=100.0,
        kv_step=0.5,
        max_kv_tokens=3200.0,
    )
    engine = Engine(tables)
    engine.set_workers(Role.PREFILL, 4)
    engine.set_workers(Role.DECODE, 3)
    count, step_s = 4000, 0.25
    arrivals = np.cumsum(rng.exponential(0.05, count))
    engine.submit(
        arrival_s=arrivals, isl_tokens=rng.integers(10, 400, count), osl_tokens=rng.integers(2, 120, count)
    )
    inside, horizon_s = [], 300.0
    for k in range(int(horizon_s / step_s)):
        engine.advance((k + 0.5) * step_s)
        gauges = engine.gauges(Role.DECODE)
        inside.append(gauges.running + gauges.waiting)
    engine.advance(horizon_s)
    done = engine.requests()
    assert engine.unfinished == 0
    assert engine.preempted > 0
    spent_s = float((done.last_token_s - done.first_token_s).sum())
    assert np.mean(inside) == pytest.approx(spent_s / horizon_s, rel=0.02)
