"""Two operators share a Lease on a real API server: one plans, the other takes over, and never both write."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.operator_program import MANIFESTS, NAMESPACE, OperatorProgram, install_operator, running_operator
from tests.played_load import Load
from tests.scene import Scene, graph, policy
from tests.testbed import Cluster, PrometheusServer, Served, install_dynamo, wait_until

LOAD = Load(requests_s=60.0, isl=1000.0, osl=200.0, ttft_s=0.12, itl_s=0.012)
LEASE_S = 12.0
TAKEOVER_TIMEOUT_S = 90.0
"""Twelve seconds of lease, and what a busy machine adds."""

Start = Callable[[], contextlib.AbstractContextManager[OperatorProgram]]


@pytest.fixture
def start(
    cluster: Cluster, scene: Scene, prometheus_server: PrometheusServer, tmp_path: Path
) -> Iterator[Start]:
    """Starts operators that share one Lease of this test."""
    install_dynamo(cluster, Served.V1BETA1)
    install_operator(cluster)
    # The same with two replicas, and with the right to a Lease.
    overlay = MANIFESTS / "overlays/high-availability"
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-k", str(overlay))
    election = {"namespace": NAMESPACE, "name": "slaplanner", "leaseSeconds": LEASE_S}

    def begin() -> contextlib.AbstractContextManager[OperatorProgram]:
        return running_operator(
            cluster,
            tmp_path,
            prometheus=prometheus_server.url,
            settings={"leaderElection": election},
            namespace=scene.namespace,
        )

    yield begin
    cluster.kubectl("delete", "lease", "slaplanner", "-n", NAMESPACE, "--ignore-not-found")


def leads(operator: OperatorProgram) -> bool:
    return "slaplanner_leader 1.0" in operator.metrics()


def set_up(scene: Scene) -> None:
    scene.apply(graph())
    scene.settle()
    scene.play(LOAD)
    scene.apply(policy())


def test_one_operator_plans_and_the_other_stands_by_ready(scene: Scene, start: Start) -> None:
    set_up(scene)
    with start() as leader:
        wait_until(lambda: leads(leader), what="the first operator to lead")
        with start() as standby:
            scene.wait_condition("Ready", "True")

            assert standby.answer("/readyz") == "ok, standing by\n"
            assert not leads(standby)
            assert not [line for line in standby.log() if line.get("message") == "planned"]


@pytest.mark.parametrize("end", [OperatorProgram.stop, OperatorProgram.kill], ids=["SIGTERM", "SIGKILL"])
def test_a_standby_goes_on_where_the_leader_ended(
    scene: Scene, start: Start, end: Callable[[OperatorProgram], Any]
) -> None:
    set_up(scene)
    with start() as leader:
        wait_until(lambda: leads(leader), what="the first operator to lead")
        scene.wait_condition("Ready", "True")
        with start() as standby:
            end(leader)
            wait_until(lambda: leads(standby), what="the standby to lead", timeout_s=TAKEOVER_TIMEOUT_S)
            scene.loads.change(scene.dynamo_namespace, requests_s=20.0)
            wait_until(
                lambda: [line for line in standby.log() if line.get("message") == "planned"],
                what="the standby to plan",
                timeout_s=TAKEOVER_TIMEOUT_S,
            )
            before = {line["decision"] for line in leader.log() if line.get("message") == "planned"}
            after = {line["decision"] for line in standby.log() if line.get("message") == "planned"}

            assert max(before) <= min(after), "a decision of the leader was lost or made again"
