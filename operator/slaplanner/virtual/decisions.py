"""A published decision, as its readers see it: which of two is newer, and how numbers are read.

Ids rise by one, as long as the place that holds them lives. Where it was deleted and made again, ids
may start afresh, so a decision also carries the series that it belongs to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from slaplanner.core.model import Role

ABSENT = -1
"""What a number reads as that is not there."""

LARGEST_NUMBER = 2**31 - 1
"""Readers may keep 32 bits."""

_DECIMAL = re.compile(r"(0|[1-9][0-9]{0,9})")


@dataclass(frozen=True, slots=True, kw_only=True)
class IdSeries:
    """The life of the object or key that holds the ids."""

    name: str = ""
    """An object's uid, or a key's revision of creation."""
    started: int = 0
    """When it began, in any unit that grows: seconds, or revisions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One decision: absolute worker counts under an id."""

    id: int = ABSENT
    workers: Mapping[Role, int] = field(default_factory=dict)
    """Of the roles that somebody has decided on; others are absent."""
    series: IdSeries = field(default_factory=IdSeries)

    def count(self, role: Role) -> int:
        """Workers of *role*; `ABSENT` when nobody has decided on them."""
        return self.workers.get(role, ABSENT)

    def newer_than(self, other: Published | None) -> bool:
        """Whether whoever has applied *other* may apply this one.

        A higher id always is. Another series is newer when it began later, whatever its ids.
        """
        if other is None or self.id > other.id:
            return True
        return self.series != other.series and self.series.started >= other.series.started


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What stands in a backend now."""

    decision: Published | None = None
    acknowledged_id: int = ABSENT
    faults: tuple[str, ...] = ()
    """What stands there and cannot be read, one sentence each; it counts as absent."""

    @property
    def acknowledged(self) -> bool:
        """Whether the decision was answered. An id above it answers nothing: nobody has published it."""
        return self.decision is not None and self.acknowledged_id == self.decision.id

    @property
    def pending(self) -> Published | None:
        """The decision that waits for somebody to carry it out."""
        return None if self.acknowledged else self.decision


def parse_number(text: str) -> int | None:
    """A count or an id from its decimal text; None for anything else, also for what is too large.

    >>> parse_number("12"), parse_number("-1"), parse_number("012"), parse_number("9999999999")
    (12, None, None, None)
    """
    if not _DECIMAL.fullmatch(text):
        return None
    number = int(text)
    return number if number <= LARGEST_NUMBER else None
