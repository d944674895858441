"""Who decides in a simulation: any callable from an observation to replicas with their reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

from slaplanner.core.decision import Decision
from slaplanner.core.forecast import horizon_steps, refit
from slaplanner.core.glance import Alarm, Plans, Sight, judge
from slaplanner.core.model import Fleet, Policy, PredictorType, Role
from slaplanner.core.plan import decide, startup_seconds
from slaplanner.core.profiles import Profile
from slaplanner.core.readings import Observation
from slaplanner.core.state import PlannerState
from slaplanner_lab.simulation.telemetry import EngineReading

LEAST_POINTS = 5
GROWTH = 1.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Replicas per role, and why."""

    replicas: Mapping[Role, int]
    reason: str
    decision: Decision | None = None
    """The whole plan, where the planner is slaplanner's own."""


class ObservationPlanner(Protocol):
    """One interval's observation in, the replicas for the next one out."""

    def __call__(self, observation: Observation, fleet: Fleet, *, now_s: float) -> Verdict:
        """Decide. Called once per interval; what must be remembered is the callable's own."""
        ...


@runtime_checkable
class Glancing(Protocol):
    """A planner that may also be asked between two intervals."""

    def glance(self, sight: Sight, fleet: Fleet) -> Alarm | None:
        """Why it wants to be called now; None: it does not."""
        ...


@runtime_checkable
class SeesEngine(Protocol):
    """A planner that reads what routers and workers export, too."""

    def see(self, engine: EngineReading) -> None:
        """Comes before each call."""
        ...


@dataclass(slots=True, kw_only=True)
class Refits:
    """When a simulation fits a slow predictor again.

    A fit costs a second or so. The operator, which has minutes between its plans, fits after each of
    them; a simulated day would take half an hour so. Here ARIMA and Prophet are fitted again when the
    history has grown by a tenth, and Auto does without the members that need fitting, which its
    mixture gave little weight on the traces that this was tried on.
    """

    fitted_points: int = 0

    def due(self, predictor: PredictorType, points: int) -> bool:
        """Whether to fit now, with so many points of history."""
        if predictor not in {PredictorType.ARIMA, PredictorType.PROPHET}:
            return False
        if points < max(LEAST_POINTS, GROWTH * self.fitted_points):
            return False
        self.fitted_points = points
        return True


@dataclass(slots=True, kw_only=True)
class PolicyPlanner:
    """slaplanner itself: the same `decide` that the operator calls, with its state carried along."""

    policy: Policy
    profile: Profile
    state: PlannerState = field(default_factory=PlannerState)
    refits: Refits = field(default_factory=Refits)
    glances: bool = True
    """Whether it looks between two plans, as the operator does."""
    decision: Decision | None = None
    """The last one."""
    plans: Plans = field(default_factory=Plans)
    alarm: Alarm | None = None
    """What the coming plan is made for; None: its time has come."""

    def glance(self, sight: Sight, fleet: Fleet) -> Alarm | None:
        """What contradicts the last decision, where a plan may run for it."""
        if not self.glances or self.decision is None:
            return None
        self.alarm = judge(
            sight,
            decision=self.decision,
            fleet=fleet,
            policy=self.policy,
            burstiness=self.state.burstiness,
            plans=self.plans,
            startup_s=startup_seconds(self.policy, fleet),
        )
        return self.alarm

    def __call__(self, observation: Observation, fleet: Fleet, *, now_s: float) -> Verdict:
        self.state, decision = decide(self.state, observation, fleet, self.policy, self.profile, now_s=now_s)
        self._refit(observation, fleet)
        self.plans = self.plans.after(now_s=now_s, alarm=self.alarm)
        self.decision, self.alarm = decision, None
        return Verdict(replicas=decision.desired, reason=decision.reason.value, decision=decision)

    def _refit(self, observation: Observation, fleet: Fleet) -> None:
        """What the operator does between its plans, as far as it can be waited for (see `Refits`)."""
        history = observation.history
        if history is None or not self.refits.due(self.policy.predictor.type, len(history)):
            return
        steps = horizon_steps(
            interval_s=self.policy.interval_s, startup_s=startup_seconds(self.policy, fleet)
        )
        fitted = refit(history, policy=self.policy.predictor, state=self.state.forecast, horizon_steps=steps)
        self.state = replace(self.state, forecast=fitted)
