"""The two doors: warm-up, gaps, state, failures, bounds, and what no history may break."""

from __future__ import annotations

import builtins
import copy
import math
import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slaplanner.core.forecast import (
    LEVELS,
    Forecast,
    ForecastState,
    calibration,
    forecast,
    horizon_steps,
    refit,
    service,
)
from slaplanner.core.forecast.online_forecaster import Learner
from slaplanner.core.model import PredictorPolicy, PredictorType
from slaplanner.core.readings import Series
from slaplanner.core.reasons import Reason

NAN = float("nan")
FAST = [PredictorType.AUTO, PredictorType.CONSTANT, PredictorType.KALMAN, PredictorType.ARIMA]


def _series(
    requests: Sequence[float], *, isl: float = 1000.0, osl: float = 100.0, step_s: float = 60.0
) -> Series:
    length = len(requests)
    return Series(
        end_s=1_700_000_000.0 + length * step_s,
        step_s=step_s,
        requests=tuple(requests),
        isl_tokens=(isl,) * length,
        osl_tokens=(osl,) * length,
    )


def _walk(
    requests: Sequence[float], kind: PredictorType, *, horizon: int = 3, fits: bool = False, **policy: Any
) -> list[Forecast]:
    chosen = PredictorPolicy(type=kind, **policy)
    state: ForecastState | None = None
    outlooks = []
    whole = _series(requests)
    for length in range(1, len(requests) + 1):
        past = whole.first(length)
        outlook = forecast(past, policy=chosen, state=state, horizon_steps=horizon)
        state = outlook.state
        if fits and state is not None and state.refit_due:
            state = refit(past, policy=chosen, state=state, horizon_steps=horizon)
        outlooks.append(outlook)
    return outlooks


def _assert_usable(outlook: Forecast, horizon: int) -> None:
    for path in (outlook.requests, outlook.isl_tokens, outlook.osl_tokens):
        assert len(path) == horizon
        assert all(math.isfinite(value) and value >= 0 for value in path)
    for demand in (outlook.prefill, outlook.decode):
        assert len(demand.mean_tokens) == len(demand.bounds_tokens) == horizon
        for mean, bounds in zip(demand.mean_tokens, demand.bounds_tokens, strict=True):
            assert math.isfinite(mean)
            assert mean >= 0
            assert all(math.isfinite(bound) and bound >= 0 for bound in bounds)
            assert list(bounds) == sorted(bounds)


ADVERSARIAL = {
    "empty": [],
    "one-point": [5.0],
    "two-points": [5.0, 6.0],
    "constant": [100.0] * 60,
    "all-zero": [0.0] * 60,
    "all-gaps": [NAN] * 60,
    "one-spike": [10.0] * 30 + [1e6] + [10.0] * 30,
    "level-shift": [10.0] * 30 + [1000.0] * 30,
    "falls-to-zero": [500.0] * 30 + [0.0] * 30,
    "nan-runs": [50.0] * 10 + [NAN] * 15 + [60.0] * 10 + [NAN] * 5,
    "a-billion": [1e9 + index for index in range(60)],
    "beyond-all-bounds": [1e300, 1e-300] * 30,
    "infinite-and-negative": [float("inf"), -5.0, 10.0, float("-inf")] * 15,
    "alternating": [0.0, 1e6] * 30,
    "idle-then-traffic": [0.0] * 40 + [100.0] * 20,
}


@pytest.mark.parametrize("kind", FAST)
@pytest.mark.parametrize("requests", ADVERSARIAL.values(), ids=ADVERSARIAL.keys())
def test_no_history_makes_a_forecast_unusable(requests: list[float], kind: PredictorType) -> None:
    policy = PredictorPolicy(type=kind)
    state = refit(_series(requests), policy=policy, state=None, horizon_steps=4)
    for known in (None, state):
        _assert_usable(forecast(_series(requests), policy=policy, state=known, horizon_steps=4), 4)


