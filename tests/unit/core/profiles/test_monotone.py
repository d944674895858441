"""What Monotone promises, on the measured profiles and on any table."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from slaplanner.core.profiles import DecodeTable, PrefillTable, build
from slaplanner.core.profiles.monotone_decode import MonotoneDecode
from slaplanner.core.profiles.monotone_prefill import MonotonePrefill
from tests.profile_data import LLAMA_8B, LLAMA_70B_TP8, MEASURED, MODELLED, measured

ROUNDING = 1e-9
"""Relative; sums of doubles in another order."""

latencies = st.floats(0.5, 5000)
rates = st.floats(0.5, 50_000)


@st.composite
def prefill_tables(draw: st.DrawFn) -> PrefillTable:
    """Tables of one to twelve distinct lengths, with any latencies and throughputs."""
    lengths = draw(st.lists(st.integers(1, 200_000), min_size=1, max_size=12, unique=True))
    return PrefillTable.of(
        isl_tokens=sorted(lengths),
        ttft_ms=[draw(latencies) for _ in lengths],
        throughput_per_gpu=[draw(rates) for _ in lengths],
    )


@st.composite
def decode_tables(draw: st.DrawFn) -> DecodeTable:
    """Tables of one to five contexts with one to five loads each, any latencies and throughputs."""
    max_kv = draw(st.integers(1_000, 2_000_000))
    contexts = draw(st.lists(st.integers(10, 200_000), min_size=1, max_size=5, unique=True))
    rows = [
        (kv, context, draw(latencies), draw(rates))
        for context in contexts
        for kv in draw(st.lists(st.floats(1e-4, 1.0), min_size=1, max_size=5, unique=True))
    ]
    return DecodeTable.of(
        kv_usage=[row[0] for row in rows],
        context_tokens=[row[1] for row in rows],
        itl_ms=[row[2] for row in rows],
        throughput_per_gpu=[row[3] for row in rows],
        max_kv_tokens=max_kv,
    )


def _kept(profile: MonotonePrefill, table: PrefillTable) -> PrefillTable:
    """The measurements that the profile uses: all that were not set aside."""
    keep = ~np.isin(table.isl_tokens, profile.set_aside_isl_tokens)
    return table.take(np.flatnonzero(keep))


@pytest.mark.parametrize("folder", [*MEASURED, *MODELLED])
def test_prefill_goes_through_its_measurements(folder: str) -> None:
    table = measured(folder).prefill
    assert table is not None
    profile = MonotonePrefill(table)
    kept = _kept(profile, table)
    for isl, ttft, throughput in zip(kept.isl_tokens, kept.ttft_ms, kept.throughput_per_gpu, strict=True):
        assert profile.ttft_ms(isl) == pytest.approx(ttft)
        assert profile.throughput_per_gpu(isl) == pytest.approx(throughput)


@pytest.mark.parametrize("folder", [*MEASURED, *MODELLED])
def test_decode_goes_through_its_measurements_where_itl_does_not_fall(folder: str) -> None:
    table = measured(folder).decode
    assert table is not None
    profile = MonotoneDecode(table)
    for context in np.unique(table.context_tokens).tolist():
        row = table.take(np.flatnonzero(table.context_tokens == context))
        if (np.diff(row.itl_ms) < 0).any():
            continue
        for n, itl, throughput in zip(row.concurrency, row.itl_ms, row.throughput_per_gpu, strict=True):
            assert profile.itl_ms(concurrency=n, context_tokens=context) == pytest.approx(itl)
            assert profile.throughput_per_gpu(concurrency=n, context_tokens=context) == pytest.approx(
                throughput
            )


def test_the_one_known_outlier_is_set_aside_and_no_other_point() -> None:
    for folder in (*MEASURED, *MODELLED):
        table = measured(folder).prefill
        assert table is not None
        expected = (6205.0,) if folder == LLAMA_70B_TP8 else ()
        assert MonotonePrefill(table).set_aside_isl_tokens == expected


@given(prefill_tables(), st.floats(0, 1))
def test_prefill_stays_between_its_neighbouring_measurements(table: PrefillTable, place: float) -> None:
    profile = MonotonePrefill(table)
    kept = _kept(profile, table)
    low, high = profile.isl_range
    isl = low + place * (high - low)
    i = min(max(int(np.searchsorted(kept.isl_tokens, isl, side="right")) - 1, 0), max(len(kept) - 2, 0))
    around = kept.throughput_per_gpu[i : i + 2]
    slack = 1 + ROUNDING
    assert around.min() / slack <= profile.throughput_per_gpu(isl) <= around.max() * slack
    if (np.diff(kept.ttft_ms) >= 0).all():
        around = kept.ttft_ms[i : i + 2]
        assert around.min() / slack <= profile.ttft_ms(isl) <= around.max() * slack
    else:  # falling latencies are levelled, within what was measured
        assert kept.ttft_ms.min() / slack <= profile.ttft_ms(isl) <= kept.ttft_ms.max() * slack


@given(prefill_tables(), st.floats(0, 400_000), st.floats(0, 400_000))
def test_a_longer_prompt_never_gets_its_first_token_earlier(table: PrefillTable, a: float, b: float) -> None:
    profile = MonotonePrefill(table)
    shorter, longer = sorted((a, b))
    assert profile.ttft_ms(shorter) <= profile.ttft_ms(longer) * (1 + ROUNDING)


@given(prefill_tables(), st.floats(0, 1e9))
def test_prefill_is_never_negative_and_never_nan(table: PrefillTable, isl: float) -> None:
    profile = MonotonePrefill(table)
    assert 0 < profile.ttft_ms(isl) < math.inf
    assert 0 <= profile.throughput_per_gpu(isl) < math.inf


@given(prefill_tables(), st.lists(st.floats(0, 400_000), min_size=1))
def test_many_prompts_asked_at_once_are_answered_as_one_by_one(
    table: PrefillTable, lengths: list[float]
) -> None:
    profile = MonotonePrefill(table)
    lengths = [*lengths, *profile.isl_range]
    singly = [profile.ttft_ms(isl) for isl in lengths]
    assert profile.ttft_row_ms(np.array(lengths)) == pytest.approx(singly, rel=1e-9)


@given(prefill_tables())
def test_prefill_says_where_it_was_not_measured(table: PrefillTable) -> None:
    profile = MonotonePrefill(table)
    low, high = profile.isl_range
    assert profile.covers(low)
    assert profile.covers(high)
    assert not profile.covers(low - 1)
    assert not profile.covers(high + 1)


def test_beyond_the_longest_prompt_ttft_grows_at_least_in_proportion() -> None:
    profile = build(measured(LLAMA_8B)).prefill
    longest = profile.isl_range[1]
    assert profile.ttft_ms(2 * longest) >= 2 * profile.ttft_ms(longest)
    assert profile.throughput_per_gpu(2 * longest) <= profile.throughput_per_gpu(longest)


@given(decode_tables(), st.floats(0, 3000), st.floats(1, 400_000))
@settings(deadline=None)
def test_decode_is_never_outside_what_was_measured(table: DecodeTable, n: float, context: float) -> None:
    profile = MonotoneDecode(table)
    itl = profile.itl_ms(concurrency=n, context_tokens=context)
    throughput = profile.throughput_per_gpu(concurrency=n, context_tokens=context)
    slack = 1 + ROUNDING
    assert table.itl_ms.min() / slack <= itl <= table.itl_ms.max() * slack
    # Fewer requests than were ever measured carry less; nothing carries more.
    assert 0 <= throughput <= table.throughput_per_gpu.max() * slack


@given(decode_tables(), st.floats(0, 3000), st.floats(0, 3000), st.floats(1, 400_000))
@settings(deadline=None)
def test_more_load_never_makes_decode_faster(table: DecodeTable, a: float, b: float, context: float) -> None:
    profile = MonotoneDecode(table)
    lighter, heavier = sorted((a, b))
    itl = profile.itl_ms(concurrency=lighter, context_tokens=context)
    assert itl <= profile.itl_ms(concurrency=heavier, context_tokens=context) * (1 + ROUNDING)


@given(decode_tables(), st.lists(st.floats(0, 3000), min_size=1), st.floats(1, 400_000))
@settings(deadline=None)
def test_many_loads_asked_at_once_are_answered_as_one_by_one(
    table: DecodeTable, loads: list[float], context: float
) -> None:
    profile = MonotoneDecode(table)
    singly = [profile.itl_ms(concurrency=n, context_tokens=context) for n in loads]
    assert profile.itl_row_ms(np.array(loads), context_tokens=context) == pytest.approx(singly)


@given(decode_tables(), st.floats(0.1, 6000), st.floats(0.1, 6000), st.floats(1, 400_000))
@settings(deadline=None)
def test_a_looser_target_never_lowers_the_best_throughput(
    table: DecodeTable, a: float, b: float, context: float
) -> None:
    profile = MonotoneDecode(table)
    tight, loose = (profile.best(itl_ms=target, context_tokens=context) for target in sorted((a, b)))
    assert tight.throughput_per_gpu <= loose.throughput_per_gpu * (1 + ROUNDING)


@given(decode_tables(), st.floats(0.1, 6000), st.floats(1, 400_000))
@settings(deadline=None)
def test_the_best_point_meets_its_target_or_says_that_none_does(
    table: DecodeTable, target: float, context: float
) -> None:
    profile = MonotoneDecode(table)
    best = profile.best(itl_ms=target, context_tokens=context)
    lowest = profile.lowest_itl_ms(context)
    assert best.attained == (lowest <= target)
    assert best.itl_ms <= target if best.attained else best.itl_ms == lowest
    assert 0 <= best.kv_usage <= 1
    assert best.throughput_per_gpu > 0
    assert best.itl_ms == pytest.approx(
        profile.itl_ms(concurrency=best.concurrency, context_tokens=context), rel=1e-6
    )


@pytest.mark.parametrize("folder", [*MEASURED, *MODELLED])
def test_between_measured_points_itl_stays_between_the_four_around(folder: str) -> None:
    table = measured(folder).decode
    assert table is not None
    profile = MonotoneDecode(table)
    contexts = np.unique(table.context_tokens)
    for low, high in itertools.pairwise(contexts):
        rows = table.take(np.flatnonzero((table.context_tokens >= low) & (table.context_tokens <= high)))
        for context in np.linspace(low, high, 7):
            for n in np.geomspace(1, table.max_kv_tokens / context, 12):
                itl = profile.itl_ms(concurrency=n, context_tokens=context)
                assert rows.itl_ms.min() * (1 - ROUNDING) <= itl <= table.itl_ms.max()


@given(st.integers(1, 500), st.floats(0, 1))
def test_a_replica_that_behaves_as_assumed_is_read_exactly_on_and_between_its_rows(
    n: int, place: float
) -> None:
    """ITL = weights + cache read + work per request: linear in n, so two loads per row say it all."""
    max_kv, gpus = 1_000_000, 4

    def itl_ms(requests: float, context: float) -> float:
        return 10 + 0.00001 * requests * context + 0.02 * requests

    points = [
        (requests, context)
        for context in (500.0, 1000.0, 2000.0)
        for requests in (1.0, max_kv / context / 2, max_kv / context)
    ]
    table = DecodeTable.of(
        kv_usage=[requests * context / max_kv for requests, context in points],
        context_tokens=[context for _, context in points],
        itl_ms=[itl_ms(*point) for point in points],
        throughput_per_gpu=[1000 * point[0] / itl_ms(*point) / gpus for point in points],
        max_kv_tokens=max_kv,
    )
    profile = MonotoneDecode(table)
    for context in (500.0, 1000.0, 2000.0):
        assert profile.itl_ms(concurrency=n, context_tokens=context) == pytest.approx(itl_ms(n, context))
    context = 500 + place * 1500
    assume(n * context <= max_kv)
    assert profile.itl_ms(concurrency=n, context_tokens=context) == pytest.approx(
        itl_ms(n, context), rel=0.01
    )


def test_contexts_that_differ_a_little_are_one_row() -> None:
    table = DecodeTable.of(
        kv_usage=[0.1, 0.4, 0.8],
        context_tokens=[1000, 1010, 990],
        itl_ms=[10, 16, 24],
        throughput_per_gpu=[100, 250, 330],
        max_kv_tokens=100_000,
    )
    profile = MonotoneDecode(table)
    assert profile.itl_ms(concurrency=60, context_tokens=1000) == pytest.approx(20, rel=1e-6)


def test_decode_says_where_it_was_not_measured() -> None:
    profile = build(measured(LLAMA_8B)).decode
    assert profile.covers(concurrency=20, context_tokens=3000)
    assert not profile.covers(concurrency=20, context_tokens=100), "shorter than the first row"
    assert not profile.covers(concurrency=20, context_tokens=20_000), "longer than the last row"
    assert not profile.covers(concurrency=0.5, context_tokens=3000), "less than one request"
    assert not profile.covers(concurrency=1000, context_tokens=3000), "more than fits"


def test_tables_for_simulators_hold_the_same_figures_as_the_look_ups() -> None:
    profile = build(measured(LLAMA_8B))
    prefill = profile.prefill.tabulate([100, 5000, 20_000])
    assert prefill.ttft_ms.tolist() == [profile.prefill.ttft_ms(isl) for isl in (100, 5000, 20_000)]
    decode = profile.decode.tabulate(kv_usage=[0.0, 0.5], context_tokens=[1000, 4000])
    assert decode.itl_ms.shape == (2, 2)
    n = 0.5 * profile.decode.max_kv_tokens / 4000
    assert decode.itl_ms[1, 1] == profile.decode.itl_ms(concurrency=n, context_tokens=4000)
    assert profile.decode.tabulate().itl_ms.shape == (65, 129)
