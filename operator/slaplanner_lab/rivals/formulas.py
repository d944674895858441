"""`sizing: Throughput` as Dynamo's planner acts on it: no damping, and correction raw or none."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from slaplanner.core.correction import Correction, CorrectionState, Factor, correct
from slaplanner.core.forecast import ForecastState, forecast, refit
from slaplanner.core.model import Fleet, Policy, Role
from slaplanner.core.profiles import Profile
from slaplanner.core.readings import Observation, value_or
from slaplanner.core.sizing import MeanLoad, throughput
from slaplanner_lab.simulation.planners import Refits, Verdict


@dataclass(slots=True, kw_only=True)
class Formulas:
    """Forecast one interval ahead, divide by throughput, act at once."""

    policy: Policy
    profile: Profile
    raw_correction: bool
    forecasts: int = 0
    """How many of its plans the predictor itself was ready for; in the others the last value stood in."""
    _forecasts: ForecastState | None = None
    _refits: Refits = field(default_factory=Refits)
    _factors: dict[Role, Factor] = field(default_factory=dict)

    def __call__(self, observation: Observation, fleet: Fleet, *, now_s: float) -> Verdict:
        policy, history = self.policy, observation.history
        if history is None or not len(history):
            return Verdict(replicas={}, reason="HoldUnknown")
        if self._refits.due(policy.predictor.type, len(history)):
            self._forecasts = refit(history, policy=policy.predictor, state=self._forecasts)
        outlook = forecast(
            history,
            policy=policy.predictor,
            state=self._forecasts,
            isl_tokens=value_or(observation.isl_tokens, policy.sla.isl_tokens),
            osl_tokens=value_or(observation.osl_tokens, policy.sla.osl_tokens),
        )
        self._forecasts = outlook.state
        self.forecasts += outlook.available
        _, correction = correct(
            CorrectionState(),
            policy=policy,
            observation=observation,
            fleet=fleet,
            profile=self.profile,
            now_s=now_s,
        )
        for role, factor in correction.stages.items():
            if factor.raw is not None:
                self._factors[role] = replace(factor, applied=factor.raw)
        sized = throughput.size(
            policy=policy,
            profile=self.profile,
            demand=MeanLoad(
                requests_per_interval=outlook.requests[0],
                isl_tokens=outlook.isl_tokens[0],
                osl_tokens=outlook.osl_tokens[0],
            ),
            correction=Correction(stages=dict(self._factors) if self.raw_correction else {}),
            gpus_per_replica={state.role: state.gpus_per_replica or 1 for state in fleet.roles},
        )
        return Verdict(replicas={role.role: role.replicas for role in sized.roles}, reason="Formulas")
