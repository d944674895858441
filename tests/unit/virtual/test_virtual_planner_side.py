"""The planner's side of published decisions: what it keeps, and what a crash or a stranger can do to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from slaplanner.adapters.deployment.connector import Identity, ScalingOutcome
from slaplanner.adapters.deployment.failures import ApiRefusal, Failure
from slaplanner.core.errors import TargetError
from slaplanner.core.model import Role, RolePolicy
from slaplanner.core.reasons import Reason
from slaplanner.virtual.channel import Channel, ChannelError, Reading
from slaplanner.virtual.decisions import ABSENT, LARGEST_NUMBER, Head, IdSeries, Published
from slaplanner.virtual.policy_document import (
    ACKNOWLEDGED_ANNOTATION,
    head_of,
    memory_of,
    status_patch,
)
from slaplanner.virtual.policy_store import StoredPolicy
from slaplanner.virtual.publisher import PublishingConnector, VirtualTarget
from slaplanner.virtual.rules import PublisherMemory

ROLES = (Role.PREFILL, Role.DECODE)
MAX_WAIT_S = 60.0


def workers(prefill: int, decode: int = 1) -> dict[Role, int]:
    return {Role.PREFILL: prefill, Role.DECODE: decode}


@dataclass
class StoredObject:
    """A policy as an API server keeps it: merge patches, guarded by uid and resourceVersion."""

    uid: str = "first"
    version: int = 1
    annotations: dict[str, str] = field(default_factory=dict)
    status: dict[str, Any] = field(default_factory=dict)
    refusals: list[Reason] = field(default_factory=list)
    """Of the next writes."""
    before_write: Callable[[], None] | None = None

    def document(self) -> dict[str, Any]:
        metadata = {"uid": self.uid, "creationTimestamp": "2026-01-01T00:00:00Z"}
        return {"metadata": metadata | {"annotations": dict(self.annotations)}, "status": self.status}

    def acknowledge(self, value: object) -> None:
        self.annotations[ACKNOWLEDGED_ANNOTATION] = str(value)
        self.version += 1

    def read(self) -> StoredPolicy:
        document = self.document()
        return StoredPolicy(
            identity=Identity(
                namespace="serving", name="fleet", uid=self.uid, resource_version=str(self.version)
            ),
            memory=memory_of(document, roles=ROLES),
            head=head_of(document),
        )

    def write(self, memory: PublisherMemory, *, over: StoredPolicy) -> None:
        if self.before_write is not None:
            meanwhile, self.before_write = self.before_write, None
            meanwhile()
        if self.refusals:
            raise ApiRefusal(Failure(reason=self.refusals.pop(0), message="no"))
        if (over.identity.uid, over.identity.resource_version) != (self.uid, str(self.version)):
            raise ApiRefusal(Failure(reason=Reason.CONFLICT, message="it was changed"))
        patch = {
            key: None if value is None else {name: one for name, one in value.items() if one is not None}
            for key, value in status_patch(memory).items()
        }
        self.status = {key: value for key, value in (self.status | patch).items() if value is not None}
        self.version += 1

    @property
    def published(self) -> dict[str, Any]:
        found: dict[str, Any] = self.status.get("lastPublished", {})
        return found


@dataclass
class Keys:
    """A channel that is no policy: what etcd holds, with its revision as the guard."""

    head: Head = field(default_factory=Head)
    revision: int = 1
    ids: list[int] = field(default_factory=list)
    before_publish: Callable[[], None] | None = None

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Channel]:
        yield self

    async def read(self) -> Reading:
        return Reading(head=self.head, guard=self.revision)

    async def publish(self, decision_id: int, workers: Mapping[Role, int], *, over: Reading) -> bool:
        if self.before_publish is not None:
            meanwhile, self.before_publish = self.before_publish, None
            meanwhile()
        if over.guard != self.revision:
            return False
        self.put(decision_id, workers)
        return True

    async def acknowledge(self, decision_id: int, *, over: Reading) -> bool:
        raise NotImplementedError

    async def changes(self) -> AsyncIterator[None]:
        raise NotImplementedError
        yield

    def put(self, decision_id: int, workers: Mapping[Role, int]) -> None:
        decision = Published(id=decision_id, workers=dict(workers), series=IdSeries(name="1", started=1))
        self.head = Head(decision=decision, acknowledged_id=self.head.acknowledged_id)
        self.ids.append(decision_id)
        self.revision += 1

    def acknowledged(self, number: int) -> None:
        self.head = Head(decision=self.head.decision, acknowledged_id=number)
        self.revision += 1


@dataclass
class Play:
    """One operator after the other plans for one policy."""

    store: StoredObject = field(default_factory=StoredObject)
    keys: Keys | None = None
    now_s: float = 1_000_000.0

    def connector(self) -> PublishingConnector:
        """A new operator's: it knows what the policy and the keys say, and nothing else."""
        target = VirtualTarget(
            dynamo_namespace="fleet",
            model="llama",
            roles=tuple(RolePolicy(role=role, gpus_per_replica=1) for role in ROLES),
            max_wait_s=MAX_WAIT_S,
        )
        return PublishingConnector(
            self.store,  # type: ignore[arg-type] # it reads and writes like one
            target,
            now_s=lambda: self.now_s,
            open_channel=self.keys.opened if self.keys is not None else None,
        )

    def plan(self, prefill: int) -> ScalingOutcome:
        connector = self.connector()
        return connector.set_replicas(connector.observe(), workers(prefill))

    def acknowledge(self, number: int) -> None:
        if self.keys is None:
            self.store.acknowledge(number)
        else:
            self.keys.acknowledged(number)


