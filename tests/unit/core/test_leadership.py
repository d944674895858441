"""The election of one writer: never two at once, whatever their clocks and pauses."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from slaplanner.core.leadership import WRITING_SHARE, Election, Lease

LEASE_S = 12.0


def lease(holder: str, *, version: str = "1", transitions: int = 0) -> Lease:
    return Lease(holder=holder, duration_s=LEASE_S, transitions=transitions, version=version)


def election(identity: str = "a") -> Election:
    return Election(identity=identity, lease_s=LEASE_S)


def test_an_absent_or_released_lease_may_be_taken_at_once() -> None:
    assert election().seen(None, now_s=0).may_take(now_s=0)
    assert election().seen(lease(""), now_s=0).may_take(now_s=0)


def test_anothers_lease_is_abandoned_when_it_stood_unchanged_for_its_whole_duration() -> None:
    looking = election().seen(lease("b"), now_s=100).seen(lease("b"), now_s=105)

    assert not looking.may_take(now_s=100 + LEASE_S - 0.1)
    assert looking.may_take(now_s=100 + LEASE_S)


def test_each_renewal_of_another_begins_the_wait_anew() -> None:
    looking = election().seen(lease("b"), now_s=100).seen(lease("b", version="2"), now_s=111)

    assert not looking.may_take(now_s=122)
    assert looking.may_take(now_s=123)


def test_writing_ends_before_the_lease_does() -> None:
    leading = election().renewed(lease("a"), sent_at_s=50)

    assert leading.may_write(now_s=50 + WRITING_SHARE * LEASE_S - 0.01)
    assert not leading.may_write(now_s=50 + WRITING_SHARE * LEASE_S)


def test_an_operator_that_sees_another_holder_writes_no_more() -> None:
    replaced = election().renewed(lease("a"), sent_at_s=50).seen(lease("b", version="2"), now_s=51)

    assert not replaced.may_write(now_s=51)
    assert replaced.term is None


def test_only_a_new_holder_begins_a_new_term() -> None:
    assert election().seen(lease("b", transitions=7), now_s=0).next_transitions() == 8
    assert election().seen(lease("a", transitions=7), now_s=0).next_transitions() == 7
    assert election().seen(None, now_s=0).next_transitions() == 0


@dataclass
class Server:
    """The API server: a write must name the version that it replaces."""

    lease: Lease | None = None
    writes: int = 0

    def write(self, *, over: Lease | None, holder: str, transitions: int) -> Lease | None:
        if (self.lease and self.lease.version) != (over and over.version):
            return None
        self.writes += 1
        self.lease = lease(holder, version=str(self.writes), transitions=transitions)
        return self.lease


@dataclass
class Contender:
    """An operator whose steps come at any time, and whose monotonic clock began anywhere."""

    election: Election
    clock_offset_s: float
    terms: list[int] = field(default_factory=list)

    def step(self, server: Server, *, at_s: float) -> None:
        sent_s = at_s + self.clock_offset_s
        self.election = self.election.seen(server.lease, now_s=sent_s)
        if not self.election.may_take(now_s=sent_s):
            return
        written = server.write(
            over=self.election.lease,
            holder=self.election.identity,
            transitions=self.election.next_transitions(),
        )
        if written is not None:
            self.election = self.election.renewed(written, sent_at_s=sent_s)
            self.terms.append(written.transitions)

    def may_write(self, *, at_s: float) -> bool:
        return self.election.may_write(now_s=at_s + self.clock_offset_s)


steps = st.lists(st.tuples(st.integers(0, 2), st.floats(0.01, 3 * LEASE_S)), min_size=1, max_size=60)


@given(steps=steps, offsets=st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3))
def test_no_two_operators_may_write_at_the_same_time(
    steps: list[tuple[int, float]], offsets: list[float]
) -> None:
    server = Server()
    contenders = [Contender(election(name), offset) for name, offset in zip("abc", offsets, strict=True)]
    at_s = 0.0
    for who, pause_s in steps:
        at_s += pause_s
        contenders[who].step(server, at_s=at_s)
        writing = [each.election.identity for each in contenders if each.may_write(at_s=at_s)]
        assert len(writing) <= 1, f"{writing} may write at {at_s} s"


@given(steps=steps)
def test_terms_only_rise_and_no_two_operators_share_one(steps: list[tuple[int, float]]) -> None:
    server = Server()
    contenders = [Contender(election(name), 0.0) for name in "abc"]
    at_s, seen = 0.0, -1
    owners: dict[int, str] = {}
    for who, pause_s in steps:
        at_s += pause_s
        contenders[who].step(server, at_s=at_s)
        if server.lease is not None:
            assert server.lease.transitions >= seen
            seen = server.lease.transitions
            assert owners.setdefault(seen, server.lease.holder) == server.lease.holder
