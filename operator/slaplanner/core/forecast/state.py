"""What forecasting remembers between plans, beside the history itself.

History lives in Prometheus, so a restart forgets nothing that matters: all of this can be learnt
again from the history by `refit`, and only costs time.
"""

from __future__ import annotations

from dataclasses import dataclass

from slaplanner.core.model import PredictorPolicy

VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastState:
    """Immutable; a state of another version, policy, grid or horizon is ignored and learnt again."""

    version: int = VERSION
    policy: PredictorPolicy
    step_s: float
    horizon_steps: int
    end_s: float
    """Unix time of the last point that was learnt."""

    def fits(self, *, policy: PredictorPolicy, step_s: float, horizon_steps: int) -> bool:
        """Whether this state was learnt for exactly this use."""
        return (self.version, self.policy, self.step_s, self.horizon_steps) == (
            VERSION,
            policy,
            step_s,
            horizon_steps,
        )
