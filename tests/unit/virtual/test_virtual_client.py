"""The client alone: what it hands out and acknowledges, whatever a backend shows it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaplanner.core.reasons import Reason
from slaplanner.virtual import ABSENT, Role, ScalingDecision, VirtualConnectorClient
from slaplanner.virtual.channel import ChannelError, Reading
from slaplanner.virtual.decisions import Head, IdSeries


class ShownChannel:
    """A backend that shows one head after the other, and the last one for ever; None: it is away."""

    def __init__(self, *heads: Head | None) -> None:
        self.heads = list(heads)
        self.answered: list[int] = []

    async def read(self) -> Reading:
        head = self.heads.pop(0) if len(self.heads) > 1 else self.heads[0]
        if head is None:
            raise ChannelError("it is away")
        return Reading(head=head)

    async def publish(self, decision_id: int, workers: Mapping[Role, int], *, over: Reading) -> bool:
        raise NotImplementedError

    async def acknowledge(self, decision_id: int, *, over: Reading) -> bool:  # noqa: ARG002 - it takes any answer
        self.answered.append(decision_id)
        return True

    async def changes(self) -> AsyncIterator[None]:
        while True:
            yield
            await asyncio.sleep(0)


def head(number: int, *, answered: bool = False, started: int = 1) -> Head:
    series = IdSeries(name=str(started), started=started)
    decision = ScalingDecision(id=number, workers={Role.PREFILL: 1}, series=series)
    return Head(decision=decision, acknowledged_id=number if answered else ABSENT)


async def test_before_the_first_decision_there_is_none() -> None:
    assert (await VirtualConnectorClient(ShownChannel(Head())).get()).id == ABSENT


async def test_an_answered_decision_is_not_waited_for_by_a_new_client() -> None:
    client = VirtualConnectorClient(ShownChannel(head(3, answered=True), head(3, answered=True), head(4)))
    assert (await client.wait()).id == 4


async def test_an_unanswered_decision_is_handed_out_again() -> None:
    client = VirtualConnectorClient(ShownChannel(head(3)))
    assert [(await client.wait()).id for _ in range(2)] == [3, 3]


async def test_a_backend_that_is_away_is_waited_for() -> None:
    client = VirtualConnectorClient(ShownChannel(None, None, head(0)))
    assert (await client.wait()).id == 0


async def test_a_refusal_is_not_waited_out() -> None:
    class Refusing(ShownChannel):
        async def read(self) -> Reading:
            raise ChannelError("no", reason=Reason.ETCD_REFUSED)

    with pytest.raises(ChannelError, match="no"):
        await VirtualConnectorClient(Refusing(None)).wait()


async def test_an_answer_waits_for_a_backend_that_is_away(caplog: pytest.LogCaptureFixture) -> None:
    channel = ShownChannel(head(3), None, None, head(3))
    client = VirtualConnectorClient(channel)
    with caplog.at_level(logging.WARNING):
        assert await client.complete(await client.wait())
    assert channel.answered == [3]
    assert [record.message for record in caplog.records] == ["waiting for decisions: it is away"]


async def test_an_answer_that_nobody_can_say_of_is_looked_for() -> None:
    class Doubtful(ShownChannel):
        async def acknowledge(self, decision_id: int, *, over: Reading) -> bool:
            await super().acknowledge(decision_id, over=over)
            raise ChannelError("the connection died")

    channel = Doubtful(head(3), head(3), head(3, answered=True))
    client = VirtualConnectorClient(channel)
    assert await client.complete(await client.wait())
    assert channel.answered == [3]


async def test_an_answer_that_is_refused_is_not_tried_again() -> None:
    class Refusing(ShownChannel):
        async def acknowledge(self, decision_id: int, *, over: Reading) -> bool:
            await super().acknowledge(decision_id, over=over)
            raise ChannelError("no", reason=Reason.FORBIDDEN)

    client = VirtualConnectorClient(Refusing(head(3)))
    with pytest.raises(ChannelError, match="no"):
        await client.complete(await client.wait())


async def test_a_replaced_decision_is_not_answered() -> None:
    channel = ShownChannel(head(3), head(4))
    client = VirtualConnectorClient(channel)
    assert not await client.complete(await client.wait())
    assert channel.answered == []


async def test_a_recreated_policy_is_followed_from_its_first_decision() -> None:
    client = VirtualConnectorClient(ShownChannel(head(9), head(0, started=2)))
    assert [(await client.wait()).id for _ in range(2)] == [9, 0]


@given(
    shown=st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=1, max_size=20),
    takes=st.integers(1, 10),
)
def test_never_an_older_one_after_a_newer(shown: list[tuple[int, bool]], takes: int) -> None:
    """Also when a backend shows old states again, as one that was restored does."""
    last = head(99)
    channel = ShownChannel(*(head(number, answered=answered) for number, answered in shown), last)

    async def taken() -> list[int]:
        client = VirtualConnectorClient(channel)
        return [(await client.wait()).id for _ in range(takes)]

    ids = asyncio.run(taken())
    assert ids == sorted(ids)
