"""A publisher and a follower as programs of their own, to be killed at any moment.

    python -m tests.virtual_sides publish WHERE LAST     until decision LAST is acknowledged
    python -m tests.virtual_sides follow WHERE JOURNAL   for ever; one line per decision, before the answer

WHERE is `etcd:ENDPOINT:NAMESPACE` or `policy:KUBECONFIG:NAMESPACE:NAME`.
"""

import asyncio
import os
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from slaplanner.virtual import (
    Channel,
    ChannelError,
    Role,
    VirtualConnectorClient,
    VirtualConnectorCoordinator,
    etcd_channel,
    kubernetes_channel,
)

CHECK_INTERVAL_S = 0.02


def counts(decision_id: int) -> tuple[int, int]:
    """The workers of a decision in this play: two decisions in a row always differ."""
    return 1 + decision_id % 7, 1 + decision_id % 5


def opened(where: str) -> AbstractAsyncContextManager[Channel]:
    kind, _, rest = where.partition(":")
    if kind == "etcd":
        endpoint, _, namespace = rest.rpartition(":")
        return etcd_channel([endpoint], namespace)
    kubeconfig, namespace, name = rest.split(":")
    return kubernetes_channel(name, namespace=namespace, kubeconfig=Path(kubeconfig))


async def publish(channel: Channel, last: int) -> None:
    coordinator = VirtualConnectorCoordinator(channel, check_interval_s=CHECK_INTERVAL_S, max_wait_s=600)
    while True:
        try:
            await coordinator.wait_for_scaling_completion()
            state = await coordinator.read_state()
            if state.id >= last:
                return
            await coordinator.update_scaling_decision(*counts(state.id + 1))
        except ChannelError:
            await asyncio.sleep(CHECK_INTERVAL_S)


async def follow(channel: Channel, journal: Path) -> None:
    client = VirtualConnectorClient(channel)
    with journal.open("a", buffering=1) as lines:
        async for decision in client.watch():
            # What a real client would do here: scale its fleet to these counts.
            lines.write(
                f"{os.getpid()} {decision.id} {decision.count(Role.PREFILL)} {decision.count(Role.DECODE)}\n"
            )
            await client.complete(decision)


async def main(role: str, where: str, argument: str) -> None:
    async with opened(where) as channel:
        if role == "publish":
            await publish(channel, int(argument))
        else:
            await follow(channel, Path(argument))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
