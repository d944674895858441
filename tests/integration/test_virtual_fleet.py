"""The main job with the virtual connector: the fleet of the test bed follows the published decisions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from slaplanner.fleet import names
from slaplanner.fleet.options import Options
from slaplanner.virtual import ScalingDecision, VirtualConnectorClient, kubernetes_channel
from tests.fleet_program import TABLES, FleetProgram, running_fleet, steady
from tests.operator_program import OperatorProgram
from tests.scene import NAME, Scene, graph, policy, small_profile
from tests.testbed import Cluster, PrometheusServer, Target, dynamo_kubeconfig, wait_until

WANTED = {"prefill": 2, "decode": 4}
"""What 10 requests/s of 400 input and 20 output tokens need with the small profile, 2 GPUs per replica."""


def virtual_policy(scene: Scene) -> dict[str, Any]:
    return policy(
        targetRef=None,
        gpuBudget={"max": 16},
        profile={"configMapRef": {"name": "small"}},
        planning={
            "intervalSeconds": 5,
            "startupSeconds": 5,
            "sizing": "Throughput",
            "predictor": {"type": "Constant"},
            "correction": "Disabled",
        },
        roles=[{"name": role, "gpusPerReplica": 2} for role in WANTED],
        connector={
            "type": "Virtual",
            "virtual": {
                "backend": "Kubernetes",
                "dynamoNamespace": scene.dynamo_namespace,
                "model": "Meta/Llama-70B",
                "checkIntervalSeconds": 1,
            },
        },
    )


@pytest.fixture
def fleet(
    cluster: Cluster, operator: OperatorProgram, prometheus_server: PrometheusServer, scene: Scene
) -> Iterator[FleetProgram]:
    """Plays the deployment of this test."""
    options = Options(tables=TABLES, traffic=steady(10.0), startup_s=1.0, namespace=scene.namespace)
    with running_fleet(dynamo_kubeconfig(cluster), options) as program:
        target = Target(job="virtual-fleet", address=program.target)
        prometheus_server.add_target(target)
        yield program
        prometheus_server.remove_target(target)


def carry_out(scene: Scene, decision: ScalingDecision) -> None:
    """What an outside system does: scale, and wait until the workers serve."""
    components = scene.get("dynamographdeployments")["spec"]["components"]
    counts = {role.value: count for role, count in decision.workers.items()}
    patch = [
        {"op": "add", "path": f"/spec/components/{place}/replicas", "value": counts[component["name"]]}
        for place, component in enumerate(components)
        if component["name"] in counts
    ]
    scene.kubectl("patch", "dynamographdeployments", NAME, "--type=json", f"--patch={json.dumps(patch)}")

    def serve() -> bool:
        status = scene.get("dynamographdeployments").get("status", {}).get("components", {})
        return all(status.get(name, {}).get("readyReplicas") == count for name, count in counts.items())

    wait_until(serve, what=f"{counts} to serve", timeout_s=40)


async def follow(scene: Scene, cluster: Cluster) -> None:
    async with kubernetes_channel(NAME, namespace=scene.namespace, kubeconfig=cluster.kubeconfig) as channel:
        client = VirtualConnectorClient(channel)
        async for decision in client.watch():
            await asyncio.to_thread(carry_out, scene, decision)
            await client.complete(decision)


async def test_the_fleet_follows_the_published_decisions(
    scene: Scene, fleet: FleetProgram, cluster: Cluster
) -> None:
    deployment = graph()
    deployment["metadata"]["labels"] = {names.SIMULATED_LABEL: "true"}
    scene.apply(small_profile(), deployment, virtual_policy(scene))
    following = asyncio.create_task(follow(scene, cluster))
    try:
        await asyncio.to_thread(scene.wait_replicas, timeout_s=60, **WANTED)
        await asyncio.to_thread(scene.wait_condition, "Progressing", "False", "Stable")
        await asyncio.to_thread(scene.wait_plans)
    finally:
        following.cancel()
    status = scene.status()
    assert status["lastAcknowledged"] == {"id": status["lastPublished"]["id"], **WANTED}
    assert {role["name"]: (role["current"], role["ready"]) for role in status["roles"]} == {
        name: (count, count) for name, count in WANTED.items()
    }
    graphs = fleet.graphs()[f"{scene.namespace}/{NAME}"]["replicas"]
    assert {name: graphs[name]["serving"] for name in WANTED} == WANTED