@pytest.fixture(params=["Kubernetes", "Etcd"])
def play(request: pytest.FixtureRequest) -> Play:
    return Play(keys=Keys() if request.param == "Etcd" else None)


def test_an_id_that_was_acknowledged_before_it_was_published_is_remembered(play: Play) -> None:
    play.plan(1)
    play.acknowledge(7)
    assert [remark.reason for remark in play.connector().observe().remarks] == [
        Reason.ACKNOWLEDGEMENT_UNPUBLISHED
    ]
    play.acknowledge(0)
    play.plan(2)
    assert play.store.published["id"] == 8, "above what somebody may believe in, also after a restart"
    assert "acknowledgedUnpublished" not in play.store.published, "said, and not needed any more"


def test_an_acknowledgement_from_before_the_first_decision_raises_its_id(play: Play) -> None:
    """Git keeps the annotation; the policy is new."""
    play.acknowledge(3)
    assert play.plan(1).error is None
    assert play.store.published["id"] == 4
    assert play.connector().observe().awaiting is not None


def test_a_status_that_lost_its_decision_waits_for_nothing_and_goes_on_above(play: Play) -> None:
    play.plan(1)
    play.acknowledge(0)
    play.connector().observe()
    del play.store.status["lastPublished"]
    if play.keys is not None:
        play.keys.head = Head()
    assert play.connector().observe().awaiting is None
    play.plan(1)
    assert play.store.published["id"] == 1


def test_what_is_beyond_all_reason_does_not_use_the_ids_up(play: Play) -> None:
    play.plan(1)
    play.acknowledge(LARGEST_NUMBER)
    assert [remark.reason for remark in play.connector().observe().remarks] == [
        Reason.ACKNOWLEDGEMENT_UNPUBLISHED
    ]
    play.acknowledge(0)
    play.plan(2)
    assert play.store.published["id"] == 1


def test_ids_that_readers_cannot_hold_are_never_published() -> None:
    keys = Keys()
    play = Play(keys=keys)
    keys.put(LARGEST_NUMBER, workers(1))
    keys.acknowledged(LARGEST_NUMBER)
    error = play.plan(2).error
    assert error is not None
    assert error.reason is Reason.PUBLICATION_UNREADABLE
    assert f"found id {LARGEST_NUMBER}" in str(error)
    assert keys.ids == [LARGEST_NUMBER]


