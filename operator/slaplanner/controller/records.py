"""What the operator remembers of each policy while it runs. Nothing of it has to survive a restart.

A record has four frozen parts, and each has one owner that replaces it as a whole: `Manifest` the watch, `PlanMemory`
the reconciler, `Report` the reporter, `Timer` the operator. Everybody may read all of them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from slaplanner.adapters.deployment.conflicts import Claim, policy_rivals
from slaplanner.adapters.deployment.connector import ScalingOutcome, TargetState
from slaplanner.adapters.deployment.own_conditions import DeploymentConditions
from slaplanner.adapters.prometheus import Scope
from slaplanner.api.annotations import PAUSED
from slaplanner.api.policy import SLAPolicy
from slaplanner.controller.backoff import READY, Backoff
from slaplanner.controller.schedule import Fingerprint
from slaplanner.core.decision import Decision
from slaplanner.core.errors import PolicyError
from slaplanner.core.glance import Alarm
from slaplanner.core.model import Actuation, Policy
from slaplanner.core.readings import Series
from slaplanner.core.reasons import Reason, Remark
from slaplanner.core.state import PlannerState
from slaplanner.settings import Settings
from slaplanner.virtual.policy_connector import published_place


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A policy that was read: as its user wrote it, and with every default and setting applied."""

    policy: SLAPolicy
    core: Policy
    claim: Claim | None
    """What it wants to scale; None: nothing that another policy could want as well."""


@dataclass(frozen=True, slots=True)
class Version:
    """The form of a policy that a decision was made for; it does not bind any other form."""

    generation: int
    pause: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The policy as the API server last showed it."""

    document: Mapping[str, Any]
    resolved: Resolved | None
    """None: it cannot be read."""
    trouble: PolicyError | None
    """Why it cannot be read."""
    deleted: bool = False

    @property
    def generation(self) -> int:
        return int(self.document["metadata"].get("generation", 0))

    @property
    def annotations(self) -> Mapping[str, str]:
        annotations: Mapping[str, str] = self.document["metadata"].get("annotations") or {}
        return annotations

    @property
    def version(self) -> Version:
        return Version(self.generation, self.annotations.get(PAUSED))


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanMemory:
    """What the last plan, and the last look at the target, left behind."""

    state: PlannerState | None = None
    """None until it was read back from the status."""
    attempted_at_s: float | None = None
    """The time that the last plan was for, whether it came to a decision or not."""
    fingerprint: Fingerprint | None = None
    earlier_digest: str | None = None
    """Of the fingerprint that the operator before this one planned with; until it was compared."""
    decision: Decision | None = None
    planned_for: Version = Version(0, None)
    """The form of the policy that `decision` was made for."""
    contested: bool = False
    """Whether the last plan found somebody else who scales the target."""
    target: TargetState | None = None
    target_read_at_s: float = -math.inf
    """Monotonic time at which `target` was read."""
    target_version: str | None = None
    """The target's version, as its watch told, at the last look."""
    outcome: ScalingOutcome | None = None
    history: Series | None = None
    scope: Scope | None = None
    """Whose series the last plan read; None: none that it could."""
    alarm: Alarm | None = None
    """What the last glance saw that asks for a plan."""
    alarmed_at_s: float | None = None
    """The time of the last plan that a glance asked for."""
    clock_remark: Remark | None = None
    """That Prometheus' clock was off at the last plan."""
    turn_at_s: float | None = None
    """Monotonic time from which its first plan may be made; None before it asked for its turn."""
    retry: Backoff = READY
    """Of reads and writes of the target that failed for want of the API server, or met somebody else's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was told of the policy, and what still has to be."""

    written: Mapping[str, Any] | None = None
    """The status as last written, or as last read before the first write."""
    unwritten: Mapping[str, Any] | None = None
    """A status whose write failed; a later heartbeat tries again."""
    retry: Backoff = READY
    """Of writes of the status."""
    sightings: tuple[bool, ...] = ()
    """Whether the last plans saw the SLA met, newest last; for the deployment's own condition."""
    refused: Reason | None = None
    """Why the last write of replicas failed, while it does: it is told once."""
    remarks: tuple[Remark, ...] = ()
    """What the last look found odd about the target: it is told once."""
    limited: bool = False
    """Whether the last plan gave a role less than its load needs, by the user's own rules."""
    verdict: DeploymentConditions | None = None
    """What this policy says of its deployment."""
    counted_at_s: float | None = None
    """Up to when served requests are in the counters of the promise, Unix seconds; None: not since the start."""

    @property
    def status(self) -> Mapping[str, Any] | None:
        """The status as it should stand, whether its write went through yet or not."""
        return self.unwritten if self.unwritten is not None else self.written


@dataclass(frozen=True, slots=True, kw_only=True)
class Timer:
    """The policy's heartbeats."""

    ticking: bool = False
    """A heartbeat is under way: there is never a second one beside it."""
    ticked_at_s: float = field(default_factory=time.monotonic)
    """Monotonic time of the end of the last heartbeat; before the first, of when it was first seen."""
    silent: bool = False
    """kopf's timer does not fire: it is told once."""
    checked_at_s: float = -math.inf
    """Monotonic time at which the API server was last asked whether the policy still exists."""
    withdrawn: bool = False
    """The traces of the deleted policy on its target are being removed."""


@dataclass(slots=True, kw_only=True)
class Record:
    """One policy."""

    uid: str
    namespace: str
    name: str
    manifest: Manifest
    memory: PlanMemory = field(default_factory=PlanMemory)
    report: Report = field(default_factory=Report)
    timer: Timer = field(default_factory=Timer)

    @property
    def who(self) -> str:
        """Namespace and name, for the log."""
        return f"{self.namespace}/{self.name}"


