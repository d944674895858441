"""Decisions in a real etcd: their life, several clients, outages, and what strangers leave in the keys."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from slaplanner.core.reasons import Reason
from slaplanner.settings import BasicAuth, ClientCertificate, EtcdConnection
from slaplanner.virtual import (
    ABSENT,
    Channel,
    Role,
    VirtualConnectorClient,
    VirtualConnectorCoordinator,
    etcd_channel,
)
from slaplanner.virtual.channel import ChannelError
from slaplanner.virtual.etcd_gateway import EtcdGateway
from tests.gateway import TcpDoor
from tests.testbed import EtcdFactory, EtcdServer
from tests.testbed.certificates import CertificateAuthority, KeyPair

PREFIX = "v1/fleet/planner/"
PASSWORD = "correct horse"


@pytest.fixture
def etcd(etcd_server: EtcdFactory) -> EtcdServer:
    return etcd_server()


@pytest_asyncio.fixture
async def channel(etcd: EtcdServer) -> AsyncIterator[Channel]:
    async with etcd_channel([etcd.endpoint], "fleet") as channel:
        yield channel


@pytest.fixture
def coordinator(channel: Channel) -> VirtualConnectorCoordinator:
    return VirtualConnectorCoordinator(channel, check_interval_s=0.02, max_wait_s=0.2)


def keys(etcd: EtcdServer) -> dict[str, str | None]:
    names = ("num_prefill_workers", "num_decode_workers", "decision_id", "scaled_decision_id")
    return {name: etcd.get(f"{PREFIX}{name}") for name in names}


async def test_the_life_of_a_decision(
    etcd: EtcdServer, channel: Channel, coordinator: VirtualConnectorCoordinator
) -> None:
    client = VirtualConnectorClient(channel)
    assert (await client.get()).id == ABSENT
    assert await coordinator.is_scaling_ready()
    assert await coordinator.update_scaling_decision(3, 2)
    assert keys(etcd) == {
        "num_prefill_workers": "3",
        "num_decode_workers": "2",
        "decision_id": "0",
        "scaled_decision_id": None,
    }
    assert not await coordinator.update_scaling_decision(3, 2)
    assert not await coordinator.update_scaling_decision(4, 2)
    decision = await client.wait()
    assert await client.complete(decision)
    assert keys(etcd)["scaled_decision_id"] == "0"
    assert await coordinator.is_scaling_ready()
    assert await coordinator.update_scaling_decision(decode=5)
    assert (await client.wait()).workers == {Role.PREFILL: 3, Role.DECODE: 5}


async def test_a_role_that_is_not_planned_keeps_its_key(
    etcd: EtcdServer, coordinator: VirtualConnectorCoordinator
) -> None:
    etcd.put(f"{PREFIX}num_decode_workers", "7")
    await coordinator.update_scaling_decision(prefill=3)
    assert keys(etcd)["num_decode_workers"] == "7"


async def test_deleted_keys_are_published_again_above_all_ids(
    etcd: EtcdServer, channel: Channel, coordinator: VirtualConnectorCoordinator
) -> None:
    client = VirtualConnectorClient(channel)
    await coordinator.update_scaling_decision(3, 2)
    await client.complete(await client.wait())
    assert await coordinator.is_scaling_ready()
    etcd.delete_prefix(PREFIX)
    assert await coordinator.update_scaling_decision(3, 2)
    assert (await client.wait()).id == 1


@pytest.mark.parametrize(
    "value", ["", "x", "-3", "1.5", "99999999999999999999", pytest.param("0" * 1_400_000, id="1.4 MB")]
)
@pytest.mark.parametrize("key", ["decision_id", "scaled_decision_id", "num_prefill_workers"])
async def test_garbage_counts_as_absent(
    key: str, value: str, etcd: EtcdServer, channel: Channel, coordinator: VirtualConnectorCoordinator
) -> None:
    client = VirtualConnectorClient(channel)
    await coordinator.update_scaling_decision(3, 2)
    await client.complete(await client.wait())
    assert await coordinator.is_scaling_ready()
    etcd.put(f"{PREFIX}{key}", value)
    reading = await channel.read()
    assert [fault.partition(":")[0] for fault in reading.head.faults] == [key]
    assert await coordinator.update_scaling_decision(4, 2)
    assert keys(etcd)["decision_id"] == "1"
    decision = await client.wait()
    assert (decision.id, decision.workers) == (1, {Role.PREFILL: 4, Role.DECODE: 2})
    assert await client.complete(decision)
    assert await coordinator.is_scaling_ready()


async def test_an_outage_loses_nothing(
    etcd: EtcdServer, channel: Channel, coordinator: VirtualConnectorCoordinator
) -> None:
    client = VirtualConnectorClient(channel, look_every_s=0.2)
    await coordinator.update_scaling_decision(3, 2)
    await client.complete(await client.wait())
    waiting = asyncio.create_task(client.wait())
    etcd.stop()
    with pytest.raises(ChannelError) as caught:
        await coordinator.update_scaling_decision(4, 2)
    assert caught.value.reason is Reason.ETCD_UNAVAILABLE
    assert etcd.endpoint in str(caught.value)
    etcd.start()
    assert await coordinator.update_scaling_decision(4, 2)
    decision = await asyncio.wait_for(waiting, 60)
    assert (decision.id, decision.count(Role.PREFILL)) == (1, 4)


async def test_a_compacted_history_loses_nothing(etcd: EtcdServer, channel: Channel) -> None:
    """The watcher is cut off, meanwhile etcd forgets what it has missed."""
    publisher = VirtualConnectorCoordinator(channel)
    with TcpDoor("127.0.0.1", etcd.port) as door:
        async with etcd_channel([f"http://127.0.0.1:{door.port}"], "fleet") as behind_the_door:
            # It looks once when its watch begins; all else it knows from being told.
            follower = VirtualConnectorClient(behind_the_door, look_every_s=3600)
            seen = follower.watch()
            ids = []
            for round_ in range(3):
                for number in range(5):
                    assert await publisher.update_scaling_decision(1 + round_, 1 + number)
                    assert await VirtualConnectorClient(channel).complete(await publisher.read_state())
                etcd.compact()
                door.open()
                ids.append((await asyncio.wait_for(anext(seen), 60)).id)
                await publisher.update_scaling_decision(9, 9)
                ids.append((await asyncio.wait_for(anext(seen), 60)).id)
                assert await follower.complete(await follower.get())
                door.shut()
            await seen.aclose()
    assert ids == [4, 5, 10, 11, 16, 17]


async def test_counts_that_belong_to_the_next_decision_are_not_read_with_the_last_id(
    etcd: EtcdServer, channel: Channel, coordinator: VirtualConnectorCoordinator
) -> None:
    """Dynamo's coordinator writes one key after the other, the id last."""
    await coordinator.update_scaling_decision(3, 2)
    etcd.put(f"{PREFIX}num_prefill_workers", "9")
    reading = asyncio.create_task(channel.read())
    await asyncio.sleep(0)
    await asyncio.to_thread(etcd.put, f"{PREFIX}decision_id", "1")
    decision = (await reading).head.decision
    assert decision is not None
    assert (decision.id, decision.count(Role.PREFILL)) == (1, 9)


