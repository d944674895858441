"""Who decides in a simulation: any callable from an observation to replicas with their reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from slaplanner.core.decision import Decision
from slaplanner.core.model import Fleet, Policy, Role
from slaplanner.core.plan import decide
from slaplanner.core.profiles import Profile
from slaplanner.core.readings import Observation
from slaplanner.core.state import PlannerState


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Replicas per role, and why."""

    replicas: Mapping[Role, int]
    reason: str
    decision: Decision | None = None
    """The whole plan, where the planner is slaplanner's own."""


class Planner(Protocol):
    """One interval's observation in, the replicas for the next one out."""

    def __call__(self, observation: Observation, fleet: Fleet, *, now_s: float) -> Verdict:
        """Decide. Called once per interval; what must be remembered is the callable's own."""
        ...


@dataclass(slots=True, kw_only=True)
class PolicyPlanner:
    """slaplanner itself: the same `decide` that the operator calls, with its state carried along."""

    policy: Policy
    profile: Profile
    state: PlannerState = field(default_factory=PlannerState)

    def __call__(self, observation: Observation, fleet: Fleet, *, now_s: float) -> Verdict:
        self._refit(observation, fleet)
        self.state, decision = decide(self.state, observation, fleet, self.policy, self.profile, now_s=now_s)
        return Verdict(replicas=decision.desired, reason=decision.reason.value, decision=decision)

    def _refit(self, observation: Observation, fleet: Fleet) -> None:
        """What the operator does beside its plans: fit again what is slow to fit."""