@dataclass(slots=True)
class Records:
    """All policies that this operator has seen and that still exist."""

    settings: Settings = field(default_factory=Settings)
    _by_uid: dict[str, Record] = field(default_factory=dict)
    _by_claim: dict[tuple[str, str], dict[str, Record]] = field(default_factory=dict)
    """By what they want to scale: no question about one target walks over all policies."""
    _by_target: dict[tuple[str, str], dict[str, Record]] = field(default_factory=dict)
    """By namespace and name of the deployment."""

    def seen(self, document: Mapping[str, Any]) -> Record:
        """Note the policy's latest form and return its record.

        It is parsed and judged again only when its generation or its annotations changed: most of what
        the watch shows are the operator's own writes of the status.
        """
        metadata = document["metadata"]
        uid = metadata["uid"]
        record = self._by_uid.get(uid)
        deleted = bool(metadata.get("deletionTimestamp"))
        if record is None:
            manifest = self._manifest(document, deleted=deleted)
            record = Record(
                uid=uid, namespace=metadata["namespace"], name=metadata["name"], manifest=manifest
            )
            self._by_uid[uid] = record
        elif _form(document) == _form(record.manifest.document):
            deleted = record.manifest.deleted or deleted
            record.manifest = replace(record.manifest, document=document, deleted=deleted)
        else:
            self._unindex(record)
            record.manifest = self._manifest(document, deleted=record.manifest.deleted or deleted)
        self._index(record)
        return record

    def get(self, uid: str) -> Record | None:
        """The record of a policy that was seen."""
        return self._by_uid.get(uid)

    def claims(self, record: Record) -> tuple[Claim, ...]:
        """What the policies want that want the same target as this one, itself included."""
        key = _claim_key(record)
        if key is None:
            return ()
        return tuple(
            claim
            for other in self._by_claim.get(key, {}).values()
            if (claim := _current_claim(other)) is not None
        )

    def seniors(self, record: Record) -> tuple[str, ...]:
        """The policies that go before this one on its target, by name."""
        claims = self.claims(record)
        mine = next((claim for claim in claims if claim.uid == record.uid), None)
        if mine is None or len(claims) == 1:
            return ()
        return tuple(sorted({rival.name for rival in policy_rivals(mine, claims)}))

    def verdicts(self, namespace: str, target: str) -> list[DeploymentConditions]:
        """What the policies of one deployment say of it."""
        return [
            record.report.verdict
            for record in self._by_target.get((namespace, target), {}).values()
            if record.report.verdict is not None and not record.manifest.deleted
        ]

    def gone(self, uid: str) -> Record | None:
        """The policy does not exist any more."""
        record = self._by_uid.pop(uid, None)
        if record is not None:
            self._unindex(record)
            record.manifest = replace(record.manifest, deleted=True)
        return record

    def __iter__(self) -> Iterator[Record]:
        return iter(tuple(self._by_uid.values()))

    def __len__(self) -> int:
        return len(self._by_uid)

    def _manifest(self, document: Mapping[str, Any], *, deleted: bool) -> Manifest:
        try:
            policy = SLAPolicy.parse(document)
        except PolicyError as error:
            return Manifest(document=document, resolved=None, trouble=error, deleted=deleted)
        core = replace(policy.to_core(), replica_ceiling=self.settings.replica_ceiling)
        if self.settings.observe:
            core = replace(core, actuation=Actuation.OBSERVE)
        resolved = Resolved(policy=policy, core=core, claim=_claim(policy, self.settings))
        return Manifest(document=document, resolved=resolved, trouble=None, deleted=deleted)

    def _index(self, record: Record) -> None:
        if (claim := _claim_key(record)) is not None:
            self._by_claim.setdefault(claim, {})[record.uid] = record
        if (target := _target_key(record)) is not None:
            self._by_target.setdefault(target, {})[record.uid] = record

    def _unindex(self, record: Record) -> None:
        for index, key in ((self._by_claim, _claim_key(record)), (self._by_target, _target_key(record))):
            if key is not None and key in index:
                index[key].pop(record.uid, None)
                if not index[key]:
                    del index[key]


def _form(document: Mapping[str, Any]) -> tuple[object, object]:
    """What of a policy's object decides how it is read; the API server counts changes of the spec."""
    metadata = document["metadata"]
    return metadata.get("generation"), metadata.get("annotations") or {}


def _claim(policy: SLAPolicy, settings: Settings) -> Claim | None:
    metadata, spec = policy.metadata, policy.spec
    namespace, target = metadata.namespace, spec.target_ref.name
    if spec.connector.virtual is not None:
        # Policies of several namespaces may publish in one etcd.
        namespace, target = "", published_place(policy, spec.connector.virtual, settings=settings)
    if target is None:
        return None
    return Claim(
        namespace=namespace,
        policy=metadata.name,
        uid=metadata.uid,
        created_at=metadata.creation_timestamp,
        target=target,
        mode=spec.mode,
        active=spec.actuation is Actuation.ENFORCE,
    )


def _current_claim(record: Record) -> Claim | None:
    resolved = record.manifest.resolved
    claim = resolved.claim if resolved is not None else None
    return replace(claim, active=False) if claim is not None and record.manifest.deleted else claim


def _claim_key(record: Record) -> tuple[str, str] | None:
    resolved = record.manifest.resolved
    claim = resolved.claim if resolved is not None else None
    return (claim.namespace, claim.target) if claim is not None else None


def _target_key(record: Record) -> tuple[str, str] | None:
    resolved = record.manifest.resolved
    name = resolved.policy.spec.target_ref.name if resolved is not None else None
    return (record.namespace, name) if name is not None else None
