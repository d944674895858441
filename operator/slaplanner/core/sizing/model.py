"""The types of sizing's question and answer."""

from __future__ import annotations

from dataclasses import dataclass

from slaplanner.core.model import Role
from slaplanner.core.reasons import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanLoad:
    """The load to size for: arrivals per planning interval, and the mean lengths of a request."""

    requests_per_interval: float
    isl_tokens: float
    osl_tokens: float

    @property
    def context_tokens(self) -> float:
        """Tokens that a request keeps in the KV cache on average while it decodes."""
        return self.isl_tokens + self.osl_tokens / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class SizedRole:
    """How many replicas of one role the demand needs, and the figures that say so."""

    role: Role
    raw: float
    """Replicas before rounding; the floor itself when the profile gives no capacity to divide by."""
    replicas: int
    """`raw` rounded up, or what `limit` says; at least the role's minReplicas."""
    limit: Reason | None = None
    """What raised `replicas`: TOO_FEW_REPLICAS the floor, SHRINKS_BY_STEPS that fewer were not tried yet."""
    fewest: int = 0
    """The fewest that the role may shrink to at once: a step beyond what was tried."""
    sooner: int = 0
    """Replicas that are needed only until ordered ones would serve: who runs stays as long."""
    capacity_per_replica_tokens_s: float
    """Prefill: input tokens; decode: output tokens; agg: both, in the demand's mix. 0: no capacity."""
    load_tokens_s: float
    """The demand in the same tokens."""
    learnt_factor: float = 1.0
    """What measured misses multiply the model's replicas by; `capacity_per_replica_tokens_s` is divided by it."""
    expected_latency_ms: float
    """At the operating point sized for; prefill: TTFT without queueing; decode, agg: ITL."""
    best_latency_ms: float
    """The same at the lightest load: what no number of replicas goes below."""
    attainable: bool
    """Whether some number of replicas meets the targets that this role answers for."""
    message: str

    @property
    def utilisation(self) -> float:
        """Load over the capacity of `replicas`; 0 when there is no load or no capacity."""
        capacity = self.replicas * self.capacity_per_replica_tokens_s
        return self.load_tokens_s / capacity if capacity > 0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sized:
    """One entry per role of the mode, in the mode's order."""

    roles: tuple[SizedRole, ...]

    def role(self, role: Role) -> SizedRole:
        """The size of *role*.

        Raises:
            KeyError: the mode does not size this role.
        """
        for sized in self.roles:
            if sized.role is role:
                return sized
        raise KeyError(role)
