"""What the controller asks of the world: one protocol per outside system.

`world.open_world` makes the real ones; tests bring their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ParamSpec, Protocol, TypeVar

from slaplanner.adapters.deployment import Rivals, ScalingOutcome, TargetState
from slaplanner.adapters.deployment.own_conditions import DeploymentConditions
from slaplanner.adapters.object_versions import Watched
from slaplanner.adapters.profiles import LoadedProfile
from slaplanner.adapters.prometheus import Scope
from slaplanner.api.policy import SLAPolicy
from slaplanner.controller.api_server import ApiServer
from slaplanner.core.attainment import Attainment
from slaplanner.core.glance import Sight
from slaplanner.core.model import Role
from slaplanner.core.readings import Observation, Series

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficReading:
    """What Prometheus said for one plan."""

    observation: Observation
    attainment: Mapping[int, Attainment] | None = None
    """By window in seconds; None when it could not be read."""
    clock_offset_s: float | None = None
    """How far Prometheus' clock is ahead of ours; None when it did not say."""
    scope: Scope | None = None
    """Whose series were read; None: none could be asked for."""

    def on_clock(self, offset_s: float | None) -> TrafficReading:
        """With how far Prometheus' clock was ahead."""
        return replace(self, clock_offset_s=offset_s)


class Clock(Protocol):
    """Time."""

    def now_s(self) -> float:
        """Unix seconds."""
        ...

    def monotonic_s(self) -> float:
        """Seconds that never jump, for pauses and ages."""
        ...


class Runner(Protocol):
    """Runs what would block the event loop."""

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of *function*."""
        ...


class Targets(Protocol):
    """Whoever carries a policy's decisions out: a deployment, or who reads what is published."""

    async def look(self, policy: SLAPolicy) -> TargetState:
        """The target now. Raises TargetError."""
        ...

    async def model(self, policy: SLAPolicy, target: TargetState) -> str:
        """The model that the target serves. Raises TargetError, MetricsError."""
        ...

    async def rivals(self, policy: SLAPolicy, target: TargetState) -> Rivals:
        """Autoscalers and planners that scale the same target. Raises TargetError."""
        ...

    async def scale(
        self,
        policy: SLAPolicy,
        target: TargetState,
        desired: Mapping[Role, int],
        *,
        still_wanted: Callable[[], bool],
    ) -> ScalingOutcome:
        """Bring the target closer to *desired*, within the budget at every moment."""
        ...

    def watched(self, target: TargetState) -> Watched:
        """The target as something to watch, in the version that was read."""
        ...

    def polled_version(self, policy: SLAPolicy) -> str | None:
        """What changes when a target that cannot be watched is to be looked at; None: it can be."""
        ...


class Documents(Protocol):
    """Profiles and warm-up traces, from ConfigMaps and mounted files."""

    async def profile(self, policy: SLAPolicy, *, version: str | None = None) -> LoadedProfile:
        """The policy's profile; *version* is the ConfigMap's as its watch told. Raises ProfileError."""
        ...

    async def warm_up(self, policy: SLAPolicy) -> Series | None:
        """The warm-up trace on the planning grid; None where there is none. Raises WarmUpError."""
        ...

    def watched_profile(self, policy: SLAPolicy) -> Watched | None:
        """The profile's ConfigMap; None for a directory."""
        ...

    def watched_warm_up(self, policy: SLAPolicy) -> Watched | None:
        """The warm-up trace's ConfigMap; None for a file, or where there is no such trace."""
        ...


class Metrics(Protocol):
    """Prometheus."""

    async def traffic(
        self,
        policy: SLAPolicy,
        target: TargetState,
        model: str,
        *,
        at_s: float,
        end_s: float,
        kept: Series | None,
    ) -> TrafficReading:
        """One observation at *at_s*, the history up to the grid time *end_s*, and the attainment."""
        ...

    async def glance(
        self, connection: str, scopes: Mapping[str, Scope], *, at_s: float
    ) -> Mapping[str, Sight]:
        """A cheap look at the traffic of many policies, by uid, through one connection. Raises MetricsError."""
        ...


class Reports(Protocol):
    """Where the operator tells what it did: the policies' status, and their deployments' conditions."""

    async def write_status(self, *, namespace: str, name: str, uid: str, status: Mapping[str, Any]) -> None:
        """Merge *status* into that of the policy. Raises ApiRefusal."""
        ...

    async def report_to_target(
        self, namespace: str, name: str, verdicts: Iterable[DeploymentConditions]
    ) -> None:
        """Keep our two conditions on the deployment. Raises ActuationError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Everything outside that plans need."""

    clock: Clock
    targets: Targets
    documents: Documents
    metrics: Metrics
    reports: Reports
    numerics: Runner
    """For decisions."""
    refits: Runner
    """For slow fits of forecasters."""
    api_server: ApiServer
    """What was learnt of it from its answers."""