@given(
    st.lists(st.one_of(st.just(NAN), st.floats(allow_nan=False, allow_infinity=True)), max_size=40),
    st.sampled_from([PredictorType.AUTO, PredictorType.KALMAN]),
    st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_whatever_was_recorded_the_forecast_is_finite_and_not_negative(
    requests: list[float], kind: PredictorType, log1p: bool
) -> None:
    policy = PredictorPolicy(type=kind, log1p=log1p)
    _assert_usable(forecast(_series(requests), policy=policy, horizon_steps=3), 3)


@pytest.mark.parametrize(
    ("kind", "points"),
    [
        pytest.param(PredictorType.CONSTANT, 1, id="constant-at-once"),
        pytest.param(PredictorType.AUTO, 3, id="auto"),
        pytest.param(PredictorType.ARIMA, 8, id="arima-after-its-next-fit"),
        pytest.param(PredictorType.KALMAN, 20, id="kalman-after-overshooting"),
    ],
)
def test_a_level_shift_is_followed_within_a_few_steps(kind: PredictorType, points: int) -> None:
    rng = np.random.default_rng(1)
    load = np.concatenate([rng.normal(100, 3, 60), rng.normal(300, 3, points)])
    outlook = _walk(load.tolist(), kind, fits=True)[-1]
    assert outlook.requests[0] == pytest.approx(300, rel=0.1)


@pytest.mark.parametrize(
    ("kind", "stands_in"),
    [
        pytest.param(PredictorType.AUTO, True, id="auto-waits"),
        pytest.param(PredictorType.ARIMA, True, id="arima-waits"),
        pytest.param(PredictorType.PROPHET, True, id="prophet-waits"),
        pytest.param(PredictorType.KALMAN, False, id="kalman-starts-at-once"),
        pytest.param(PredictorType.CONSTANT, False, id="constant-starts-at-once"),
    ],
)
def test_the_last_value_stands_in_while_history_is_short(kind: PredictorType, stands_in: bool) -> None:
    outlook = _walk([10.0, 20.0, 30.0, 40.0], kind)[-1]
    if stands_in:
        assert outlook.reason is Reason.WARMING_UP
        assert "4 of 5 points" in outlook.message
        assert outlook.requests == (40.0, 40.0, 40.0)
    else:
        assert outlook.reason is Reason.FORECAST


def test_arima_says_that_it_waits_for_its_first_fit_and_then_has_it() -> None:
    load = [100.0 + index % 7 for index in range(20)]
    policy = PredictorPolicy(type=PredictorType.ARIMA)
    before = forecast(_series(load), policy=policy, horizon_steps=2)
    assert before.reason is Reason.WARMING_UP
    assert before.state is not None
    assert before.state.refit_due
    fitted = refit(_series(load), policy=policy, state=before.state, horizon_steps=2)
    assert not fitted.refit_due
    assert forecast(_series(load), policy=policy, state=fitted, horizon_steps=2).reason is Reason.FORECAST


def test_arima_is_fitted_often_while_young_and_is_never_out_of_date() -> None:
    rng = np.random.default_rng(0)
    load = (1000 + 50 * rng.normal(size=160)).tolist()
    fits = [outlook.state for outlook in _walk(load, PredictorType.ARIMA, fits=True)]
    at = sorted({state.fitted_points for state in fits if state is not None and state.fitted_points})
    waits = np.diff(at).tolist()
    assert at[:3] == [5, 10, 15]
    assert waits == sorted(waits)
    assert waits[-1] == 25


def test_prophet_without_its_package_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_prophet(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "prophet":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_prophet)
    load, policy = [10.0] * 10, PredictorPolicy(type=PredictorType.PROPHET)
    state = refit(_series(load), policy=policy, state=None)
    outlook = forecast(_series(load), policy=policy, state=state)
    assert outlook.reason is Reason.PREDICTOR_NOT_INSTALLED
    assert "slaplanner[prophet]" in outlook.message
    assert outlook.requests == (10.0,)


def test_idle_time_before_the_first_traffic_is_not_learnt() -> None:
    idle_first = _walk([0.0] * 20 + [50.0, 55.0, 60.0], PredictorType.KALMAN)[-1]
    traffic_only = _walk([50.0, 55.0, 60.0], PredictorType.KALMAN)[-1]
    assert idle_first.requests == pytest.approx(traffic_only.requests)


def test_zeros_after_traffic_are_true_zeros() -> None:
    assert _walk([50.0] * 10 + [0.0], PredictorType.CONSTANT)[-1].requests[0] == 0.0


def test_lengths_are_kept_through_idle_time_and_are_the_policys_before_traffic() -> None:
    quiet = Series(
        end_s=180.0,
        step_s=60.0,
        requests=(5.0, 0.0, 0.0),
        isl_tokens=(700.0, NAN, NAN),
        osl_tokens=(70.0, NAN, NAN),
    )
    outlook = forecast(quiet, policy=PredictorPolicy(type=PredictorType.CONSTANT))
    assert (outlook.isl_tokens[0], outlook.osl_tokens[0]) == (700.0, 70.0)
    nothing = Series(end_s=60.0, step_s=60.0, requests=(0.0,), isl_tokens=(NAN,), osl_tokens=(NAN,))
    outlook = forecast(nothing, policy=PredictorPolicy(), isl_tokens=3000.0, osl_tokens=150.0)
    assert (outlook.isl_tokens[0], outlook.osl_tokens[0]) == (3000.0, 150.0)


def test_a_gap_is_not_a_zero() -> None:
    outlook = _walk([100.0] * 10 + [NAN] * 3, PredictorType.AUTO)[-1]
    assert outlook.requests[0] == pytest.approx(100.0)


@pytest.mark.parametrize("kind", FAST)
def test_point_by_point_and_all_at_once_come_to_the_same(kind: PredictorType) -> None:
    load = (100 + 10 * np.random.default_rng(3).normal(size=60)).tolist()
    stepwise = _walk(load, kind)[-1]
    at_once = forecast(_series(load), policy=PredictorPolicy(type=kind), horizon_steps=3)
    assert at_once.requests == pytest.approx(stepwise.requests)
    assert at_once.prefill.bounds_tokens == pytest.approx(np.array(stepwise.prefill.bounds_tokens))


def test_the_same_history_and_state_give_the_same_answer() -> None:
    load = (100 + 10 * np.random.default_rng(3).normal(size=60)).tolist()
    state = refit(_series(load), policy=PredictorPolicy(), state=None, horizon_steps=3)
    first, second = (
        forecast(_series([*load, 130.0]), policy=PredictorPolicy(), state=state, horizon_steps=3)
        for _ in range(2)
    )
    assert first == second


def test_nothing_newer_than_its_point_moves_a_forecast() -> None:
    load = (100 + 10 * np.random.default_rng(3).normal(size=80)).tolist()
    cut = _walk(load[:60], PredictorType.AUTO)[-1]
    assert _walk(load, PredictorType.AUTO)[59].requests == cut.requests


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"policy": PredictorPolicy(type=PredictorType.KALMAN)}, id="another-predictor"),
        pytest.param({"horizon_steps": 5}, id="another-horizon"),
    ],
)
def test_a_changed_spec_acts_with_the_next_forecast(change: dict[str, Any]) -> None:
    load = [100.0 + index for index in range(30)]
    state = refit(_series(load), policy=PredictorPolicy(), state=None, horizon_steps=3)
    asked = {"policy": PredictorPolicy(), "horizon_steps": 3, **change}
    outlook = forecast(_series(load), state=state, **asked)
    assert outlook.state is not None
    assert outlook.state.fits(policy=asked["policy"], step_s=60.0, horizon_steps=asked["horizon_steps"])
    assert outlook.method is asked["policy"].type


