"""Forecasting: values in, a path with honest bounds out.

`forecast` is fast and runs inside a plan; `refit` is slow and runs outside of it. A method never
reaches for the clock or keeps a buffer: history and `ForecastState` come in as arguments.
"""

from slaplanner.core.forecast.calibration import LEVELS
from slaplanner.core.forecast.outcome import Forecast, TokenForecast, horizon_steps, uppers
from slaplanner.core.forecast.service import forecast, refit
from slaplanner.core.forecast.state import ForecastState
from slaplanner.core.forecast.warmup import warmed_up

__all__ = [
    "LEVELS",
    "Forecast",
    "ForecastState",
    "TokenForecast",
    "forecast",
    "horizon_steps",
    "refit",
    "uppers",
    "warmed_up",
]
