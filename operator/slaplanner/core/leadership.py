"""Which of several operators may write: the rules of an election by one Lease, as pure functions.

Times are monotonic seconds of this process. The clocks of two nodes are never compared: a Lease counts as abandoned when
this process has seen it unchanged for the duration that its holder wrote into it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

WRITING_SHARE = 2 / 3
"""A leader writes for this share of a lease after it was renewed. The rest is for a request that is under
way when the writing ends: it ends before another operator can take the lease."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The Lease as the API server has it."""

    holder: str
    """Identity of its holder; empty: released."""
    duration_s: float
    """For how long a renewal counts."""
    transitions: int
    """How often the holder changed: the number of the present term."""
    version: str
    """resourceVersion: every write of the Lease changes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Election:
    """What one operator knows of the election."""

    identity: str
    """Its own name, which no other process has."""
    lease_s: float
    """For how long its own renewals count."""
    lease: Lease | None = None
    """As it was seen last; None: there was none, or nobody looked yet."""
    changed_at_s: float = 0.0
    """When `lease` was first seen in this version."""
    renewed_at_s: float | None = None
    """When the last renewal that succeeded was sent. None: not the leader."""

    def seen(self, lease: Lease | None, *, now_s: float) -> Self:
        """After a look at the Lease. Another holder ends the own term."""
        known = self.lease.version if self.lease else None
        changed_at_s = now_s if lease is None or lease.version != known else self.changed_at_s
        own = lease is not None and lease.holder == self.identity
        return replace(
            self,
            lease=lease,
            changed_at_s=changed_at_s,
            renewed_at_s=self.renewed_at_s if own else None,
        )

    def renewed(self, lease: Lease, *, sent_at_s: float) -> Self:
        """After the Lease was written: the term counts from when the request was sent."""
        return replace(self, lease=lease, changed_at_s=sent_at_s, renewed_at_s=sent_at_s)

    def may_take(self, *, now_s: float) -> bool:
        """Whether the Lease is free: absent, released, our own, or abandoned."""
        if self.lease is None or self.lease.holder in ("", self.identity):
            return True
        return now_s - self.changed_at_s >= self.lease.duration_s

    def next_transitions(self) -> int:
        """Number of the term that begins when this operator takes the Lease."""
        if self.lease is None:
            return 0
        return self.lease.transitions + (0 if self.lease.holder == self.identity else 1)

    def may_write(self, *, now_s: float) -> bool:
        """Whether a write that is sent now ends while nobody else can be the leader.

        Each request must time out within `(1 - WRITING_SHARE) * lease_s`.
        """
        return self.renewed_at_s is not None and now_s < self.renewed_at_s + WRITING_SHARE * self.lease_s

    @property
    def term(self) -> int | None:
        """Number of the own term; None: not the leader."""
        return None if self.renewed_at_s is None or self.lease is None else self.lease.transitions
