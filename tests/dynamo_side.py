"""Dynamo's own coordinator and client, driven over stdin by a test; run by the Python that has its wheel.

One JSON list per line: a word and its arguments; one JSON value per line in answer.
"""

import asyncio
import json
import sys

from dynamo._core import DistributedRuntime, VirtualConnectorClient, VirtualConnectorCoordinator


def shown(decision):
    return [decision.decision_id, decision.num_prefill_workers, decision.num_decode_workers]


async def main(namespace, max_wait_s):
    runtime = DistributedRuntime(asyncio.get_running_loop(), "etcd", "tcp", event_plane="zmq")
    coordinator = VirtualConnectorCoordinator(runtime, namespace, 1, max_wait_s, max_wait_s)
    client = VirtualConnectorClient(runtime, namespace)
    last = None

    async def answer(word, *arguments):
        nonlocal last
        if word == "start":
            await coordinator.async_init()
        elif word == "update":
            await coordinator.update_scaling_decision(*arguments)
            return shown(coordinator.read_state())
        elif word == "read":
            return shown(coordinator.read_state())
        elif word == "ready":
            return await coordinator.is_scaling_ready()
        elif word == "wait":
            await client.wait()
            last = await client.get()
            return shown(last)
        elif word == "complete":
            await client.complete(last)
        return None

    for line in iter(sys.stdin.readline, ""):
        sys.stdout.write(json.dumps(await answer(*json.loads(line))) + "\n")
        sys.stdout.flush()
    runtime.shutdown()


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
