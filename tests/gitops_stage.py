"""The stage of the GitOps tests: one Argo CD, one operator that it installed, one fleet, many deployments."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from slaplanner.adapters.deployment.graph import parse_graph
from slaplanner.adapters.deployment.ownership import replica_managers
from slaplanner.controller.merge_patches import merge_patch
from slaplanner_lab.fleet.options import Options
from tests import scene
from tests.conversion import serving_conversion
from tests.fleet_program import TABLES, FleetProgram, running_fleet, steady
from tests.gateway import HttpDoor
from tests.gitops import KINDS, App, Reader, Record, Repository, application, recording
from tests.operator_program import MANIFESTS, NAMESPACE, OperatorProgram, running_operator
from tests.testbed import (
    ArgoCD,
    Cluster,
    PrometheusServer,
    Served,
    Target,
    dynamo_kubeconfig,
    install_dynamo,
    wait_until,
)

GRAPHS = "dynamographdeployments.v1beta1.nvidia.com"
POLICIES = "slapolicies.v1alpha1.slaplanner.io"
DOOR = "door"
"""A connection to Prometheus that tests can shut."""
PATIENCE_S = 240.0
PREFILL_SLOWNESS, DECODE_SLOWNESS = 20, 220
"""So much slower than measured: a few requests per second then need several replicas."""


def profile() -> dict[str, Any]:
    """The ConfigMap of a slow engine's profile."""
    data = {}
    for role, slowness in (("prefill", PREFILL_SLOWNESS), ("decode", DECODE_SLOWNESS)):
        key = f"{role}_raw_data.json"
        table = json.loads((scene.PROFILE / key).read_text())
        for name in table:
            if name.endswith("thpt_per_gpu"):
                table[name] = [value / slowness for value in table[name]]
        data[key] = json.dumps(table)
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "profile"}, "data": data}


def policy(**spec: Any) -> dict[str, Any]:
    """The policy as it lies in Git; *spec* replaces whole fields."""
    # The lengths of the fleet's requests, so that the first plan is as good as the later ones.
    sla = {"ttft": 500, "itl": 30, "isl": 400, "osl": 20}
    # And so that a steady load asks for steady replicas: a write in the middle of a sync would be a race.
    behavior = {
        "scaleUp": {"tolerance": 0.4},
        "scaleDown": {"tolerance": 0.4, "stabilizationWindowSeconds": 0},
    }
    fields = {"sla": sla, "metrics": {"windowSeconds": 10}, "behavior": behavior}
    return scene.policy(**(fields | spec))


def graph(
    *, version: str = "v1beta1", adapters: bool = False, replicas: bool = False, image: str = "vllm:1"
) -> dict[str, Any]:
    """The deployment as it lies in Git; without *replicas* it leaves those of the workers out."""
    made = scene.graph(version=version, adapters=frozenset({"prefill", "decode"} if adapters else ()))
    made["metadata"] |= {
        "labels": {"slaplanner.io/simulated": "true"},
        "annotations": {"fleet.slaplanner.io/startup-seconds": "1"},
    }
    for name, component in _components(made):
        if name == "Frontend":
            continue
        if not replicas:
            component.pop("replicas")
        container = (
            component["extraPodSpec"]["mainContainer"]
            if version == "v1alpha1"
            else component["podTemplate"]["spec"]["containers"][0]
        )
        container["image"] = image
    return made


def images(body: Mapping[str, Any]) -> set[str]:
    """The workers' images, in v1beta1."""
    return {
        component["podTemplate"]["spec"]["containers"][0]["image"]
        for name, component in _components(body)
        if name != "Frontend"
    }


def is_rolled_out(body: Mapping[str, Any]) -> bool:
    """Every worker that is asked for is of the newest template, as a status of this very generation says."""
    status = body.get("status", {})
    if status.get("observedGeneration") != body["metadata"]["generation"]:
        return False
    told = status["components"]
    return all(
        told[name]["updatedReplicas"] == told[name]["replicas"] == count
        for name, count in replicas(body).items()
    )


def replicas(body: Mapping[str, Any]) -> dict[str, int]:
    """What the deployment asks for, per worker."""
    return {name: component.get("replicas", 1) for name, component in _components(body) if name != "Frontend"}


