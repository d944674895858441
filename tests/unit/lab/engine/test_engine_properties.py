"""What holds in the engine whatever happens: nothing is lost, nothing is made, nothing overflows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slaplanner.core.arrays import Floats
from slaplanner.core.model import Role
from slaplanner_lab.engine import Engine, EngineTables

MAX_KV = 4000.0
TABLES = EngineTables(
    ttft_ms=np.linspace(10.0, 400.0, 5),
    isl_step_tokens=250.0,
    itl_ms=np.array([[10.0, 20.0, 40.0], [12.0, 25.0, 50.0], [15.0, 30.0, 60.0]]),
    shortest_context_tokens=50.0,
    context_ratio=4.0,
    kv_step=0.5,
    max_kv_tokens=MAX_KV,
)


@dataclass(frozen=True)
class Act:
    """Something that is done to the fleet after `wait_s`."""

    wait_s: float
    role: Role
    workers: int
    lose: bool


acts = st.builds(
    Act,
    wait_s=st.floats(0.0, 20.0),
    role=st.sampled_from([Role.PREFILL, Role.DECODE]),
    workers=st.integers(0, 4),
    lose=st.booleans(),
)
traffic = st.lists(
    st.tuples(st.floats(0.0, 3.0), st.integers(1, 900), st.integers(1, 700)), min_size=1, max_size=60
)


def loaded(requests: list[tuple[float, int, int]], *, workers: int = 1) -> Engine:
    engine = Engine(TABLES, gap_edges_s=(0.02, 0.05))
    for role in (Role.PREFILL, Role.DECODE):
        engine.set_workers(role, workers)
    gaps, isl, osl = zip(*requests, strict=True)
    engine.submit(arrival_s=np.cumsum(gaps), isl_tokens=isl, osl_tokens=osl)
    return engine


@settings(deadline=None, max_examples=60)
@given(requests=traffic, script=st.lists(acts, max_size=8))
def test_whatever_happens_to_the_workers_every_request_and_token_comes_out_once(
    requests: list[tuple[float, int, int]], script: list[Act]
) -> None:
    engine = loaded(requests)
    for act in script:
        engine.advance(engine.now_s + act.wait_s)
        present = engine.workers(act.role)
        if act.lose and present:
            engine.fail_worker(present[0])
        engine.set_workers(act.role, act.workers, startup_s=1.0)
    for role in (Role.PREFILL, Role.DECODE):
        engine.set_workers(role, 2)
    engine.advance(engine.now_s + 20_000.0)
    done = engine.requests()
    assert engine.unfinished == 0
    assert sorted(engine.last_tokens().tolist()) == list(range(len(requests)))
    assert engine.decoded_tokens == pytest.approx((done.osl_tokens - 1).sum(), abs=1e-3)
    assert engine.gap_counts.sum() == pytest.approx(engine.decoded_tokens, abs=1e-3)
    assert (done.arrival_s <= done.prefill_start_s).all()
    assert (done.prefill_start_s < done.first_token_s).all()
    assert (done.first_token_s <= done.last_token_s).all()
    several = done.osl_tokens > 1
    assert (done.first_token_s <= done.admitted_s)[several].all()
    assert engine.gap_sum_s == pytest.approx(
        (done.last_token_s - done.first_token_s).sum(), rel=1e-6, abs=1e-3
    )


@settings(deadline=None, max_examples=60)
@given(requests=traffic, script=st.lists(acts, max_size=8), looks=st.integers(1, 40))
def test_no_worker_ever_holds_more_than_its_kv(
    requests: list[tuple[float, int, int]], script: list[Act], looks: int
) -> None:
    engine = loaded(requests, workers=2)
    for act in script:
        for _ in range(looks):
            engine.advance(engine.now_s + act.wait_s / looks)
            held = kv_tokens(engine)
            assert (held >= -1e-6).all()
            assert (held <= MAX_KV * (1 + 1e-9)).all()
        engine.set_workers(act.role, act.workers, startup_s=1.0)


def kv_tokens(engine: Engine) -> Floats:
    """What each decode worker's KV holds now."""
    workers = engine._arena.workers[engine.workers(Role.DECODE)]
    tokens: Floats = workers["base_tokens"] + workers["running"] * workers["v"]
    return tokens


