"""The operator's part in the election: it takes the Lease, renews it, and knows when it has lost it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from slaplanner.adapters.deployment import ApiRefusal, Failure
from slaplanner.controller.leadership import RENEWALS_PER_LEASE, Leadership, request_timeout_s
from slaplanner.core.leadership import WRITING_SHARE, Lease
from slaplanner.core.reasons import Reason

LEASE_S = 12.0


@dataclass
class Store:
    """A Lease in memory, on a clock that moves when somebody sleeps."""

    lease: Lease | None = None
    failing: bool = False
    now_s: float = 0.0
    versions: itertools.count[int] = field(default_factory=itertools.count)
    on_sleep: Callable[[], None] = lambda: None

    def clock(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        self.on_sleep()
        await asyncio.sleep(0)

    def read(self) -> Lease | None:
        if self.failing:
            raise ApiRefusal(Failure(reason=Reason.API_UNAVAILABLE, message="away"))
        return self.lease

    def write(self, *, holder: str, duration_s: float, transitions: int) -> Lease:
        if self.failing:
            raise ApiRefusal(Failure(reason=Reason.API_UNAVAILABLE, message="away"))
        version = str(next(self.versions))
        self.lease = Lease(holder=holder, duration_s=duration_s, transitions=transitions, version=version)
        return self.lease


def operator(store: Store, identity: str = "a") -> Leadership:
    return Leadership(store, identity=identity, lease_s=LEASE_S, clock=store.clock, sleep=store.sleep)


async def test_the_first_operator_leads_at_once() -> None:
    store = Store()
    leadership = operator(store)

    assert not leadership.may_write()
    await leadership.won()

    assert leadership.may_write()
    assert store.lease is not None
    assert store.lease.holder == "a"
    assert store.now_s == 0.0


async def test_a_standby_takes_over_when_the_leader_is_silent_for_a_lease() -> None:
    store = Store(lease=Lease(holder="b", duration_s=LEASE_S, transitions=4, version="x"))
    leadership = operator(store)

    await leadership.won()

    assert LEASE_S <= store.now_s <= LEASE_S + LEASE_S / RENEWALS_PER_LEASE
    assert leadership.term == 5


async def test_a_standby_takes_over_at_its_next_look_when_the_leader_released_the_lease() -> None:
    store = Store()
    leader, standby = operator(store, "a"), operator(store, "b")
    await leader.won()
    await leader.released()

    await standby.won()

    assert not leader.may_write()
    assert standby.may_write()
    assert store.now_s == 0.0


async def test_a_leader_that_cannot_renew_stops_writing_before_its_lease_ends() -> None:
    store = Store()
    leadership = operator(store)
    await leadership.won()
    store.failing = True

    await leadership.lost()

    assert not leadership.may_write()
    assert WRITING_SHARE * LEASE_S <= store.now_s <= LEASE_S


async def test_a_short_outage_of_the_api_server_costs_no_leadership() -> None:
    store = Store()
    leadership = operator(store)
    await leadership.won()
    beats = itertools.count(1)

    def fail_every_other_time() -> None:
        store.failing = (beat := next(beats)) % 2 == 0
        if beat == 20:
            store.lease = Lease(holder="b", duration_s=LEASE_S, transitions=1, version="other")

    store.on_sleep = fail_every_other_time
    await leadership.lost()

    assert store.now_s > LEASE_S, "it was still leading after a whole lease of outages"
    assert leadership.term is None


def test_a_write_that_is_sent_at_the_last_moment_ends_within_the_lease() -> None:
    assert WRITING_SHARE * LEASE_S + request_timeout_s(LEASE_S) <= LEASE_S
