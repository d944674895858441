"""Prophet, where it is installed: the real package, at the right time, and only as fresh as its fit."""

from __future__ import annotations

import numpy as np
import pytest

from slaplanner.adapters.prophet_logs import hush_prophet
from slaplanner.core.forecast import ForecastState, forecast, prophet, refit
from slaplanner.core.model import PredictorPolicy, PredictorType
from slaplanner.core.readings import Series
from slaplanner.core.reasons import Reason

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
"""Prophet's own, of pandas; they are not ours to mend."""

POLICY = PredictorPolicy(type=PredictorType.PROPHET)


@pytest.fixture(autouse=True)
def quiet() -> None:
    pytest.importorskip("prophet", reason="the extra slaplanner[prophet] is not installed")
    hush_prophet()


def _ramp(length: int) -> Series:
    return Series(
        end_s=1_700_000_000.0 + 60.0 * length,
        step_s=60.0,
        requests=tuple(1000.0 + 10 * at for at in range(length)),
        isl_tokens=(500.0,) * length,
        osl_tokens=(50.0,) * length,
    )


def _fitted(length: int) -> ForecastState:
    return refit(_ramp(length), policy=POLICY, state=None, horizon_steps=3)


def test_a_straight_line_is_continued_at_the_right_time() -> None:
    outlook = forecast(_ramp(40), policy=POLICY, state=_fitted(40), horizon_steps=3)
    assert outlook.reason is Reason.FORECAST
    assert outlook.requests == pytest.approx([1400.0, 1410.0, 1420.0], rel=0.005)
    assert outlook.isl_tokens == pytest.approx([500.0] * 3, rel=0.01)
    assert outlook.prefill.mean_tokens == pytest.approx(np.multiply(outlook.requests, outlook.isl_tokens))


def test_a_fit_serves_the_plans_until_the_next_one() -> None:
    outlook = forecast(_ramp(44), policy=POLICY, state=_fitted(40), horizon_steps=3)
    assert outlook.reason is Reason.FORECAST
    assert outlook.requests[0] == pytest.approx(1440.0, rel=0.005)
    assert outlook.state is not None
    assert outlook.state.refit_due


def test_a_fit_that_is_too_old_is_told() -> None:
    late = 40 + prophet.SPARE_STEPS + 1
    outlook = forecast(_ramp(late), policy=POLICY, state=_fitted(40), horizon_steps=3)
    assert outlook.reason is Reason.WARMING_UP
    assert "not fitted to the newest points" in outlook.message
    assert outlook.requests[-1] == 1000.0 + 10 * (late - 1)


def test_its_sampler_says_nothing_of_a_fit(capfd: pytest.CaptureFixture[str]) -> None:
    _fitted(20)
    assert "cmdstanpy" not in capfd.readouterr().err
