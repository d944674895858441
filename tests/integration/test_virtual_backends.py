"""What holds in both backends: publishers and clients in a real etcd, and at the real API server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
import yaml

from slaplanner.core.reasons import Reason
from slaplanner.virtual import (
    ABSENT,
    Channel,
    ChannelError,
    Role,
    ScalingTimeoutError,
    VirtualConnector,
    VirtualConnectorClient,
    VirtualConnectorCoordinator,
    etcd_channel,
    kubernetes_channel,
)
from tests.gateway import TcpDoor
from tests.testbed import Cluster
from tests.virtual_policy import POLICY


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """A server, and how to come to it on any port."""

    port: int
    opened: Callable[[int], AbstractAsyncContextManager[Channel]]


@pytest.fixture(params=["etcd", "policy"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    if request.param == "etcd":
        return Backend(
            port=request.getfixturevalue("etcd_server")().port,
            opened=lambda port: etcd_channel([f"http://127.0.0.1:{port}"], "fleet"),
        )
    cluster: Cluster = request.getfixturevalue("installed")
    namespace: str = request.getfixturevalue("namespace")
    cluster.kubectl("apply", f"--namespace={namespace}", "-f", "-", stdin=POLICY)
    access = yaml.safe_load(cluster.kubeconfig.read_text())
    own_port = urlsplit(access["clusters"][0]["cluster"]["server"]).port
    assert own_port is not None

    def opened(port: int) -> AbstractAsyncContextManager[Channel]:
        access["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{port}"
        kubeconfig = tmp_path / f"kubeconfig-{port}"
        kubeconfig.write_text(yaml.safe_dump(access))
        return kubernetes_channel("fleet", namespace=namespace, kubeconfig=kubeconfig)

    return Backend(port=own_port, opened=opened)


@pytest_asyncio.fixture
async def channel(backend: Backend) -> AsyncIterator[Channel]:
    async with backend.opened(backend.port) as channel:
        yield channel


@pytest.fixture
def coordinator(channel: Channel) -> VirtualConnectorCoordinator:
    return VirtualConnectorCoordinator(channel, check_interval_s=0.02, max_wait_s=0.2)


async def test_the_life_of_a_decision(channel: Channel, coordinator: VirtualConnectorCoordinator) -> None:
    client = VirtualConnectorClient(channel)
    assert (await client.get()).id == ABSENT
    assert await coordinator.is_scaling_ready()
    assert await coordinator.update_scaling_decision(3, 2)
    assert not await coordinator.is_scaling_ready()
    assert not await coordinator.update_scaling_decision(3, 2), "nothing changed"
    assert not await coordinator.update_scaling_decision(4, 2), "it waits for the answer"
    decision = await client.wait()
    assert (decision.id, decision.workers) == (0, {Role.PREFILL: 3, Role.DECODE: 2})
    assert await client.complete(decision)
    assert await coordinator.is_scaling_ready()
    assert await coordinator.update_scaling_decision(decode=5)
    decision = await client.wait()
    assert (decision.id, decision.workers) == (1, {Role.PREFILL: 3, Role.DECODE: 5})


async def test_nothing_is_published_when_nobody_decides_anything(
    channel: Channel, coordinator: VirtualConnectorCoordinator
) -> None:
    assert not await coordinator.update_scaling_decision()
    assert (await VirtualConnectorClient(channel).get()).id == ABSENT


async def test_an_unanswered_decision_is_reported_or_raised(
    coordinator: VirtualConnectorCoordinator,
) -> None:
    await coordinator.update_scaling_decision(3, 2)
    assert not await coordinator.wait_for_scaling_completion()
    with pytest.raises(ScalingTimeoutError, match=r"decision 0 was not acknowledged in 0\.2 s"):
        await coordinator.wait_for_scaling_completion(strict=True)


async def test_a_waiting_client_is_told_at_once(
    channel: Channel, coordinator: VirtualConnectorCoordinator
) -> None:
    client = VirtualConnectorClient(channel, look_every_s=3600)
    waiting = asyncio.create_task(client.wait())
    await asyncio.sleep(0)
    await coordinator.update_scaling_decision(3, 2)
    assert (await asyncio.wait_for(waiting, 60)).id == 0


async def test_two_clients_and_others_that_die_before_they_answer_or_start_late(
    channel: Channel, coordinator: VirtualConnectorCoordinator
) -> None:
    one, other = VirtualConnectorClient(channel), VirtualConnectorClient(channel)
    await coordinator.update_scaling_decision(3, 2)
    assert (await one.wait()).id == (await other.wait()).id == 0
    # One has died between being given it and its answer; the one in its place starts late.
    late = VirtualConnectorClient(channel)
    pending = await late.wait()
    assert pending.id == 0
    assert await late.complete(pending)
    assert await one.complete(pending), "answering again changes nothing"
    await coordinator.update_scaling_decision(4, 2)
    newer = await one.wait()
    assert await one.complete(newer)
    assert await other.wait() == newer, "also when somebody else has answered it"
    assert not await other.complete(pending), "an older one is not answered any more"


async def test_a_lost_connection_loses_nothing(
    backend: Backend, channel: Channel, coordinator: VirtualConnectorCoordinator
) -> None:
    """On its way to a client, and on that of the client's answer."""
    with TcpDoor("127.0.0.1", backend.port) as door:
        async with backend.opened(door.port) as behind_the_door:
            client = VirtualConnectorClient(behind_the_door, look_every_s=3600)
            await coordinator.update_scaling_decision(3, 2)
            given = [await client.wait()]
            door.shut()
            answering = asyncio.create_task(client.complete(given[0]))
            await asyncio.sleep(0)
            assert not await coordinator.is_scaling_ready()
            door.open()
            assert await asyncio.wait_for(answering, 60)
            waiting = asyncio.create_task(client.wait())
            await asyncio.sleep(0)
            door.shut()
            assert await coordinator.update_scaling_decision(4, 2)
            door.open()
            given.append(await asyncio.wait_for(waiting, 30))
    assert [(decision.id, decision.count(Role.PREFILL)) for decision in given] == [(0, 3), (1, 4)]


