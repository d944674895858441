"""`slaplanner fleet` as users run it: both API versions with conversion, a real Prometheus, Ctrl-C."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import yaml

from tests.profile_data import LLAMA_8B, PROFILES
from tests.testbed import (
    Cluster,
    PrometheusServer,
    Served,
    Target,
    install_dynamo,
    uninstall_dynamo,
    wait_until,
)

RATE_PER_S = 20
ISL, OSL = 500, 12
GRAPH = """
apiVersion: nvidia.com/v1alpha1
kind: DynamoGraphDeployment
metadata:
  name: llama
  labels: {slaplanner.io/simulated: "true"}
spec:
  pvcs: [{name: cache}]
  services:
    Frontend: {componentType: frontend, replicas: 1}
    VllmPrefillWorker:
      componentType: worker
      subComponentType: prefill
      replicas: 1
      scalingAdapter: {enabled: false}
      envFromSecret: token
      resources: {limits: {gpu: "1", gpuType: nvidia.com/h100}}
      extraPodSpec: {mainContainer: {args: [--model, Meta/Llama-8B]}}
    VllmDecodeWorker:
      componentType: worker
      subComponentType: decode
      replicas: 1
      scalingAdapter: {enabled: true}
      resources: {limits: {gpu: "1"}}
      extraPodSpec: {mainContainer: {args: [--model, Meta/Llama-8B]}}