@pytest.mark.parametrize(
    "jump_s", [-86_400.0, -60.0, 86_400.0, 1e9], ids=["a-day-back", "a-step-back", "a-day", "far"]
)
def test_a_clock_that_jumps_starts_anew(jump_s: float) -> None:
    load = [100.0 + index % 5 for index in range(30)]
    state = refit(_series(load), policy=PredictorPolicy(), state=None)
    moved = _series(load)
    moved = Series(
        end_s=moved.end_s + jump_s,
        step_s=moved.step_s,
        requests=moved.requests,
        isl_tokens=moved.isl_tokens,
        osl_tokens=moved.osl_tokens,
    )
    outlook = forecast(moved, policy=PredictorPolicy(), state=state)
    _assert_usable(outlook, 1)
    assert outlook.state is not None
    assert outlook.state.end_s == moved.end_s


def test_a_long_history_is_learnt_by_the_refit_not_by_the_plan() -> None:
    load = [100.0 + index % 5 for index in range(service.HURRY_POINTS * 3)]
    policy = PredictorPolicy(type=PredictorType.KALMAN)
    outlook = forecast(_series(load), policy=policy)
    assert outlook.state is not None
    assert outlook.state.learner.points == service.HURRY_POINTS
    assert outlook.state.refit_due
    state = refit(_series(load), policy=policy, state=outlook.state)
    assert state.learner.points == len(load)
    assert not state.refit_due


