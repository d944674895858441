"""Questions of many threads in one round trip: everybody gets the answer to its own question."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from slaplanner.adapters.prometheus import Deadline, SharedQueries
from slaplanner.adapters.prometheus.answers import Sample, Track
from slaplanner.core.errors import MetricsError

PATIENCE_S = 60.0


class Server:
    """Answers `who("x")` with one series that bears x; what bears `bad` fails the whole query."""

    max_query_chars = 1000

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []
        self.lock = threading.Lock()
        self.gate = threading.Event()
        self.gate.set()

    def instant(self, query: str, *, at_s: float, deadline: Deadline) -> list[Sample]:  # noqa: ARG002
        return [Sample(labels=labels, value=at_s) for labels in self._rows(query, at_s)]

    def range(self, query: str, *, start_s: int, end_s: int, step_s: int, deadline: Deadline) -> list[Track]:  # noqa: ARG002
        key = (start_s, end_s, step_s)
        return [Track(labels=labels, points=((start_s, 1.0),)) for labels in self._rows(query, *key)]

    def _rows(self, query: str, *key: object) -> list[dict[str, str]]:
        self.gate.wait(PATIENCE_S)
        with self.lock:
            self.asked.append((*key, query))
        if "bad" in query:
            raise MetricsError("refused")
        parts = re.findall(r'label_replace\(who\("(\w+)"\),"asker","(\d+)","",""\)', query)
        if parts:
            return [{"who": who, "asker": number} for who, number in parts for _ in range(2)]
        return [{"who": who} for who in re.findall(r'who\("(\w+)"\)', query) for _ in range(2)]


def together(shared: SharedQueries, *questions: Callable[[], object]) -> list[object]:
    """All *questions* at once, each from a plan of its own that began before any of them asked."""
    begun = threading.Barrier(len(questions), timeout=PATIENCE_S)

    def plan(question: Callable[[], object]) -> object:
        with shared.reading():
            begun.wait()
            try:
                return question()
            except MetricsError as error:
                return str(error)
            finally:
                begun.wait()

    with ThreadPoolExecutor(len(questions)) as threads:
        return list(threads.map(plan, questions))


def instant(shared: SharedQueries, who: str, at_s: float = 5.0) -> Callable[[], object]:
    def ask() -> object:
        rows = shared.instant(f'who("{who}")', at_s=at_s, deadline=Deadline.after(PATIENCE_S))
        return [(dict(row.labels), row.value) for row in rows]

    return ask


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits as long as it takes for the other threads, so that nothing depends on which is quicker."""
    monkeypatch.setattr("slaplanner.adapters.prometheus.shared_queries.WAIT_S", PATIENCE_S)


@pytest.mark.usefixtures("patient")
def test_everybody_gets_its_own_answer_of_one_query():
    server = Server()
    names = [f"w{number}" for number in range(12)]
    shared = SharedQueries(server)
    found = together(shared, *(instant(shared, name) for name in names))
    assert found == [[({"who": name}, 5.0)] * 2 for name in names]
    assert len(server.asked) == 1


@pytest.mark.usefixtures("patient")
def test_ranges_are_shared_as_well():
    server = Server()
    shared = SharedQueries(server)

    def ask(who: str) -> Callable[[], object]:
        def range_() -> object:
            deadline = Deadline.after(PATIENCE_S)
            rows = shared.range(f'who("{who}")', start_s=0, end_s=60, step_s=5, deadline=deadline)
            return [row.labels["who"] for row in rows]

        return range_

    assert together(shared, ask("a"), ask("b")) == [["a", "a"], ["b", "b"]]
    assert len(server.asked) == 1


def test_other_times_are_other_questions():
    server = Server()
    shared = SharedQueries(server)
    found = together(shared, instant(shared, "a", 1.0), instant(shared, "b", 2.0))
    assert found == [[({"who": "a"}, 1.0)] * 2, [({"who": "b"}, 2.0)] * 2]
    assert sorted(at_s for at_s, _ in server.asked) == [1.0, 2.0]  # type: ignore[type-var]


def test_who_asks_alone_does_not_wait():
    server = Server()
    shared = SharedQueries(server)
    started_s = time.process_time()
    with shared.reading():
        assert instant(shared, "a")() == [({"who": "a"}, 5.0)] * 2
    assert server.asked == [(5.0, 'who("a")')], "as it was asked, without a label"
    assert time.process_time() - started_s < PATIENCE_S


@pytest.mark.usefixtures("patient")
def test_a_question_that_is_refused_fails_nobody_else():
    server = Server()
    shared = SharedQueries(server)
    found = together(shared, instant(shared, "a"), instant(shared, "bad"), instant(shared, "b"))
    assert found == [[({"who": "a"}, 5.0)] * 2, "refused", [({"who": "b"}, 5.0)] * 2]
    assert len(server.asked) == 1 + 3


@pytest.mark.usefixtures("patient")
def test_a_question_that_takes_all_the_time_leaves_the_others_theirs():
    class Slow(Server):
        def instant(self, query: str, *, at_s: float, deadline: Deadline) -> list[Sample]:
            if "bad" in query:
                time.sleep(max(0.0, deadline.remaining_s))
            if deadline.remaining_s <= 0.0:
                raise MetricsError("no time is left")
            return super().instant(query, at_s=at_s, deadline=deadline)

    shared = SharedQueries(Slow())

    def ask(who: str) -> Callable[[], object]:
        def ask() -> object:
            rows = shared.instant(f'who("{who}")', at_s=5.0, deadline=Deadline.after(2.0))
            return [row.labels["who"] for row in rows]

        return ask

    found = together(shared, ask("a"), ask("bad"), ask("b"))
    assert found == [["a"] * 2, "no time is left", ["b"] * 2]


def test_a_question_beside_which_no_other_one_fits_is_asked_alone():
    """The address of a GET has room for one plan's only."""
    server = Server()
    shared = SharedQueries(server, most_chars=1)
    long = ["a" * 600, "b" * 600]
    found = together(shared, *(instant(shared, who) for who in long))
    assert found == [[({"who": who}, 5.0)] * 2 for who in long]
    assert sorted(query for _, query in server.asked) == [f'who("{who}")' for who in long]


@pytest.mark.usefixtures("patient")
def test_after_a_failure_nothing_is_shared_for_a_while():
    now = [0.0]
    server = Server()
    shared = SharedQueries(server, clock=lambda: now[0])
    together(shared, instant(shared, "a"), instant(shared, "bad"))
    server.asked.clear()
    together(shared, instant(shared, "a"), instant(shared, "b"))
    assert len(server.asked) == 2
    now[0] += 61.0
    server.asked.clear()
    together(shared, instant(shared, "a"), instant(shared, "b"))
    assert len(server.asked) == 1


def test_a_query_never_grows_beyond_its_bound():
    server = Server()
    shared = SharedQueries(server)
    names = ["x" * 600 + str(number) for number in range(10)]
    found = together(shared, *(instant(shared, name) for name in names))
    assert found == [[({"who": name}, 5.0)] * 2 for name in names]
    assert all(len(str(asked[-1])) <= 4 * server.max_query_chars + 10 * 60 for asked in server.asked)
