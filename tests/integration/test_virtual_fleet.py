"""The main job with the virtual connector: real requests, and a fleet that follows the published decisions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slaplanner.adapters.traces.trace import read_trace
from slaplanner.virtual import Role, ScalingDecision, VirtualConnectorClient, kubernetes_channel
from slaplanner_lab.fleet import names
from slaplanner_lab.fleet.options import Options
from slaplanner_lab.simulation.traffic import Traffic
from tests.fleet_program import TABLES, FleetProgram, running_fleet
from tests.operator_program import OperatorProgram
from tests.scene import NAME, PATIENCE_S, Scene, graph, policy, small_profile
from tests.testbed import Cluster, PrometheusServer, Target, dynamo_kubeconfig, wait_until

TRACE = Path(__file__).parents[2] / "examples/traces/azure2023_conv.jsonl.gz"
FROM_S, TO_S = 1770.0, 1815.0
"""A busy part of the trace: 7 requests/s of about 1,400 input and 120 output tokens. Then the load ends."""

ROLES = ("prefill", "decode")
GPUS = 2
BUDGET_GPUS = 40


def virtual_policy(scene: Scene) -> dict[str, Any]:
    return policy(
        targetRef=None,
        gpuBudget={"max": BUDGET_GPUS},
        profile={"configMapRef": {"name": "small"}},
        planning={
            "intervalSeconds": 5,
            "startupSeconds": 5,
            "sizing": "Throughput",
            "predictor": {"type": "Constant"},
            "correction": "Disabled",
        },
        roles=[{"name": role, "gpusPerReplica": GPUS} for role in ROLES],
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


def real_requests() -> Traffic:
    part = read_trace(TRACE).between(FROM_S, TO_S)
    return Traffic(
        arrival_s=part.t_s,
        isl_tokens=part.isl_tokens.astype(float),
        osl_tokens=part.osl_tokens.astype(float),
    )


@pytest.fixture
def fleet(
    cluster: Cluster, operator: OperatorProgram, prometheus_server: PrometheusServer, scene: Scene
) -> Iterator[FleetProgram]:
    """Plays the deployment of this test."""
    options = Options(tables=TABLES, traffic=real_requests(), startup_s=1.0, namespace=scene.namespace)
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

    wait_until(serve, what=f"{counts} to serve", timeout_s=PATIENCE_S)


async def follow(scene: Scene, cluster: Cluster, followed: list[ScalingDecision]) -> None:
    async with kubernetes_channel(NAME, namespace=scene.namespace, kubeconfig=cluster.kubeconfig) as channel:
        client = VirtualConnectorClient(channel)
        async for decision in client.watch():
            await asyncio.to_thread(carry_out, scene, decision)
            await client.complete(decision)
            followed.append(decision)


async def test_the_fleet_follows_the_published_decisions(
    scene: Scene, fleet: FleetProgram, cluster: Cluster
) -> None:
    deployment = graph()
    deployment["metadata"]["labels"] = {names.SIMULATED_LABEL: "true"}
    scene.apply(small_profile(), deployment, virtual_policy(scene))
    followed: list[ScalingDecision] = []

    def most(role: Role) -> int:
        return max((decision.count(role) for decision in followed), default=0)

    following = asyncio.create_task(follow(scene, cluster, followed))
    try:
        await asyncio.to_thread(
            wait_until,
            lambda: most(Role.PREFILL) > 2 and most(Role.DECODE) > 4,
            what="both roles to grow with the load",
            timeout_s=PATIENCE_S,
        )
        await asyncio.to_thread(scene.wait_condition, "MetricsAvailable", "True", "Idle")
        await asyncio.to_thread(scene.wait_replicas, timeout_s=PATIENCE_S, prefill=1, decode=1)
        await asyncio.to_thread(scene.wait_condition, "Progressing", "False", "Stable")
        await asyncio.to_thread(scene.wait_plans)
    finally:
        following.cancel()
        await asyncio.wait([following])  # its connections close with it
    assert following.cancelled(), "it followed to the end"
    ids = [decision.id for decision in followed]
    assert ids == list(range(len(ids)))
    assert all(GPUS * sum(decision.workers.values()) <= BUDGET_GPUS for decision in followed)
    status = scene.status()
    assert status["lastAcknowledged"] == {"id": ids[-1], "prefill": 1, "decode": 1}
    assert {role["name"]: (role["current"], role["ready"]) for role in status["roles"]} == dict.fromkeys(
        ROLES, (1, 1)
    )
    served = fleet.graphs()[f"{scene.namespace}/{NAME}"]["replicas"]
    assert {role: served[role]["serving"] for role in ROLES} == dict.fromkeys(ROLES, 1)
    assert any("requests/s" in event["message"] for event in scene.events("Scaled"))
    assert "Last Acknowledged" in scene.kubectl("describe", "slapolicy", NAME)