def _size(state: ForecastState) -> int:
    return len(pickle.dumps(state))


def test_memory_does_not_grow_with_the_history() -> None:
    rng = np.random.default_rng(0)
    load = (1000 + 50 * rng.normal(size=1400)).tolist()
    policy = PredictorPolicy(type=PredictorType.KALMAN)
    early = refit(_series(load[:1050]), policy=policy, state=None)
    late = refit(_series(load), policy=policy, state=early)
    assert late.learner.points == len(load)
    assert _size(late) <= _size(early) * 1.001


def test_a_state_survives_copying_and_storing() -> None:
    load = [100.0 + index % 5 for index in range(40)]
    state = refit(_series(load), policy=PredictorPolicy(), state=None)
    wanted = forecast(_series(load), policy=PredictorPolicy(), state=state)
    for twin in (copy.deepcopy(state), pickle.loads(pickle.dumps(state))):
        assert forecast(_series(load), policy=PredictorPolicy(), state=twin) == wanted


def test_a_forecaster_that_fails_leaves_the_last_value_and_its_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("in the tenth dimension")

    monkeypatch.setattr(Learner, "learnt", broken)
    outlook = forecast(_series([10.0, 20.0]), policy=PredictorPolicy(), horizon_steps=2)
    assert outlook.reason is Reason.FORECAST_FAILED
    assert "in the tenth dimension" in outlook.message
    assert outlook.requests == (20.0, 20.0)
    assert outlook.prefill.upper(0.9) == 20_000.0


def test_the_path_reaches_as_far_as_a_new_worker_needs() -> None:
    assert horizon_steps(interval_s=60, startup_s=120) == 3
    assert horizon_steps(interval_s=180, startup_s=120) == 2
    assert horizon_steps(interval_s=600, startup_s=0) == 1


@pytest.mark.parametrize("horizon", [1, 8, 9, 60])
def test_every_step_of_the_horizon_has_a_mean_and_bounds(horizon: int) -> None:
    outlook = forecast(
        _series([10.0 * index for index in range(40)]), policy=PredictorPolicy(), horizon_steps=horizon
    )
    _assert_usable(outlook, horizon)


def test_bounds_hold_as_often_as_they_say() -> None:
    rng = np.random.default_rng(11)
    load = np.exp(np.cumsum(rng.normal(0, 0.03, 700)) + rng.normal(0, 0.1, 700)) * 1000
    outlooks = _walk(load.tolist(), PredictorType.CONSTANT, horizon=2)
    for level, low, high in ((0.9, 0.87, 0.93), (0.99, 0.975, 0.998)):
        held = [load[at + 2] * 1000 <= outlooks[at].prefill.upper(level) for at in range(100, len(load) - 2)]
        assert low <= np.mean(held) <= high


