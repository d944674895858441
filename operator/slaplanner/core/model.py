"""The values that the core works with: what a policy asks for, and what the fleet looks like.

Each is frozen and has its unit in its name. They are made once at the edge (in `api` from what users wrote, in `adapters`
from what the cluster answered) and not checked again afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from slaplanner.core.reasons import Reason

DEFAULT_STARTUP_S = 120.0
"""From pod creation to ready, until the target's own scale-ups have shown it."""


class Role(StrEnum):
    """What a worker does: the prompt (prefill), the tokens after it (decode), or both (agg)."""

    PREFILL = "prefill"
    DECODE = "decode"
    AGG = "agg"

    @property
    def stages(self) -> tuple[Role, ...]:
        """The parts of a request that it works on, each called by the role that does nothing else."""
        return (Role.PREFILL, Role.DECODE) if self is Role.AGG else (self,)


class Mode(StrEnum):
    """Which roles a policy sizes."""

    DISAGG = "disagg"
    PREFILL = "prefill"
    DECODE = "decode"
    AGG = "agg"

    @property
    def roles(self) -> tuple[Role, ...]:
        """The roles of this mode, in the order in which they are always listed."""
        if self is Mode.DISAGG:
            return (Role.PREFILL, Role.DECODE)
        return (Role(self.value),)


class Actuation(StrEnum):
    """Whether decisions are carried out or only reported."""

    ENFORCE = "Enforce"
    OBSERVE = "Observe"


class Sizing(StrEnum):
    """How a forecast becomes replicas."""

    ATTAINMENT = "Attainment"
    THROUGHPUT = "Throughput"


class Interpolation(StrEnum):
    """How a profile is read between its measured points."""

    MONOTONE = "Monotone"
    CUBIC = "Cubic"


class PredictorType(StrEnum):
    """How the load is forecast."""

    AUTO = "Auto"
    CONSTANT = "Constant"
    ARIMA = "ARIMA"
    KALMAN = "Kalman"
    PROPHET = "Prophet"


class FallbackMode(StrEnum):
    """What holds when the load stays unknown."""

    HOLD = "Hold"
    STATIC = "Static"
    CURRENT_IF_HIGHER = "CurrentIfHigher"


class Pause(StrEnum):
    """Which direction of scaling a user has paused."""

    NONE = "none"
    ALL = "all"
    SCALE_IN = "scale-in"
    SCALE_OUT = "scale-out"


class RateUnit(StrEnum):
    """What a rate limit counts."""

    REPLICAS = "Replicas"
    PERCENT = "Percent"


class SelectPolicy(StrEnum):
    """Which of several rate limits counts; Disabled forbids the direction."""

    MAX = "Max"
    MIN = "Min"
    DISABLED = "Disabled"


class MetricsSource(StrEnum):
    """Which Dynamo component's metrics are read."""

    FRONTEND = "Frontend"
    ROUTER = "Router"


class MatchOperator(StrEnum):
    """How a label matcher compares."""

    EQUAL = "Equal"
    NOT_EQUAL = "NotEqual"
    MATCHES = "Matches"
    NOT_MATCHES = "NotMatches"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sla:
    """The promise: latency targets, and the share of requests that should meet them."""

    ttft_ms: float = 500.0
    itl_ms: float = 50.0
    isl_tokens: float = 3000.0
    """Mean input length assumed before traffic is known."""
    osl_tokens: float = 150.0
    """Mean output length assumed before traffic is known."""
    attainment_percent: float = 99.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RolePolicy:
    """What the user says of one role."""

    role: Role
    component: str | None = None
    gpus_per_replica: int | None = None
    min_replicas: int = 1
    max_replicas: int | None = None
    fallback_replicas: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """At most `value` replicas, or percent of them, within any `period_s`."""

    unit: RateUnit
    value: int
    period_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingRules:
    """One direction of HPA v2's behaviour."""

    stabilization_window_s: float = 0.0
    policies: tuple[RateLimit, ...] = ()
    select: SelectPolicy = SelectPolicy.MAX
    tolerance: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Behavior:
    """How fast, and after how much thought, a role may grow and shrink."""

    scale_up: ScalingRules = field(default_factory=ScalingRules)
    scale_down: ScalingRules = field(default_factory=lambda: ScalingRules(stabilization_window_s=300.0))

    @staticmethod
    def free() -> Behavior:
        """No stabilisation and no limits in either direction (the dry-run's default)."""
        return Behavior(scale_up=ScalingRules(), scale_down=ScalingRules())


