"""Workers of both roles, and fleets of which only one stage is played."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slaplanner.core.model import Mode, Role
from slaplanner_lab.engine import Engine, EngineTables
from slaplanner_lab.engine.kernels import CHUNK_TOKENS

PREFILL_S, ITL_S = 0.3, 0.02
TABLES = EngineTables.constant(ttft_ms=1e3 * PREFILL_S, itl_ms=1e3 * ITL_S, max_kv_tokens=50_000.0)


def engine(mode: Mode, tables: EngineTables = TABLES, *, workers: int = 1) -> Engine:
    made = Engine(tables, mode=mode, gap_edges_s=(0.025, 0.1))
    made.set_workers(mode.roles[0], workers)
    return made


def test_a_prompt_alone_takes_its_prefill_time_and_then_the_itl() -> None:
    one = engine(Mode.AGG)
    one.submit(arrival_s=1.0, isl_tokens=500, osl_tokens=11)
    one.advance(60.0)
    seen = one.requests()
    assert seen.first_token_s[0] == pytest.approx(1.0 + PREFILL_S)
    assert seen.last_token_s[0] == pytest.approx(1.0 + PREFILL_S + 10 * ITL_S)
    assert one.unfinished == 0
    assert one.gauges(Role.AGG).running == 0


@pytest.mark.parametrize(("isl", "chunks"), [(500, 1), (int(CHUNK_TOKENS), 1), (int(2.5 * CHUNK_TOKENS), 3)])
def test_a_prompt_beside_a_batch_waits_for_one_step_per_chunk_and_slows_the_batch_by_its_prefill(
    isl: int, chunks: int
) -> None:
    one = engine(Mode.AGG)
    one.submit(arrival_s=[0.0, 2.0], isl_tokens=[100, isl], osl_tokens=[1001, 2])
    one.advance(100.0)
    seen = one.requests()
    assert seen.ttft_ms[1] == pytest.approx(1e3 * (PREFILL_S + chunks * ITL_S))
    assert seen.last_token_s[0] == pytest.approx(PREFILL_S + 1000 * ITL_S + PREFILL_S)
    slow = one.gap_counts[1:].sum()
    assert slow == pytest.approx(chunks, abs=1e-6)
    assert one.gap_sum_s == pytest.approx(
        1000 * ITL_S + PREFILL_S + ITL_S, rel=1e-9
    )  # every second of decoding, the prompt beside it included


def test_prompts_go_to_the_worker_with_the_fewest_tokens_one_at_a_time() -> None:
    two = engine(Mode.AGG, workers=2)
    two.submit(arrival_s=[0.0, 0.0, 0.0, 0.0], isl_tokens=[1000] * 4, osl_tokens=[500] * 4)
    two.advance(0.1)
    assert (two.gauges(Role.AGG).running, two.gauges(Role.AGG).waiting) == (2, 2)
    two.advance(5.0)
    assert two.gauges(Role.AGG).running == 4
    assert two.first_pending == 0


def test_a_crash_and_a_drain_lose_no_request_of_an_agg_worker() -> None:
    two = engine(Mode.AGG, workers=2)
    two.submit(arrival_s=np.linspace(0.0, 5.0, 40), isl_tokens=[3000] * 40, osl_tokens=[200] * 40)
    two.advance(2.0)
    two.fail_worker(two.workers(Role.AGG)[0])
    two.set_workers(Role.AGG, 3, startup_s=1.0)
    two.advance(4.0)
    two.set_workers(Role.AGG, 1)
    two.advance(1000.0)
    assert two.unfinished == 0
    assert two.migrated > 0
    assert two.gauges(Role.AGG).present == 1


def test_with_prefill_alone_a_request_is_complete_with_its_first_token() -> None:
    one = engine(Mode.PREFILL)
    one.submit(arrival_s=[0.0, 0.0], isl_tokens=[100, 40_000], osl_tokens=[5000, 60_000])
    one.advance(10.0)
    seen = one.requests()
    assert (
        seen.last_token_s.tolist() == seen.first_token_s.tolist() == pytest.approx([PREFILL_S, 2 * PREFILL_S])
    )
    assert seen.osl_tokens.tolist() == [5000, 60_000]


def test_with_decode_alone_a_request_comes_with_its_first_token_and_waits_for_a_place() -> None:
    one = engine(Mode.DECODE, EngineTables.constant(ttft_ms=1.0, itl_ms=20.0, max_kv_tokens=1000.0))
    one.submit(arrival_s=[1.0, 1.0], isl_tokens=[600, 600], osl_tokens=[11, 11])
    one.advance(60.0)
    seen = one.requests()
    assert seen.ttft_ms.tolist() == [0.0, 0.0]
    assert seen.last_token_s[0] == pytest.approx(1.2)
    assert seen.last_token_s[1] == pytest.approx(1.4)
    assert one.preempted == 0


@settings(max_examples=30, deadline=None)
@given(
    mode=st.sampled_from([Mode.AGG, Mode.DECODE, Mode.PREFILL]),
    workers=st.integers(1, 4),
    seed=st.integers(0, 1 << 20),
    lost=st.booleans(),
)
def test_every_request_ends_and_every_token_is_counted(
    mode: Mode, workers: int, seed: int, *, lost: bool
) -> None:
    rng = np.random.default_rng(seed)
    count = 60
    isl, osl = rng.integers(1, 9000, count), rng.integers(1, 900, count)
    many = engine(
        mode, EngineTables.constant(ttft_ms=80.0, itl_ms=15.0, max_kv_tokens=12_000.0), workers=workers
    )
    many.submit(arrival_s=np.sort(rng.uniform(0.0, 30.0, count)), isl_tokens=isl, osl_tokens=osl)
    many.advance(10.0)
    if lost:
        many.fail_worker(many.workers(mode.roles[0])[0])
        many.add_worker(mode.roles[0], startup_s=5.0)
    many.advance(10_000.0)
    seen = many.requests()
    assert many.unfinished == 0
    assert many.first_pending == 0
    assert (seen.first_token_s >= seen.arrival_s).all()
    assert (seen.last_token_s >= seen.first_token_s).all()
    tokens = 0.0 if mode is Mode.PREFILL else float((osl - 1).sum())
    assert many.decoded_tokens == pytest.approx(tokens, rel=1e-6, abs=1e-3)
    assert float(many.gap_counts.sum()) == pytest.approx(tokens, rel=1e-6, abs=1e-3)