async def test_a_count_that_a_stranger_wrote_is_read_in_the_end_and_published_again(
    etcd: EtcdServer, coordinator: VirtualConnectorCoordinator
) -> None:
    await coordinator.update_scaling_decision(3, 2)
    etcd.put(f"{PREFIX}num_prefill_workers", "9")
    assert await coordinator.update_scaling_decision(3, 2)
    assert keys(etcd) == {
        "num_prefill_workers": "3",
        "num_decode_workers": "2",
        "decision_id": "1",
        "scaled_decision_id": None,
    }


async def test_a_watch_is_begun_anew_from_time_to_time(etcd: EtcdServer) -> None:
    """Whoever watches on a connection that died unnoticed would wait for ever."""
    connection = EtcdConnection(endpoints=(etcd.endpoint,))
    async with EtcdGateway(connection, watch_lasts_s=0.5) as gateway:
        assert len([change async for change in gateway.changes(PREFIX)]) == 1


async def test_the_next_endpoint_answers_when_one_does_not(etcd: EtcdServer) -> None:
    async with etcd_channel(["http://127.0.0.1:9", etcd.endpoint], "fleet") as channel:
        assert await VirtualConnectorCoordinator(channel).update_scaling_decision(3, 2)
        assert (await asyncio.wait_for(VirtualConnectorClient(channel).wait(), 60)).id == 0


