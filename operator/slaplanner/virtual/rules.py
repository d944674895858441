"""The publisher's side: what was answered, and what may be published next.

While a decision waits for its acknowledgement a newer one waits too; the latest wins, and after the
longest wait, counted from the first that waited, it goes out all the same. Nothing is published when
nothing changed. Ids are above every id that was ever seen, so a publisher or a backend that was
restored from a backup never falls behind its readers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from slaplanner.core.errors import TargetError
from slaplanner.core.model import Role
from slaplanner.core.reasons import Reason, Remark
from slaplanner.core.wording import figure
from slaplanner.virtual.decisions import ABSENT, LARGEST_NUMBER, Head

LARGEST_BELIEVED = 2**30
"""The largest unpublished id that later ids must be above. A larger one is taken for a typing error, because obeying it
would use up the ids; the half above this limit lasts 34 years at one id per second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublisherMemory:
    """What a publisher keeps, so that a restart forgets no id and no answer."""

    id: int = ABSENT
    """Of the decision that was published last."""
    workers: Mapping[Role, int] = field(default_factory=dict)
    published_at_s: float | None = None
    superseded: int | None = None
    """The unanswered decision that the last one replaced after the longest wait."""
    waiting_since_s: float | None = None
    """When the first of the decisions began to wait that wait now; None: none does."""
    acknowledged_id: int = ABSENT
    acknowledged_workers: Mapping[Role, int] = field(default_factory=dict)
    unpublished_id: int = ABSENT
    """The highest id above `id` that was acknowledged before anybody published it: somebody may believe in it."""

    @property
    def answered(self) -> bool:
        """Whether nothing that was published waits for its acknowledgement."""
        return self.id in {ABSENT, self.acknowledged_id}


