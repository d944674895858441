"""A policy whose decisions an outside system carries out, and what that system sees and says."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from slaplanner.settings import ClientCertificate
from slaplanner.virtual import ScalingDecision, VirtualConnectorClient, etcd_channel
from tests.played_load import Load
from tests.scene import PATIENCE_S, Scene, policy
from tests.testbed import EtcdServer, wait_until

BUSY = Load(requests_s=60.0, isl=1000.0, osl=200.0, ttft_s=0.12, itl_s=0.012)
"""4 prefill replicas, 2 for decode."""

QUIET = Load(requests_s=15.0, isl=1000.0, osl=200.0, ttft_s=0.12, itl_s=0.012)
"""1 prefill replica, 1 for decode."""

ACKNOWLEDGED = "slaplanner.io/scaled-decision-id"


def virtual(scene: Scene, *, max_wait_s: int = 600, **virtual: Any) -> dict[str, Any]:
    return policy(
        targetRef=None,
        roles=[{"name": "prefill", "gpusPerReplica": 2}, {"name": "decode", "gpusPerReplica": 2}],
        connector={
            "type": "Virtual",
            "virtual": {
                "backend": "Kubernetes",
                "dynamoNamespace": scene.dynamo_namespace,
                "model": "Meta/Llama-70B",
                "maxWaitSeconds": max_wait_s,
                "checkIntervalSeconds": 1,
                **virtual,
            },
        },
    )


def published(scene: Scene) -> dict[str, Any]:
    found: dict[str, Any] = scene.status().get("lastPublished", {})
    return found


def wait_published(scene: Scene, **fields: Any) -> dict[str, Any]:
    def said() -> bool:
        return fields.items() <= published(scene).items()

    with scene.described():
        wait_until(said, what=f"lastPublished with {fields}", timeout_s=PATIENCE_S)
    return published(scene)


def acknowledge(scene: Scene, decision_id: object) -> None:
    scene.annotate(f"{ACKNOWLEDGED}={decision_id}")


class EtcdScene:
    """A policy that publishes in an etcd of the test's own, and an operator that knows it."""

    def __init__(self, scene: Scene, etcd: EtcdServer) -> None:
        self.scene = scene
        self.etcd = etcd

    def key(self, name: str) -> str | None:
        return self.etcd.get(f"v1/{self.scene.dynamo_namespace}/planner/{name}")

    def put(self, name: str, value: str) -> None:
        self.etcd.put(f"v1/{self.scene.dynamo_namespace}/planner/{name}", value)

    @property
    def trust(self) -> dict[str, Any]:
        """How a client of this etcd shows itself."""
        if self.etcd.tls is None:
            return {}
        pair = self.etcd.tls.client
        return {
            "ca_file": self.etcd.tls.ca,
            "client_certificate": ClientCertificate(cert_file=pair.certificate, key_file=pair.key),
        }

    def history(self, name: str) -> list[str]:
        return self.etcd.history(f"v1/{self.scene.dynamo_namespace}/planner/{name}")

    def acknowledge_all_until(self, requests_s: float, **values: str) -> None:
        """Change the load, and answer whatever is published until the keys say *values*."""
        self.scene.loads.change(self.scene.dynamo_namespace, requests_s=requests_s)

        def answered() -> bool:
            self.put("scaled_decision_id", str(self.key("decision_id")))
            return all(self.key(name) == value for name, value in values.items())

        wait_until(answered, what=f"keys {values}", timeout_s=PATIENCE_S, poll_s=0.5)

    def wait_keys(self, **values: str | None) -> None:
        def said() -> bool:
            return all(self.key(name) == value for name, value in values.items())

        with self.scene.described():
            wait_until(said, what=f"keys {values}", timeout_s=PATIENCE_S)


@contextlib.contextmanager
def following(at: EtcdScene, carried_out: list[ScalingDecision]) -> Iterator[None]:
    """A client that carries everything out and acknowledges it, until the block ends."""

    async def follow() -> None:
        async with etcd_channel([at.etcd.endpoint], at.scene.dynamo_namespace, **at.trust) as channel:
            client = VirtualConnectorClient(channel)
            async for decision in client.watch():
                carried_out.append(decision)
                await client.complete(decision)

    loop = asyncio.new_event_loop()
    task = loop.create_task(follow())

    def run() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            loop.run_until_complete(task)
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        with contextlib.suppress(RuntimeError):  # it has ended by itself
            loop.call_soon_threadsafe(task.cancel)
        thread.join()
    assert task.cancelled(), f"the client ended: {task.exception()}"
