"""Other ways to choose the number of replicas, to measure the planner against."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from slaplanner.core.model import Fleet, Role
from slaplanner.core.readings import Observation
from slaplanner_lab.rivals.capacity import Work
from slaplanner_lab.simulation.loop import ROLES, Scenario
from slaplanner_lab.simulation.planners import Verdict
from slaplanner_lab.simulation.score import HOUR_S
from slaplanner_lab.simulation.traffic import Floats

HPA_TOLERANCE = 0.1
HPA_STABILIZATION_S = 300.0
"""The defaults of Kubernetes' HPA."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """The same size all the time."""

    replicas: Mapping[Role, int]

    def __call__(self, observation: Observation, fleet: Fleet, *, now_s: float) -> Verdict:  # noqa: ARG002
        return Verdict(replicas=self.replicas, reason="Constant")


@dataclass(slots=True, kw_only=True)
class Hpa:
    """A horizontal pod autoscaler on utilisation, per role.

    Utilisation: tokens that arrived per second / (ready replicas x tokens per second of one inside
    the SLA). As in Kubernetes: no change within 10 % of the target, the highest recommendation of
    the last 300 s counts when shrinking.
    """

    target: float
    interval_s: float
    tokens_s: Mapping[Role, float]
    """Throughput of one replica inside the SLA, from the profile at the traffic's mean lengths."""
    _recent: dict[Role, list[tuple[float, int]]] = field(default_factory=dict)

    def __call__(self, observation: Observation, fleet: Fleet, *, now_s: float) -> Verdict:
        return Verdict(
            replicas={role: self._role(role, observation, fleet, now_s) for role in ROLES}, reason="HPA"
        )

    def _role(self, role: Role, observation: Observation, fleet: Fleet, now_s: float) -> int:
        state = fleet.role(role)
        history = observation.history
        if history is None or not len(history):
            return state.replicas
        lengths = history.isl_tokens if role is Role.PREFILL else history.osl_tokens
        mean = next((length for length in reversed(lengths) if math.isfinite(length)), 0.0)
        arrived_tokens_s = history.requests[-1] * mean / self.interval_s
        ready = max(1, state.serving if state.serving is not None else state.replicas)
        ratio = arrived_tokens_s / (ready * self.tokens_s[role]) / self.target
        wanted = state.replicas if abs(ratio - 1.0) <= HPA_TOLERANCE else max(1, math.ceil(ready * ratio))
        recent = [entry for entry in self._recent.get(role, []) if entry[0] > now_s - HPA_STABILIZATION_S]
        self._recent[role] = [*recent, (now_s, wanted)]
        stable = max(count for _, count in self._recent[role])
        return wanted if wanted >= state.replicas else min(state.replicas, stable)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Clairvoyant:
    """Knows every request to come; sizes each interval for its busiest moments.

    `needs`: replicas per role that the coming interval + start-up takes at its busiest, one per
    interval from 0 on, before the division by the utilisation at which replicas are run.
    """

    needs: Mapping[Role, Floats]
    utilisation: Mapping[Role, float]
    interval_s: float

    @staticmethod
    def needs_of(scenario: Scenario, work: Work, *, busiest_s: float) -> dict[Role, Floats]:
        """The busiest *busiest_s* seconds of each interval + start-up, in replicas."""
        interval_s, traffic = scenario.policy.interval_s, scenario.traffic
        step_s = 1.0
        steps = math.ceil(traffic.last_arrival_s / step_s) + 1
        index = np.minimum((traffic.arrival_s / step_s).astype(int), steps - 1)
        width = max(1, round(busiest_s / step_s))
        ahead = max(1, round((interval_s + scenario.startup_s) / step_s))
        every = max(1, round(interval_s / step_s))
        needs = {}
        for role in ROLES:
            load = np.bincount(index, work.of(role), minlength=steps)
            sums = np.concatenate([[0.0], np.cumsum(load)])
            begin = np.arange(steps)
            end = np.minimum(begin + width, steps)
            rate = (sums[end] - sums[begin]) / (width * step_s)
            padded = np.concatenate([rate, np.zeros(ahead)])
            busiest = np.array([padded[at : at + ahead].max() for at in range(0, steps + every, every)])
            needs[role] = busiest
        return needs

    def at(self, now_s: float) -> dict[Role, int]:
        """The size that the interval from *now_s* on takes."""
        index = min(int(now_s // self.interval_s), next(iter(self.needs.values())).size - 1)
        return {role: int(self._sizes(role)[index]) for role in ROLES}

    def _sizes(self, role: Role) -> Floats:
        """Replicas for every interval from 0 on."""
        sizes: Floats = np.maximum(1.0, np.ceil(self.needs[role] / self.utilisation[role] - 1e-9))
        return sizes

    def least_gpu_hours(self, scenario: Scenario) -> float:
        """What these sizes take without the time that workers drain: a lower bound of the run's cost."""
        end_s = scenario.traffic.last_arrival_s
        begin_s = np.arange(0.0, end_s, self.interval_s)
        held_s = np.minimum(self.interval_s, end_s - begin_s)
        total = 0.0
        for role in ROLES:
            counts = self._sizes(role)[: begin_s.size]
            counts[0] = scenario.start[role]
            total += float(counts @ held_s[: counts.size]) * scenario.gpus(role)
        return total / HOUR_S

    def __call__(self, observation: Observation, fleet: Fleet, *, now_s: float) -> Verdict:  # noqa: ARG002
        return Verdict(replicas=self.at(now_s), reason="Clairvoyant")