@dataclass(frozen=True, slots=True, kw_only=True)
class KalmanTuning:
    """Variances of the local linear trend: level, trend, observation."""

    q_level: float = 1.0
    q_trend: float = 0.1
    r: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictorPolicy:
    """Which forecaster, and how it is tuned."""

    type: PredictorType = PredictorType.AUTO
    log1p: bool = False
    window_size: int = 0
    """Points of history used; 0: what the method needs, bounded."""
    min_observations: int = 5
    kalman: KalmanTuning = field(default_factory=KalmanTuning)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fallback:
    """What to do after `after` observations in a row that failed."""

    after: int = 3
    mode: FallbackMode = FallbackMode.HOLD


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One SLAPolicy, resolved: every default applied, every annotation read."""

    mode: Mode = Mode.DISAGG
    sla: Sla = field(default_factory=Sla)
    roles: tuple[RolePolicy, ...] = ()
    """One entry for each role of the mode, in the mode's order (see `role`)."""
    gpu_budget: int | None = None
    interval_s: float = 180.0
    window_s: float = 180.0
    sizing: Sizing = Sizing.ATTAINMENT
    interpolation: Interpolation = Interpolation.MONOTONE
    predictor: PredictorPolicy = field(default_factory=PredictorPolicy)
    correction: bool = True
    startup_s: float | None = None
    """The user's word; None: measured, `DEFAULT_STARTUP_S` until it was."""
    behavior: Behavior = field(default_factory=Behavior)
    fallback: Fallback = field(default_factory=Fallback)
    pause: Pause = Pause.NONE
    actuation: Actuation = Actuation.ENFORCE
    replica_ceiling: int | None = None
    """The administrator's limit on the growth of roles for which the user set none; None: no limit."""

    def ceiling(self, role: Role) -> int | None:
        """How far *role* may grow by the administrator's word: not at all limited where the user set a limit."""
        limited = self.gpu_budget is not None or self.role(role).max_replicas is not None
        return None if limited else self.replica_ceiling

    def role(self, role: Role) -> RolePolicy:
        """What is said of *role*; defaults where nothing is."""
        for entry in self.roles:
            if entry.role is role:
                return entry
        return RolePolicy(role=role)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleState:
    """One role of the running fleet, as its own controller reports it."""

    role: Role
    component: str = ""
    replicas: int
    """What the target's spec asks for now."""
    serving: int | None = None
    """Replicas that take requests; None: not reported."""
    present: int | None = None
    """Replicas that exist and hold GPUs, terminating ones included as far as reported; None: not reported."""
    gpus_per_replica: int | None = None
    rollout: bool = False
    """A new revision is rolling out: blocks growth and shrinking."""
    settled: bool = True
    """Spec, updated and serving counts agree."""
    unschedulable: bool = False
    """Some replicas cannot be placed; growth may be cancelled."""
    updated: int | None = None
    """Replicas of the newest revision; None: not reported."""
    waits_for: Reason | None = None
    """Why the target has accepted `replicas` and does not carry them out yet: SCALING_DEFERRED by a
    rollout, NOT_COMMITTED by a budget of its own. None: nothing holds them up."""

    @property
    def starting(self) -> int:
        """Replicas that were asked for and do not serve yet (0 when not reported)."""
        return max(0, self.replicas - self.serving) if self.serving is not None else 0

    @property
    def complete(self) -> bool:
        """Every replica that is asked for serves, in the newest revision."""
        if self.rollout or self.waits_for is not None or self.serving is None:
            return False
        return self.serving >= self.replicas and (self.updated is None or self.updated >= self.replicas)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """The running fleet: one entry per role of the policy's mode, in the mode's order."""

    roles: tuple[RoleState, ...]
    ready: bool = True
    """The target's own Ready condition; False blocks shrinking only."""
    observed: bool = True
    """The status is about the spec as it is now; False blocks shrinking."""
    incomplete: tuple[str, ...] = ()
    """Components outside the mode's roles whose replicas do not all serve, for messages."""
    unserved: tuple[str, ...] = ()
    """Components outside the mode's roles that were asked for and of which no replica serves."""
    startup_s: float | None = None
    """Measured from the target's own scale-ups; None: none was seen."""

    def role(self, role: Role) -> RoleState:
        """The state of *role*.

        Raises:
            KeyError: the fleet has no such role.
        """
        for state in self.roles:
            if state.role is role:
                return state
        raise KeyError(role)
