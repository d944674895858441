"""Publishing decisions: ids, waiting, answers, and what a publisher makes of a backend that lost them."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from slaplanner.core.model import Role
from slaplanner.core.reasons import Reason
from slaplanner.virtual.decisions import ABSENT, Head, IdSeries, Published, parse_number
from slaplanner.virtual.rules import (
    Publish,
    PublisherMemory,
    Wait,
    awaited,
    next_move,
    notice,
    remember,
)

ROLES = (Role.PREFILL, Role.DECODE)
MAX_WAIT_S = 60.0


def counts(prefill: int, decode: int = 1) -> dict[Role, int]:
    return {Role.PREFILL: prefill, Role.DECODE: decode}


def decision(number: int, prefill: int = 1, series: IdSeries | None = None) -> Published:
    return Published(id=number, workers=counts(prefill), series=series or IdSeries(name="a", started=1))


@dataclass
class Publisher:
    """A publisher and its backend, driven by hand."""

    memory: PublisherMemory = field(default_factory=PublisherMemory)
    head: Head = field(default_factory=Head)
    ids: list[int] = field(default_factory=list)

    def plan(self, prefill: int, *, at_s: float) -> object:
        noticed = notice(self.memory, self.head, roles=ROLES, now_s=at_s)
        move = next_move(noticed, counts(prefill), now_s=at_s, max_wait_s=MAX_WAIT_S)
        self.memory = remember(noticed.memory, move, now_s=at_s)
        if isinstance(move, Publish):
            self.ids.append(move.id)
            self.head = Head(
                decision=Published(id=move.id, workers=move.workers),
                acknowledged_id=self.head.acknowledged_id,
            )
        return move

    def acknowledge(self, number: int) -> None:
        self.head = Head(decision=self.head.decision, acknowledged_id=number)


def test_the_first_decision_has_id_0_and_always_goes_out() -> None:
    assert Publisher().plan(1, at_s=0) == Publish(id=0, workers=counts(1))


def test_nothing_is_published_when_nothing_changed() -> None:
    publisher = Publisher()
    publisher.plan(1, at_s=0)
    assert publisher.plan(1, at_s=5) is None
    publisher.acknowledge(0)
    assert publisher.plan(1, at_s=10) is None


def test_a_newer_decision_waits_and_the_latest_wins() -> None:
    publisher = Publisher()
    publisher.plan(1, at_s=0)
    assert publisher.plan(2, at_s=10) == Wait(since_s=10)
    assert publisher.plan(3, at_s=20) == Wait(since_s=10)
    publisher.acknowledge(0)
    assert publisher.plan(3, at_s=30) == Publish(id=1, workers=counts(3))


def test_the_longest_wait_counts_from_the_first_that_waited() -> None:
    publisher = Publisher()
    publisher.plan(1, at_s=0)
    publisher.plan(2, at_s=10)
    assert isinstance(publisher.plan(3, at_s=10 + MAX_WAIT_S - 1), Wait)
    assert publisher.plan(3, at_s=10 + MAX_WAIT_S) == Publish(id=1, workers=counts(3), superseded=0)
    told = awaited(publisher.memory, now_s=10 + MAX_WAIT_S, max_wait_s=MAX_WAIT_S)
    assert told is not None
    assert told.reason is Reason.ACKNOWLEDGEMENT_OVERDUE
    assert "decision 1 (prefill 3, decode 1)" in told.message
    assert "though 0 was not acknowledged in 60 s" in told.message


def test_a_wait_that_ended_by_itself_does_not_shorten_the_next() -> None:
    publisher = Publisher()
    publisher.plan(1, at_s=0)
    publisher.plan(2, at_s=10)
    publisher.plan(1, at_s=20)
    assert publisher.plan(2, at_s=100) == Wait(since_s=100)


def test_a_clock_that_was_set_back_does_not_lengthen_the_wait() -> None:
    publisher = Publisher()
    publisher.plan(1, at_s=1000)
    publisher.plan(2, at_s=1000)
    assert publisher.plan(2, at_s=100) == Wait(since_s=100)
    assert isinstance(publisher.plan(2, at_s=100 + MAX_WAIT_S), Publish)


def test_an_id_above_the_published_one_answers_nothing_and_raises_the_next() -> None:
    publisher = Publisher()
    publisher.plan(1, at_s=0)
    publisher.acknowledge(7)
    noticed = notice(publisher.memory, publisher.head, roles=ROLES, now_s=1)
    assert not noticed.memory.answered
    assert [remark.reason for remark in noticed.remarks] == [Reason.ACKNOWLEDGEMENT_UNPUBLISHED]
    publisher.plan(2, at_s=1)
    assert publisher.plan(2, at_s=1 + MAX_WAIT_S) == Publish(id=8, workers=counts(2), superseded=0)


def test_an_answer_counts_for_ever_once_it_was_seen() -> None:
    """Dynamo's clients answer under a lease: the key goes when they end."""
    publisher = Publisher()
    publisher.plan(1, at_s=0)
    publisher.acknowledge(0)
    publisher.plan(1, at_s=1)
    publisher.acknowledge(ABSENT)
    assert publisher.plan(2, at_s=2) == Publish(id=1, workers=counts(2))


