"""A fleet of local processes that follows published decisions: what an outside system has to do.

    python examples/virtual/fleet.py --etcd http://localhost:2379 --dynamo-namespace fleet
    python examples/virtual/fleet.py --policy fleet --namespace serving

Each worker is a process that only sleeps; put your own command in `WORKER`. Shrinking comes first, so
that the fleet never holds more than the policy's budget. A decision is acknowledged when its workers
run; a program that is killed in between finds the same decision again, and counts are absolute.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator

from slaplanner.virtual import (
    ABSENT,
    Channel,
    Role,
    ScalingDecision,
    VirtualConnectorClient,
    etcd_channel,
    kubernetes_channel,
)

WORKER = (sys.executable, "-c", "import signal; signal.pause()")


class Fleet:
    """Worker processes by role."""

    def __init__(self) -> None:
        self.workers: dict[Role, list[asyncio.subprocess.Process]] = {Role.PREFILL: [], Role.DECODE: []}

    async def carry_out(self, decision: ScalingDecision) -> None:
        """Bring every role to the decided count: those that shrink first."""
        wanted = {role: decision.count(role) for role in self.workers}
        known = [role for role, count in wanted.items() if count != ABSENT]
        for role in sorted(known, key=lambda role: wanted[role] - len(self.workers[role])):
            await self._scale(role, wanted[role])

    async def stop(self) -> None:
        for role in self.workers:
            await self._scale(role, 0)

    async def _scale(self, role: Role, count: int) -> None:
        running = self.workers[role]
        while len(running) > count:
            worker = running.pop()
            worker.terminate()
            await worker.wait()
        while len(running) < count:
            running.append(await asyncio.create_subprocess_exec(*WORKER))


async def follow(channel: Channel, fleet: Fleet) -> None:
    """Carry out every decision as it comes."""
    client = VirtualConnectorClient(channel)
    async for decision in client.watch():
        await fleet.carry_out(decision)
        answered = await client.complete(decision)
        counts = ", ".join(f"{role} {len(workers)}" for role, workers in fleet.workers.items())
        print(f"decision {decision.id}: {counts}{'' if answered else ', replaced meanwhile'}", flush=True)


@contextlib.asynccontextmanager
async def opened(arguments: argparse.Namespace) -> AsyncIterator[Channel]:
    """The backend that was asked for."""
    if arguments.policy:
        async with kubernetes_channel(arguments.policy, namespace=arguments.namespace) as channel:
            yield channel
    else:
        async with etcd_channel([arguments.etcd], arguments.dynamo_namespace) as channel:
            yield channel


async def main(arguments: argparse.Namespace) -> None:
    """Follow until SIGTERM or Ctrl-C; then stop the workers."""
    fleet = Fleet()
    async with opened(arguments) as channel:
        following = asyncio.create_task(follow(channel, fleet))
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, following.cancel)
        try:
            await following
        except asyncio.CancelledError:
            print("stopping", flush=True)
        finally:
            await fleet.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--etcd", default="http://localhost:2379", help="endpoint of etcd")
    parser.add_argument("--dynamo-namespace", default="fleet")
    parser.add_argument("--policy", help="name of an SLAPolicy; without it, etcd is followed")
    parser.add_argument("--namespace", help="of the policy")
    asyncio.run(main(parser.parse_args()))