async def test_tls_with_a_client_certificate(etcd_server: EtcdFactory) -> None:
    etcd = etcd_server(tls=True)
    assert etcd.tls is not None
    pair = etcd.tls.client
    certificate = ClientCertificate(cert_file=pair.certificate, key_file=pair.key)
    async with etcd_channel(
        [etcd.endpoint], "fleet", ca_file=etcd.tls.ca, client_certificate=certificate
    ) as channel:
        await VirtualConnectorCoordinator(channel).update_scaling_decision(3, 2)
        assert (await VirtualConnectorClient(channel).wait()).id == 0
    async with etcd_channel([etcd.endpoint], "fleet", ca_file=etcd.tls.ca) as channel:
        with pytest.raises(ChannelError):
            await channel.read()


async def test_certificates_that_are_replaced_are_shown_at_once(
    etcd_server: EtcdFactory, tmp_path: Path
) -> None:
    etcd = etcd_server(tls=True)
    assert etcd.tls is not None
    good = etcd.tls.client
    stranger = CertificateAuthority.create(tmp_path / "strangers").issue("client")
    certificate = ClientCertificate(cert_file=tmp_path / "client.crt", key_file=tmp_path / "client.key")

    def show(pair: KeyPair) -> None:
        shutil.copy(pair.certificate, certificate.cert_file)
        shutil.copy(pair.key, certificate.key_file)

    show(good)
    async with etcd_channel(
        [etcd.endpoint], "fleet", ca_file=etcd.tls.ca, client_certificate=certificate
    ) as channel:
        await channel.read()
        show(stranger)
        with pytest.raises(ChannelError):
            await channel.read()
        show(good)
        await channel.read()
        certificate.key_file.write_text("half of a new k")
        await channel.read()


async def test_a_user_and_a_password_read_at_every_login(etcd_server: EtcdFactory, tmp_path: Path) -> None:
    etcd = etcd_server(root_password=PASSWORD)
    login = BasicAuth(username_file=tmp_path / "user", password_file=tmp_path / "password")
    login.username_file.write_text("root\n")
    login.password_file.write_text("wrong")
    async with etcd_channel([etcd.endpoint], "fleet", basic_auth=login) as channel:
        with pytest.raises(ChannelError) as caught:
            await channel.read()
        assert caught.value.reason is Reason.ETCD_REFUSED
        login.password_file.write_text(f"{PASSWORD}\n")
        client = VirtualConnectorClient(channel)
        waiting = asyncio.create_task(client.wait())
        await VirtualConnectorCoordinator(channel).update_scaling_decision(3, 2)
        assert await client.complete(await asyncio.wait_for(waiting, 60))
        # Simple tokens do not outlive the server: requests and watches log in again.
        follower = VirtualConnectorClient(channel, look_every_s=3600)
        seen = follower.watch()
        assert (await anext(seen)).id == 0
        etcd.restart()
        assert (await client.get()).id == 0
        await VirtualConnectorCoordinator(channel).update_scaling_decision(4, 2)
        assert (await asyncio.wait_for(anext(seen), 60)).id == 1
        await seen.aclose()
