"""What forecasting remembers between plans, in addition to the history.

The history is in Prometheus, so a restart loses nothing: `refit` can learn all of this again, which only costs time. The
size of this state does not grow with the history.
"""

from __future__ import annotations

from dataclasses import dataclass

from slaplanner.core.forecast.online_forecaster import Learner
from slaplanner.core.model import PredictorPolicy, PredictorType
from slaplanner.core.reasons import Reason

VERSION = 1

_FIRST_FITS_EVERY = 5
_FITS_EVERY = 25
"""Points after which an ARIMA model is chosen again; sooner while the history is short.

Parameters that were estimated on the newest window are out of date by half of this on average. A fit
takes some 60 ms outside of the plan, so that a point costs about 2 ms.
"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ForecastState:
    """Immutable; a state of another version, policy, grid or horizon is ignored and learnt again."""

    version: int = VERSION
    policy: PredictorPolicy
    step_s: float
    horizon_steps: int
    end_s: float
    """Unix time of the last point that was learnt."""
    learner: Learner
    complete: bool = True
    """False: learnt in a hurry from the newest points only; the next refit learns them all."""
    fitted_points: int = 0
    """Points that were known at the last fit; 0: never fitted."""
    trouble: tuple[Reason, str] | None = None
    """Why the last fit failed."""

    def fits(self, *, policy: PredictorPolicy, step_s: float, horizon_steps: int) -> bool:
        """Whether this state was learnt for exactly this use."""
        return (self.version, self.policy, self.step_s, self.horizon_steps) == (
            VERSION,
            policy,
            step_s,
            horizon_steps,
        )

    @property
    def refit_due(self) -> bool:
        """Whether `refit` has something to do."""
        new = self.learner.points - self.fitted_points
        if not self.complete:
            return True
        if self.learner.points < self.policy.min_observations or new <= 0:
            return False
        match self.policy.type:
            case PredictorType.PROPHET:
                return True
            case PredictorType.ARIMA | PredictorType.AUTO:
                usual = min(_FITS_EVERY, max(_FIRST_FITS_EVERY, self.fitted_points // 4))
                return new >= (_FIRST_FITS_EVERY if self.learner.calibration.is_surprised else usual)
            case _:
                return False
