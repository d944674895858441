"""Two tenants, each with the role `edit` in a namespace of its own: what one can do to the other is nothing.

The attacker acts with its own account on a real API server; the operator serves both. After each attack the victim's
load changes, and its deployment must follow, and nothing of the victim's may be different otherwise.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.operator_program import (
    NAMESPACE,
    SERVICE_ACCOUNT,
    OperatorProgram,
    install_operator,
    running_operator,
)
from tests.played_load import Load, PlayedLoads
from tests.scene import NAME, Scene, graph, policy, wait_scraped
from tests.testbed import Cluster, EtcdServer, PrometheusServer, Served, install_dynamo, wait_until
from tests.testbed.bed import Bed

SIZES = {60.0: {"prefill": 4, "decode": 2}, 90.0: {"prefill": 6, "decode": 3}}


@dataclass(slots=True)
class Attacker:
    """A user who may edit one namespace."""

    cluster: Cluster
    namespace: str
    kubeconfig: Path

    def kubectl(self, *words: str, stdin: str | None = None, namespace: str | None = None) -> str:
        """What kubectl says, whether it went well or not."""
        where = f"--namespace={namespace or self.namespace}"
        done = self.cluster.kubectl(*words, where, stdin=stdin, check=False, kubeconfig=self.kubeconfig)
        return f"{done.stdout}{done.stderr}"

    def apply(self, *objects: Mapping[str, Any]) -> str:
        return "".join(
            self.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(one)) for one in objects
        )

    def condition(self, kind: str, name: str = NAME) -> dict[str, Any]:
        found = json.loads(self.kubectl("get", "slapolicy", name, "-o", "json"))
        conditions = found.get("status", {}).get("conditions", [])
        return next((one for one in conditions if one["type"] == kind), {})

    def sees(self, kind: str, reason: str, name: str = NAME) -> str:
        """The message of a condition, once it has that reason."""
        wait_until(
            lambda: self.condition(kind, name).get("reason") == reason,
            what=f"{kind} {reason} of {name}",
            timeout_s=120,
        )
        return str(self.condition(kind, name)["message"])


@pytest.fixture(scope="module")
def etcd(bed: Bed) -> Iterator[EtcdServer]:
    server = bed.etcd("tenants")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def operator(
    cluster: Cluster,
    prometheus_server: PrometheusServer,
    etcd: EtcdServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[OperatorProgram]:
    """Its administrator gives the victim a connection of its own, and nobody a fleet in etcd."""
    install_dynamo(cluster, Served.V1BETA1)
    install_operator(cluster)
    url = prometheus_server.url
    connections = {"default": {"url": url}, "victims": {"url": url, "allowedNamespaces": ["tenant-victim"]}}
    settings = {"prometheus": connections, "etcd": {"default": {"endpoints": [etcd.endpoint]}}}
    scratch = tmp_path_factory.mktemp("operator")
    with running_operator(cluster, scratch, prometheus=None, settings=settings) as program:
        yield program


@pytest.fixture(scope="module")
def victim(
    cluster: Cluster,
    operator: OperatorProgram,
    played_loads: PlayedLoads,
    prometheus_server: PrometheusServer,
) -> Iterator[Scene]:
    """A tenant whose fleet is planned for."""
    scene = Scene(cluster=cluster, namespace=cluster.create_namespace("tenant-victim"), loads=played_loads)
    scene.apply_profile()
    scene.apply(graph())
    scene.settle()
    scene.play(Load(requests_s=60.0, isl=1000.0, osl=200.0, ttft_s=0.12, itl_s=0.012))
    wait_scraped(scene, prometheus_server)
    scene.apply(policy(metrics={"windowSeconds": 5, "connection": "victims"}))
    scene.wait_replicas(**SIZES[60.0])
    scene.settle()
    assert operator.process.poll() is None
    yield scene
    cluster.delete_namespace(scene.namespace)


@pytest.fixture
def attacker(cluster: Cluster, victim: Scene, namespace: str) -> Attacker:
    """May edit its own namespace, its deployments among what is there."""
    cluster.kubectl("create", "serviceaccount", "mallory", f"--namespace={namespace}")
    account = f"--serviceaccount={namespace}:mallory"
    cluster.kubectl(
        "create", "rolebinding", "edit", "--clusterrole=edit", account, f"--namespace={namespace}"
    )
    fleets = (
        "--verb=*",
        "--resource=dynamographdeployments.nvidia.com,dynamographdeploymentscalingadapters.nvidia.com",
    )
    cluster.kubectl("create", "role", "fleets", *fleets, f"--namespace={namespace}")
    cluster.kubectl("create", "rolebinding", "fleets", "--role=fleets", account, f"--namespace={namespace}")
    made = Attacker(
        cluster, namespace, cluster.service_account_kubeconfig(namespace=namespace, name="mallory")
    )
    wait_until(
        lambda: made.kubectl("auth", "can-i", "create", "slapolicies.slaplanner.io").startswith("yes"),
        what="the right to create policies, which `edit` takes from ours",
    )
    Scene(cluster=cluster, namespace=namespace, loads=victim.loads).apply_profile()
    return made


@pytest.fixture
def unharmed(victim: Scene, operator: OperatorProgram) -> Iterator[None]:
    """After the attack the victim's fleet follows its load, and all else of it is as it was."""

    def kept() -> dict[str, Any]:
        found = {kind: victim.get(kind) for kind in ("slapolicy", victim.graph_kind)}
        return {
            "policy": found["slapolicy"]["spec"],
            "uids": [one["metadata"]["uid"] for one in found.values()],
            "components": [
                {key: value for key, value in one.items() if key != "replicas"}
                for one in found[victim.graph_kind]["spec"]["components"]
            ],
            "profile": victim.get("configmap", "profile")["data"],
        }

    before, process = kept(), operator.process.pid
    yield
    load = next(load for load, size in SIZES.items() if size != victim.replicas())
    victim.loads.change(victim.dynamo_namespace, requests_s=load)
    victim.wait_replicas(timeout_s=180, **SIZES[load])
    victim.settle()
    assert kept() == before
    assert operator.process.poll() is None
    assert operator.process.pid == process
    assert operator.answer("/healthz") == "ok\n"


