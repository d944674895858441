"""Predictors beside a real Prometheus: each drives a policy, can be switched and warmed up, and keeps its history."""

from __future__ import annotations

import base64
import contextlib
import gzip
import importlib.util
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.operator_program import OperatorProgram, install_operator, running_operator
from tests.played_load import Load, PlayedLoads
from tests.scene import A_DAY_S, PATIENCE_S, Scene, graph, policy, wait_scraped
from tests.testbed import Cluster, PrometheusServer, Served, install_dynamo, wait_until

BUSY = Load(requests_s=45.0, isl=1000.0, osl=200.0, ttft_s=0.12, itl_s=0.012)
"""Needs 2.6 prefill and 1.4 decode replicas; a minute of it lies in Prometheus before the first plan."""
NEEDED = {"prefill": 3, "decode": 2}
PREDICTORS = ("Constant", "Kalman", "ARIMA", "Auto", "Prophet")
HAS_PROPHET = importlib.util.find_spec("prophet") is not None

Start = Callable[[], contextlib.AbstractContextManager[OperatorProgram]]


@pytest.fixture(scope="module")
def busy(cluster: Cluster, played_loads: PlayedLoads, prometheus_server: PrometheusServer) -> Iterator[Scene]:
    """One deployment under steady load, for all tests here."""
    install_dynamo(cluster, Served.V1BETA1)
    install_operator(cluster)
    scene = Scene(cluster=cluster, namespace=cluster.create_namespace("predictors"), loads=played_loads)
    scene.apply_profile()
    scene.apply(graph())
    scene.settle()
    scene.play(BUSY)
    wait_scraped(scene, prometheus_server)
    yield scene
    cluster.delete_namespace(scene.namespace)


@pytest.fixture(scope="module")
def start(
    busy: Scene, prometheus_server: PrometheusServer, tmp_path_factory: pytest.TempPathFactory
) -> Start:
    """Starts an operator for the scene."""
    scratch = tmp_path_factory.mktemp("operator")
    return lambda: running_operator(
        busy.cluster, scratch, prometheus=prometheus_server.url, namespace=busy.namespace
    )


def planning(
    predictor: str, *, interval_s: int = 5, sizing: str = "Throughput", **fields: Any
) -> dict[str, Any]:
    return {
        "intervalSeconds": interval_s,
        "startupSeconds": 5,
        "sizing": sizing,
        "predictor": {"type": predictor, "minObservations": 5} | fields,
    }


def apply(scene: Scene, **spec: Any) -> None:
    scene.apply(policy(**spec))


def planned(scene: Scene) -> dict[str, Any]:
    """The status of the first plan for the policy as it is."""
    generation = scene.get("slapolicy")["metadata"]["generation"]
    wait_until(
        lambda: scene.status().get("observedGeneration") == generation,
        what=f"a plan for generation {generation}",
        timeout_s=PATIENCE_S,
    )
    return scene.status()


def desired(status: dict[str, Any]) -> dict[str, int]:
    return {role["name"]: role["desired"] for role in status["roles"]}


def test_each_predictor_drives_a_policy(busy: Scene, start: Start) -> None:
    with start():
        for kind in PREDICTORS:
            missing = kind == "Prophet" and not HAS_PROPHET
            apply(busy, planning=planning(kind))
            planned(busy)
            if missing:
                busy.wait_condition(
                    "ForecastAvailable", "False", "PredictorNotInstalled", message="last value"
                )
            else:
                busy.wait_condition("ForecastAvailable", "True", "Forecast", message=f"{kind} sees")
            status = busy.status()
            assert status["forecast"]["predictor"] == kind
            assert status["forecast"]["requestsPerSecond"] == pytest.approx(45.0, rel=0.1)
            assert desired(status) == NEEDED
        busy.wait_replicas(**NEEDED)


def test_another_predictor_and_sizing_act_with_the_next_plan(busy: Scene, start: Start) -> None:
    """The grid's next time is up to a day away, the next plan is not."""
    with start():
        for predictor, sizing in (("Constant", "Throughput"), ("Kalman", "Attainment")):
            apply(busy, planning=planning(predictor, sizing=sizing, interval_s=A_DAY_S))
            status = planned(busy)
            assert (status["forecast"]["predictor"], status["sizing"]) == (predictor, sizing)


def test_history_survives_a_restart(busy: Scene, start: Start) -> None:
    """An operator that knew nothing of the minute before would need ten more intervals."""
    apply(busy, planning=planning("Auto", minObservations=10))
    with start() as operator:
        planned(busy)
        busy.wait_condition("ForecastAvailable", "True", "Forecast")
        operator.kill()
    decided = busy.decisions()
    with start():
        wait_until(lambda: busy.decisions() > decided, what="the first plan", timeout_s=PATIENCE_S)
        assert busy.condition("ForecastAvailable")["reason"] == "Forecast"


TRACE = "\n".join(
    json.dumps({"timestamp": 1000 * second, "input_length": 1000, "output_length": 200})
    for second in range(0, 2000, 2)
)
"""400 intervals of five seconds."""


def config_map(**content: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "monday"}, **content}


def test_a_warm_up_trace_is_learnt_as_soon_as_it_can_be_read(busy: Scene, start: Start) -> None:
    trace = {"warmupTrace": {"configMapRef": {"name": "monday"}}}
    apply(busy, actuation="Observe", planning=planning("Auto", minObservations=300, **trace))
    with start():
        said = busy.wait_condition("ForecastAvailable", "False", "WarmupTraceUnusable")
        assert "of 300 points of history; the last value stands in" in said["message"]
        assert f"ConfigMap 'monday' does not exist in namespace '{busy.namespace}'" in said["message"]
        assert desired(busy.status()) == NEEDED
        packed = base64.b64encode(gzip.compress(TRACE.encode())).decode()
        busy.apply(config_map(binaryData={"monday.jsonl.gz": packed}))
        busy.wait_condition("ForecastAvailable", "True", "Forecast")
        busy.kubectl("delete", "configmap", "monday")
        busy.apply(config_map(data={"monday.jsonl": "no trace\n"}))
        bad = "found 1 lines and none of them valid"
        busy.wait_condition("ForecastAvailable", "True", "WarmupTraceUnusable", message=bad)
        apply(busy, actuation="Observe", planning=planning("Auto", minObservations=300))
        busy.wait_condition("ForecastAvailable", "False", "WarmingUp", message="of 300 points")
