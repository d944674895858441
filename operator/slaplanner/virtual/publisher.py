"""The planner's side: a fleet that is seen and told only through published decisions.

What is asked for is the last published decision, what serves is the last acknowledged one; before
the first, both are the floors. What must not be forgotten stands in the policy's status, also where
decisions are published in etcd, so a lost etcd or a new operator neither repeats an id nor asks
again for an answer that was given.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import TypeVar

from slaplanner.adapters.deployment.connector import Rivals, ScalingOutcome, TargetState, always
from slaplanner.adapters.deployment.failures import ApiRefusal
from slaplanner.core.errors import ActuationError, PlanningError, TargetError
from slaplanner.core.model import Fleet, Role, RolePolicy, RoleState
from slaplanner.core.reasons import Reason
from slaplanner.core.rebalance import ReplicaWrite
from slaplanner.virtual.channel import Channel, Reading
from slaplanner.virtual.decisions import ABSENT
from slaplanner.virtual.policy_document import status_patch
from slaplanner.virtual.policy_store import PolicyStore, StoredPolicy
from slaplanner.virtual.rules import (
    Noticed,
    Publish,
    PublisherMemory,
    Wait,
    awaited,
    next_move,
    notice,
    remember,
)

CONFLICT_ATTEMPTS = 6
"""The policy's status and annotations have several writers; each attempt reads afresh."""

AnswerT = TypeVar("AnswerT")

