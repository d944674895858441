"""The protocol between the planner and whatever carries its decisions out.

Methods block: the controller calls them in a bounded executor, each request inside has a time-out,
and `still_wanted` is asked before each write, because work that was abandoned meanwhile (policy
deleted, its spec changed, shutdown) must not write any more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from slaplanner.adapters.deployment.inner_planners import GraphPlanner
from slaplanner.core.errors import ActuationError, TargetError
from slaplanner.core.model import Fleet, Role
from slaplanner.core.reasons import Reason, Remark
from slaplanner.core.rebalance import ReplicaWrite, ScalingStep

FIELD_MANAGER = "slaplanner"
"""Who writes, as managedFields show it; so that GitOps tools can ignore exactly our fields."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which object was read, in which state."""

    namespace: str
    name: str
    uid: str
    """Another uid under the same name is another target: planner state starts fresh."""
    generation: int | None = None
    resource_version: str = ""
    api_version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """Somebody else who scales the same role."""

    reason: Reason
    """OTHER_POLICY, OTHER_AUTOSCALER, OTHER_PLANNER or OTHER_FIELD_MANAGER."""
    name: str
    """Kind and name, as a user would look it up."""
    role: Role | None = None
    """The role that is contested; None: the whole target."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rivals:
    """Who else scales the target, and who could not be looked for."""

    found: tuple[Rival, ...] = ()
    unchecked: tuple[str, ...] = ()
    """One sentence each, naming the permission that is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetState:
    """One look at the target: everything that a plan needs of it."""

    identity: Identity
    fleet: Fleet
    dynamo_namespace: str
    model: str | None = None
    """Lower-cased; None: the target does not tell it (see `Connector.model_name`)."""
    runtime_namespaces: tuple[str, ...] = ()
    """Dynamo namespaces of the worker sets that run now, which series of workers and routers bear. Empty
    where Dynamo does not tell them; during a rollout they may name the older or the newer set only."""
    metrics_prefix: str | None = None
    """How the names of the frontend's metrics begin; None: the target does not override Dynamo's own."""
    planners: Mapping[str, GraphPlanner] = field(default_factory=dict)
    """Planners inside the target that may scale it, by component; `Connector.rivals` tells which of them do."""
    adapters: Mapping[Role, str] = field(default_factory=dict)
    """Scaling adapters by role: the objects that an autoscaler would point to."""
    replica_managers: Mapping[Role, tuple[str, ...]] = field(default_factory=dict)
    """Field managers that own a role's replicas; empty where a scaling adapter keeps them."""
    replica_writers: Mapping[Role, tuple[str, ...]] = field(default_factory=dict)
    """Field managers besides us to whom other replicas than ours can be due, also on a scaling adapter."""
    resolved_as: Reason = Reason.RESOLVED
    """RESOLVED, or VIRTUAL: there is no target in the cluster."""
    unheld: tuple[Role, ...] = ()
    """Roles whose last decision does not stand where the target would find it."""
    awaiting: Remark | None = None
    """What the target has to acknowledge yet."""
    remarks: tuple[Remark, ...] = ()
    """What is odd about the target and hinders no plan; each is told once."""
    told: Mapping[str, tuple[str, str, str]] = field(default_factory=dict)
    """Status, reason and message of our own conditions on the target, by type, as the last plan left them."""
    waiting: Mapping[Role, str] = field(default_factory=dict)
    """Roles whose replicas the target has accepted and does not carry out yet, with its own words."""
    ready_reason: str = ""
    """The target's own word for why it is (not) ready."""
    ready_message: str = ""

    @property
    def settled(self) -> bool:
        """Nothing moves: every role's spec, updated and serving replicas agree."""
        return all(role.settled for role in self.fleet.roles)

    @property
    def droppable(self) -> tuple[Role, ...]:
        """Roles whose replicas are not held: others could leave them out, or they were never published.

        `Connector.set_replicas` makes them ours; with nothing desired it does only that.
        """
        return self.unheld or tuple(
            role
            for role, managers in self.replica_managers.items()
            if managers and FIELD_MANAGER not in managers
        )


ModelDiscovery = Callable[[TargetState], tuple[str, ...]]
"""From a target to the `model` labels that are seen under its namespaces (asked of Prometheus)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingOutcome:
    """What came of a decision: never "scaled" for a write that was not accepted."""

    written: tuple[ReplicaWrite, ...] = ()
    waiting: tuple[ReplicaWrite, ...] = ()
    """Still to follow; the next plan asks again."""
    waiting_for: Reason | None = None
    awaiting: Remark | None = None
    """What the target has to acknowledge now."""
    error: ActuationError | None = None
    """Why the rest was not written; what is in `written` was."""

    @staticmethod
    def of(
        step: ScalingStep, *, written: tuple[ReplicaWrite, ...], error: ActuationError | None = None
    ) -> ScalingOutcome:
        return ScalingOutcome(
            written=written, waiting=step.waiting, waiting_for=step.waiting_for, error=error
        )


def always() -> bool:
    """The `still_wanted` of callers that never abandon their work."""
    return True


@runtime_checkable
class Connector(Protocol):
    """A target: looked at, then told absolute replica counts."""

    def observe(self) -> TargetState:
        """Look at the target once.

        Raises:
            TargetError: it cannot be planned for; the reason is `TargetResolved`'s.
        """
        ...

    def model_name(self, state: TargetState) -> str:
        """The model that the target serves, lower-cased: models are compared without case.

        The policy's word, else the target's, else the only one that is seen in its metrics.

        Raises:
            TargetError: nobody tells it.
        """
        ...

    def rivals(self, state: TargetState) -> Rivals:
        """Autoscalers and planners that scale the same target (other policies: `conflicts`)."""
        ...

    def set_replicas(
        self,
        state: TargetState,
        desired: Mapping[Role, int],
        *,
        gpu_budget: int | None = None,
        still_wanted: Callable[[], bool] = always,
    ) -> ScalingOutcome:
        """Bring the target closer to *desired*, as far as *gpu_budget* allows now.

        Replicas are absolute, so repeating is harmless. Calling it with what already runs is right
        too: it then only makes sure that nobody can drop our replicas. Refusals are returned, not
        raised, because a half that was written stays written.
        """
        ...


def require_gpus(fleet: Fleet) -> None:
    """Refuse what can be neither sized nor counted against a budget.

    Raises:
        TargetError: GPUs per replica are unknown for a role (reason GPUsUnknown).
    """
    missing = [role for role in fleet.roles if role.gpus_per_replica is None]
    if missing:
        roles = ", ".join(role.role for role in missing)
        components = ", ".join(role.component or "no component" for role in missing)
        raise TargetError(
            f"GPUs per replica of {roles} ({components}) are neither in the policy's roles[].gpusPerReplica nor in the "
            "target's status, limits, requests, device or resource claims; nothing is planned or written without them",
            reason=Reason.GPUS_UNKNOWN,
        )