pytestmark = pytest.mark.usefixtures("unharmed")


REFUSED = [
    (["get", "slapolicy", NAME], "tenant-victim"),
    (["delete", "slapolicy", NAME], "tenant-victim"),
    (["annotate", "slapolicy", NAME, "slaplanner.io/paused=true"], "tenant-victim"),
    (["get", "configmap", "profile"], "tenant-victim"),
    (["get", "dgd", NAME], "tenant-victim"),
    (["get", "events"], "tenant-victim"),
    (["get", "configmap", "slaplanner"], NAMESPACE),
    (["get", "leases"], NAMESPACE),
    (["create", "token", SERVICE_ACCOUNT], NAMESPACE),
    (["get", "slapolicies", "--all-namespaces"], "default"),
]


def test_its_rights_end_at_its_namespace(attacker: Attacker) -> None:
    for words, where in REFUSED:
        assert "orbidden" in attacker.kubectl(*words, namespace=where), words


def test_it_cannot_write_a_status_not_even_its_own(attacker: Attacker) -> None:
    """S13: a poisoned planner state would stop the plans of its policy, and with them the liveness of all."""
    attacker.apply(graph(), policy())
    poison = json.dumps({"status": {"plannerState": '{"v": 1, "at": "NaN"}'}})
    words = ("patch", "slapolicy", NAME, "--subresource=status", "--type=merge", f"--patch={poison}")
    assert "orbidden" in attacker.kubectl(*words)


def test_a_target_or_profile_of_another_namespace_cannot_be_named(attacker: Attacker, victim: Scene) -> None:
    foreign = policy(targetRef={"name": NAME, "namespace": victim.namespace})
    assert "targetRef.namespace" in attacker.apply(foreign)
    attacker.kubectl("delete", "configmap", "profile")
    for name in (f"{victim.namespace}/profile", f"../{victim.namespace}/profile"):
        assert "profile.configMapRef.name" in attacker.apply(policy(profile={"configMapRef": {"name": name}}))
    attacker.apply(policy())
    assert "does not exist" in attacker.sees("TargetResolved", "TargetNotFound")
    assert "does not exist" in attacker.sees("ProfileLoaded", "ProfileNotFound")


@pytest.mark.parametrize("path", ["/var/run/secrets/kubernetes.io/serviceaccount", "/proc/self/cwd", "/"])
def test_files_of_the_operator_stay_closed(attacker: Attacker, path: str) -> None:
    attacker.apply(graph(), policy(profile={"path": path}))
    said = attacker.sees("ProfileLoaded", "ProfilePathNotAllowed")
    assert "BEGIN" not in said


def virtual(backend: str, fleet: str, **metrics: Any) -> dict[str, Any]:
    """A policy without a deployment of its own, for a fleet that it names freely."""
    roles = [{"name": role, "gpusPerReplica": 2} for role in ("prefill", "decode")]
    named = {"backend": backend, "dynamoNamespace": fleet, "model": "Meta/Llama-70B"}
    return policy(
        targetRef=None,
        roles=roles,
        connector={"type": "Virtual", "virtual": named},
        metrics={"windowSeconds": 5, **metrics},
    )


