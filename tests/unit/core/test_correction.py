"""Correction learns what lasts, and neither cold starts nor a handful of requests."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaplanner.core.correction import (
    HIGHEST,
    LOWEST,
    Correction,
    CorrectionState,
    correct,
    raw_decode_factor,
    raw_prefill_factor,
)
from slaplanner.core.model import Fleet, Mode, Policy, Role, RoleState, Sizing
from slaplanner.core.profiles import build
from slaplanner.core.readings import Known, Observation, Unknown
from slaplanner.core.reasons import Reason
from tests.profile_data import MODELLED_70B, measured

PROFILE = build(measured(MODELLED_70B))
POLICY = Policy(interval_s=60, window_s=60, sizing=Sizing.THROUGHPUT)
ISL, OSL, REQUESTS, DURATION_S, DECODERS = 3000.0, 300.0, 600.0, 8.0, 4
UNKNOWN = Unknown(Reason.NO_SERIES, "no series")


def _profile_ttft() -> float:
    return PROFILE.prefill.ttft_ms(ISL)


def _profile_itl() -> float:
    return PROFILE.decode.itl_ms(
        concurrency=REQUESTS / DECODERS * DURATION_S / 60, context_tokens=ISL + OSL / 2
    )


def _observation(*, slower: float = 1.0, requests: float = REQUESTS) -> Observation:
    """A window in which both latencies are *slower* times those of the profile."""
    return Observation(
        window_s=60,
        requests=Known(requests),
        isl_tokens=Known(ISL),
        osl_tokens=Known(OSL),
        ttft_ms=Known(_profile_ttft() * slower),
        itl_ms=Known(_profile_itl() * slower),
        request_duration_s=Known(DURATION_S * REQUESTS / requests),
    )


def _fleet(*, serving: int | None = DECODERS, rollout: bool = False, replicas: int = DECODERS) -> Fleet:
    return Fleet(
        roles=tuple(
            RoleState(role=role, replicas=replicas, serving=serving, rollout=rollout)
            for role in (Role.PREFILL, Role.DECODE)
        )
    )


def _run(
    *windows: Observation,
    state: CorrectionState | None = None,
    fleet: Fleet | None = None,
    policy: Policy = POLICY,
    start_s: float = 0.0,
) -> tuple[CorrectionState, Correction]:
    state, correction = state or CorrectionState(), Correction()
    for index, window in enumerate(windows):
        state, correction = correct(
            state,
            policy=policy,
            observation=window,
            fleet=fleet or _fleet(),
            profile=PROFILE,
            now_s=start_s + 60 * index,
        )
    return state, correction


def test_before_anything_is_learnt_nothing_is_corrected() -> None:
    assert (Correction().prefill, Correction().decode) == (1.0, 1.0)


def test_the_raw_factors_are_observed_over_profile() -> None:
    _, correction = _run(_observation(slower=1.3))
    assert correction.of(Role.PREFILL).raw == pytest.approx(1.3)
    assert correction.of(Role.DECODE).raw == pytest.approx(1.3)


def test_a_fleet_that_runs_as_profiled_is_not_corrected() -> None:
    _, correction = _run(*[_observation()] * 20)
    assert (correction.prefill, correction.decode) == pytest.approx((1.0, 1.0))


def test_a_lasting_difference_is_learnt_within_minutes() -> None:
    _, correction = _run(*[_observation(slower=1.3)] * 10)
    assert correction.decode == pytest.approx(1.3, rel=0.03)


def test_one_bad_window_moves_little() -> None:
    _, correction = _run(_observation(slower=20))
    assert correction.of(Role.DECODE).raw == pytest.approx(20)
    assert 1 < correction.decode < 1.6


def test_a_slow_and_a_fast_window_of_one_measure_cancel_out() -> None:
    _, first = _run(_observation(slower=2), _observation(slower=0.5))
    assert first.decode == pytest.approx(1.0, abs=0.12)


@given(st.lists(st.floats(0.01, 1000), min_size=1, max_size=30))
def test_the_applied_factors_stay_in_their_bounds(factors: list[float]) -> None:
    _, correction = _run(*[_observation(slower=factor) for factor in factors])
    for applied in (correction.prefill, correction.decode):
        assert LOWEST <= applied <= HIGHEST


COLD = _observation(slower=25)


@pytest.mark.parametrize(
    ("fleet", "ignored"),
    [
        pytest.param(_fleet(serving=2), "replicas are starting", id="starting"),
        pytest.param(_fleet(rollout=True), "replicas are starting", id="rollout"),
    ],
)
def test_a_cold_start_is_seen_and_not_learnt(fleet: Fleet, ignored: str) -> None:
    _, correction = _run(*[COLD] * 5, fleet=fleet)
    assert correction.decode == 1.0
    assert correction.of(Role.DECODE).ignored == ignored
    raw = correction.of(Role.DECODE).raw
    assert raw is not None
    assert raw > 10


def test_replicas_that_have_just_become_ready_are_not_learnt_from_for_one_window() -> None:
    state, _ = _run(*[_observation()] * 3)
    state, grown = _run(COLD, state=state, fleet=_fleet(serving=8, replicas=8), start_s=180)
    assert grown.decode == 1.0
    assert grown.of(Role.DECODE).ignored == "replicas started inside the window"
    _, later = _run(COLD, state=state, fleet=_fleet(serving=8, replicas=8), start_s=240)
    assert later.decode > 1.0


def test_fewer_replicas_are_no_cold_start() -> None:
    state, _ = _run(_observation())
    _, shrunk = _run(_observation(slower=1.3), state=state, fleet=_fleet(serving=2, replicas=2), start_s=60)
    assert shrunk.of(Role.PREFILL).ignored == ""


def test_a_handful_of_requests_teaches_nothing() -> None:
    _, correction = _run(_observation(slower=3, requests=9))
    assert correction.decode == 1.0
    assert correction.of(Role.DECODE).ignored == "9 requests in the window, at least 10 are needed"


def test_more_requests_weigh_more() -> None:
    few, many = (_run(_observation(slower=2, requests=count))[1].prefill for count in (15, 10_000))
    assert 1 < few < many


@pytest.mark.parametrize("missing", ["itl_ms", "isl_tokens", "osl_tokens", "requests", "request_duration_s"])
def test_an_unknown_figure_keeps_the_old_factor(missing: str) -> None:
    state, before = _run(*[_observation(slower=1.3)] * 5)
    window = replace(_observation(slower=3), **{missing: UNKNOWN})
    _, after = _run(window, state=state, start_s=300)
    assert after.decode == before.decode
    assert after.of(Role.DECODE).raw is None


def test_a_count_that_is_a_lower_bound_keeps_the_old_decode_factor() -> None:
    _, correction = _run(replace(_observation(slower=2), requests=Known(REQUESTS, lower_bound=True)))
    assert correction.decode == 1.0
    assert correction.of(Role.DECODE).raw is None


def test_no_worker_keeps_the_old_factor() -> None:
    _, correction = _run(_observation(slower=2), fleet=_fleet(serving=0, replicas=0))
    assert correction.of(Role.DECODE).raw is None
    assert correction.decode == 1.0


def test_disabled_correction_reports_and_applies_nothing() -> None:
    state, _ = _run(*[_observation(slower=2)] * 5)
    _, correction = _run(
        _observation(slower=2), state=state, policy=replace(POLICY, correction=False), start_s=300
    )
    assert (correction.prefill, correction.decode) == (1.0, 1.0)
    assert correction.of(Role.DECODE).raw == pytest.approx(2)


def test_plans_that_look_at_the_same_window_again_learn_it_once() -> None:
    state, once = _run(_observation(slower=2))
    for _ in range(10):
        state, again = correct(
            state,
            policy=POLICY,
            observation=_observation(slower=2),
            fleet=_fleet(),
            profile=PROFILE,
            now_s=0.0,
        )
    assert again.decode == once.decode


def test_an_agg_worker_has_both_factors() -> None:
    fleet = Fleet(roles=(RoleState(role=Role.AGG, replicas=DECODERS, serving=DECODERS),))
    _, correction = _run(_observation(slower=1.5), fleet=fleet, policy=replace(POLICY, mode=Mode.AGG))
    assert correction.prefill > 1
    assert correction.decode > 1


def test_a_mode_of_one_role_has_its_factor_alone() -> None:
    _, correction = _run(_observation(slower=1.5), policy=replace(POLICY, mode=Mode.PREFILL))
    assert set(correction.stages) == {Role.PREFILL}
    assert correction.decode == 1.0


@given(st.lists(st.floats(0.2, 5), max_size=6))
def test_a_restart_changes_nothing(factors: list[float]) -> None:
    state, _ = _run(*[_observation(slower=factor) for factor in factors])
    read_back = CorrectionState.from_document(json.loads(json.dumps(state.to_document())))
    assert read_back == state


@pytest.mark.parametrize(
    "document",
    [{"prefill": [1.0]}, {"nobody": [1.0, None, None, None]}, {"prefill": [math.nan, 0, 1, None]}, []],
    ids=["short", "unknown-stage", "nan", "list"],
)
def test_a_document_that_is_none_is_refused(document: object) -> None:
    with pytest.raises((TypeError, ValueError, AttributeError)):
        CorrectionState.from_document(document)  # type: ignore[arg-type]


def test_a_factor_read_back_is_held_in_its_bounds() -> None:
    state = CorrectionState.from_document({"decode": [1e9, 0, 1, None]})
    assert state.of(Role.DECODE).factor == HIGHEST


def test_raw_factors_need_workers() -> None:
    assert (
        raw_decode_factor(
            itl_ms=20,
            requests_per_interval=10,
            request_duration_s=1,
            isl_tokens=ISL,
            osl_tokens=OSL,
            workers=0,
            interval_s=60,
            profile=PROFILE,
        )
        is None
    )
    assert raw_prefill_factor(ttft_ms=2 * _profile_ttft(), isl_tokens=ISL, profile=PROFILE) == pytest.approx(
        2
    )
