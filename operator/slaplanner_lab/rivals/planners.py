"""Other ways to choose the number of replicas, to measure the planner against."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from slaplanner.core.arrays import Floats
from slaplanner.core.model import Fleet, Role, RoleState
from slaplanner.core.readings import Known, Observation
from slaplanner_lab.rivals.replica_capacity import Work
from slaplanner_lab.simulation.loop import Scenario
from slaplanner_lab.simulation.planners import Verdict
from slaplanner_lab.simulation.score import HOUR_S

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
class Behaviour:
    """How an HPA turns recommendations into replicas; the defaults are Kubernetes' own but for the pace.

    Growing takes the least recommendation of `grow_stabilization_s`, and in `grow_period_s` adds at most
    100 % or 4 replicas, whichever is more. Shrinking takes the largest of `shrink_stabilization_s`, and
    removes at most one replica in `shrink_period_s`; 0: as many as it likes.
    """

    grow_stabilization_s: float = 0.0
    grow_period_s: float = 15.0
    shrink_stabilization_s: float = HPA_STABILIZATION_S
    shrink_period_s: float = 0.0
    _wanted: list[tuple[float, int]] = field(default_factory=list)
    _moves: list[tuple[float, int]] = field(default_factory=list)

    def bounded(self, replicas: int, wanted: int, *, now_s: float) -> int:
        """The replicas to ask for, where *replicas* are asked for and *wanted* is recommended now."""
        if not self._wanted:
            self._wanted = [(now_s, replicas)]  # a new HPA begins with what it finds
        kept_s = max(self.grow_stabilization_s, self.shrink_stabilization_s)
        self._wanted = [(at, count) for at, count in self._wanted if at > now_s - kept_s]
        least = min(
            [wanted, *(count for at, count in self._wanted if at > now_s - self.grow_stabilization_s)]
        )
        most = max(
            [wanted, *(count for at, count in self._wanted if at > now_s - self.shrink_stabilization_s)]
        )
        self._wanted.append((now_s, wanted))
        asked = (
            self._grown(replicas, least, now_s) if least > replicas else self._shrunk(replicas, most, now_s)
        )
        if asked != replicas:
            self._moves.append((now_s, asked - replicas))
        return asked

    def _grown(self, replicas: int, wanted: int, now_s: float) -> int:
        before = replicas - sum(
            more for at, more in self._moves if more > 0 and at > now_s - self.grow_period_s
        )
        return max(replicas, min(wanted, max(2 * before, before + 4)))

    def _shrunk(self, replicas: int, wanted: int, now_s: float) -> int:
        if self.shrink_period_s:
            before = replicas - sum(
                less for at, less in self._moves if less < 0 and at > now_s - self.shrink_period_s
            )
            wanted = max(wanted, before - 1)
        return min(replicas, max(1, wanted))


@dataclass(slots=True, kw_only=True)
class Hpa:
    """A horizontal pod autoscaler on utilisation, per role.

    Utilisation: tokens that arrived per second in the window / (ready replicas x tokens per second of
    one inside the SLA). As in Kubernetes: no change within 10 % of the target, the highest
    recommendation of the last 300 s counts when shrinking.
    """

    target: float
    interval_s: float
    tokens_s: Mapping[Role, float]
    """Throughput of one replica inside the SLA, from the profile at the traffic's mean lengths."""
    _behaviours: dict[Role, Behaviour] = field(default_factory=dict)

    def __call__(self, observation: Observation, fleet: Fleet, *, now_s: float) -> Verdict:
        return Verdict(
            replicas={state.role: self._role(state, observation, now_s) for state in fleet.roles},
            reason="HPA",
        )

    def _role(self, state: RoleState, observation: Observation, now_s: float) -> int:
        requests, tokens = observation.requests, _tokens(state.role, observation)
        if not isinstance(requests, Known) or (requests.value > 0.0 and tokens is None):
            return state.replicas
        ready = max(1, state.serving if state.serving is not None else state.replicas)
        arrived_tokens_s = requests.value * (tokens or 0.0) / self.interval_s
        ratio = arrived_tokens_s / (ready * self.tokens_s[state.role]) / self.target
        wanted = state.replicas if abs(ratio - 1.0) <= HPA_TOLERANCE else max(1, math.ceil(ready * ratio))
        behaviour = self._behaviours.setdefault(state.role, Behaviour())
        return behaviour.bounded(state.replicas, wanted, now_s=now_s)


def _tokens(role: Role, observation: Observation) -> float | None:
    """Tokens of a request that *role* works off; None while a mean length is unknown."""
    lengths = {
        Role.PREFILL: (observation.isl_tokens,),
        Role.DECODE: (observation.osl_tokens,),
        Role.AGG: (observation.isl_tokens, observation.osl_tokens),
    }[role]
    known = [length.value for length in lengths if isinstance(length, Known)]
    return sum(known) if len(known) == len(lengths) else None


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
        for role in scenario.roles:
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
        return {role: int(self._sizes(role)[index]) for role in self.needs}

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
        for role in self.needs:
            counts = self._sizes(role)[: begin_s.size]
            counts[0] = scenario.start[role]
            total += float(counts @ held_s[: counts.size]) * scenario.gpus(role)
        return total / HOUR_S

    def __call__(self, observation: Observation, fleet: Fleet, *, now_s: float) -> Verdict:  # noqa: ARG002
        return Verdict(replicas=self.at(now_s), reason="Clairvoyant")