@pytest.mark.parametrize("rarest", [1.0, 3.0], ids=["as-usual", "the-largest-error-three-times-as-large"])
def test_with_many_errors_rare_levels_do_not_hang_on_the_largest(rarest: float) -> None:
    chance = (np.arange(400) + 0.5) / 400
    scores = -np.log(1 - chance)
    scores[-1] *= rarest
    bounds = calibration._quantiles([scores[None]])[0, 0]
    assert bounds == pytest.approx(-np.log(1 - np.array(LEVELS)), rel=0.2)


def test_what_was_assumed_before_any_error_does_not_stretch_the_bounds_later() -> None:
    rng = np.random.default_rng(4)
    load = [10.0] * 3 + (1000 + 50 * rng.normal(size=60)).tolist()
    outlook = _walk(load, PredictorType.CONSTANT)[-1]
    assert 1000 * 1050 < outlook.prefill.upper(0.9) < 1000 * 1200
    assert outlook.prefill.upper(0.99) < 1000 * 1500


def test_before_any_error_the_bounds_are_a_share_of_the_load() -> None:
    outlook = forecast(_series([1000.0]), policy=PredictorPolicy(type=PredictorType.CONSTANT))
    assert outlook.prefill.upper(0.9) == pytest.approx(1.2 * outlook.prefill.mean_tokens[0], rel=0.1)


@pytest.mark.parametrize("errors", [20, 100, 1000])
def test_levels_that_hardly_any_error_lies_beyond_follow_the_tail_of_the_others(errors: int) -> None:
    chance = (np.arange(errors) + 0.5) / errors
    bounds = calibration._quantiles([-np.log(1 - chance)[None]])[0, 0]
    rare = np.array(LEVELS) > 0.9
    assert bounds == pytest.approx(-np.log(1 - np.array(LEVELS)), rel=0.35 if errors < 100 else 0.1)
    assert np.diff(bounds[rare]) == pytest.approx(-np.diff(np.log(1 - np.array(LEVELS)[rare])), rel=0.25)


def test_bounds_rise_with_the_level_and_between_the_learnt_ones() -> None:
    outlook = _walk((100 + 10 * np.random.default_rng(9).normal(size=80)).tolist(), PredictorType.AUTO)[-1]
    levels = np.linspace(0.5, 0.999, 40)
    bounds = [outlook.decode.upper(level) for level in levels]
    assert bounds == sorted(bounds)
    assert outlook.decode.upper(LEVELS[4]) == pytest.approx(outlook.decode.bounds_tokens[-1][4])
    assert outlook.decode.upper(0.2) == outlook.decode.bounds_tokens[-1][0]
    with pytest.raises(ValueError, match="step 4 lies outside the horizon of 3 steps"):
        outlook.decode.upper(0.9, step=4)


def test_auto_is_close_to_the_best_of_the_others_on_very_different_loads() -> None:
    rng = np.random.default_rng(6)
    loads = {
        "noise": 1000 + 100 * rng.normal(size=160),
        "walk": 5000 + np.cumsum(50 * rng.normal(size=160)),
        "steps": np.repeat(rng.uniform(500, 1500, 16), 10) + 10 * rng.normal(size=160),
    }
    for name, load in loads.items():
        errors = {}
        for kind in (PredictorType.AUTO, PredictorType.CONSTANT, PredictorType.KALMAN):
            ahead = [outlook.requests[0] for outlook in _walk(load.tolist(), kind)][:-1]
            errors[kind] = np.mean(np.abs(np.array(ahead) - load[1:])[25:])
        assert errors[PredictorType.AUTO] <= 1.05 * min(errors.values()), name