@settings(deadline=None, max_examples=30)
@given(requests=traffic, step_s=st.floats(0.05, 7.0))
def test_small_steps_lead_where_a_large_one_does(
    requests: list[tuple[float, int, int]], step_s: float
) -> None:
    whole, stepped = loaded(requests), loaded(requests)
    whole.advance(600.0)
    for k in range(int(600.0 // step_s)):
        stepped.advance((k + 1) * step_s)
    stepped.advance(600.0)
    for one, other in zip(whole.requests(), stepped.requests(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-6)


def test_workers_cost_from_creation_until_they_are_gone() -> None:
    engine = loaded([(0.0, 100, 101)])
    engine.set_workers(Role.DECODE, 3, startup_s=5.0)
    engine.advance(10.0)
    engine.set_workers(Role.DECODE, 1)
    engine.advance(20.0)
    assert engine.gauges(Role.DECODE).worker_s == pytest.approx(20.0 + 2 * 10.0)
    assert engine.gauges(Role.PREFILL).worker_s == pytest.approx(20.0)


def test_a_draining_worker_finishes_what_it_runs_and_takes_nothing_new() -> None:
    engine = loaded([(0.0, 100, 400), (3.0, 100, 2)])
    engine.advance(1.0)
    engine.drain_worker(engine.workers(Role.DECODE)[0])
    engine.advance(60.0)
    done = engine.requests()
    assert np.isfinite(done.last_token_s[0])
    assert np.isnan(done.admitted_s[1])
    assert engine.gauges(Role.DECODE).present == 0
    assert engine.gauges(Role.DECODE).waiting == 1


def test_a_crash_loses_time_but_no_token() -> None:
    calm, crashed = loaded([(0.0, 100, 400)], workers=2), loaded([(0.0, 100, 400)], workers=2)
    calm.advance(100.0)
    crashed.advance(2.0)
    crashed.fail_worker(crashed.workers(Role.DECODE)[0])
    crashed.advance(100.0)
    assert crashed.migrated == 1
    assert crashed.decoded_tokens == pytest.approx(calm.decoded_tokens)
    assert crashed.requests().last_token_s[0] > calm.requests().last_token_s[0]


def test_a_request_larger_than_the_kv_is_refused_and_holds_nobody_up() -> None:
    engine = loaded([(0.0, 900, 100_000), (0.1, 100, 3)])
    engine.advance(60.0)
    done = engine.requests()
    assert done.refused.tolist() == [True, False]
    assert np.isfinite(done.last_token_s[1])
    assert engine.unfinished == 0


def test_prompts_beyond_the_profile_are_cut_to_its_longest() -> None:
    engine = loaded([(0.0, 900, 1)])
    engine.submit(arrival_s=[1.0], isl_tokens=[50_000], osl_tokens=[1])
    engine.advance(60.0)
    assert engine.requests().isl_tokens.tolist() == [900, 1000]
    assert engine.requests().ttft_ms[1] == pytest.approx(400.0)


def test_without_workers_requests_wait_for_the_first_one() -> None:
    engine = loaded([(0.0, 500, 2)], workers=0)
    engine.advance(50.0)
    assert engine.gauges(Role.PREFILL).waiting == 1
    engine.set_workers(Role.PREFILL, 1, startup_s=10.0)
    engine.set_workers(Role.DECODE, 1)
    engine.advance(100.0)
    assert engine.requests().prefill_start_s[0] == pytest.approx(60.0)


def test_a_batch_that_outgrows_the_kv_preempts_its_newest_and_finishes_all() -> None:
    engine = loaded([(0.0, 900, 900)] * 5)
    engine.advance(10_000.0)
    assert engine.preempted > 0
    assert engine.unfinished == 0


def test_itl_follows_the_profile_at_a_constant_batch() -> None:
    engine = loaded([(0.0, 100, 21)])
    engine.advance(100.0)
    assert 10.0 <= engine.requests().itl_ms[0] <= 15.0


@pytest.mark.parametrize(
    ("arrivals", "words"),
    [([2.0, 1.0], "must not fall"), ([-1.0], "must not fall nor start before")],
    ids=["falling", "in the past"],
)
def test_arrivals_that_cannot_be_are_refused(arrivals: list[float], words: str) -> None:
    engine = Engine(TABLES)
    with pytest.raises(ValueError, match=words):
        engine.submit(arrival_s=arrivals, isl_tokens=[1] * len(arrivals), osl_tokens=[1] * len(arrivals))


PLAYED = """
import json, sys
import numpy as np
from slaplanner_lab.engine import COMPILED, Engine, EngineTables
from slaplanner.core.model import Role
rng = np.random.default_rng(3)
tables = EngineTables.constant(ttft_ms=80.0, itl_ms=15.0, max_kv_tokens=5000.0)
engine = Engine(tables)
engine.set_workers(Role.PREFILL, 2)
engine.set_workers(Role.DECODE, 2)
n = 300
engine.submit(arrival_s=np.cumsum(rng.exponential(0.1, n)), isl_tokens=rng.integers(1, 900, n), osl_tokens=rng.integers(1, 300, n))
engine.advance(12.0)
engine.fail_worker(engine.workers(Role.DECODE)[0])
engine.set_workers(Role.DECODE, 3, startup_s=4.0)
engine.advance(2000.0)
print(json.dumps([engine.requests().last_token_s.tolist(), engine.preempted, engine.migrated, engine.gap_sum_s]))
"""


def test_compiled_and_plain_code_agree() -> None:
    pytest.importorskip("numba")
    results = []
    for plain in ("0", "1"):
        environment = {**os.environ, "NUMBA_DISABLE_JIT": plain}
        done = subprocess.run(
            [sys.executable, "-c", PLAYED], env=environment, capture_output=True, text=True, check=True
        )
        results.append(json.loads(done.stdout))
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-9)
    assert results[0][1:3] == results[1][1:3]
    assert results[0][3] == pytest.approx(results[1][3])
