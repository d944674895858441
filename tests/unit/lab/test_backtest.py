"""Backtests: scores that can be told by hand, no look-ahead, users' own forecasters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from slaplanner.core.errors import ForecastError
from slaplanner.core.forecast import prophet
from slaplanner.core.forecast.features import CHANNELS
from slaplanner.core.model import PredictorType
from slaplanner.core.readings import Series
from slaplanner_lab import backtest as backtests
from slaplanner_lab.backtest import Method, backtest, pinball, wape

NAN = float("nan")
LAST = Method.builtin(PredictorType.CONSTANT)


def _series(requests: Sequence[float]) -> Series:
    length = len(requests)
    return Series(
        end_s=60.0 * length,
        step_s=60.0,
        requests=tuple(requests),
        isl_tokens=(100.0,) * length,
        osl_tokens=(10.0,) * length,
    )


def test_wape_and_pinball_are_those_of_the_books() -> None:
    truth, guess = np.array([10.0, 20.0, NAN, 30.0]), np.array([12.0, 15.0, 1.0, NAN])
    assert wape(truth, guess) == pytest.approx((2 + 5) / 30)
    assert wape(truth, guess, first=1) == pytest.approx(5 / 20)
    assert pinball(truth, guess, 0.9) == pytest.approx((0.1 * 2 + 0.9 * 5) / 30)


def test_the_last_values_errors_are_the_series_own_changes() -> None:
    load = np.array([10.0, 12, 11, 15, 14, 18, 17, 21, 20, 24, 23, 27, 26, 30, 29, 33, 32, 36, 35, 39])
    (outcome,) = backtest(_series(load.tolist()), [LAST], horizon_steps=2).outcomes
    scored = np.arange(2, len(load))
    assert outcome.scores["requests"].wape == pytest.approx(
        np.abs(load[scored] - load[scored - 1]).sum() / load[scored].sum()
    )
    assert outcome.scores["requests"].wape_horizon == pytest.approx(
        np.abs(load[scored] - load[scored - 2]).sum() / load[scored].sum()
    )
    assert outcome.scores["prefill"].wape == pytest.approx(outcome.scores["requests"].wape)


def test_gaps_are_neither_learnt_nor_scored() -> None:
    load = [100.0] * 30
    load[15:18] = [NAN] * 3
    (outcome,) = backtest(_series(load), [LAST], horizon_steps=2).outcomes
    assert outcome.scores["requests"].wape == 0.0


def test_a_methods_forecasts_do_not_depend_on_what_comes_later() -> None:
    rng = np.random.default_rng(0)
    load = 100 + 10 * rng.normal(size=60)
    other = np.concatenate([load[:40], 1e6 * np.ones(20)])
    auto = Method.builtin(PredictorType.AUTO)
    one, two = (
        backtest(_series(values.tolist()), [auto], horizon_steps=3).outcomes[0] for values in (load, other)
    )
    assert one.ahead["requests"][1:41] == pytest.approx(two.ahead["requests"][1:41])
    assert one.upper["decode"][0.9][3:43] == pytest.approx(two.upper["decode"][0.9][3:43])


class _Median:
    def forecast(self, values: npt.NDArray[np.float64], horizon: int) -> list[float]:
        return [float(np.nanmedian(values[-5:]))] * horizon


class _WrongLength:
    def forecast(self, values: npt.NDArray[np.float64], horizon: int) -> list[float]:
        return [float(values[-1])] * (horizon + 1)


class _Nonsense:
    def forecast(self, values: npt.NDArray[np.float64], horizon: int) -> list[float]:  # noqa: ARG002 - the protocol's
        return [NAN, -1.0, float("inf")][:horizon]


def test_a_forecaster_of_ones_own_is_scored_and_bounded_like_the_others() -> None:
    rng = np.random.default_rng(1)
    load = (1000 + 50 * rng.normal(size=200)).tolist()
    own, last = backtest(
        _series(load), [Method(name="Median", own=_Median()), LAST], horizon_steps=2
    ).outcomes
    assert own.scores["requests"].wape < last.scores["requests"].wape
    assert 0.8 <= own.scores["prefill"].coverage[0.9] <= 1.0


def test_an_answer_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ForecastError, match=r"Wrong answered an array of shape \(3,\), wanted \(2,\)"):
        backtest(_series([1.0] * 20), [Method(name="Wrong", own=_WrongLength())], horizon_steps=2)


def test_the_last_value_stands_in_for_nonsense() -> None:
    (own,) = backtest(_series([5.0] * 20), [Method(name="No", own=_Nonsense())], horizon_steps=2).outcomes
    assert own.scores["requests"].wape == 0.0


def test_a_slow_method_is_asked_on_an_even_sample_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """It learns of every point all the same."""
    monkeypatch.setattr(backtests, "SLOW_SAMPLE", 9)
    monkeypatch.setattr(prophet, "fit", lambda *_, **__: prophet.Prophet(np.full((CHANNELS, 20), 100.0)))
    load = _series([100.0 + at % 3 for at in range(100)])
    slow, fast = backtest(load, [Method.builtin(PredictorType.PROPHET), LAST], horizon_steps=2).outcomes
    assert (slow.sampled, fast.sampled) == (9, None)
    asked = np.flatnonzero(np.isfinite(slow.ahead["requests"]))
    assert len(asked) == 9
    assert np.diff(asked) == pytest.approx(np.full(8, np.diff(asked).mean()), abs=1.0)
    assert len(slow.refit_ms) == 9


def test_progress_is_told_for_every_point() -> None:
    seen: list[tuple[str, int, int]] = []
    backtest(_series([5.0] * 20), [LAST], horizon_steps=2, progress=lambda *step: seen.append(step))
    assert seen[0] == ("Constant", 1, 19)
    assert seen[-1] == ("Constant", 19, 19)
