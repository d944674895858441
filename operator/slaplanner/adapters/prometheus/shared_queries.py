"""Questions of many plans in one round trip: those that are asked at the same time for the same instant.

Plans lie on a grid of whole seconds, so a thousand policies a minute make some seventeen plans in one second,
and each asks four times. Here what several threads ask for the same instant becomes branches of one query, told
apart by a label of ours. Who asks alone never waits for others.

One question that Prometheus refuses or cannot answer in time would fail all of them, so after a failure each is
asked for itself, and for a while nothing is shared through this connection.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from slaplanner.adapters.prometheus.answers import Sample, Track
from slaplanner.adapters.prometheus.client import Prometheus
from slaplanner.adapters.prometheus.deadline import Deadline
from slaplanner.core.errors import MetricsError

ASKER: Final = "asker"
"""Label that carries the number of a question."""

MOST_CHARS: Final = 4
"""So many times the longest query of one plan."""

WAIT_S: Final = 0.2
"""For others that are reading now; it adds at most so much to each of a plan's questions."""

APART_S: Final = 60.0
"""After a shared question failed."""

HALF: Final = 0.5
"""Of the time that a plan has left: as long a shared question may take."""

T = TypeVar("T", Sample, Track)
Key = tuple[object, ...]


@dataclass(slots=True)
class _Round:
    """Questions that are asked together."""

    queries: list[str] = field(default_factory=list)
    answers: Sequence[Sequence[Sample | Track]] | None = None
    """One list per question; None: not answered, or each has to ask for itself."""
    done: threading.Event = field(default_factory=threading.Event)

    @property
    def chars(self) -> int:
        return sum(map(len, self.queries))


class SharedQueries:
    """A `Prometheus` for many threads, in front of another one."""

    def __init__(
        self,
        prometheus: Prometheus,
        *,
        most_chars: float = MOST_CHARS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """*most_chars*: as the constant; *clock*: monotonic seconds."""
        self._prometheus = prometheus
        self._max_chars = most_chars * prometheus.max_query_chars
        self._clock = clock
        self._changed = threading.Condition()
        self._open: dict[Key, _Round] = {}
        self._readers = 0
        self._apart_until_s = 0.0

    @property
    def max_query_chars(self) -> int:
        """Longest query of one question."""
        return self._prometheus.max_query_chars

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """For as long as a plan reads: only what is asked meanwhile is worth waiting for."""
        with self._changed:
            self._readers += 1
        try:
            yield
        finally:
            with self._changed:
                self._readers -= 1
                self._changed.notify_all()

    def instant(self, query: str, *, at_s: float, deadline: Deadline) -> list[Sample]:
        """See `Prometheus.instant`."""
        return self._ask(
            ("instant", at_s),
            query,
            lambda text, until: self._prometheus.instant(text, at_s=at_s, deadline=until),
            deadline,
        )

    def range(self, query: str, *, start_s: int, end_s: int, step_s: int, deadline: Deadline) -> list[Track]:
        """See `Prometheus.range`."""
        return self._ask(
            ("range", start_s, end_s, step_s),
            query,
            lambda text, until: self._prometheus.range(
                text, start_s=start_s, end_s=end_s, step_s=step_s, deadline=until
            ),
            deadline,
        )

    def _ask(
        self, key: Key, query: str, send: Callable[[str, Deadline], list[T]], deadline: Deadline
    ) -> list[T]:
        joined = self._join(key, query)
        if joined is None:
            return send(query, deadline)
        shared, number = joined
        # The other half is for asking again alone, if somebody's question keeps all from being answered.
        half_s = max(0.0, HALF * deadline.remaining_s)
        if number == 0:
            self._lead(key, shared, lambda text: send(text, Deadline.after(half_s)))
        else:
            shared.done.wait(half_s)
        if shared.answers is None:
            return send(query, deadline)
        return list(shared.answers[number])  # type: ignore[arg-type] # of the kind that was asked for

    def _join(self, key: Key, query: str) -> tuple[_Round, int] | None:
        """The round for this question, and its number in it; None: it is asked for itself."""
        with self._changed:
            if self._readers < 2 or self._clock() < self._apart_until_s:
                return None
            if 2 * len(query) > self._max_chars:
                return None  # No other one fits beside it.
            shared = self._open.get(key)
            if shared is None or shared.chars + len(query) > self._max_chars:
                shared = self._open[key] = _Round()
            shared.queries.append(query)
            self._changed.notify_all()
            return shared, len(shared.queries) - 1

    def _lead(self, key: Key, shared: _Round, send: Callable[[str], list[T]]) -> None:
        """Wait for the others, ask for all, and share the answer out."""
        with self._changed:
            self._changed.wait_for(lambda: len(shared.queries) >= self._readers, timeout=WAIT_S)
            if self._open.get(key) is shared:
                del self._open[key]
            queries = tuple(shared.queries)
        try:
            if len(queries) > 1:
                found = send(" or ".join(_branch(number, text) for number, text in enumerate(queries)))
                shared.answers = _shared_out(found, len(queries))
        except MetricsError:
            with self._changed:
                self._apart_until_s = self._clock() + APART_S
        finally:
            shared.done.set()


def _branch(number: int, query: str) -> str:
    return f'label_replace({query},"{ASKER}","{number}","","")'


def _shared_out(rows: Sequence[T], askers: int) -> list[list[T]]:
    found: list[list[T]] = [[] for _ in range(askers)]
    for row in rows:
        number = row.labels.get(ASKER, "")
        if not number.isdecimal() or int(number) >= askers:
            raise MetricsError(
                f"the answer cannot be read: found {ASKER} {number!r}, wanted 0 to {askers - 1}"
            )
        labels = {name: value for name, value in row.labels.items() if name != ASKER}
        found[int(number)].append(replace(row, labels=labels))
    return found
