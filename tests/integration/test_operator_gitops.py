"""Beside GitOps: somebody who applies the deployment again and again, with force or without a word of replicas."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from kubernetes import client

from tests.budget_watch import budget_watch
from tests.operator_program import OperatorProgram
from tests.played_load import Load
from tests.scene import RARELY, Scene, graph, policy, wait_scraped
from tests.testbed import PrometheusServer, wait_until

BUSY = Load(requests_s=60.0, isl=1000.0, osl=200.0, ttft_s=0.12, itl_s=0.012)
"""Needs 4 prefill replicas and 2 for decode."""
GITOPS = "argocd-controller"
AGAIN_S = 0.3


def without_replicas(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """As it should be in Git once a policy scales the workers."""
    copy: dict[str, Any] = json.loads(json.dumps(manifest))
    for worker in copy["spec"]["components"]:
        worker.pop("replicas")
    return copy


class GitOps:
    """Applies one manifest, which can be changed, until the block ends."""

    def __init__(self, scene: Scene, manifest: Mapping[str, Any]) -> None:
        self._scene = scene
        self._manifest = manifest
        self._over = threading.Event()
        self.applied = 0

    def commit(self, manifest: Mapping[str, Any]) -> None:
        """From the next sync on; returns when it and one more were done."""
        self._manifest = manifest
        self.wait_syncs(2)

    def wait_syncs(self, count: int) -> None:
        wanted = self.applied + count
        wait_until(lambda: self.applied >= wanted, what=f"{count} more syncs")

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self._run, name="gitops")
        thread.start()
        try:
            self.wait_syncs(1)
            yield
        finally:
            self._over.set()
            thread.join()

    def _run(self) -> None:
        with self._scene.cluster.api_client() as api:
            objects = client.CustomObjectsApi(api)
            where = (
                "nvidia.com",
                self._scene.version,
                self._scene.namespace,
                "dynamographdeployments",
                "llama",
            )
            while not self._over.is_set():
                objects.patch_namespaced_custom_object(
                    *where,
                    dict(self._manifest),
                    field_manager=GITOPS,
                    force=True,
                    _content_type="application/apply-patch+yaml",
                )
                self.applied += 1
                self._over.wait(AGAIN_S)


def owners(scene: Scene) -> dict[str, set[str]]:
    """Who owns the replicas of each worker, as managedFields tell."""
    found = scene.get(scene.graph_kind, show_managed_fields=True)
    result: dict[str, set[str]] = {"prefill": set(), "decode": set()}
    for entry in found["metadata"]["managedFields"]:
        components = entry["fieldsV1"].get("f:spec", {}).get("f:components", {})
        for worker, managers in result.items():
            if "f:replicas" in components.get(f'k:{{"name":"{worker}"}}', {}):
                managers.add(entry["manager"])
    return result


@pytest.fixture
def synced(
    scene: Scene, operator: OperatorProgram, prometheus_server: PrometheusServer
) -> Callable[[Mapping[str, Any]], contextlib.AbstractContextManager[GitOps]]:
    """The deployment as GitOps applies it, and its load."""
    assert operator.process.poll() is None

    @contextlib.contextmanager
    def sync(manifest: Mapping[str, Any]) -> Iterator[GitOps]:
        gitops = GitOps(scene, manifest)
        with gitops.running():
            scene.settle()
            scene.play(BUSY)
            wait_scraped(scene, prometheus_server)
            yield gitops

    return sync


Synced = Callable[[Mapping[str, Any]], contextlib.AbstractContextManager[GitOps]]


def test_a_manifest_without_replicas_keeps_ours_and_ours_keep_its_fields(scene: Scene, synced: Synced):
    manifest = without_replicas(graph())
    with synced(manifest) as gitops, budget_watch(scene) as watched:
        scene.apply(policy())
        scene.wait_replicas(prefill=4, decode=2)
        changed = without_replicas(graph())
        changed["spec"]["components"][1]["podTemplate"]["spec"]["containers"][0]["image"] = "vllm:2"
        gitops.commit(changed)
        gitops.wait_syncs(5)
        scene.settle()
        scene.wait_plans()
        assert scene.replicas() == {"prefill": 4, "decode": 2}
        image = scene.get(scene.graph_kind)["spec"]["components"][1]["podTemplate"]["spec"]["containers"][0][
            "image"
        ]
        assert image == "vllm:2"
        assert owners(scene) == {"prefill": {"slaplanner"}, "decode": {"slaplanner"}}
    assert watched.asked() == [{"prefill": 1, "decode": 1}, {"prefill": 4, "decode": 2}]


def test_dropping_replicas_that_a_policy_agreed_with_keeps_them(scene: Scene, synced: Synced):
    manifest = graph(replicas={"prefill": 4, "decode": 2})
    with synced(manifest) as gitops:
        scene.apply(policy(planning=RARELY))
        both = {GITOPS, "slaplanner"}
        wait_until(lambda: owners(scene) == {"prefill": both, "decode": both}, what="shared ownership")
        gitops.commit(without_replicas(manifest))
        scene.wait_plans()
        assert scene.replicas() == {"prefill": 4, "decode": 2}
        assert owners(scene) == {"prefill": {"slaplanner"}, "decode": {"slaplanner"}}


def test_replicas_that_were_forced_between_plans_are_not_lost_either(scene: Scene, synced: Synced):
    with synced(without_replicas(graph())) as gitops:
        scene.apply(policy(planning=RARELY))
        scene.wait_replicas(prefill=4, decode=2)
        gitops.commit(graph(replicas={"prefill": 5, "decode": 2}))
        wait_until(
            lambda: "slaplanner" in owners(scene)["prefill"], what="ownership, long before the next plan"
        )
        gitops.commit(without_replicas(graph()))
        assert scene.replicas() == {"prefill": 5, "decode": 2}
        scene.settle()
        scene.wait_plans()
        scene.wait_replicas(prefill=4, decode=2)


ADAPTERS = "dynamographdeploymentscalingadapters.v1beta1.nvidia.com"


def adapter(component: str) -> dict[str, Any]:
    """One that somebody put into Git."""
    return {
        "apiVersion": "nvidia.com/v1beta1",
        "kind": "DynamoGraphDeploymentScalingAdapter",
        "metadata": {"name": f"llama-{component}"},
        "spec": {"replicas": 1, "dgdRef": {"name": "llama", "componentName": component}},
    }


@contextlib.contextmanager
def again_and_again(act: Callable[[], None]) -> Iterator[None]:
    """Somebody who does that until the block ends."""
    over = threading.Event()

    def run() -> None:
        while not over.wait(AGAIN_S):
            act()

    thread = threading.Thread(target=run, name="rival")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class TestAFight:
    """Seen whatever the way in which replicas are written back, given up, and over when the rival stops."""

    @pytest.fixture
    def plans(self, scene: Scene, operator: OperatorProgram) -> Callable[[], list[dict[str, Any]]]:
        name = f"{scene.namespace}/llama"
        return lambda: [
            line for line in operator.log() if line.get("message") == "planned" and line.get("policy") == name
        ]

    def seen(self, scene: Scene, rival: str, plans: Callable[[], list[dict[str, Any]]]) -> None:
        scene.wait_condition("TargetConflict", "True", "OtherFieldManager", message=repr(rival))
        told = scene.events("OtherFieldManager")
        assert {event["involvedObject"]["kind"] for event in told} == {"SLAPolicy", "DynamoGraphDeployment"}
        before = len(plans())
        wait_until(lambda: len(plans()) >= before + 3, what="three more plans", timeout_s=120)
        assert [plan["written"] for plan in plans()[before:]] == [[]] * (len(plans()) - before)

    def over(self, scene: Scene) -> None:
        scene.annotate("slaplanner.io/plan-requested-at=now")
        scene.wait_condition("TargetConflict", "False", "NoConflict")

    def test_over_a_list_that_is_sent_whole_and_silent(
        self,
        scene: Scene,
        served_scene: Callable[..., Scene],
        plans: Callable[[], list[dict[str, Any]]],
    ):
        """Nobody owns replicas that were taken away: the one is named who owns the component."""
        served_scene(BUSY)
        with again_and_again(lambda: scene.apply(without_replicas(graph()))):
            scene.apply(policy())
            self.seen(scene, "kubectl-client-side-apply", plans)
        self.over(scene)
        scene.wait_replicas(prefill=4, decode=2)

    def test_over_scaling_adapters(
        self,
        scene: Scene,
        served_scene: Callable[..., Scene],
        plans: Callable[[], list[dict[str, Any]]],
    ):
        def sync() -> None:
            scene.apply(adapter("prefill"), adapter("decode"), manager=GITOPS)

        sync()
        served_scene(BUSY, adapters=frozenset({"prefill", "decode"}))
        with again_and_again(sync):
            scene.apply(policy())
            self.seen(scene, GITOPS, plans)
        self.over(scene)
        wait_until(
            lambda: scene.get(ADAPTERS, "llama-prefill")["spec"]["replicas"] == 4,
            what="the adapter to be scaled",
        )
