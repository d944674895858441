"""Probes, metrics, the settle time and the planning grid of a running operator."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest

from slaplanner.controller.schedule import phase_s
from tests.gateway import HttpDoor, Manner
from tests.operator_program import OperatorProgram, install_operator, running_operator
from tests.played_load import Load
from tests.scene import Scene, policy
from tests.testbed import Cluster, PrometheusServer, Served, install_dynamo, wait_until

BUSY = Load(requests_s=60.0, isl=1000.0, osl=200.0, ttft_s=0.12, itl_s=0.012)
"""Needs 4 prefill and 2 decode replicas."""
INTERVAL_S = 5
PATIENCE_S = 100.0
"""With the slow Prometheus: the most that settings allow, so that its question is open while others plan."""
FAMILIES = (
    "plan_duration_seconds_count",
    "decisions_total",
    "observed_requests_per_second",
    "observed_ttft_seconds",
    "observed_itl_seconds",
    "forecast_requests_per_second",
    "forecast_tokens_per_second",
    "expected_latency_seconds",
    "replicas_desired",
    "replicas_current",
    "gpus_desired",
    "gpus_current",
    "gpu_budget",
    "attainment_ratio",
    "condition",
)
"""Of each policy."""
PROCESS_FAMILIES = (
    "outside_request_duration_seconds",
    "outside_errors_total",
    "event_loop_lag_seconds",
    "policies",
)

Serve = Callable[..., Scene]


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("operator")


@pytest.fixture(scope="module")
def door(prometheus_server: PrometheusServer) -> Iterator[HttpDoor]:
    with HttpDoor(prometheus_server.url) as door:
        yield door


@pytest.fixture(scope="module")
def operator(
    cluster: Cluster, prometheus_server: PrometheusServer, door: HttpDoor, scratch: Path
) -> Iterator[OperatorProgram]:
    """Knows Prometheus directly, and through a door with much patience."""
    install_dynamo(cluster, Served.V1BETA1)
    install_operator(cluster)
    patient = {"url": door.url, "readTimeoutSeconds": PATIENCE_S}
    connections = {"default": {"url": prometheus_server.url}, "patient": patient}
    with running_operator(cluster, scratch, prometheus=None, settings={"prometheus": connections}) as program:
        yield program


def at_s(decision: dict[str, str]) -> float:
    return datetime.fromisoformat(decision["time"]).timestamp()


def test_every_family_is_there_and_a_deleted_policy_takes_its_series_along(
    served_scene: Serve, operator: OperatorProgram
) -> None:
    scene = served_scene(BUSY)
    scene.apply(policy(gpuBudget={"max": 40}))
    scene.wait_replicas(prefill=4, decode=2)
    ours = f'namespace="{scene.namespace}",policy="llama"'

    def missing() -> list[str]:
        text = operator.metrics()
        series = [
            name for name in FAMILIES if not re.search(rf"^slaplanner_{name}{{.*{ours}", text, re.MULTILINE)
        ]
        return series + [name for name in PROCESS_FAMILIES if f"# TYPE slaplanner_{name} " not in text]

    wait_until(lambda: not missing(), what="every family")
    assert f'slaplanner_replicas_desired{{{ours},role="prefill"}} 4.0' in operator.metrics()
    assert f'slaplanner_scales_total{{direction="up",{ours},role="decode"}} 1.0' in operator.metrics()
    scene.kubectl("delete", "slapolicy", "llama")
    wait_until(lambda: ours not in operator.metrics(), what="the policy's series to go")
    assert operator.answer("/healthz") == "ok\n"
    assert operator.answer("/readyz") == "ok\n"


def test_one_policys_slow_prometheus_holds_nobody_else_up(
    served_scene: Serve, operator: OperatorProgram, door: HttpDoor
) -> None:
    """While its question is open others plan, probes are answered, and it asks no second one, though it is due.

    A question that times out is `PrometheusUnavailable`: see test_operator_metrics.py.
    """
    scene = served_scene(BUSY)
    metrics = {"windowSeconds": 5, "connection": "patient"}
    slow = policy("slow", metrics=metrics, mode="prefill")
    quick = policy("quick", mode="decode")
    door.behave(Manner(silent=True))
    door.held_so_far = 0
    try:
        scene.apply(slow, quick)
        wait_until(lambda: door.held == 1, what="the slow policy's question")
        scene.annotate("slaplanner.io/plan-requested-at=while-it-waits", name="slow")
        scene.wait_plans(2, name="quick")
        assert operator.answer("/healthz") == "ok\n"
        assert scene.decisions("slow") == 0
        assert (door.held, door.held_so_far) == (1, 1), "still the first question"
    finally:
        door.open()
    scene.wait_condition("MetricsAvailable", "True", "MetricsRead", name="slow")
    assert scene.decisions("slow") > 0


def test_plans_lie_on_the_policys_own_grid(served_scene: Serve, operator: OperatorProgram) -> None:
    scene = served_scene(BUSY)
    scene.apply(policy())
    scene.wait_condition("Ready", "True")
    # Loads that call for other replicas, so that each has a plan that is told.
    for requests_s, prefill, decode in ((90.0, 6, 3), (60.0, 4, 2), (90.0, 6, 3)):
        scene.loads.change(scene.dynamo_namespace, requests_s=requests_s)
        scene.wait_replicas(prefill=prefill, decode=decode)
        scene.settle()
    uid = scene.get("slapolicy")["metadata"]["uid"]
    grid = phase_s(uid=uid, interval_s=INTERVAL_S)
    first, *later = sorted({at_s(decision) for decision in scene.status()["decisions"]})
    assert {(at - grid) % INTERVAL_S for at in later} == {0.0}, (first, later, grid)