async def test_two_publishers_never_give_out_one_id_twice(channel: Channel) -> None:
    publishers = [VirtualConnectorCoordinator(channel, max_wait_s=0.000001) for _ in range(2)]
    published = 0
    for round_ in range(20):
        moves = await asyncio.gather(
            *(
                publisher.update_scaling_decision(1 + 2 * round_ + number, 1)
                for number, publisher in enumerate(publishers)
            )
        )
        published += sum(moves)
    assert published >= 20
    assert (await VirtualConnectorClient(channel).get()).id == published - 1


async def test_a_restarted_publisher_goes_on_with_the_stored_id(
    channel: Channel, coordinator: VirtualConnectorCoordinator
) -> None:
    await coordinator.update_scaling_decision(3, 2)
    again = VirtualConnectorCoordinator(channel, max_wait_s=600)
    assert not await again.update_scaling_decision(3, 2)
    assert not await again.is_scaling_ready()
    assert (await again.read_state()).id == 0


async def test_scaling_by_component(channel: Channel) -> None:
    coordinator = VirtualConnectorCoordinator(channel, check_interval_s=0.02, max_wait_s=10)
    connector = VirtualConnector(coordinator, models={Role.PREFILL: "Llama", Role.DECODE: "llama"})
    assert connector.get_model_name() == "llama"
    client = VirtualConnectorClient(channel)

    async def follow() -> None:
        async for decision in client.watch():
            await client.complete(decision)

    following = asyncio.create_task(follow())
    assert await connector.set_component_replicas({Role.PREFILL: 3, Role.DECODE: 2})
    assert await connector.add_component(Role.DECODE)
    assert await connector.remove_component(Role.PREFILL)
    assert await connector.wait_for_deployment_ready()
    assert (await client.get()).workers == {Role.PREFILL: 2, Role.DECODE: 3}
    assert not await connector.set_component_replicas({Role.DECODE: 3}, blocking=False)
    following.cancel()
    await asyncio.wait([following])
    assert following.cancelled(), "it followed to the end"


async def test_a_policy_that_was_made_again_is_followed_from_its_first_decision(
    installed: Cluster, namespace: str
) -> None:
    """Clients order by uid, then id: the new series has lower ids and is newer."""
    where = f"--namespace={namespace}"
    installed.kubectl("apply", where, "-f", "-", stdin=POLICY)
    async with kubernetes_channel("fleet", namespace=namespace, kubeconfig=installed.kubeconfig) as channel:
        client = VirtualConnectorClient(channel)
        given = []
        for prefill in (3, 4):
            await VirtualConnectorCoordinator(channel, max_wait_s=0).update_scaling_decision(prefill, 2)
            given.append(await client.wait())
            assert await client.complete(given[-1])
        waiting = asyncio.create_task(client.wait())
        await asyncio.to_thread(installed.kubectl, "delete", where, "slapolicy", "fleet")
        await asyncio.to_thread(installed.kubectl, "apply", where, "-f", "-", stdin=POLICY)
        await VirtualConnectorCoordinator(channel).update_scaling_decision(5, 2)
        given.append(await asyncio.wait_for(waiting, 20))
        assert [decision.id for decision in given] == [0, 1, 0]
        assert not await client.complete(given[1]), "it belongs to the policy that is gone"
        assert await client.complete(given[2])


@pytest.fixture
def strangers_kubeconfig(operator_kubeconfig: Path, tmp_path: Path) -> Path:
    stranger = yaml.safe_load(operator_kubeconfig.read_text())
    for user in stranger["users"]:
        user["user"] = {"token": "stranger"}
    kubeconfig = tmp_path / "stranger"
    kubeconfig.write_text(yaml.safe_dump(stranger))
    return kubeconfig


async def test_whoever_may_not_read_the_policy_is_told_so(strangers_kubeconfig: Path) -> None:
    async with kubernetes_channel("fleet", namespace="serving", kubeconfig=strangers_kubeconfig) as channel:
        with pytest.raises(ChannelError) as caught:
            await VirtualConnectorClient(channel).wait()
    assert caught.value.reason is Reason.FORBIDDEN
