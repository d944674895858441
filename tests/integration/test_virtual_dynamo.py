"""Dynamo's own coordinator and client, from its wheel, speak with ours through a real etcd."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from slaplanner.virtual import (
    ABSENT,
    Channel,
    Role,
    VirtualConnectorClient,
    VirtualConnectorCoordinator,
    etcd_channel,
)
from tests.testbed import EtcdFactory, EtcdServer, wait_until
from tests.testbed.dynamo_wheels import NEWEST, find_dynamo
from tests.testbed.missing import or_skip

NAMESPACE = "fleet"
PREFIX = f"v1/{NAMESPACE}/planner/"
LEASE_PATIENCE_S = 120.0
"""Dynamo's leases last 10 s, and etcd may take half as long again to end them."""


class DynamoSide:
    """A process of Dynamo's runtime."""

    def __init__(self, python: Path, etcd: EtcdServer, log: Path, *, max_wait_s: int = 600) -> None:
        self._log = log
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [python, Path(__file__).parents[1] / "dynamo_side.py", NAMESPACE, str(max_wait_s)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, "ETCD_ENDPOINTS": etcd.endpoint},
            )
        self("start")

    def __call__(self, word: str, *arguments: object) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([word, *arguments]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"Dynamo's side ended:\n{self._log.read_text()[-3000:]}"
        return json.loads(line)

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture(scope="module")
def dynamo_python() -> Path:
    return or_skip(partial(find_dynamo, NEWEST))


@pytest.fixture
def etcd(etcd_server: EtcdFactory) -> EtcdServer:
    return etcd_server()


@pytest.fixture
def dynamo_side(dynamo_python: Path, etcd: EtcdServer, tmp_path: Path) -> Iterator[Callable[..., DynamoSide]]:
    sides: list[DynamoSide] = []

    def start(**options: Any) -> DynamoSide:
        sides.append(DynamoSide(dynamo_python, etcd, tmp_path / f"dynamo-{len(sides)}.log", **options))
        return sides[-1]

    yield start
    for side in sides:
        side.kill()


@pytest_asyncio.fixture
async def channel(etcd: EtcdServer) -> AsyncIterator[Channel]:
    async with etcd_channel([etcd.endpoint], NAMESPACE) as channel:
        yield channel


async def test_their_client_carries_out_what_our_coordinator_publishes(
    channel: Channel, dynamo_side: Callable[..., DynamoSide]
) -> None:
    ours = VirtualConnectorCoordinator(channel, check_interval_s=0.05, max_wait_s=10)
    theirs = dynamo_side()
    for number, (prefill, decode) in enumerate([(3, 2), (4, 2), (1, 5)]):
        assert await ours.update_scaling_decision(prefill, decode)
        assert not await ours.is_scaling_ready()
        assert theirs("wait") == [number, prefill, decode]
        theirs("complete")
        assert await ours.wait_for_scaling_completion(strict=True)


async def test_our_client_carries_out_what_their_coordinator_publishes(
    channel: Channel, dynamo_side: Callable[..., DynamoSide]
) -> None:
    ours = VirtualConnectorClient(channel)
    theirs = dynamo_side()
    assert (await ours.get()).id == ABSENT
    for number, (prefill, decode) in enumerate([(3, 2), (4, 2), (1, 5)]):
        assert theirs("update", prefill, decode) == [number, prefill, decode]
        assert theirs("ready") is False
        decision = await ours.wait()
        assert (decision.id, decision.count(Role.PREFILL), decision.count(Role.DECODE)) == (
            number,
            prefill,
            decode,
        )
        assert await ours.complete(decision)
        wait_until(lambda: theirs("ready"), what="their coordinator to see the answer")


async def test_both_sides_wait_for_the_answer_before_the_next(
    channel: Channel, dynamo_side: Callable[..., DynamoSide]
) -> None:
    theirs = dynamo_side()
    assert theirs("update", 3, 2) == [0, 3, 2]
    assert theirs("update", 4, 2) == [0, 3, 2]
    ours = VirtualConnectorCoordinator(channel, max_wait_s=600)
    assert not await ours.update_scaling_decision(4, 2)
    assert (await ours.read_state()).id == 0


async def test_their_client_that_starts_late_finds_what_waits(
    channel: Channel, dynamo_side: Callable[..., DynamoSide]
) -> None:
    await VirtualConnectorCoordinator(channel).update_scaling_decision(3, 2)
    assert dynamo_side()("wait") == [0, 3, 2]


async def test_their_answer_counts_after_its_lease_has_ended(
    channel: Channel, etcd: EtcdServer, dynamo_side: Callable[..., DynamoSide]
) -> None:
    ours = VirtualConnectorCoordinator(channel, check_interval_s=0.05, max_wait_s=10)
    await ours.update_scaling_decision(3, 2)
    theirs = dynamo_side()
    theirs("wait")
    theirs("complete")
    assert await ours.wait_for_scaling_completion(strict=True)
    theirs.kill()
    wait_until(
        lambda: etcd.get(f"{PREFIX}scaled_decision_id") is None,
        what="the lease of Dynamo's client to end",
        timeout_s=LEASE_PATIENCE_S,
    )
    assert await ours.is_scaling_ready()
    assert await ours.update_scaling_decision(4, 2)
    assert etcd.get(f"{PREFIX}decision_id") == "1"


async def test_ours_goes_on_above_when_their_coordinators_keys_are_gone(
    channel: Channel, etcd: EtcdServer, dynamo_side: Callable[..., DynamoSide]
) -> None:
    theirs = dynamo_side()
    theirs("update", 3, 2)
    client = VirtualConnectorClient(channel)
    first = await client.wait()
    assert await client.complete(first)
    ours = VirtualConnectorCoordinator(channel)
    assert (await ours.read_state()).id == 0
    theirs.kill()
    wait_until(
        lambda: etcd.get(f"{PREFIX}decision_id") is None,
        what="the lease of Dynamo's coordinator to end",
        timeout_s=LEASE_PATIENCE_S,
    )
    assert await ours.update_scaling_decision(3, 2)
    again = await client.wait()
    assert again.id == 1
    assert again.newer_than(first)
