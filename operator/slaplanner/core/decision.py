"""What a plan comes to: replicas with their reason, and the evidence behind them."""

from __future__ import annotations

from dataclasses import dataclass

from slaplanner.core.allot import LimitedCount
from slaplanner.core.correction import Correction
from slaplanner.core.forecast import Forecast
from slaplanner.core.model import Role
from slaplanner.core.readings import Observation
from slaplanner.core.reasons import ConditionType, Reason
from slaplanner.core.sizing import MeanLoad, SizedRole
from slaplanner.core.stalls import Stall


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One condition as the plan sees it. `status` None is Unknown."""

    type: ConditionType
    status: bool | None
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleDecision:
    """One role: what runs, what is asked for, and every limit that bit on the way."""

    role: Role
    component: str
    current: int
    desired: int
    limits: tuple[Reason, ...] = ()
    changed: tuple[LimitedCount, ...] = ()
    """What each limit made of the need in whole replicas; `desired` is what the last of them left."""
    sized: SizedRole | None = None
    """The evidence; None when nothing was sized (unknown load)."""
    gpus_per_replica: int | None = None

    @property
    def changes(self) -> bool:
        return self.desired != self.current

    @property
    def limited_by(self) -> Reason | None:
        """The last limit that bit: the one that a user would have to lift first."""
        return self.limits[-1] if self.limits else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One plan's outcome. Everything that reports quotes this value."""

    id: int
    at_s: float
    roles: tuple[RoleDecision, ...]
    reason: Reason
    why: str
    """For which load, and what held the roles back."""
    findings: tuple[Finding, ...]
    observation: Observation
    demand: MeanLoad | None = None
    forecast: Forecast | None = None
    correction: Correction | None = None
    stall: Stall | None = None
    """What keeps the target from being ready, if it has done so for long."""
    gpu_budget: int | None = None

    @property
    def message(self) -> str:
        """What moves, and why."""
        moves = ", ".join(
            f"{role.role} {role.current} -> {role.desired}"
            if role.changes
            else f"{role.role} stays {role.current}"
            for role in self.roles
        )
        return f"{moves}: {self.why}"

    @property
    def changes(self) -> bool:
        return any(role.changes for role in self.roles)

    @property
    def current(self) -> dict[Role, int]:
        return {role.role: role.current for role in self.roles}

    @property
    def desired(self) -> dict[Role, int]:
        return {role.role: role.desired for role in self.roles}

    def gpus(self, *, desired: bool) -> int | None:
        """GPUs of the desired or the current size; None when a role's GPUs are unknown."""
        total = 0
        for role in self.roles:
            if role.gpus_per_replica is None:
                return None
            total += role.gpus_per_replica * (role.desired if desired else role.current)
        return total
