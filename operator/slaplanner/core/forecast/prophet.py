"""Prophet, the real package, fitted outside of the plan; a plan reads its path.

The package is an extra: it is imported when a policy asks for it, and never before.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from slaplanner.core.arrays import Floats
from slaplanner.core.errors import ForecastError
from slaplanner.core.forecast.features import CHANNELS, DECODE, OSL, PREFILL, REQUESTS, Lookback
from slaplanner.core.model import PredictorPolicy
from slaplanner.core.reasons import Reason

WINDOW = 50
"""Points that a fit sees by default, as Dynamo's."""

SPARE_STEPS = 12
"""Steps beyond the horizon that a fit is good for: plans go on while the next fit is late."""

assert REQUESTS == 0
assert (PREFILL, DECODE) == (OSL + 1, OSL + 2)


@dataclass(frozen=True, slots=True, eq=False)
class Prophet:
    """The path that the last fit gave, shape (channels, steps), and how many points came since."""

    path: Floats
    age: int = 0

    @staticmethod
    def fresh() -> Prophet:
        return Prophet(np.full((CHANNELS, 1), np.nan))

    @property
    def names(self) -> tuple[str, ...]:
        return ("Prophet",)

    def seen(self, value: Floats) -> Self:  # noqa: ARG002 - the path stands until the next fit
        return replace(self, age=self.age + 1)

    def paths(self, lookback: Lookback, steps: Floats) -> Floats:  # noqa: ARG002 - the protocol's
        at = self.age + steps.astype(int) - 1
        inside = at < self.path.shape[1]
        path = np.where(inside, self.path[:, np.minimum(at, self.path.shape[1] - 1)], np.nan)
        return path[None]


def fit(values: Floats, *, end_s: float, step_s: float, steps: int) -> Prophet:
    """Fit requests, ISL and OSL, each by itself, with the package's own defaults.

    Args:
        values: shape (points, channels), NaN for gaps, which keep their place in time.
        end_s: Unix time of the last point.
        step_s: seconds between points.
        steps: how far the path must reach.

    Raises:
        ForecastError: the package is not installed, or its fit fails.
    """
    try:
        import pandas as pd  # noqa: PLC0415 - seconds that only Prophet's users pay
        import prophet  # noqa: PLC0415
    except ImportError as error:
        raise ForecastError(
            "Prophet is not installed, wanted the extra slaplanner[prophet]",
            reason=Reason.PREDICTOR_NOT_INSTALLED,
        ) from error
    reach = steps + SPARE_STEPS
    path = np.full((CHANNELS, reach), np.nan)
    past_s = end_s + step_s * np.arange(1 - len(values), 1)
    coming_s = end_s + step_s * np.arange(1, reach + 1)
    for channel in range(OSL + 1):
        if np.isfinite(values[:, channel]).sum() < 2:
            continue
        frame = pd.DataFrame({"ds": pd.to_datetime(past_s, unit="s"), "y": values[:, channel]})
        try:
            model = prophet.Prophet(uncertainty_samples=0).fit(frame)
            answer = model.predict(pd.DataFrame({"ds": pd.to_datetime(coming_s, unit="s")}))
        except (RuntimeError, ValueError) as error:
            raise ForecastError(f"Prophet could not be fitted: {error}") from error
        path[channel] = answer["yhat"].to_numpy(dtype=float)
    return Prophet(path)


def window(policy: PredictorPolicy) -> int:
    """Points of history that a fit sees."""
    return policy.window_size or WINDOW
