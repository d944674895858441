"""Scaling by component: what is published, and what is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import pytest

from slaplanner.core.errors import TargetError
from slaplanner.core.reasons import Reason
from slaplanner.virtual import (
    ABSENT,
    Role,
    ScalingDecision,
    ScalingTimeoutError,
    VirtualConnector,
    VirtualConnectorCoordinator,
)
from slaplanner.virtual.channel import ChannelError, Reading
from slaplanner.virtual.decisions import LARGEST_NUMBER, Head

P, D = Role.PREFILL, Role.DECODE


class MemoryChannel:
    """A backend of one publisher, which answers at once or never."""

    def __init__(self, *, answers: bool = True) -> None:
        self.answers = answers
        self.head = Head()
        self.reads = 0

    async def read(self) -> Reading:
        self.reads += 1
        return Reading(head=self.head)

    async def publish(self, decision_id: int, workers: Mapping[Role, int], *, over: Reading) -> bool:  # noqa: ARG002 - nobody else writes
        self.head = Head(
            decision=ScalingDecision(id=decision_id, workers=dict(workers)),
            acknowledged_id=decision_id if self.answers else ABSENT,
        )
        return True

    async def acknowledge(self, decision_id: int, *, over: Reading) -> bool:
        raise NotImplementedError

    async def changes(self) -> AsyncIterator[None]:
        raise NotImplementedError
        yield


def connector(
    channel: MemoryChannel, *, max_wait_s: float = 1.0, **options: Mapping[Role, int]
) -> VirtualConnector:
    coordinator = VirtualConnectorCoordinator(channel, check_interval_s=0.01, max_wait_s=max_wait_s)
    return VirtualConnector(coordinator, models={P: "Llama", D: "llama"}, **options)


async def test_changes_count_from_the_floors_before_the_first_decision() -> None:
    channel = MemoryChannel()
    assert await connector(channel, floors={D: 3}).add_component(D)
    assert channel.head.decision is not None
    assert channel.head.decision.workers == {D: 4}


async def test_a_floor_is_not_gone_below() -> None:
    channel = MemoryChannel()
    scaled = connector(channel, floors={P: 2})
    await scaled.set_component_replicas({P: 2, D: 2})
    assert not await scaled.remove_component(P), "nothing changed"
    assert await scaled.remove_component(D)
    assert channel.head.decision is not None
    assert channel.head.decision.workers == {P: 2, D: 1}


async def test_without_blocking_nobody_waits_for_the_answer() -> None:
    channel = MemoryChannel(answers=False)
    assert await connector(channel, max_wait_s=3600).set_component_replicas({P: 2}, blocking=False)


async def test_with_blocking_an_answer_that_never_comes_is_reported() -> None:
    channel = MemoryChannel(answers=False)
    scaled = connector(channel, max_wait_s=0.05)
    assert not await scaled.set_component_replicas({P: 2})
    assert not await scaled.wait_for_deployment_ready()


async def test_retries_are_the_longest_wait_by_the_interval() -> None:
    channel = MemoryChannel(answers=False)
    coordinator = VirtualConnectorCoordinator(channel, check_interval_s=0.01, max_wait_s=0.05)
    await coordinator.update_scaling_decision(1, 1)
    channel.reads = 0
    with pytest.raises(ScalingTimeoutError):
        await coordinator.wait_for_scaling_completion(strict=True)
    assert channel.reads == 6, "at once, and after each of five intervals"


@pytest.mark.parametrize(
    "counts",
    [{}, {Role.AGG: 1}, {P: -1}, {P: LARGEST_NUMBER + 1}],
    ids=["none", "agg", "negative", "too-large"],
)
async def test_counts_that_nobody_could_read_are_refused(counts: Mapping[Role, int]) -> None:
    channel = MemoryChannel()
    with pytest.raises(ValueError, match="wanted"):
        await connector(channel).set_component_replicas(counts)
    assert channel.head.decision is None


async def test_a_refusal_is_not_waited_out() -> None:
    class Refusing(MemoryChannel):
        async def read(self) -> Reading:
            raise ChannelError("no", reason=Reason.ETCD_REFUSED)

    with pytest.raises(ChannelError, match="no"):
        await connector(Refusing(), max_wait_s=3600).wait_for_deployment_ready()


@pytest.mark.parametrize(
    ("models", "required", "found"),
    [
        pytest.param({P: "Llama", D: "llama"}, {}, "llama", id="both-agree"),
        pytest.param({D: "Llama"}, {"require_prefill": False}, "llama", id="only-decode-is-asked-for"),
        pytest.param({P: "a", D: "b"}, {"require_decode": False}, "a", id="only-prefill-is-asked-for"),
        pytest.param({D: "llama"}, {}, Reason.MODEL_NOT_FOUND, id="one-is-missing"),
        pytest.param({P: "a", D: "b"}, {}, Reason.MODEL_MISMATCH, id="they-disagree"),
        pytest.param(
            {},
            {"require_prefill": False, "require_decode": False},
            Reason.MODEL_NOT_FOUND,
            id="there-is-none",
        ),
    ],
)
def test_the_model_is_that_of_the_required_roles(
    models: Mapping[Role, str], required: dict[str, bool], found: str | Reason
) -> None:
    asked = VirtualConnector(VirtualConnectorCoordinator(MemoryChannel()), models=models)
    if isinstance(found, Reason):
        with pytest.raises(TargetError) as caught:
            asked.get_model_name(**required)
        assert caught.value.reason is found
    else:
        assert asked.get_model_name(**required) == found
