"""The fleet plays Dynamo's operator on a real API server: status, rollouts, faults, adapters."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, cast
from urllib.error import HTTPError

import pytest
import yaml
from kubernetes import client

from slaplanner_lab.fleet.options import Options
from tests.fleet_program import TABLES, FleetProgram, running_fleet, steady
from tests.testbed import Cluster, ControlPlane, Served, dynamo_kubeconfig, install_dynamo, wait_until

SIMULATED = {"slaplanner.io/simulated": "true"}
VERSIONS = [Served.V1ALPHA1, Served.V1BETA1]


def graph(
    served: Served, *, adapters: bool = False, annotations: dict[str, str] | None = None, **replicas: int
) -> dict[str, Any]:
    """A deployment with a frontend and one component per keyword: prefill and decode of one GPU each."""
    counts = {"prefill": 1, "decode": 2} | replicas
    meta = {"name": "llama", "labels": SIMULATED, "annotations": annotations or {}}
    head = {"apiVersion": f"nvidia.com/{served.value[-1]}", "kind": "DynamoGraphDeployment", "metadata": meta}
    args = ["--model", "Meta/Llama-70B"]
    if served is Served.V1ALPHA1:
        services: dict[str, Any] = {"Frontend": {"componentType": "frontend", "replicas": 1}}
        for role, count in counts.items():
            services[role] = {
                "componentType": "worker",
                "subComponentType": role,
                "replicas": count,
                "resources": {"limits": {"gpu": "1"}},
                "scalingAdapter": {"enabled": adapters},
                "extraPodSpec": {"mainContainer": {"image": "vllm:1", "args": args}},
            }
        return {**head, "spec": {"services": services}}
    components: list[dict[str, Any]] = [{"name": "Frontend", "type": "frontend", "replicas": 1}]
    for role, count in counts.items():
        main = {
            "name": "main",
            "image": "vllm:1",
            "args": args,
            "resources": {"limits": {"nvidia.com/gpu": "1"}},
        }
        components.append(
            {
                "name": role,
                "type": role,
                "replicas": count,
                "podTemplate": {"spec": {"containers": [main]}},
                **({"scalingAdapter": {}} if adapters else {}),
            }
        )
    return {**head, "spec": {"components": components}}


class Played:
    """One deployment in a namespace of its own, seen through kubectl."""

    def __init__(self, cluster: Cluster, api: client.ApiClient, namespace: str, served: Served) -> None:
        self.cluster = cluster
        self.objects = client.CustomObjectsApi(api)
        self.where = f"--namespace={namespace}"
        self.served = served
        self.namespace = namespace

    def get(self, plural: str = "dynamographdeployments", name: str = "llama") -> dict[str, Any]:
        version = self.served.value[-1]
        return cast(
            "dict[str, Any]",
            self.objects.get_namespaced_custom_object("nvidia.com", version, self.namespace, plural, name),
        )

    def apply(self, obj: dict[str, Any]) -> None:
        self.cluster.kubectl(
            "apply", "--server-side", "--force-conflicts", "-f", "-", self.where, stdin=yaml.safe_dump(obj)
        )

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = self.get().get("status", {})
        return status

    def counts(self, component: str) -> dict[str, Any]:
        key = "services" if self.served is Served.V1ALPHA1 else "components"
        counts: dict[str, Any] = self.status().get(key, {}).get(component, {})
        return counts

    def ready(self) -> tuple[str, str]:
        found = {one["type"]: one for one in self.status().get("conditions", [])}
        ready = found.get("Ready", {"status": "", "reason": ""})
        return ready["status"], ready["reason"]

    def wait(self, fact: Callable[[], bool], what: str) -> None:
        wait_until(fact, what=what, timeout_s=90.0)

    def wait_ready(self) -> None:
        self.wait(lambda: self.ready() == ("True", "all_resources_are_ready"), "the deployment to be ready")

    def asked(self, component: str) -> int:
        spec = self.get()["spec"]
        listed = spec["services"] if self.served is Served.V1ALPHA1 else spec["components"]
        if isinstance(listed, list):
            listed = {one["name"]: one for one in listed}
        return int(listed[component]["replicas"])


@pytest.fixture(scope="module", params=VERSIONS, ids=lambda served: served.value[-1])
def served(request: pytest.FixtureRequest, cluster: Cluster) -> Served:
    """Of the module, so that all tests of one version come together: a change deletes the definitions."""
    version: Served = request.param
    install_dynamo(cluster, version)
    return version


@pytest.fixture
def played(cluster: Cluster, api_client: client.ApiClient, namespace: str, served: Served) -> Played:
    return Played(cluster, api_client, namespace, served)


@pytest.fixture
def fleet(cluster: Cluster, played: Played) -> Iterator[FleetProgram]:
    options = Options(
        tables=TABLES, traffic=steady(10.0), startup_s=0.5, tick_s=0.05, namespace=played.namespace
    )
    with running_fleet(dynamo_kubeconfig(cluster), options) as program:
        yield program


def test_replicas_start_and_then_serve(played: Played, fleet: FleetProgram) -> None:
    played.apply(graph(played.served))
    played.wait_ready()
    assert played.counts("decode")["readyReplicas"] == played.counts("decode")["availableReplicas"] == 2
    key = f"{played.namespace}/llama"
    played.wait(lambda: fleet.graphs()[key]["requests"]["served"] > 5, "requests to be served")
    assert fleet.graphs()[key]["model"] == "Meta/Llama-70B"
    assert f'dynamo_namespace="{played.namespace}-llama"' in fleet.metrics()


def test_conditions_of_others_survive(played: Played, fleet: FleetProgram) -> None:
    played.apply(graph(played.served))
    played.wait_ready()
    status = played.status()
    ours = {
        "type": "SLAPlanned",
        "status": "True",
        "reason": "Planned",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    patch = json.dumps({"status": {"conditions": [*status["conditions"], ours]}})
    played.cluster.kubectl(
        "patch", "dgd", "llama", played.where, "--subresource=status", "--type=merge", f"--patch={patch}"
    )
    played.apply(graph(played.served, decode=4))
    played.wait(lambda: played.counts("decode").get("readyReplicas") == 4, "the new replicas to serve")
    played.wait_ready()
    assert {one["type"] for one in played.status()["conditions"]} == {"Ready", "SLAPlanned"}


@pytest.mark.parametrize(
    ("kind", "absent"),
    [
        pytest.param("Deployment", {"scheduledReplicas"}, id="Deployment"),
        pytest.param("PodClique", {"availableReplicas"}, id="PodClique"),
        pytest.param("PodCliqueScalingGroup", {"readyReplicas"}, id="PodCliqueScalingGroup"),
        pytest.param("LeaderWorkerSet", {"availableReplicas", "scheduledReplicas"}, id="LeaderWorkerSet"),
    ],
)
def test_each_kind_leaves_out_the_counts_it_does_not_report(
    played: Played, fleet: FleetProgram, kind: str, absent: set[str]
) -> None:
    played.apply(graph(played.served, annotations={"fleet.slaplanner.io/kind": kind}))
    played.wait_ready()
    counts = played.counts("decode")
    optional = {"readyReplicas", "availableReplicas", "scheduledReplicas"}
    assert optional - counts.keys() == absent
    assert counts["replicas"] == counts["updatedReplicas"] == 2


def test_a_changed_pod_template_rolls_out(played: Played, fleet: FleetProgram) -> None:
    played.apply(graph(played.served))
    played.wait_ready()
    changed = yaml.safe_load(yaml.safe_dump(graph(played.served)).replace("vllm:1", "vllm:2"))
    played.apply(changed)
    played.wait(
        lambda: played.status().get("rollingUpdate", {}).get("phase") == "InProgress", "the rollout to begin"
    )
    played.wait(
        lambda: played.status()["rollingUpdate"]["phase"] == "Completed", "the rollout to be completed"
    )
    played.wait_ready()
    assert played.counts("decode")["updatedReplicas"] == 2


def test_a_crash_looping_replica_keeps_the_deployment_unready_until_it_is_let_off(
    played: Played, fleet: FleetProgram
) -> None:
    kind = {"fleet.slaplanner.io/kind": "PodClique"}
    played.apply(graph(played.served, annotations={**kind, "fleet.slaplanner.io/crash-looping": "decode=1"}))
    played.wait(lambda: played.counts("decode").get("readyReplicas") == 1, "one replica to serve")
    assert played.ready() == ("False", "pods_not_ready")
    played.apply(graph(played.served, annotations=kind))
    played.wait_ready()


def test_replicas_without_gpus_wait_and_can_be_cancelled(played: Played, fleet: FleetProgram) -> None:
    played.apply(
        graph(
            played.served,
            annotations={"fleet.slaplanner.io/kind": "PodClique", "fleet.slaplanner.io/capacity-gpus": "3"},
        )
    )
    played.wait_ready()
    played.apply(
        graph(
            played.served,
            annotations={"fleet.slaplanner.io/kind": "PodClique", "fleet.slaplanner.io/capacity-gpus": "3"},
            decode=6,
        )
    )
    played.wait(lambda: played.ready() == ("False", "insufficient_capacity"), "the want of GPUs to be told")
    assert played.counts("decode")["scheduledReplicas"] == 2
    played.apply(
        graph(
            played.served,
            annotations={"fleet.slaplanner.io/kind": "PodClique", "fleet.slaplanner.io/capacity-gpus": "3"},
            decode=2,
        )
    )
    played.wait_ready()


def test_an_adapter_is_made_and_its_replicas_are_copied(played: Played, fleet: FleetProgram) -> None:
    played.apply(graph(played.served, adapters=True))
    played.wait_ready()
    played.cluster.kubectl("scale", "dgdsa", "llama-decode", played.where, "--replicas=5")
    played.wait(lambda: played.asked("decode") == 5, "the replicas to be copied")
    played.wait(lambda: played.counts("decode").get("readyReplicas") == 5, "the new replicas to serve")

    def adapter() -> dict[str, Any]:
        return played.get("dynamographdeploymentscalingadapters", "llama-decode")

    played.wait(lambda: adapter().get("status", {}).get("replicas") == 5, "the adapter's status")
    assert "lastScaleTime" in adapter()["status"]
    assert adapter()["metadata"]["ownerReferences"][0]["name"] == "llama"


def test_an_adapter_goes_when_it_is_switched_off(played: Played, fleet: FleetProgram) -> None:
    played.apply(graph(played.served, adapters=True))
    played.wait_ready()
    played.apply(graph(played.served, adapters=False))

    def adapters() -> str:
        return played.cluster.kubectl("get", "dgdsa", played.where, "-o", "name").stdout

    played.wait(lambda: not adapters(), "the adapters to go")


def test_a_deployment_without_the_label_is_left_alone(played: Played, fleet: FleetProgram) -> None:
    foreign = graph(played.served)
    foreign["metadata"]["labels"] = {}
    foreign["metadata"]["name"] = "foreign"
    played.apply(foreign)
    played.apply(graph(played.served))
    played.wait_ready()
    assert list(fleet.graphs()) == [f"{played.namespace}/llama"]


def test_a_deployment_that_is_made_anew_starts_anew(played: Played, fleet: FleetProgram) -> None:
    played.apply(graph(played.served))
    played.wait_ready()
    key = f"{played.namespace}/llama"
    played.wait(lambda: fleet.graphs()[key]["requests"]["served"] > 0, "requests to be served")
    played.cluster.kubectl("delete", "dgd", "llama", played.where)
    played.wait(lambda: key not in fleet.graphs(), "the fleet to forget it")
    assert fleet.metrics() == ""
    played.apply(graph(played.served))
    played.wait_ready()


def test_a_fleet_that_is_started_again_finds_its_replicas_serving(cluster: Cluster, played: Played) -> None:
    options = Options(tables=TABLES, startup_s=0.5, tick_s=0.05, namespace=played.namespace)
    identity = dynamo_kubeconfig(cluster)
    with running_fleet(identity, options):
        played.apply(graph(played.served))
        played.wait_ready()
    slow = Options(tables=TABLES, startup_s=3600.0, tick_s=0.05, namespace=played.namespace)
    with running_fleet(identity, slow) as program:
        key = f"{played.namespace}/llama"
        played.wait(lambda: key in program.graphs(), "the deployment to be found")
        assert program.graphs()[key]["replicas"]["decode"]["serving"] == 2
        assert played.ready()[0] == "True"


def test_the_control_port_stalls_and_restarts_what_serves(played: Played, fleet: FleetProgram) -> None:
    played.apply(graph(played.served))
    played.wait_ready()
    key = f"{played.namespace}/llama"
    played.wait(lambda: fleet.graphs()[key]["requests"]["served"] > 5, "requests to be served")
    fleet.post(f"/graphs/{key}/controls", {"stall": True})
    played.wait(lambda: fleet.graphs()[key]["engines"]["prefill"]["waiting"] > 10, "requests to pile up")
    requests = fleet.graphs()[key]["requests"]
    assert requests["arrived"] - requests["served"] > 10
    fleet.post(f"/graphs/{key}/frontend/restart", {})
    assert "time_to_first_token_seconds_count" not in fleet.metrics()
    fleet.post(f"/graphs/{key}/controls", {"stall": False})
    played.wait(lambda: fleet.graphs()[key]["engines"]["prefill"]["waiting"] == 0, "the pile to be served")


def test_the_control_port_injects_faults(played: Played, fleet: FleetProgram) -> None:
    played.apply(graph(played.served))
    played.wait_ready()
    key = f"{played.namespace}/llama"
    fleet.post(f"/graphs/{key}/faults", {"crashLooping": {"decode": 1}})
    played.wait(lambda: played.counts("decode").get("readyReplicas") == 1, "a replica to crash")
    fleet.post(f"/graphs/{key}/faults", None)
    played.wait_ready()


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [("/controls", {"stal": True}, 400), ("/faults", {"capacityGpus": "8"}, 400), ("x/controls", {}, 404)],
)
def test_the_control_port_says_what_it_cannot_do(
    played: Played, fleet: FleetProgram, path: str, body: dict[str, Any], code: int
) -> None:
    played.apply(graph(played.served))
    played.wait_ready()
    with pytest.raises(HTTPError) as caught:
        fleet.post(f"/graphs/{played.namespace}/llama{path}", body)
    with caught.value as answer:
        assert answer.code == code
        assert b"wanted" in answer.read() or code == 404


def test_an_outage_of_the_api_server_is_waited_out(control_plane: ControlPlane, namespace: str) -> None:
    install_dynamo(control_plane, Served.V1BETA1)
    control_plane.kubectl("create", "namespace", f"{namespace}-outage")
    identity = dynamo_kubeconfig(control_plane)
    options = Options(tables=TABLES, startup_s=0.5, tick_s=0.05, namespace=f"{namespace}-outage")
    with control_plane.api_client() as api, running_fleet(identity, options) as fleet:
        played = Played(control_plane, api, f"{namespace}-outage", Served.V1BETA1)
        played.apply(graph(Served.V1BETA1))
        played.wait_ready()
        control_plane.restart_api_server()
        played.apply(graph(Served.V1BETA1, decode=4))
        played.wait(lambda: played.counts("decode").get("readyReplicas") == 4, "the new replicas to serve")
        assert list(fleet.graphs()) == [f"{namespace}-outage/llama"]
    control_plane.delete_namespace(f"{namespace}-outage")
