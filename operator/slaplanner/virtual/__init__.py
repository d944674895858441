"""For Python programs that run a fleet themselves: follow published decisions, or publish some.

    async with etcd_channel(["http://localhost:2379"], "my-fleet") as channel:
        client = VirtualConnectorClient(channel)
        while True:
            decision = await client.wait()
            await scale_my_fleet(decision.count(Role.PREFILL), decision.count(Role.DECODE))
            await client.complete(decision)

`etcd_channel` speaks with Dynamo's own planner and clients too; `kubernetes_channel` follows an SLAPolicy
without any etcd. Delivery is at least once, counts are absolute, so applying one twice is harmless, and no
client is ever given an older decision after a newer one.

What everything here may raise is a `ChannelError`: the backend does not answer, or refuses. `wait`, `watch`
and `complete` wait for a backend that is away, and raise for a refusal only.

Inside: `decisions` and `rules` are pure and say which decision is newer and what may be published next. `channel` is
what both backends have in common; `etcd_*` and `kubernetes_backend` are the backends. `publisher` is the operator's
connector for policies with `connector: Virtual`; `policy_store` and `policy_document` keep its memory in the status.
"""

from slaplanner.core.model import Role
from slaplanner.virtual.backends import etcd_channel, kubernetes_channel
from slaplanner.virtual.channel import Channel, ChannelError
from slaplanner.virtual.client import VirtualConnectorClient
from slaplanner.virtual.connector import VirtualConnector
from slaplanner.virtual.coordinator import ScalingTimeoutError, VirtualConnectorCoordinator
from slaplanner.virtual.decisions import ABSENT
from slaplanner.virtual.decisions import Published as ScalingDecision

__all__ = [
    "ABSENT",
    "Channel",
    "ChannelError",
    "Role",
    "ScalingDecision",
    "ScalingTimeoutError",
    "VirtualConnector",
    "VirtualConnectorClient",
    "VirtualConnectorCoordinator",
    "etcd_channel",
    "kubernetes_channel",
]
