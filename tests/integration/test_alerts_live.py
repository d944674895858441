"""Alerts fire on the test bed for a fault that it is meant for: real operator, API server, Prometheus and rules.

Time is short here: whatever a rule waits for or looks back over is cut to seconds. Its expressions and limits stay.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.operator_program import install_operator, running_operator, without_right
from tests.played_load import Load, PlayedLoads
from tests.scene import Scene, graph, policy, wait_scraped
from tests.testbed import Cluster, PrometheusServer, Served, Target, install_dynamo, wait_until
from tests.testbed.binaries import find_prometheus
from tests.testbed.missing import or_skip

ROOT = Path(__file__).parents[2]
RULES = yaml.safe_load((ROOT / "manifests/monitoring/prometheusrule.yaml").read_text())["spec"]
ALERTS = {rule["alert"] for group in RULES["groups"] for rule in group["rules"] if "alert" in rule}
PATIENCE_S = 120.0
QUIET = Load(requests_s=5.0, isl=1000.0, osl=200.0, ttft_s=0.06, itl_s=0.012)
"""Less than one replica of each role carries, and as fast as the profile says."""
BUSY = Load(requests_s=60.0, isl=1000.0, osl=200.0, ttft_s=0.12, itl_s=0.012)
"""Needs 4 prefill replicas and 2 for decode."""
LATE = Load(
    requests_s=5.0, isl=1000.0, osl=200.0, ttft_s=2.0, itl_s=0.012, edges_s=(0.01, 0.03, 0.1, 0.5, 1.0, 4.0)
)
"""Four times the target, and many times what the profile says."""
NOT_PLAYED = {"SLAPlannerPlanStale"}
"""Needs a loop that hangs while its metrics are still served. Plans come on their grid whatever the heartbeat is, and
an operator that is stopped loses its series, so nothing from outside brings that about; promtool plays it."""


def hurried() -> dict[str, Any]:
    """The rules with a window of ten seconds and a wait of two."""
    groups = yaml.safe_load(yaml.safe_dump(RULES))
    for group in groups["groups"]:
        for rule in group["rules"]:
            window = "[60s]" if "status_writes" in rule["expr"] else "[10s]"
            rule["expr"] = re.sub(r"\[\d+[mh]\]", window, rule["expr"])
            if "for" in rule:
                rule["for"] = "2s"
    return dict(groups)


def autoscaler() -> dict[str, Any]:
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "llama"},
        "spec": {
            "minReplicas": 1,
            "maxReplicas": 4,
            "scaleTargetRef": {
                "apiVersion": "nvidia.com/v1beta1",
                "kind": "DynamoGraphDeployment",
                "name": "llama",
            },
        },
    }


@dataclass(frozen=True, slots=True)
class Fault:
    """One namespace with something wrong in it."""

    fires: set[str]
    load: Load = QUIET
    spec: Mapping[str, Any] = field(default_factory=dict)
    objects: tuple[Mapping[str, Any], ...] = ()


PLANNING = policy()["spec"]["planning"]
FAULTS = {
    "nothing": Fault(set()),
    "late": Fault(
        {"SLAPlannerPromiseBurnsFast", "SLAPlannerPromiseBurnsSlowly", "SLAPlannerCorrectionOff"}, LATE
    ),
    "unknown-load": Fault(
        {"SLAPlannerNotReady", "SLAPlannerFallback"},
        spec={"metrics": {"windowSeconds": 5, "connection": "elsewhere"}, "fallback": {"after": 1}},
    ),
    "budget": Fault({"SLAPlannerBudgetLimited"}, BUSY, spec={"gpuBudget": {"max": 8}}),
    "rival": Fault({"SLAPlannerConflict", "SLAPlannerNotReady"}, objects=(autoscaler(),)),
    # Nobody plays Dynamo's operator here, so ordered replicas never come.
    "no-room": Fault({"SLAPlannerScaleStuck"}, BUSY),
    "no-history": Fault(
        {"SLAPlannerForecastMissing"},
        spec={"planning": {**PLANNING, "predictor": {"type": "ARIMA", "minObservations": 1000}}},
    ),
}


@pytest.fixture(scope="module")
def watching(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    """A Prometheus with the rules; it scrapes the operator alone."""
    server = PrometheusServer(or_skip(find_prometheus), tmp_path_factory.mktemp("alerts"))
    server.start()
    server.set_rules(hurried())
    yield server
    server.stop()


@pytest.fixture(scope="module")
def place(
    cluster: Cluster, played_loads: PlayedLoads, prometheus_server: PrometheusServer
) -> Callable[[str, Fault], Scene]:
    """A function that sets a fault up in a namespace of its own."""
    install_dynamo(cluster, Served.V1BETA1)
    install_operator(cluster)

    def put(name: str, fault: Fault) -> Scene:
        namespace = f"alert-{name}-{os.getpid()}"
        cluster.kubectl("create", "namespace", namespace)
        scene = Scene(cluster=cluster, namespace=namespace, loads=played_loads)
        scene.apply_profile()
        scene.apply(graph())
        scene.settle()
        scene.play(fault.load)
        wait_scraped(scene, prometheus_server)
        scene.apply(*fault.objects, policy(**fault.spec))
        return scene

    return put


def test_each_alert_fires_for_its_fault_and_none_for_a_healthy_policy(
    cluster: Cluster,
    watching: PrometheusServer,
    place: Callable[[str, Fault], Scene],
    prometheus_server: PrometheusServer,
    tmp_path: Path,
) -> None:
    """One bed for all faults: each lies in a namespace of its own, and the operator's own faults come after them."""
    fired: set[str] = set()

    def wait_for(alerts: set[str], namespace: str) -> None:
        wait_until(
            lambda: all(namespace in watching.firing().get(alert, ()) for alert in alerts),
            what=f"{sorted(alerts)} about {namespace or 'the operator'}; fires now: {watching.firing()}",
            timeout_s=PATIENCE_S,
        )
        fired.update(alerts)

    wait_for({"SLAPlannerDown"}, "")
    with running_operator(cluster, tmp_path, prometheus=prometheus_server.url) as program:
        target = Target(job="slaplanner", address=f"127.0.0.1:{program.port}", honor_labels=True)
        watching.add_target(target)
        scenes = {name: place(name, fault) for name, fault in FAULTS.items()}
        for name, fault in FAULTS.items():
            wait_for(fault.fires, scenes[name].namespace)
        assert scenes["nothing"].condition("Ready")["status"] == "True"
        about_nothing = {
            alert for alert, where in watching.firing().items() if scenes["nothing"].namespace in where
        }
        assert about_nothing == set()
        assert "SLAPlannerDown" not in watching.firing()
        with without_right(cluster, "patch", "slapolicies/status"):
            wait_for({"SLAPlannerWritesFailing"}, "")
        watching.remove_target(target)
    assert fired == ALERTS - NOT_PLAYED