"""


class Command:
    """The running program, and its addresses as it printed them."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.urls: dict[str, str] = {}
        assert process.stdout is not None
        while len(self.urls) < 3:
            line = process.stdout.readline()
            assert line, f"the fleet ended with code {process.wait()}"
            name, _, url = line.strip().partition(" ")
            self.urls[name] = url

    def graph(self, namespace: str) -> dict[str, Any]:
        with urlopen(self.urls["control"]) as answer:
            reports: dict[str, dict[str, Any]] = json.load(answer)
        return reports.get(f"{namespace}/llama", {})

    def served(self, namespace: str) -> int:
        return int(self.graph(namespace).get("requests", {}).get("served", 0))


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    lines = [
        json.dumps({"timestamp": index * 1000 // RATE_PER_S, "input_length": ISL, "output_length": OSL})
        for index in range(600 * RATE_PER_S)
    ]
    file = tmp_path / "trace.jsonl"
    file.write_text("\n".join(lines))
    return file


@pytest.fixture
def command(cluster: Cluster, trace: Path) -> Iterator[Command]:
    """The fleet with both versions installed by itself; gone, with its definitions, after the test."""
    uninstall_dynamo(cluster)
    words = [
        "run",
        "--convert",
        "--profile",
        str(PROFILES / LLAMA_8B),
        "--trace",
        str(trace),
        "--startup",
        "0.5",
    ]
    words += ["--metrics", "127.0.0.1:0", "--control", "127.0.0.1:0", "--kubeconfig", str(cluster.kubeconfig)]
    process = subprocess.Popen(
        [sys.executable, "-c", "from slaplanner.cli import main; main()", "fleet", *words],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Command(process)
        uninstall_dynamo(cluster)  # while conversion still answers: deleting the objects needs it
    finally:
        process.terminate()
        process.communicate(timeout=60)


def apply(cluster: Cluster, namespace: str) -> None:
    cluster.kubectl("apply", "--server-side", "-f", "-", f"--namespace={namespace}", stdin=GRAPH)


def read(cluster: Cluster, namespace: str, version: str) -> dict[str, Any]:
    resource = f"dynamographdeployments.{version}.nvidia.com"
    found: dict[str, Any] = json.loads(
        cluster.kubectl("get", resource, "llama", f"--namespace={namespace}", "-o", "json").stdout
    )
    return found


def test_both_versions_tell_the_same_story(cluster: Cluster, namespace: str, command: Command) -> None:
    apply(cluster, namespace)
    wait_until(lambda: command.served(namespace) > 0, what="the first request to be served", timeout_s=60)
    alpha, beta = read(cluster, namespace, "v1alpha1"), read(cluster, namespace, "v1beta1")
    assert alpha["spec"] == yaml.safe_load(GRAPH)["spec"]
    by_name = {component["name"]: component for component in beta["spec"]["components"]}
    assert by_name["VllmDecodeWorker"]["scalingAdapter"] == {}
    assert "scalingAdapter" not in by_name["VllmPrefillWorker"]
    assert by_name["VllmPrefillWorker"]["type"] == "prefill"

    def serving() -> int:
        services = read(cluster, namespace, "v1alpha1").get("status", {}).get("services", {})
        return int(services.get("VllmDecodeWorker", {}).get("readyReplicas", 0))

    wait_until(lambda: serving() == 1, what="v1alpha1 to tell the replicas")


def test_an_adapter_scales_where_direct_edits_are_refused(
    cluster: Cluster, namespace: str, command: Command
) -> None:
    where = f"--namespace={namespace}"
    apply(cluster, namespace)
    wait_until(lambda: command.served(namespace) > 0, what="the first request to be served", timeout_s=60)
    patch = '--patch={"spec": {"services": {"VllmDecodeWorker": {"replicas": 3}}}}'
    edit = ("patch", "dynamographdeployments.v1alpha1.nvidia.com/llama", where, "--type=merge", patch)
    refused = cluster.kubectl(*edit, "--dry-run=server", check=False)
    assert "belong to a scaling adapter" in refused.stderr
    cluster.kubectl("wait", "--for=create", "dgdsa/llama-vllmdecodeworker", where, "--timeout=60s")
    cluster.kubectl("scale", "dgdsa", "llama-vllmdecodeworker", where, "--replicas=2")
    wait_until(
        lambda: command.graph(namespace)["replicas"]["VllmDecodeWorker"]["serving"] == 2,
        what="the second decode worker to serve",
        timeout_s=60,
    )
    assert read(cluster, namespace, "v1alpha1")["spec"]["services"]["VllmDecodeWorker"]["replicas"] == 2


def test_prometheus_sees_what_really_happens(
    cluster: Cluster, namespace: str, command: Command, prometheus_server: PrometheusServer
) -> None:
    apply(cluster, namespace)
    wait_until(lambda: command.served(namespace) > 0, what="the first request to be served", timeout_s=60)
    address = command.urls["metrics"].removeprefix("http://").removesuffix("/metrics")
    prometheus_server.add_target(Target(job="fleet", address=address))
    selector = f'{{dynamo_namespace="{namespace}-llama",model="Meta/Llama-8B"}}'

    def value(query: str) -> float:
        answer: list[Any] = list(prometheus_server.query(query))
        return float(answer[0]["value"][1]) if answer else 0.0

    started = f"dynamo_frontend_requests_started_total{selector}"
    wait_until(lambda: value(started) > 5 * RATE_PER_S, what="five seconds of traffic", timeout_s=60)
    isl = "dynamo_frontend_input_sequence_tokens"
    osl = "dynamo_frontend_output_sequence_tokens"
    assert value(f"{isl}_sum{selector} / {isl}_count{selector}") == ISL
    assert value(f"{osl}_sum{selector} / {osl}_count{selector}") == OSL
    itl = "dynamo_frontend_inter_token_latency_seconds"
    assert 0 < value(f"{itl}_sum{selector} / {itl}_count{selector}") < 1
    assert value(f"dynamo_frontend_model_context_length{selector}") > 0
    completed = (
        f'dynamo_frontend_requests_total{{model="Meta/Llama-8B",dynamo_namespace="{namespace}-llama"}}'
    )
    assert 0 < value(completed) <= command.served(namespace)


def test_ctrl_c_stops_it_at_once_and_cleanly(cluster: Cluster, namespace: str, command: Command) -> None:
    command.process.send_signal(signal.SIGINT)
    assert command.process.wait(timeout=60) == 0


def test_definitions_of_another_owner_are_left_alone(cluster: Cluster) -> None:
    install_dynamo(cluster, Served.V1ALPHA1)
    refused = subprocess.run(
        [
            sys.executable,
            "-c",
            "from slaplanner.cli import main; main()",
            "fleet",
            "install-crds",
            "--kubeconfig",
            str(cluster.kubeconfig),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 1
    assert "another owner" in refused.stderr
    assert "Traceback" not in refused.stderr