OpenChannel = Callable[[], AbstractAsyncContextManager[Channel]]
"""Opens the channel that decisions are published in, in the running event loop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualTarget:
    """What a policy says of its fleet."""

    dynamo_namespace: str
    model: str
    roles: tuple[RolePolicy, ...]
    max_wait_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    stored: StoredPolicy
    noticed: Noticed
    reading: Reading | None
    """Of the channel; None: the policy itself is the backend."""


class PublishingConnector:
    """A `Connector` that publishes, in the policy's status or, with *open_channel*, in etcd."""

    def __init__(
        self,
        store: PolicyStore,
        target: VirtualTarget,
        *,
        now_s: Callable[[], float],
        open_channel: OpenChannel | None = None,
    ) -> None:
        """*now_s* gives Unix seconds."""
        self._store = store
        self._target = target
        self._now_s = now_s
        self._open_channel = open_channel
        self._planned = tuple(role.role for role in target.roles)

    def observe(self) -> TargetState:
        try:
            return self._state(self._look())
        except ApiRefusal as refusal:
            raise TargetError(refusal.failure.message, reason=refusal.failure.reason) from refusal

    def model_name(self, state: TargetState) -> str:  # noqa: ARG002 - the policy's word is the only one
        return self._target.model.lower()

    def rivals(self, state: TargetState) -> Rivals:  # noqa: ARG002 - no autoscaler points to what is no object
        return Rivals()

    def set_replicas(
        self,
        state: TargetState,
        desired: Mapping[Role, int],
        *,
        gpu_budget: int | None = None,  # noqa: ARG002 - whoever carries a decision out orders its steps
        still_wanted: Callable[[], bool] = always,
    ) -> ScalingOutcome:
        """Publish *desired* when that is due; with nothing desired, make sure that the last one stands."""
        try:
            return self._publish(state, desired, still_wanted)
        except ApiRefusal as refusal:
            error = ActuationError(refusal.failure.message, reason=refusal.failure.reason)
        except PlanningError as refused:
            error = ActuationError(str(refused), reason=refused.reason)
        return ScalingOutcome(error=error)

    def _publish(
        self, state: TargetState, desired: Mapping[Role, int], still_wanted: Callable[[], bool]
    ) -> ScalingOutcome:
        for _ in range(CONFLICT_ATTEMPTS):
            look = self._look()
            if look.stored.identity.uid != state.identity.uid:
                raise ActuationError("the policy was recreated meanwhile", reason=Reason.TARGET_NOT_FOUND)
            memory = look.noticed.memory
            if not desired and memory.id == ABSENT:
                # Nothing to hold: the floors are nobody's decision, the next plan takes one.
                return ScalingOutcome()
            asked = self._asked(memory)
            wanted = {role: desired.get(role, asked[role]) for role in self._planned}
            now_s = self._now_s()
            move = next_move(look.noticed, wanted, now_s=now_s, max_wait_s=self._target.max_wait_s)
            if isinstance(move, Publish) and not still_wanted():
                return ScalingOutcome()
            if not self._made(move, look):
                continue
            after = remember(memory, move, now_s=now_s)
            if after != memory and not self._kept(after, look):
                if look.reading is None:
                    continue
                self._keep_what_stands(after, look)
            writes = tuple(
                ReplicaWrite(role=role, before=asked[role], replicas=wanted[role])
                for role in self._planned
                if asked[role] != wanted[role]
            )
            waiting = isinstance(move, Wait)
            return ScalingOutcome(
                written=() if waiting else writes,
                waiting=writes if waiting else (),
                waiting_for=Reason.AWAITING_ACKNOWLEDGEMENT if waiting else None,
                awaiting=awaited(after, now_s=now_s, max_wait_s=self._target.max_wait_s),
            )
        raise ActuationError(
            f"others wrote {CONFLICT_ATTEMPTS} times while a decision was published", reason=Reason.CONFLICT
        )

    def _made(self, move: Publish | Wait | None, look: _Look) -> bool:
        """Publish through the channel, where there is one; False: somebody else did meanwhile."""
        if look.reading is None or self._open_channel is None or not isinstance(move, Publish):
            return True
        reading = look.reading

        async def publish(channel: Channel) -> bool:
            return await channel.publish(move.id, move.workers, over=reading)

        return _in_channel(self._open_channel, publish)

    def _kept(self, memory: PublisherMemory, look: _Look) -> bool:
        """Write *memory* down; False: the policy was changed meanwhile."""
        try:
            self._store.write(memory, over=look.stored)
        except ApiRefusal as refusal:
            if refusal.failure.reason is not Reason.CONFLICT:
                raise
            return False
        return True

    def _keep_what_stands(self, memory: PublisherMemory, look: _Look) -> None:
        """Write down what was published in etcd already, though somebody changed the policy meanwhile.

        Where another operator has changed what is remembered, the next look finds our decision in etcd.
        """
        for _ in range(CONFLICT_ATTEMPTS):
            stored = self._store.read()
            same = (stored.identity.uid, stored.memory) == (look.stored.identity.uid, look.stored.memory)
            if not same or self._kept(memory, replace(look, stored=stored)):
                return

    def _look(self) -> _Look:
        """Read everything, and write down at once what was seen for the first time."""
        for _ in range(CONFLICT_ATTEMPTS):
            stored = self._store.read()
            reading = None
            if self._open_channel is not None:
                reading = _in_channel(self._open_channel, lambda channel: channel.read())
            head = reading.head if reading is not None else stored.head
            noticed = notice(stored.memory, head, roles=self._planned, now_s=self._now_s())
            look = _Look(stored=stored, noticed=noticed, reading=reading)
            if status_patch(noticed.memory) == status_patch(stored.memory):
                return look
            # Read again: what is decided next is guarded by the version that was written here.
            self._kept(noticed.memory, look)
        raise ActuationError(
            f"others wrote {CONFLICT_ATTEMPTS} times while the policy was read", reason=Reason.CONFLICT
        )

    def _asked(self, memory: PublisherMemory) -> dict[Role, int]:
        """What the last published decision says; the floors before the first."""
        return {role.role: memory.workers.get(role.role, role.min_replicas) for role in self._target.roles}

    def _state(self, look: _Look) -> TargetState:
        memory = look.noticed.memory
        asked = self._asked(memory)
        unheld = memory.id == ABSENT or look.noticed.lost or memory.waiting_since_s is not None
        return TargetState(
            identity=look.stored.identity,
            fleet=Fleet(
                roles=tuple(
                    _role_state(role, asked=asked[role.role], memory=memory) for role in self._target.roles
                )
            ),
            dynamo_namespace=self._target.dynamo_namespace,
            model=self._target.model.lower(),
            resolved_as=Reason.VIRTUAL,
            unheld=self._planned if unheld else (),
            awaiting=awaited(memory, now_s=self._now_s(), max_wait_s=self._target.max_wait_s),
            remarks=look.noticed.remarks,
        )


def _in_channel(open_channel: OpenChannel, ask: Callable[[Channel], Awaitable[AnswerT]]) -> AnswerT:
    """Ask in an event loop of this call's own: connectors are called in threads, and seldom."""

    async def asked() -> AnswerT:
        async with open_channel() as channel:
            return await ask(channel)

    return asyncio.run(asked())


def _role_state(role: RolePolicy, *, asked: int, memory: PublisherMemory) -> RoleState:
    serving = memory.acknowledged_workers.get(role.role, role.min_replicas)
    return RoleState(
        role=role.role,
        replicas=asked,
        serving=serving,
        present=serving,
        gpus_per_replica=role.gpus_per_replica,
        settled=asked == serving,
    )
