"""What the operator keeps in memory of each policy while it runs; none of it must survive a restart.

A record is filled by two sides: the watch (the policy as the API server last showed it) and the
heartbeat (what was planned, seen and still has to be written).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from slaplanner.adapters.target.conditions import Verdict
from slaplanner.adapters.target.conflicts import Claim, policy_rivals
from slaplanner.adapters.target.connector import Outcome, TargetState
from slaplanner.api.policy import SLAPolicy
from slaplanner.controller.backoff import READY, Backoff
from slaplanner.controller.schedule import Fingerprint
from slaplanner.controller.virtual import published_place
from slaplanner.core.decision import Decision
from slaplanner.core.errors import PolicyError
from slaplanner.core.model import Actuation
from slaplanner.core.readings import Series
from slaplanner.core.reasons import Reason
from slaplanner.core.state import PlannerState
from slaplanner.core.virtual.publishing import Remark


@dataclass(slots=True, kw_only=True)
class Record:
    """One policy."""

    uid: str
    namespace: str
    name: str
    document: Mapping[str, Any]
    """The object as last seen by the watch."""
    deleted: bool = False
    withdrawn: bool = False
    """Whether its traces on the target are being removed."""

    ticking: bool = False
    """A heartbeat is under way: there is never a second one beside it."""
    ticked_at_s: float = field(default_factory=time.monotonic)
    """Monotonic time of the end of the last heartbeat; before the first, of when it was first seen."""
    silent: bool = False
    """Its own timer was found to be silent: it is told once."""
    checked_at_s: float = -math.inf
    """Monotonic time at which the API server was last asked whether the policy still exists."""

    turn_at_s: float | None = None
    """Monotonic time from which its first plan may be made; None before it asked for its turn."""
    retry: Backoff = READY
    """Of reads and writes of the target that failed for want of the API server, or met somebody else's."""
    status_retry: Backoff = READY
    """Of writes of the status."""

    policy: SLAPolicy | None = None
    """The parsed object; None when it does not parse."""
    trouble: PolicyError | None = None
    """Why it does not parse."""
    state: PlannerState | None = None
    """None until it was read back from the status."""
    attempted_at_s: float | None = None
    """The time that the last plan was for, whether it came to a decision or not."""
    fingerprint: Fingerprint | None = None
    seen_digest: str | None = None
    """Of the fingerprint that the operator before this one planned with; until it was compared."""
    decision: Decision | None = None
    planned_for: tuple[int, str | None] = (0, None)
    """The generation and the pause annotation that `decision` was made for; it binds nobody else."""
    contested: bool = False
    """Whether the last plan found somebody else who scales the target."""
    target: TargetState | None = None
    target_version: str | None = None
    """The target's version, as its watch told, at the last look."""
    outcome: Outcome | None = None
    history: Series | None = None
    latest_status: Mapping[str, Any] | None = None
    """The status as last written, or as last read before the first write."""
    unwritten_status: Mapping[str, Any] | None = None
    """A status whose write failed; the next heartbeat tries again."""
    sightings: tuple[bool, ...] = ()
    """Whether the last plans saw the SLA met, newest last; for the deployment's own condition."""
    refused: Reason | None = None
    """Why the last write of replicas failed, while it does: it is told once."""
    remarks: tuple[Remark, ...] = ()
    """What the last look found odd about the target: it is told once."""
    clock_remark: Remark | None = None
    """That Prometheus' clock was off at the last plan."""
    limited: bool = False
    """Whether the last plan gave a role less than its load needs, by the user's own rules."""
    verdict: Verdict | None = None
    """What this policy says of its deployment."""

    @property
    def told_status(self) -> Mapping[str, Any] | None:
        """The status as it should stand, whether its write went through yet or not."""
        return self.unwritten_status if self.unwritten_status is not None else self.latest_status

    @property
    def generation(self) -> int:
        return int(self.document["metadata"].get("generation", 0))

    @property
    def annotations(self) -> Mapping[str, str]:
        annotations: Mapping[str, str] = self.document["metadata"].get("annotations") or {}
        return annotations


@dataclass(slots=True)
class Records:
    """All policies that this operator has seen and that still exist."""

    _by_uid: dict[str, Record] = field(default_factory=dict)

    def seen(self, document: Mapping[str, Any]) -> Record:
        """Note the policy's latest form and return its record."""
        metadata = document["metadata"]
        uid = metadata["uid"]
        record = self._by_uid.get(uid)
        if record is None:
            record = Record(
                uid=uid, namespace=metadata["namespace"], name=metadata["name"], document=document
            )
            self._by_uid[uid] = record
        if record.policy is None or record.document is not document:
            record.document = document
            _parse(record)
        record.deleted = record.deleted or bool(metadata.get("deletionTimestamp"))
        return record

    def get(self, uid: str) -> Record | None:
        """The record of a policy that was seen."""
        return self._by_uid.get(uid)

    def claims(self) -> list[Claim]:
        """What every policy wants to scale, for finding conflicts."""
        return [claim for record in self if (claim := _claim(record)) is not None]

    def seniors(self, record: Record) -> tuple[str, ...]:
        """The policies that go before this one on its target, by name."""
        mine = _claim(record)
        if mine is None:
            return ()
        near = (other for other in self if other.namespace == record.namespace)
        claims = [claim for other in near if (claim := _claim(other)) is not None]
        return tuple(sorted({rival.name for rival in policy_rivals(mine, claims)}))

    def verdicts(self, namespace: str, target: str) -> list[Verdict]:
        """What the policies of one deployment say of it."""
        return [
            record.verdict
            for record in self
            if record.verdict is not None
            and not record.deleted
            and record.policy is not None
            and (record.namespace, record.policy.spec.target_ref.name) == (namespace, target)
        ]

    def gone(self, uid: str) -> Record | None:
        """The policy does not exist any more."""
        record = self._by_uid.pop(uid, None)
        if record is not None:
            record.deleted = True
        return record

    def __iter__(self) -> Iterator[Record]:
        return iter(tuple(self._by_uid.values()))

    def __len__(self) -> int:
        return len(self._by_uid)


def _parse(record: Record) -> None:
    try:
        record.policy, record.trouble = SLAPolicy.parse(record.document), None
    except PolicyError as error:
        record.policy, record.trouble = None, error


def _claim(record: Record) -> Claim | None:
    policy = record.policy
    if policy is None:
        return None
    namespace, target = record.namespace, policy.spec.target_ref.name
    if policy.spec.connector.virtual is not None:
        # Policies of all namespaces may publish in one etcd.
        namespace, target = "", published_place(policy.spec.connector.virtual)
    if target is None:
        return None
    return Claim(
        namespace=namespace,
        policy=record.name,
        uid=record.uid,
        created_at=policy.metadata.creation_timestamp,
        target=target,
        mode=policy.spec.mode,
        active=not record.deleted and policy.spec.actuation is Actuation.ENFORCE,
    )