def test_an_older_answer_is_told_and_changes_nothing() -> None:
    publisher = Publisher(memory=PublisherMemory(id=5, workers=counts(2), acknowledged_id=4), head=Head())
    publisher.head = Head(decision=Published(id=5, workers=counts(2)), acknowledged_id=3)
    noticed = notice(publisher.memory, publisher.head, roles=ROLES, now_s=0)
    assert [remark.reason for remark in noticed.remarks] == [Reason.ACKNOWLEDGEMENT_OLD]
    assert noticed.memory == publisher.memory


def test_the_answer_to_the_decision_before_is_no_news() -> None:
    memory = PublisherMemory(id=5, workers=counts(2), acknowledged_id=4)
    head = Head(decision=Published(id=5, workers=counts(2)), acknowledged_id=4)
    assert notice(memory, head, roles=ROLES, now_s=0).remarks == ()


def test_what_was_deleted_or_overwritten_is_published_again_above_all_ids() -> None:
    memory = PublisherMemory(id=5, workers=counts(2), acknowledged_id=5, acknowledged_workers=counts(2))
    for head in (Head(), Head(decision=decision(3)), Head(decision=decision(5, prefill=9))):
        noticed = notice(memory, head, roles=ROLES, now_s=0)
        assert noticed.lost
        assert [remark.reason for remark in noticed.remarks] == [Reason.PUBLICATION_LOST]
        assert next_move(noticed, counts(2), now_s=0, max_wait_s=MAX_WAIT_S) == Publish(
            id=6, workers=counts(2)
        )


def test_a_higher_decision_of_somebody_else_counts_as_ours() -> None:
    head = Head(decision=decision(9, prefill=4))
    noticed = notice(PublisherMemory(id=5, workers=counts(2)), head, roles=ROLES, now_s=0)
    assert (noticed.memory.id, noticed.memory.workers, noticed.lost) == (9, counts(4), False)


def test_a_role_that_is_not_planned_is_not_compared() -> None:
    memory = PublisherMemory(id=5, workers={Role.PREFILL: 2})
    head = Head(decision=Published(id=5, workers=counts(2, decode=7)))
    assert not notice(memory, head, roles=(Role.PREFILL,), now_s=0).lost


def test_a_recreated_object_is_newer_whatever_its_ids() -> None:
    old = decision(9, series=IdSeries(name="old", started=100))
    new = decision(0, series=IdSeries(name="new", started=100))
    assert new.newer_than(old)
    assert not decision(8, series=old.series).newer_than(old)
    assert not decision(3, series=IdSeries(name="restored", started=50)).newer_than(old)


@given(st.text(max_size=12))
def test_a_number_is_read_only_as_it_is_written(text: str) -> None:
    number = parse_number(text)
    assert number is None or str(number) == text


