"""Each method by itself: what it is known for, and equality with the libraries it stands for."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.tsa.statespace.sarimax import SARIMAX

from slaplanner.core.arrays import Floats
from slaplanner.core.forecast import arima
from slaplanner.core.forecast.direct import Direct
from slaplanner.core.forecast.features import CHANNELS, Expert, Lookback, point
from slaplanner.core.forecast.kalman import Kalman
from slaplanner.core.forecast.plateaus import RecentWindow, RunMean
from slaplanner.core.forecast.seasonal import DAY_S, Seasonal
from slaplanner.core.forecast.smoothing import AdaptiveGain, DampedTrend, Smoothing
from slaplanner.core.model import KalmanTuning
from slaplanner.core.readings import Series

STEPS = np.array([1.0, 2.0, 3.0])
NOWHERE = Lookback(Series(end_s=0.0, step_s=60.0), -1)


def _fed(expert: Expert, values: list[float]) -> Expert:
    for value in values:
        expert = expert.seen(np.full(CHANNELS, value))
    return expert


def _path(expert: Expert, values: list[float], member: int = 0) -> list[float]:
    path: list[float] = _fed(expert, values).paths(NOWHERE, STEPS)[member, 0].tolist()
    return path


EVERY_FAMILY = [
    pytest.param(Smoothing.of(1.0, 0.5), id="smoothing"),
    pytest.param(DampedTrend.of((0.5, 0.2, 0.9)), id="damped-trend"),
    pytest.param(AdaptiveGain.fresh(), id="adaptive-gain"),
    pytest.param(RunMean.of((2.0, 12.0)), id="run-mean"),
    pytest.param(RecentWindow.fresh(), id="recent-window"),
    pytest.param(Kalman.fresh(KalmanTuning()), id="kalman"),
    pytest.param(Direct.fresh(STEPS), id="direct-regression"),
]


@pytest.mark.parametrize("expert", EVERY_FAMILY)
def test_a_constant_load_is_forecast_as_it_is(expert: Expert) -> None:
    paths = _fed(expert, [7.0] * 30).paths(NOWHERE, STEPS)
    assert paths.shape == (len(expert.names), CHANNELS, len(STEPS))
    assert paths == pytest.approx(np.full(paths.shape, 7.0))


@pytest.mark.parametrize("expert", EVERY_FAMILY)
def test_a_gap_teaches_nothing_about_a_constant_load(expert: Expert) -> None:
    paths = _fed(expert, [7.0] * 10 + [float("nan")] * 5).paths(NOWHERE, STEPS)
    assert paths == pytest.approx(np.full(paths.shape, 7.0))


@pytest.mark.parametrize("expert", EVERY_FAMILY)
def test_nothing_is_said_before_the_first_point(expert: Expert) -> None:
    assert np.isnan(_fed(expert, [float("nan")]).paths(NOWHERE, STEPS)).all()


def test_a_weight_of_one_is_the_last_value() -> None:
    assert _path(Smoothing.of(1.0), [3.0, 9.0]) == [9.0, 9.0, 9.0]


def test_a_damped_trend_rises_ever_less() -> None:
    path = _path(DampedTrend.of((0.8, 0.3, 0.8)), [float(value) for value in range(40)])
    rises = np.diff(path)
    assert (rises > 0).all()
    assert (np.diff(rises) < 0).all()


def test_kalman_follows_a_straight_line() -> None:
    path = _path(Kalman.fresh(KalmanTuning()), [10.0 + 2 * value for value in range(60)])
    assert path == pytest.approx([130.0, 132.0, 134.0], rel=1e-3)


def test_a_regression_keeps_to_the_last_value_until_it_knows_better() -> None:
    assert _path(Direct.fresh(STEPS), [3.0, 9.0]) == [9.0, 9.0, 9.0]


def test_a_regression_learns_at_each_distance_how_a_load_swings() -> None:
    """With a period of four points, the next value, the one after it and the third all differ."""
    path = _path(Direct.fresh(STEPS), [100.0, 200.0, 300.0, 200.0] * 75)
    assert path == pytest.approx([100.0, 200.0, 300.0], abs=10.0)


def test_a_regression_learns_how_far_a_load_returns_to_its_mean() -> None:
    rng = np.random.default_rng(5)
    load = (1000 + 50 * rng.normal(size=400)).tolist()
    expert = _fed(Direct.fresh(STEPS), load)
    spike = expert.seen(np.full(CHANNELS, 1200.0)).paths(NOWHERE, STEPS)[0, 0]
    assert (spike < 1080.0).all()


def test_a_regression_does_not_mind_the_unit_of_a_load() -> None:
    load = (50 + np.random.default_rng(6).normal(size=60)).tolist()
    small, large = (_path(Direct.fresh(STEPS), [unit * value for value in load]) for unit in (1.0, 1e6))
    assert large == pytest.approx([1e6 * value for value in small])


def test_a_regression_stays_sound_through_long_calm_and_sudden_change() -> None:
    """Without anything to learn from, what it knows must not grow stale until it breaks."""
    load = [5.0] * 3000 + [5.0, 5000.0, 1e9, 0.0, 1e9] + [7.0] * 40
    assert _path(Direct.fresh(STEPS), load) == pytest.approx([7.0] * 3)


def test_the_run_mean_forgets_what_lies_before_a_jump() -> None:
    noise = [1.0, -1.0] * 15
    load = [100.0 + part for part in noise] + [200.0 + part for part in noise[:4]]
    assert _path(RunMean.of((2.0, 12.0)), load)[0] == pytest.approx(200.0, abs=1.0)


def test_a_median_ignores_a_spike_and_the_last_value_does_not() -> None:
    load = [10.0] * 19 + [1000.0]
    assert _path(RecentWindow.fresh(), load, member=3)[0] == 10.0
    assert _path(Smoothing.of(1.0), load)[0] == 1000.0


def _days(number: int, shape: Floats) -> Series:
    load = np.tile(shape, number)
    step_s = DAY_S / len(shape)
    return Series(
        end_s=len(load) * step_s,
        step_s=step_s,
        requests=tuple(load.tolist()),
        isl_tokens=(100.0,) * len(load),
        osl_tokens=(10.0,) * len(load),
    )


def _seasonal(series: Series) -> Floats:
    expert = Seasonal.of("day", DAY_S)
    for index in range(len(series)):
        expert = expert.seen(point(series, index))
    return expert.paths(Lookback(series, len(series) - 1), STEPS)[:, 0]


def test_yesterday_is_repeated_once_there_is_one() -> None:
    shape = np.arange(48.0) + 5
    paths = _seasonal(_days(2, shape))
    assert paths[0].tolist() == [5.0, 6.0, 7.0]
    assert np.isnan(_seasonal(_days(1, shape))).all()


def test_yesterdays_change_is_added_to_todays_level() -> None:
    shape = 100 + 50 * np.sin(np.linspace(0, 2 * np.pi, 48, endpoint=False))
    smoothed = _seasonal(_days(3, shape))[1]
    assert smoothed == pytest.approx(shape[:3], rel=0.05)


@pytest.mark.parametrize("order", [(0, 1, 1), (2, 1, 1), (1, 0, 1)], ids=str)
def test_stepping_an_arima_model_equals_statsmodels(order: tuple[int, int, int]) -> None:
    noise = np.random.default_rng(5).normal(size=160)
    load = np.cumsum(noise) if order[1] else noise + 0.6 * np.roll(noise, 1)
    load[120:123] = np.nan
    guess = arima._guess(load[:100], order)
    fitted = arima._fit_order(load[:100], order, guess, centre=0.0, spread=1.0)
    assert fitted is not None
    start = SARIMAX(load[:100], order=order, trend=None, concentrate_scale=True)
    result = start.fit(start_params=guess, disp=False, maxiter=30, cov_type="none", warn_convergence=False)
    expert = arima.Arima.of((fitted, *[None] * (CHANNELS - 1)))
    for value in load[100:]:
        expert = expert.seen(np.array([value, *[np.nan] * (CHANNELS - 1)]))
    wanted = result.apply(load).forecast(3)
    assert expert.paths(NOWHERE, STEPS)[0, 0] == pytest.approx(wanted, rel=1e-6, abs=1e-6)


def test_arima_keeps_to_the_random_walk_where_nothing_beats_it() -> None:
    walks = [np.cumsum(np.random.default_rng(seed).normal(size=200)) for seed in range(8)]
    chosen = [fitted.order for fitted in map(arima.fit, walks) if fitted is not None]
    assert chosen.count((0, 1, 0)) >= 6


def test_arima_sees_that_a_series_returns_to_its_mean() -> None:
    rng = np.random.default_rng(4)
    load = np.zeros(300)
    for index in range(1, len(load)):
        load[index] = 0.5 * load[index - 1] + rng.normal()
    chosen = arima.fit(100 + 10 * load)
    assert chosen is not None
    assert chosen.order[1] == 0 or chosen.order[2] > 0


@pytest.mark.parametrize(
    "values",
    [
        pytest.param([], id="nothing"),
        pytest.param([3.0], id="one-point"),
        pytest.param([float("nan")] * 50, id="gaps-only"),
    ],
)
def test_arima_is_not_fitted_to_nothing(values: list[float]) -> None:
    assert arima.fit(np.array(values)) is None


def test_arima_of_a_constant_is_that_constant() -> None:
    chosen = arima.fit(np.full(50, 1e9))
    assert chosen is not None
    assert chosen.order == (0, 1, 0)
    assert chosen.centre == 1e9