@dataclass(frozen=True, slots=True, kw_only=True)
class Noticed:
    """The memory after one look at the backend."""

    memory: PublisherMemory
    lost: bool = False
    """The last decision does not stand there any more, or not as it was published."""
    remarks: tuple[Remark, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    """Publish these counts under this id."""

    id: int
    workers: Mapping[Role, int]
    superseded: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Keep the decision back until the one before it is answered."""

    since_s: float


Move = Publish | Wait | None
"""None: the last decision says it already."""


def notice(memory: PublisherMemory, head: Head, *, roles: Sequence[Role], now_s: float) -> Noticed:
    """What *head* tells a publisher of *roles*.

    A decision above the remembered one was published by another publisher, or by this one before it
    could remember: it counts. An acknowledgement that was seen once counts for ever.
    """
    decision = head.decision
    if memory.published_at_s is not None and memory.published_at_s > now_s:
        # The clock was set back: an age that cannot be known counts from now.
        memory = replace(memory, published_at_s=now_s)
    if decision is not None and decision.id > memory.id:
        memory = replace(
            memory,
            id=decision.id,
            workers={role: decision.workers[role] for role in roles if role in decision.workers},
            published_at_s=now_s,
            superseded=None,
            unpublished_id=_above(memory.unpublished_id, decision.id),
        )
    lost = memory.id != ABSENT and (
        decision is None
        or decision.id < memory.id
        or any(decision.workers.get(role) != count for role, count in memory.workers.items())
    )
    remarks = [Remark(reason=Reason.PUBLICATION_UNREADABLE, message=fault) for fault in head.faults]
    if lost and decision is None and not head.faults:
        remarks.append(
            Remark(
                reason=Reason.PUBLICATION_LOST,
                message=f"decision {memory.id} does not stand there any more; it is published again",
            )
        )
    elif lost and decision is not None:
        remarks.append(
            Remark(
                reason=Reason.PUBLICATION_LOST,
                message=f"found decision {decision.id} ({_counts(decision.workers)}), wanted {memory.id} "
                f"({_counts(memory.workers)}); it is published again",
            )
        )
    answer = head.acknowledged_id
    if answer == memory.id != ABSENT:
        memory = replace(memory, acknowledged_id=answer, acknowledged_workers=memory.workers)
    elif answer > max(memory.id, memory.acknowledged_id):
        if answer <= LARGEST_BELIEVED:
            memory = replace(memory, unpublished_id=max(memory.unpublished_id, answer))
        remarks.append(
            Remark(
                reason=Reason.ACKNOWLEDGEMENT_UNPUBLISHED,
                message=f"{answer} is acknowledged and was never published, the last decision is "
                f"{_id(memory.id)}; it acknowledges nothing",
            )
        )
    elif answer not in {ABSENT, memory.acknowledged_id}:
        remarks.append(
            Remark(
                reason=Reason.ACKNOWLEDGEMENT_OLD,
                message=f"{answer} is acknowledged, the last decision is {memory.id}; it is ignored",
            )
        )
    return Noticed(memory=memory, lost=lost, remarks=tuple(remarks))


def next_move(
    noticed: Noticed,
    wanted: Mapping[Role, int],
    *,
    now_s: float,
    max_wait_s: float,
) -> Move:
    """Whether *wanted* goes out now. With nothing wanted before the first decision there is none.

    Raises:
        TargetError: there is no higher id (PublicationUnreadable).
    """
    memory = noticed.memory
    if memory.id == ABSENT and not wanted:
        return None
    if memory.id == ABSENT or noticed.lost:
        return Publish(id=next_id(memory), workers=dict(wanted))
    if all(memory.workers.get(role) == count for role, count in wanted.items()):
        return None
    if memory.answered:
        return Publish(id=next_id(memory), workers=dict(wanted))
    # A clock that was set back must not make the wait longer than it is.
    since_s = min(memory.waiting_since_s, now_s) if memory.waiting_since_s is not None else now_s
    if now_s - since_s >= max_wait_s:
        return Publish(id=next_id(memory), workers=dict(wanted), superseded=memory.id)
    return Wait(since_s=since_s)


def next_id(memory: PublisherMemory) -> int:
    """Above every id that was seen, wherever: `notice` takes those of the backend into the memory.

    Raises:
        TargetError: readers could not hold a higher one (PublicationUnreadable).
    """
    highest = max(memory.id, memory.acknowledged_id, memory.unpublished_id)
    if highest >= LARGEST_NUMBER:
        raise TargetError(
            f"found id {highest}, wanted one below {LARGEST_NUMBER}, so that a higher one fits: where somebody "
            "wrote it by mistake, delete the keys in etcd and the policy, and create the policy again",
            reason=Reason.PUBLICATION_UNREADABLE,
        )
    return highest + 1


def remember(memory: PublisherMemory, move: Move, *, now_s: float) -> PublisherMemory:
    """The memory after *move* was made."""
    if move is None:
        return replace(memory, waiting_since_s=None)
    if isinstance(move, Wait):
        return replace(memory, waiting_since_s=move.since_s)
    return replace(
        memory,
        id=move.id,
        workers=dict(move.workers),
        published_at_s=now_s,
        superseded=move.superseded,
        waiting_since_s=None,
        unpublished_id=_above(memory.unpublished_id, move.id),
    )


def awaited(memory: PublisherMemory, *, now_s: float, max_wait_s: float) -> Remark | None:
    """Which acknowledgement is waited for, since when; None when none is."""
    if memory.answered:
        return None
    age_s = max(0.0, now_s - memory.published_at_s) if memory.published_at_s is not None else 0.0
    message = (
        f"decision {memory.id} ({_counts(memory.workers)}) was published {figure(age_s)} s ago, "
        f"the last acknowledged is {_id(memory.acknowledged_id)}"
    )
    if memory.superseded is not None:
        message += f"; it went out though {memory.superseded} was not acknowledged in {figure(max_wait_s)} s"
    overdue = memory.superseded is not None or age_s >= max_wait_s
    return Remark(
        reason=Reason.ACKNOWLEDGEMENT_OVERDUE if overdue else Reason.AWAITING_ACKNOWLEDGEMENT,
        message=message,
    )


def _above(number: int, other: int) -> int:
    return number if number > other else ABSENT


def _id(number: int) -> str:
    return "none" if number == ABSENT else str(number)


def _counts(workers: Mapping[Role, int]) -> str:
    return ", ".join(f"{role} {count}" for role, count in workers.items())
