"""What llm-d's guides scale with instead: two KEDA ScaledObjects, without a profile or a forecast.

`SloRule` is the rule on latency (llm-d, guides/workload-autoscaling, README.slo-aware.md), one per role
as that page proposes for disaggregated fleets: TTFT drives prefill, ITL drives decode. `TokenRule` is
the one on tokens of outstanding work (keda-epp-token-aware). Both poll every 15 s and act through an
HPA. Their thresholds are given, so that a comparison can find the best ones in hindsight.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from slaplanner.core.model import Fleet, Role, RoleState, Sla
from slaplanner.core.readings import Histogram, Observation
from slaplanner_lab.rivals.planners import HPA_TOLERANCE, Behaviour
from slaplanner_lab.simulation.planners import Verdict
from slaplanner_lab.simulation.telemetry import EngineReading

QUANTILE = 0.9
CLAMP = 2.0
SMOOTHED_SAMPLES = 3
"""45 s of samples that are 15 s apart."""
BAND_RATIO = 0.40 / 0.55
"""The guide's threshold for shrinking over the one for growing."""


@dataclass(slots=True, kw_only=True)
class SloRule:
    """Grow where the smoothed P90 latency is above `grow_above` of its target, shrink below a share of that.

    With s the smoothed saturation, n replicas and r ready ones, it wants n + ceil(n (s r/n / up - 1))
    above the band and n - floor(n (1 - s / down)) below it.
    """

    sla: Sla
    grow_above: float
    most: Mapping[Role, int]
    """`maxReplicaCount` of each role."""
    _samples: dict[Role, list[float]] = field(default_factory=dict)
    _behaviours: dict[Role, Behaviour] = field(default_factory=dict)

    def __call__(self, observation: Observation, fleet: Fleet, *, now_s: float) -> Verdict:
        replicas = {state.role: self._role(state, observation, now_s) for state in fleet.roles}
        return Verdict(replicas=replicas, reason="SLO rule")

    def _role(self, state: RoleState, observation: Observation, now_s: float) -> int:
        saturation = self._saturation(state.role, observation)
        wanted = min(self._wanted(state, saturation), self.most[state.role])
        behaviour = self._behaviours.setdefault(
            state.role,
            Behaviour(
                grow_stabilization_s=30.0,
                grow_period_s=60.0,
                shrink_stabilization_s=180.0,
                shrink_period_s=120.0,
            ),
        )
        return behaviour.bounded(state.replicas, within_tolerance(state.replicas, wanted), now_s=now_s)

    def _wanted(self, state: RoleState, saturation: float) -> int:
        replicas, serving = state.replicas, state.serving or 0
        shrink_below = self.grow_above * BAND_RATIO
        if saturation > self.grow_above:
            credit = serving / replicas if 0 < serving < replicas else 1.0
            return replicas + math.ceil(replicas * (saturation * credit / self.grow_above - 1.0))
        if saturation < shrink_below:
            return max(1, replicas - math.floor(replicas * (1.0 - saturation / shrink_below)))
        return replicas

    def _saturation(self, role: Role, observation: Observation) -> float:
        latencies = {
            Role.PREFILL: ((observation.ttft_histogram, self.sla.ttft_ms),),
            Role.DECODE: ((observation.itl_histogram, self.sla.itl_ms),),
        }
        both = latencies[Role.PREFILL] + latencies[Role.DECODE]
        raw = max(quantile(seen, QUANTILE) / target for seen, target in latencies.get(role, both))
        recent = [*self._samples.get(role, []), min(raw, CLAMP)][-SMOOTHED_SAMPLES:]
        self._samples[role] = recent
        return sum(recent) / len(recent)


@dataclass(slots=True, kw_only=True)
class TokenRule:
    """Replicas for the tokens of outstanding work.

    Prefill: prompt tokens that wait or run / `prefill_tokens_s` / `backlog_s`. Decode: workers' worth of
    full KV / `kv_usage`. A worker of both takes the larger of the two.
    """

    prefill_tokens_s: float
    """Prompt tokens per second of one idle replica, at a prompt of 8192 tokens."""
    backlog_s: float
    kv_usage: float
    most: Mapping[Role, int]
    _engine: EngineReading | None = None
    _behaviours: dict[Role, Behaviour] = field(default_factory=dict)

    def see(self, engine: EngineReading) -> None:
        """What the router and the workers export themselves; comes before each call."""
        self._engine = engine

    def __call__(self, observation: Observation, fleet: Fleet, *, now_s: float) -> Verdict:  # noqa: ARG002
        replicas = {state.role: self._role(state, now_s) for state in fleet.roles}
        return Verdict(replicas=replicas, reason="Token rule")

    def _role(self, state: RoleState, now_s: float) -> int:
        if self._engine is None:
            return state.replicas
        prefill = self._engine.backlog_tokens / self.prefill_tokens_s / self.backlog_s
        decode = self._engine.full_kv_workers / self.kv_usage
        load = {Role.PREFILL: prefill, Role.DECODE: decode}.get(state.role, max(prefill, decode))
        wanted = state.replicas if abs(load / state.replicas - 1.0) <= HPA_TOLERANCE else math.ceil(load)
        behaviour = self._behaviours.setdefault(state.role, Behaviour())
        return behaviour.bounded(state.replicas, min(max(1, wanted), self.most[state.role]), now_s=now_s)


def within_tolerance(replicas: int, wanted: int) -> int:
    """An HPA does not act on a recommendation within 10 % of what is there."""
    return replicas if abs(wanted / replicas - 1.0) <= HPA_TOLERANCE else wanted


def quantile(histogram: Histogram | None, share: float) -> float:
    """The quantile as PromQL's `histogram_quantile` finds it; 0 where nothing was observed.

    >>> quantile(Histogram(edges=(1.0, 3.0, float("inf")), counts=(5.0, 5.0, 0.0)), 0.9)
    2.6
    """
    if histogram is None or histogram.total <= 0.0:
        return 0.0
    left = share * histogram.total
    low = 0.0
    for edge, count in zip(histogram.edges, histogram.counts, strict=True):
        if count >= left and count > 0.0:
            return low if math.isinf(edge) else low + (edge - low) * left / count
        left -= count
        if math.isfinite(edge):
            low = edge
    return low
