"""What a backend can do, whichever it is: be read, take a decision, take an answer, say that it moved."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from slaplanner.core.errors import TargetError
from slaplanner.core.model import Role
from slaplanner.core.reasons import Reason
from slaplanner.virtual.decisions import Head


class ChannelError(TargetError):
    """The backend does not answer, or refuses."""

    default_reason = Reason.ETCD_UNAVAILABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One look at the backend, and by what a later write is guarded against other writers."""

    head: Head
    guard: object = field(default=None, compare=False)


class Channel(Protocol):
    """One place that holds one fleet's decisions."""

    async def read(self) -> Reading:
        """What stands there now: never older than what any earlier read returned.

        Raises:
            ChannelError: it cannot be read.
        """
        ...

    async def publish(self, decision_id: int, workers: Mapping[Role, int], *, over: Reading) -> bool:
        """Put a decision in the place of the one that *over* shows; roles that are not named keep theirs.

        False: somebody else published meanwhile, and nothing was written.

        Raises:
            ChannelError: nobody can say whether it was written; reading again tells.
        """
        ...

    async def acknowledge(self, decision_id: int, *, over: Reading) -> bool:
        """Answer the decision that *over* shows. False: it is not the last one any more.

        Raises:
            ChannelError: as with `publish`.
        """
        ...

    def changes(self) -> AsyncIterator[None]:
        """One item each time that something may have changed, the first at once.

        It ends when the connection does; whoever waits starts afresh and reads again, so no change is
        missed whatever happened in between.

        Raises:
            ChannelError: it cannot be watched.
        """
        ...