def owners(body: Mapping[str, Any], component: str) -> tuple[str, ...]:
    """The field managers that own a component's replicas."""
    return replica_managers(parse_graph(body), component)


def _components(body: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    spec = body["spec"]
    listed = [(component["name"], component) for component in spec.get("components", ())]
    return listed or list(spec["services"].items())


@dataclass(slots=True, kw_only=True)
class Deployment:
    """One deployment with its policy in a namespace and a repository of its own."""

    stage: Stage
    namespace: str
    repository: Repository
    app: App
    files: dict[str, Sequence[Mapping[str, Any]]]
    commits: list[tuple[str, float]] = field(default_factory=list)
    """Revision and time of each."""

    def commit(self, **files: Sequence[Mapping[str, Any]] | None) -> str:
        """Change some of the files (`graph`, `policy`, `profile`) and have Argo CD look."""
        revision = self.repository.commit({f"{name}.yaml": objects for name, objects in files.items()})
        self.commits.append((revision, time.time()))
        self.app.refresh()
        return revision

    def kubectl(self, *arguments: str, check: bool = True) -> str:
        return self.stage.cluster.kubectl(*arguments, f"--namespace={self.namespace}", check=check).stdout

    def left(self) -> list[str]:
        """What of it exists."""
        reader = self.stage.reader
        return [
            *reader.names(GRAPHS, self.namespace),
            *reader.names(POLICIES, self.namespace),
            *reader.config_maps(self.namespace),
        ]

    def get(self, kind: str, name: str = scene.NAME) -> dict[str, Any]:
        return self.stage.reader.get(kind, self.namespace, name)

    def condition(self, kind: str) -> dict[str, Any]:
        conditions = self.get(POLICIES).get("status", {}).get("conditions", ())
        return next((dict(one) for one in conditions if one["type"] == kind), {})

    def replicas(self) -> dict[str, int]:
        return replicas(self.get(GRAPHS))

    def busy(self, *, busy: bool) -> None:
        """Let requests arrive, or none."""
        self.stage.fleet.post(f"/graphs/{self.namespace}/{scene.NAME}/controls", {"idle": not busy})

    def wait(self, probe: Callable[[], object], what: str, *, timeout_s: float = PATIENCE_S) -> None:
        try:
            wait_until(probe, what=f"{self.namespace}: {what}", timeout_s=timeout_s, poll_s=0.5)
        except Exception as error:
            error.add_note(self.kubectl("describe", "slapolicy", scene.NAME, check=False))
            error.add_note(self.kubectl("get", GRAPHS, scene.NAME, "-o", "yaml", check=False))
            raise

    def wait_grown(self) -> None:
        self.wait(lambda: min(self.replicas().values()) >= 2, "both roles to grow")

    def wait_shrunk(self) -> None:
        self.wait(lambda: self.replicas() == {"prefill": 1, "decode": 1}, "both roles to shrink")

    def wait_played(self) -> None:
        """Wait until the fleet serves it."""
        key = f"{self.namespace}/{scene.NAME}"
        self.wait(lambda: key in self.stage.fleet.graphs(), "the fleet to play the deployment")

    def events(self, reason: str) -> list[dict[str, Any]]:
        found = json.loads(self.kubectl("get", "events", "-o", "json"))
        return [event for event in found["items"] if event["reason"] == reason]

    def apply_change(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        """Send what differs, as Argo CD does after a button was pressed."""
        patch = json.dumps(merge_patch(before, after))
        self.kubectl("patch", "slapolicy", scene.NAME, "--type=merge", f"--patch={patch}")

    def plans(self) -> list[dict[str, Any]]:
        """The operator's log lines about plans of this policy."""
        policy = f"{self.namespace}/{scene.NAME}"
        return [
            line
            for line in self.stage.operator.log()
            if line.get("message") == "planned" and line.get("policy") == policy
        ]


@dataclass(slots=True, kw_only=True)
class Stage:
    """Everything that runs."""

    argocd: ArgoCD
    reader: Reader
    fleet: FleetProgram
    operator: OperatorProgram
    door: HttpDoor
    record: Record
    """Applications and deployments, from before the first one."""
    policies: Record
    """Policies, from the first one on."""
    scratch: Path

    @property
    def cluster(self) -> Cluster:
        return self.argocd.cluster

    def app(self, name: str) -> App:
        return App(self.cluster, self.reader, name)

    def deploy(
        self,
        name: str,
        manifest: Mapping[str, Any],
        *,
        own_policy: Mapping[str, Any] | None = None,
        options: Sequence[str] = (),
        ignore: Sequence[Mapping[str, Any]] = (),
    ) -> Deployment:
        """Commit a deployment, its policy (*own_policy*, else the usual one) and its profile; Argo CD syncs them."""
        self.cluster.create_namespace(name)
        repository = Repository(self.scratch / "repositories" / name)
        files: dict[str, Sequence[Mapping[str, Any]]] = {
            "graph": [manifest],
            "policy": [own_policy or policy()],
            "profile": [profile()],
        }
        deployment = Deployment(
            stage=self, namespace=name, repository=repository, app=self.app(name), files=files
        )
        revision = repository.commit({f"{key}.yaml": objects for key, objects in files.items()})
        deployment.commits.append((revision, time.time()))
        self.apply(application(name, repository, namespace=name, options=options, ignore=ignore))
        return deployment

    def apply(self, obj: Mapping[str, Any]) -> None:
        self.cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(dict(obj)))


@contextlib.contextmanager
def staged(argocd: ArgoCD, prometheus: PrometheusServer, scratch: Path) -> Iterator[Stage]:
    """Set the stage; the operator comes out of a repository, as everything else does."""
    cluster = argocd.cluster
    with contextlib.ExitStack() as stack:
        api = stack.enter_context(cluster.api_client())
        webhook = stack.enter_context(serving_conversion())
        install_dynamo(cluster, Served.BOTH, webhook=webhook)
        options = Options(tables=TABLES, traffic=steady(5.0), startup_s=1.0)
        fleet = stack.enter_context(running_fleet(dynamo_kubeconfig(cluster), options))
        target = Target(job="gitops", address=fleet.target)
        prometheus.add_target(target)
        stack.callback(prometheus.remove_target, target)
        door = stack.enter_context(HttpDoor(prometheus.url))
        record = stack.enter_context(recording(cluster, KINDS, GRAPHS))
        install_from_git(cluster, scratch)
        policies = stack.enter_context(recording(cluster, POLICIES))
        operator = stack.enter_context(
            running_operator(
                cluster,
                scratch,
                prometheus=None,
                settings={"prometheus": {"default": {"url": prometheus.url}, DOOR: {"url": door.url}}},
            )
        )
        play_node(cluster)
        yield Stage(
            argocd=argocd,
            reader=Reader(api),
            fleet=fleet,
            operator=operator,
            door=door,
            record=record,
            policies=policies,
            scratch=scratch,
        )


def install_from_git(cluster: Cluster, scratch: Path) -> None:
    """The operator's manifests as an Application of their own, rendered as a pipeline would."""
    rendered = cluster.kubectl("kustomize", str(MANIFESTS)).stdout
    repository = Repository(scratch / "repositories" / "slaplanner")
    repository.commit({"operator.yaml": list(yaml.safe_load_all(rendered))})
    document = application("slaplanner", repository, namespace=NAMESPACE, options=["ServerSideApply=true"])
    cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(document))
    wait_until(
        lambda: (
            cluster.kubectl(
                "get",
                "deployment",
                "slaplanner",
                f"--namespace={NAMESPACE}",
                "--ignore-not-found",
                "-o",
                "name",
            ).stdout
        ),
        what="Argo CD to apply the operator's Deployment",
        timeout_s=PATIENCE_S,
    )
    cluster.kubectl("wait", "--for=condition=Established", "crd/slapolicies.slaplanner.io", "--timeout=60s")


def play_node(cluster: Cluster) -> None:
    """Report the Deployment as rolled out: there are no nodes, the operator runs beside the tests."""
    where = ("deployment", "slaplanner", f"--namespace={NAMESPACE}")
    found = json.loads(cluster.kubectl("get", *where, "-o", "json").stdout)
    counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), 1)
    status = {"status": {"observedGeneration": found["metadata"]["generation"], **counts}}
    cluster.kubectl("patch", *where, "--subresource=status", "--type=merge", f"--patch={json.dumps(status)}")
