"""A reconciler that ticks on demand, in a world of plain values."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, ParamSpec, TypeVar

from slaplanner.adapters.deployment import (
    ApiRefusal,
    DeploymentConditions,
    Identity,
    Rivals,
    ScalingOutcome,
    TargetState,
)
from slaplanner.adapters.object_versions import Watched
from slaplanner.adapters.profiles import LoadedProfile, load_directory
from slaplanner.adapters.prometheus import Scope
from slaplanner.api.policy import SLAPolicy
from slaplanner.controller.api_server import ApiServer
from slaplanner.controller.events import Event
from slaplanner.controller.health import Liveness
from slaplanner.controller.outside.ports import Runner, TrafficReading, World
from slaplanner.controller.reconciler import Reconciler
from slaplanner.controller.records import Record, Records
from slaplanner.controller.report import Reporter
from slaplanner.core.errors import MetricsError, PlanningError
from slaplanner.core.glance import Sight
from slaplanner.core.model import Interpolation, Role
from slaplanner.core.readings import Series
from slaplanner.core.rebalance import ReplicaWrite
from slaplanner.settings import Settings
from tests.planning import PROFILES, fleet, observation

P = ParamSpec("P")
T = TypeVar("T")

SCOPE = Scope(model="meta/llama-70b", dynamo_namespace="serving-llama")

UID = "5f0c0ffe-0000-4000-8000-000000000001"


REQUESTS_PER_HOUR = 60.0 * 3600.0
"""Of 1,000 input tokens: 4 prefill replicas."""


@lru_cache
def loaded_profile() -> LoadedProfile:
    directory = PROFILES / "h100_vllm_Qwen3-32B_bf16_tp2"
    return load_directory(directory, allowed=(PROFILES,), interpolation=Interpolation.MONOTONE)


class Inline:
    """A pool without threads."""

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return function(*args, **kwargs)


def watched(name: str) -> Watched:
    return Watched(group="", version="v1", plural="things", namespace="serving", name=name)


@dataclass(slots=True)
class FakeWorld:
    """Answers as it was told and keeps what it was ordered."""

    target: TargetState | PlanningError
    time_s: float = 1_000_000.0
    rival: Rivals = field(default_factory=Rivals)
    outcomes: list[ScalingOutcome] = field(default_factory=list)
    """Of the next writes; a write succeeds when there are none."""
    refusal: ApiRefusal | None = None
    """What writes of the status are answered with; None: they succeed."""
    reports: list[tuple[str, str, tuple[str, ...]]] = field(default_factory=list)
    """By namespace and deployment: the policies that speak of it."""
    sight: Sight | MetricsError = field(default_factory=lambda: Sight(at_s=0.0))
    """What a glance sees of every policy."""
    glances: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    """By connection: the policies that were looked at together."""
    during_plan: Callable[[], None] = lambda: None
    orders: list[Mapping[Role, int]] = field(default_factory=list)
    looks: int = 0
    statuses: list[Mapping[str, Any]] = field(default_factory=list)
    numerics: Runner = field(default_factory=Inline)
    refits: Runner = field(default_factory=Inline)
    api_server: ApiServer = field(default_factory=ApiServer)
    versions: dict[str, str | None] = field(
        default_factory=lambda: {"target": "1", "profile": "1", "warm-up": "1"}
    )

    def as_world(self) -> World:
        """Every outside system at once."""
        return World(
            clock=self,
            targets=self,
            documents=self,
            metrics=self,
            reports=self,
            numerics=self.numerics,
            refits=self.refits,
            api_server=self.api_server,
        )

    def now_s(self) -> float:
        return self.time_s

    def monotonic_s(self) -> float:
        return self.time_s

    def watched(self, target: TargetState) -> Watched:  # noqa: ARG002 - there is one
        return watched("target")

    def watched_profile(self, policy: SLAPolicy) -> Watched | None:  # noqa: ARG002 - there is one
        return watched("profile")

    def watched_warm_up(self, policy: SLAPolicy) -> Watched | None:
        return watched("warm-up") if policy.spec.planning.predictor.warmup_trace else None

    def polled_version(self, policy: SLAPolicy) -> str | None:  # noqa: ARG002
        """Its target is watched."""
        return None

    async def look(self, policy: SLAPolicy) -> TargetState:  # noqa: ARG002
        self.looks += 1
        if isinstance(self.target, PlanningError):
            raise self.target
        return self.target

    async def model(self, policy: SLAPolicy, target: TargetState) -> str:  # noqa: ARG002
        return "meta/llama-70b"

    async def rivals(self, policy: SLAPolicy, target: TargetState) -> Rivals:  # noqa: ARG002
        return self.rival

    async def profile(self, policy: SLAPolicy, *, version: str | None = None) -> LoadedProfile:  # noqa: ARG002
        return loaded_profile()

    async def warm_up(self, policy: SLAPolicy) -> Series | None:  # noqa: ARG002
        return None

    async def traffic(self, *_: object, **__: object) -> TrafficReading:
        self.during_plan()
        return TrafficReading(observation=observation(REQUESTS_PER_HOUR), scope=SCOPE)

    async def glance(
        self, connection: str, scopes: Mapping[str, Scope], *, at_s: float
    ) -> Mapping[str, Sight]:
        self.glances.append((connection, tuple(scopes)))
        if isinstance(self.sight, MetricsError):
            raise self.sight
        return {uid: replace(self.sight, at_s=at_s) for uid in scopes}

    async def scale(
        self,
        policy: SLAPolicy,  # noqa: ARG002
        target: TargetState,
        desired: Mapping[Role, int],
        *,
        still_wanted: Callable[[], bool],
    ) -> ScalingOutcome:
        if not still_wanted():
            return ScalingOutcome()
        self.orders.append(dict(desired))
        if self.outcomes:
            return self.outcomes.pop(0)
        moves = (
            ReplicaWrite(role=role.role, before=role.replicas, replicas=desired[role.role])
            for role in target.fleet.roles
            if role.role in desired
        )
        return ScalingOutcome(written=tuple(move for move in moves if move.before != move.replicas))

    async def write_status(
        self,
        *,
        namespace: str,  # noqa: ARG002 - there is one policy
        name: str,  # noqa: ARG002
        uid: str,  # noqa: ARG002
        status: Mapping[str, Any],
    ) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.statuses.append(status)

    async def report_to_target(
        self, namespace: str, name: str, verdicts: Iterable[DeploymentConditions]
    ) -> None:
        self.reports.append((namespace, name, tuple(verdict.policy for verdict in verdicts)))

    def moved(self, **fields: Any) -> None:
        """Somebody changed the deployment."""
        assert isinstance(self.target, TargetState)
        self.target = replace(self.target, **fields)
        self.versions["target"] = str(int(self.versions["target"] or 0) + 1)


@dataclass(slots=True)
class FakeWatches:
    """Knows the versions that the world has."""

    world: FakeWorld
    kept: dict[str, set[str]] = field(default_factory=dict)
    """By policy: what it last wanted."""

    def keep(self, owner: str, wanted: Iterable[Watched]) -> None:
        self.kept[owner] = {watched.name for watched in wanted}

    def version(self, watched: Watched) -> str | None:
        return self.world.versions[watched.name]


def target(prefill: int = 1, decode: int = 1, **fields: Any) -> TargetState:
    """A deployment at rest."""
    return replace(
        TargetState(
            identity=Identity(
                namespace="serving", name="llama", uid="target-1", api_version="nvidia.com/v1beta1"
            ),
            fleet=fleet(prefill, decode),
            dynamo_namespace="serving-llama",
            model="meta/llama-70b",
        ),
        **fields,
    )


def document(
    *, generation: int = 1, annotations: Mapping[str, str] | None = None, **spec: Any
) -> dict[str, Any]:
    """A policy that plans once an hour, as the API server shows it."""
    return {
        "apiVersion": "slaplanner.io/v1alpha1",
        "kind": "SLAPolicy",
        "metadata": {
            "name": "llama",
            "namespace": "serving",
            "uid": UID,
            "generation": generation,
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "annotations": dict(annotations or {}),
        },
        "spec": {
            "targetRef": {"name": "llama"},
            "sla": {"ttft": 1000, "itl": 30},
            "profile": {"configMapRef": {"name": "profile"}},
            "planning": {"intervalSeconds": 3600, "sizing": "Throughput", "predictor": {"type": "Constant"}},
            **spec,
        },
    }


@dataclass(slots=True)
class OnePolicy:
    """One policy, and the reconciler that ticks for it."""

    world: FakeWorld
    records: Records
    reconciler: Reconciler
    record: Record
    events: list[Event]
    watches: FakeWatches

    async def tick(self) -> None:
        await self.reconciler.tick(self.record)

    def shows(self, shown: Mapping[str, Any]) -> None:
        """The watch shows the policy in a new form."""
        self.records.seen(copy.deepcopy(dict(shown)))


def one_policy(
    world: FakeWorld | None = None, shown: Mapping[str, Any] | None = None, **settings: Any
) -> OnePolicy:
    """A policy that was just seen by an operator that has settled."""
    world = world or FakeWorld(target())
    records = Records(made := Settings(**({"settle_s": 0.0} | settings)))
    record = records.seen(copy.deepcopy(dict(shown or document())))
    told: list[Event] = []
    outside = world.as_world()
    reporter = Reporter(reports=world, clock=world, records=records, post=lambda _, event: told.append(event))
    watches = FakeWatches(world)
    reconciler = Reconciler(
        world=outside,
        records=records,
        watches=watches,
        reporter=reporter,
        liveness=Liveness(),
        settings=made,
    )
    return OnePolicy(world, records, reconciler, record, told, watches)