def test_the_victims_traffic_is_not_read_through_its_connection(attacker: Attacker, victim: Scene) -> None:
    """S4: a free name of connection and fleet read any tenant's rates into the author's status."""
    attacker.apply(virtual("Kubernetes", victim.dynamo_namespace, connection="victims"))
    said = attacker.sees("MetricsAvailable", "ConnectionNotAllowed")
    assert "requests/s" not in said
    assert "60" not in said


def test_a_miss_in_a_shared_connection_names_nobody_elses_labels(attacker: Attacker, victim: Scene) -> None:
    attacker.apply(virtual("Kubernetes", "no-such-fleet"))
    wait_until(
        lambda: attacker.condition("MetricsAvailable").get("status") == "False", what="a miss", timeout_s=120
    )
    assert victim.namespace not in json.dumps(attacker.condition("MetricsAvailable"))


def test_the_victims_keys_in_etcd_are_not_written(
    attacker: Attacker, victim: Scene, etcd: EtcdServer
) -> None:
    """S3: the operator's credentials wrote any fleet's keys for whoever named it."""
    prefix = f"v1/{victim.dynamo_namespace}/planner/"
    etcd.put(f"{prefix}num_prefill_workers", "4")
    since = etcd.revision() + 1
    attacker.apply(virtual("Etcd", victim.dynamo_namespace))
    attacker.sees("TargetResolved", "ConnectionNotAllowed")
    assert etcd.history(f"{prefix}num_prefill_workers", since=since) == []
    assert etcd.get(f"{prefix}decision_id") is None


LABELS = ('x"} or vector(1) or {a="', "x\\", 'llama",dynamo_namespace="elsewhere', "x\n# ")


def test_no_label_breaks_out_of_its_quotes(attacker: Attacker, victim: Scene) -> None:
    attacker.apply(graph())
    for number, label in enumerate(LABELS):
        name = f"p{number}"
        told = attacker.apply(policy(name, metrics={"windowSeconds": 5, "model": label}, actuation="Observe"))
        if "Invalid" in told or "invalid" in told:
            continue
        wait_until(
            lambda: attacker.condition("MetricsAvailable", name).get("status") == "False",  # noqa: B023
            what=f"nobody to serve {label!r}",
            timeout_s=120,
        )
        assert victim.namespace not in json.dumps(attacker.condition("MetricsAvailable", name))


def bomb() -> dict[str, Any]:
    """S1: 124 KB whose variables stand for more than a gigabyte."""
    made = graph()
    container = made["spec"]["components"][1]["podTemplate"]["spec"]["containers"][0]
    container["env"] = [{"name": "X", "value": "a" * 100_000}]
    container["args"] = ["--model", "$X" * 12_000]
    return made


def slow_trace() -> dict[str, Any]:
    """S2: some kilobytes that take minutes to read."""
    packed = base64.b64encode(gzip.compress(b"1\n" * 4_000_000)).decode()
    head = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "monday"}}
    return {**head, "binaryData": {"monday.jsonl.gz": packed}}


def deep_profile() -> dict[str, Any]:
    data = {"prefill_raw_data.json": "[" * 400_000, "decode_raw_data.json": '{"a":' * 100_000}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "profile"}, "data": data}


WARMED = {
    "intervalSeconds": 5,
    "predictor": {
        "type": "Auto",
        "minObservations": 300,
        "warmupTrace": {"configMapRef": {"name": "monday"}},
    },
}


@pytest.mark.parametrize(
    ("objects", "condition"),
    [
        pytest.param(lambda: [bomb(), policy()], "TargetResolved", id="variables-of-gigabytes"),
        pytest.param(
            lambda: [graph(), slow_trace(), policy(planning=WARMED)], "TargetResolved", id="slow-trace"
        ),
        pytest.param(lambda: [graph(), deep_profile(), policy()], "ProfileLoaded", id="deep-profile"),
    ],
)
def test_what_costs_much_to_read_costs_the_victim_nothing(
    attacker: Attacker, objects: Callable[[], list[dict[str, Any]]], condition: str
) -> None:
    attacker.apply(*objects())
    wait_until(lambda: attacker.condition(condition), what="a plan that met it", timeout_s=180)


def test_many_policies_at_once_starve_nobody(attacker: Attacker) -> None:
    many = [policy(f"p{number}", targetRef={"name": f"absent-{number}"}) for number in range(20)]
    attacker.kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump_all(many))
    wait_until(
        lambda: attacker.condition("TargetResolved", "p19"), what="the last to be planned", timeout_s=300
    )


def test_a_second_policy_of_its_own_touches_nobody_else(attacker: Attacker) -> None:
    attacker.apply(graph(), policy(), policy("second"))
    wait_until(
        lambda: attacker.condition("TargetConflict", "second"), what="the conflict at home", timeout_s=120
    )
