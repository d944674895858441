"""Cubic answers what Dynamo's planner answers, to the last digits."""

from __future__ import annotations

import numpy as np
import pytest

from slaplanner.core.model import Interpolation
from slaplanner.core.profiles import Profile, build
from tests.profile_data import GOLDEN, GOLDEN_PROFILES, measured

RELATIVE = 1e-6


@pytest.fixture(params=sorted(GOLDEN_PROFILES))
def case(request: pytest.FixtureRequest) -> tuple[Profile, dict[str, list[list[float]]]]:
    name: str = request.param
    return build(measured(GOLDEN_PROFILES[name]), Interpolation.CUBIC), GOLDEN["interpolation"][name]


def test_prefill_equals_dynamo(case: tuple[Profile, dict[str, list[list[float]]]]) -> None:
    profile, golden = case
    for isl, ttft, throughput in golden["prefill"]:
        assert profile.prefill.ttft_ms(isl) == pytest.approx(ttft, rel=RELATIVE)
        assert profile.prefill.throughput_per_gpu(isl) == pytest.approx(throughput, rel=RELATIVE)


def test_many_prompts_asked_at_once_are_answered_as_one_by_one(
    case: tuple[Profile, dict[str, list[list[float]]]],
) -> None:
    prefill = case[0].prefill
    lengths = np.linspace(0.0, 1.2 * prefill.isl_range[1], 200)
    assert prefill.ttft_row_ms(lengths).tolist() == [prefill.ttft_ms(isl) for isl in lengths.tolist()]


def test_decode_equals_dynamo(case: tuple[Profile, dict[str, list[list[float]]]]) -> None:
    profile, golden = case
    for concurrency, context, itl, throughput in golden["decode"]:
        point = {"concurrency": concurrency, "context_tokens": context}
        assert profile.decode.itl_ms(**point) == pytest.approx(itl, rel=RELATIVE)
        assert profile.decode.throughput_per_gpu(**point) == pytest.approx(throughput, rel=RELATIVE)


def test_many_loads_asked_at_once_are_answered_as_one_by_one(
    case: tuple[Profile, dict[str, list[list[float]]]],
) -> None:
    profile, golden = case
    for _, context, *_ in golden["decode"]:
        loads = np.linspace(0.0, 1.2 * profile.decode.max_kv_tokens / context, 50)
        singly = [profile.decode.itl_ms(concurrency=n, context_tokens=context) for n in loads.tolist()]
        assert profile.decode.itl_row_ms(loads, context_tokens=context).tolist() == singly


def test_best_throughput_equals_dynamo(case: tuple[Profile, dict[str, list[list[float]]]]) -> None:
    profile, golden = case
    for target, context, throughput, itl, kv_usage in golden["best"]:
        best = profile.decode.best(itl_ms=target, context_tokens=context)
        assert best.throughput_per_gpu == pytest.approx(throughput, rel=RELATIVE)
        assert best.itl_ms == pytest.approx(itl, rel=RELATIVE)
        assert best.kv_usage == pytest.approx(kv_usage, rel=RELATIVE)
        assert best.attained == (itl <= target)