class Life(RuleBasedStateMachine):
    """Plans, answers of any kind, lost keys, restored memories and restarts, in any order."""

    @initialize()
    def begin(self) -> None:
        self.now_s = 0.0
        self.publisher = Publisher()
        self.saved = PublisherMemory()
        self.seen = ABSENT
        """The highest id that anybody ever saw."""

    @rule(prefill=st.integers(1, 4), passed_s=st.floats(0, 100))
    def plan(self, prefill: int, passed_s: float) -> None:
        self.now_s += passed_s
        before = self.publisher.memory
        answered = notice(before, self.publisher.head, roles=ROLES, now_s=self.now_s)
        # An answer that was overwritten before anybody looked was never seen.
        self.seen = max(self.seen, self.publisher.head.acknowledged_id)
        move = self.publisher.plan(prefill, at_s=self.now_s)
        if isinstance(move, Publish):
            assert move.id == self.seen + 1
            self.seen = move.id
            waited = before.waiting_since_s is not None and self.now_s - before.waiting_since_s >= MAX_WAIT_S
            assert answered.memory.answered or answered.lost or answered.memory.id == ABSENT or waited
        else:
            assert not answered.lost

    @rule()
    def answer(self) -> None:
        if self.publisher.head.decision is not None:
            self.publisher.acknowledge(self.publisher.head.decision.id)

    @rule(number=st.integers(0, 50))
    def answer_anything(self, number: int) -> None:
        self.publisher.acknowledge(number)

    @rule()
    def the_answer_vanishes(self) -> None:
        notice_now = notice(self.publisher.memory, self.publisher.head, roles=ROLES, now_s=self.now_s)
        if self.publisher.head.acknowledged_id <= notice_now.memory.acknowledged_id:
            self.publisher.memory = notice_now.memory
            self.publisher.acknowledge(ABSENT)

    @rule()
    def the_keys_vanish(self) -> None:
        # What only the keys have said is forgotten with them.
        standing = self.publisher.head.decision
        said = max(self.publisher.head.acknowledged_id, standing.id if standing is not None else ABSENT)
        if said <= self.publisher.memory.id:
            self.publisher.head = Head()

    @rule()
    def save(self) -> None:
        self.saved = self.publisher.memory

    @rule()
    def restore(self) -> None:
        """An older status comes back; the keys still stand."""
        if self.publisher.head.decision is not None and self.publisher.head.decision.id == max(
            self.publisher.ids, default=ABSENT
        ):
            self.publisher.memory = self.saved
            # What only the newer status has said is forgotten with it.
            self.seen = max(self.publisher.head.decision.id, self.saved.unpublished_id)

    @invariant()
    def ids_only_rise(self) -> None:
        ids = getattr(self, "publisher", Publisher()).ids
        assert ids == sorted(set(ids))


TestLife = Life.TestCase


class Rivals(RuleBasedStateMachine):
    """Two publishers and two clients at one backend; each acts on what it read a while ago."""

    @initialize()
    def begin(self) -> None:
        self.now_s = 0.0
        self.head = Head()
        self.revision = 0
        self.memories = [PublisherMemory(), PublisherMemory()]
        self.readings = [(0, Head()), (0, Head())]
        self.ids: list[int] = []
        self.applied: list[list[Published]] = [[], []]

    @rule(who=st.integers(0, 1))
    def read(self, who: int) -> None:
        self.readings[who] = (self.revision, self.head)

    @rule(who=st.integers(0, 1), prefill=st.integers(1, 3), passed_s=st.floats(0, 100))
    def plan(self, who: int, prefill: int, passed_s: float) -> None:
        self.now_s += passed_s
        read_at, head = self.readings[who]
        noticed = notice(self.memories[who], head, roles=ROLES, now_s=self.now_s)
        self.memories[who] = noticed.memory
        move = next_move(noticed, counts(prefill), now_s=self.now_s, max_wait_s=MAX_WAIT_S)
        if isinstance(move, Publish):
            if read_at != self.revision:
                return
            published = Published(id=move.id, workers=move.workers, series=IdSeries(name="a", started=1))
            self.head = Head(decision=published, acknowledged_id=self.head.acknowledged_id)
            self.revision += 1
            self.ids.append(move.id)
        self.memories[who] = remember(noticed.memory, move, now_s=self.now_s)

    @rule(who=st.integers(0, 1), stale=st.booleans(), answers=st.booleans())
    def apply(self, who: int, stale: bool, answers: bool) -> None:
        read_at, head = self.readings[who] if stale else (self.revision, self.head)
        found, applied = head.decision, self.applied[who]
        if found is None or not (not applied or found.newer_than(applied[-1])):
            return
        applied.append(found)
        if answers and read_at == self.revision:
            self.head = Head(decision=found, acknowledged_id=found.id)
            self.revision += 1

    @rule(who=st.integers(0, 1))
    def restart(self, who: int) -> None:
        """With nothing remembered: what stands in the backend is enough."""
        self.memories[who] = PublisherMemory()
        self.read(who)

    @invariant()
    def ids_rise_by_one(self) -> None:
        assert getattr(self, "ids", []) == list(range(len(getattr(self, "ids", []))))

    @invariant()
    def nobody_goes_back(self) -> None:
        for applied in getattr(self, "applied", []):
            ids = [decision.id for decision in applied]
            assert ids == sorted(set(ids))


TestRivals = Rivals.TestCase