def test_a_crash_between_etcd_and_the_status_loses_no_id() -> None:
    keys = Keys()
    play = Play(keys=keys)
    play.store.refusals = [Reason.API_UNAVAILABLE]
    assert play.plan(3).error is not None
    assert (keys.ids, play.store.published) == ([0], {})
    assert play.plan(3).error is None
    assert keys.ids == [0], "it is found where it stands, and not published twice"
    assert play.store.published["id"] == 0


def test_a_status_that_was_written_by_others_meanwhile_is_read_again(play: Play) -> None:
    play.store.before_write = lambda: play.store.acknowledge("what")
    assert play.plan(3).error is None
    assert play.store.published["prefill"] == 3


def test_who_never_gets_to_write_says_so() -> None:
    play = Play()
    play.store.refusals = [Reason.CONFLICT] * 100
    error = play.plan(3).error
    assert error is not None
    assert error.reason is Reason.CONFLICT


def test_an_operator_that_comes_second_takes_the_next_id() -> None:
    keys = Keys()
    play = Play(keys=keys)
    play.plan(1)
    keys.acknowledged(0)
    keys.before_publish = lambda: keys.put(1, workers(5))
    play.plan(2)
    assert keys.ids == [0, 1], "the other's decision waits for its answer first"
    assert play.store.published["id"] == 1
    keys.acknowledged(1)
    play.plan(2)
    assert keys.ids == [0, 1, 2]


def test_a_policy_that_was_made_again_meanwhile_is_not_written(play: Play) -> None:
    connector = play.connector()
    state = connector.observe()
    play.store.uid = "second"
    error = connector.set_replicas(state, workers(3)).error
    assert error is not None
    assert error.reason is Reason.TARGET_NOT_FOUND
    assert play.store.published == {}
    assert play.keys is None or play.keys.ids == []


def test_a_policy_that_was_made_again_goes_on_above_the_keys() -> None:
    keys = Keys()
    play = Play(keys=keys)
    play.plan(1)
    keys.acknowledged(0)
    play.store = StoredObject(uid="second")
    play.plan(4)
    assert keys.ids == [0, 1]


def test_a_clock_that_was_set_back_does_not_hide_that_an_answer_is_overdue(play: Play) -> None:
    play.plan(1)
    play.now_s -= 86_400
    awaited = play.connector().observe().awaiting
    assert awaited is not None
    assert "0 s ago" in awaited.message
    play.now_s += MAX_WAIT_S
    awaited = play.connector().observe().awaiting
    assert awaited is not None
    assert awaited.reason is Reason.ACKNOWLEDGEMENT_OVERDUE


def test_nothing_is_published_for_an_abandoned_plan(play: Play) -> None:
    connector = play.connector()
    outcome = connector.set_replicas(connector.observe(), workers(3), still_wanted=lambda: False)
    assert outcome == ScalingOutcome()
    assert play.store.published == {}


def test_a_backend_that_is_away_is_an_error_of_the_look_and_nothing_is_written() -> None:
    class Away(Keys):
        async def read(self) -> Reading:
            raise ChannelError("it is away")

    play = Play(keys=Away())
    with pytest.raises(TargetError) as caught:
        play.connector().observe()
    assert caught.value.reason is Reason.ETCD_UNAVAILABLE
    assert play.store.status == {}


def test_the_floors_serve_before_the_first_acknowledgement(play: Play) -> None:
    play.plan(4)
    fleet = play.connector().observe().fleet
    assert [(role.replicas, role.serving) for role in fleet.roles] == [(4, 1), (1, 1)]
    play.acknowledge(0)
    fleet = play.connector().observe().fleet
    assert [(role.replicas, role.serving) for role in fleet.roles] == [(4, 4), (1, 1)]
    play.acknowledge(ABSENT if play.keys is not None else 0)
    assert play.connector().observe().awaiting is None
