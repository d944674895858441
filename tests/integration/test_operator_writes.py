"""What the operator writes, and what a write that is refused costs: one plan, never the policy."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kubernetes import client

from tests.budget_watch import budget_watch
from tests.operator_program import (
    NAMESPACE,
    SERVICE_ACCOUNT,
    OperatorProgram,
    install_operator,
    running_operator,
    without_right,
)
from tests.played_load import Load
from tests.scene import RARELY, Scene, policy
from tests.testbed import Cluster, ControlPlane, PrometheusServer, Served, install_dynamo, wait_until

BUSY = Load(requests_s=60.0, isl=1000.0, osl=200.0, ttft_s=0.12, itl_s=0.012)
"""Needs 4 prefill replicas and 2 for decode."""
CALMER = {"requests_s": 20.0}
"""Needs 2 prefill replicas and 1 for decode."""
BUDGET_GPUS = 12
OPERATOR = f"system:serviceaccount:{NAMESPACE}:{SERVICE_ACCOUNT}"

SetUp = Callable[..., Scene]


@pytest.fixture(scope="module")
def cluster(control_plane: ControlPlane) -> Cluster:
    """Our own: an outage is part of this."""
    return control_plane


@pytest.fixture(scope="module")
def operator(
    cluster: Cluster, prometheus_server: PrometheusServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OperatorProgram]:
    install_dynamo(cluster, Served.V1BETA1)
    install_operator(cluster)
    scratch = tmp_path_factory.mktemp("operator")
    with running_operator(cluster, scratch, prometheus=prometheus_server.url) as program:
        yield program


def test_the_operator_writes_nothing_of_a_policy_but_its_status(served_scene: SetUp):
    scene = served_scene(BUSY)
    scene.apply(policy())
    applied = scene.get("slapolicy")
    scene.wait_replicas(prefill=4, decode=2)
    scene.settle()
    scene.wait_plans(2)
    found = scene.get("slapolicy", show_managed_fields=True)
    assert found["spec"] == applied["spec"]
    assert found["metadata"]["generation"] == 1
    entries = found["metadata"]["managedFields"]
    ours = [entry for entry in entries if entry["manager"] == "slaplanner"]
    assert [(entry["subresource"], set(entry["fieldsV1"])) for entry in ours] == [("status", {"f:status"})]
    spec_owners = {entry["manager"] for entry in entries if "f:spec" in entry["fieldsV1"]}
    assert spec_owners == {"kubectl-client-side-apply"}


class Storm:
    """Somebody who writes the deployment all the time."""

    def __init__(self) -> None:
        self.written: list[int] = []
        self.pause_s = 0.0
        self.over = threading.Event()


@contextlib.contextmanager
def storm(scene: Scene) -> Iterator[Storm]:
    """Until the block ends; at first without a pause."""
    storm = Storm()

    def write() -> None:
        with scene.cluster.api_client() as api:
            objects = client.CustomObjectsApi(api)
            where = ("nvidia.com", scene.version, scene.namespace, "dynamographdeployments", "llama")
            for number in itertools.count(1):
                if storm.over.wait(storm.pause_s):
                    return
                patch = {"metadata": {"labels": {"storm": str(number)}}}
                objects.patch_namespaced_custom_object(*where, patch)
                storm.written.append(number)

    thread = threading.Thread(target=write, name="storm")
    thread.start()
    try:
        wait_until(lambda: storm.written, what="the storm to begin")
        yield storm
    finally:
        storm.over.set()
        thread.join()


def test_in_a_storm_of_writes_nobody_loses_one(served_scene: SetUp):
    scene = served_scene(BUSY)
    with budget_watch(scene) as watched:
        with storm(scene) as others:
            scene.apply(policy(planning=RARELY, gpuBudget={"max": BUDGET_GPUS}))
            wait_until(
                lambda: (
                    scene.condition("Progressing").get("reason") == "Conflict"
                    or scene.replicas() == {"prefill": 4, "decode": 2}
                ),
                what="all attempts of a plan to be refused, or one to slip through",
            )
            # The next plan is an hour away, so it is the heartbeat that tries again.
            others.pause_s = 0.5
            scene.wait_replicas(prefill=4, decode=2)
            before = len(others.written)
            wait_until(lambda: len(others.written) > before, what="the storm to go on")
        graph = scene.get(scene.graph_kind)
        assert graph["metadata"]["labels"]["storm"] == str(others.written[-1])
        assert scene.replicas() == {"prefill": 4, "decode": 2}
    watched.within(BUDGET_GPUS)
    assert watched.asked() == [{"prefill": 1, "decode": 1}, {"prefill": 4, "decode": 2}]


class TestStatusIsRefused:
    """Decisions go on meanwhile, and the status tells the latest one as soon as it may."""

    def goes_on(self, scene: Scene, status_before: dict[str, Any]) -> None:
        scene.loads.change(scene.dynamo_namespace, **CALMER)
        scene.wait_replicas(prefill=2, decode=1)
        assert scene.status() == status_before

    def test_for_want_of_a_permission(self, served_scene: SetUp, operator: OperatorProgram):
        scene = served_scene(BUSY)
        scene.apply(policy())
        scene.wait_replicas(prefill=4, decode=2)
        scene.settle()
        scene.wait_condition("Progressing", "False", "Stable")
        with without_right(scene.cluster, "patch", "slapolicies/status"):
            self.goes_on(scene, scene.status())
        wait_until(lambda: moved(scene), what="the status to catch up")
        assert any(
            "missing permission: verb 'patch' on 'slapolicies/status'" in str(line) for line in operator.log()
        )
        scene.wait_plans()

    def test_by_admission(self, served_scene: SetUp, operator: OperatorProgram):
        scene = served_scene(BUSY)
        scene.apply(policy())
        scene.wait_replicas(prefill=4, decode=2)
        scene.settle()
        scene.wait_condition("Progressing", "False", "Stable")
        with refused_by_admission(scene):
            self.goes_on(scene, scene.status())
        wait_until(lambda: moved(scene), what="the status to catch up")
        assert any("no status today" in str(line) for line in operator.log())
        scene.wait_plans()


def moved(scene: Scene) -> bool:
    """Whether the status tells of the moves that were made while it could not be written."""
    asked = [
        {role["name"]: role["replicas"] for role in decision["to"]}
        for decision in scene.status().get("decisions", [])
    ]
    return {"prefill": 2, "decode": 1} in asked


@contextlib.contextmanager
def refused_by_admission(scene: Scene) -> Iterator[None]:
    """The API server answers every status of this namespace's policies with 422."""
    name = f"refuse-{scene.namespace}"
    rules = [
        {
            "apiGroups": ["slaplanner.io"],
            "apiVersions": ["*"],
            "operations": ["UPDATE"],
            "resources": ["slapolicies/status"],
        }
    ]
    spec = {
        "matchConstraints": {"resourceRules": rules},
        "validations": [{"expression": "false", "message": "no status today", "reason": "Invalid"}],
    }
    here = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": scene.namespace}}}
    binding = {"policyName": name, "validationActions": ["Deny"], "matchResources": here}
    admission = "admissionregistration.k8s.io/v1"
    scene.apply(
        {
            "apiVersion": admission,
            "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": name},
            "spec": spec,
        },
        {
            "apiVersion": admission,
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": name},
            "spec": binding,
        },
    )

    def refused() -> bool:
        answer = scene.cluster.kubectl(
            "patch", "slapolicy", "llama", f"--namespace={scene.namespace}", "--subresource=status",
            "--type=merge", '--patch={"status": {"gpus": {"current": 77}}}', "--dry-run=server", check=False,
        )  # fmt: skip
        return "no status today" in answer.stderr

    wait_until(refused, what="admission to refuse")
    try:
        yield
    finally:
        scene.kubectl("delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", name)


class TestPermissionsAreMissing:
    @pytest.mark.parametrize(
        ("verb", "resource"),
        [
            pytest.param("get", "dynamographdeployments", id="read"),
            pytest.param("patch", "dynamographdeployments", id="write"),
        ],
    )
    def test_the_condition_names_the_one_on_deployments(
        self, served_scene: SetUp, operator: OperatorProgram, verb: str, resource: str
    ):
        scene = served_scene(BUSY)
        with without_right(scene.cluster, verb, resource):
            scene.apply(policy())
            found = scene.wait_condition("TargetResolved", "False", "Forbidden")
            assert (
                f"missing permission: verb {verb!r} on {resource!r} of API group 'nvidia.com' in "
                f"namespace {scene.namespace}, for {OPERATOR}"
            ) in found["message"]
            assert scene.condition("Ready")["reason"] == "Forbidden"
            assert scene.replicas() == {"prefill": 1, "decode": 1}
            assert not scene.events("Scaled")
            assert (
                'slaplanner_outside_errors_total{reason="Forbidden",system="kubernetes"}'
                in operator.metrics()
            )
        scene.wait_condition("Ready", "True", "Planned")
        scene.wait_replicas(prefill=4, decode=2)

    def test_the_condition_names_the_one_on_adapters(self, served_scene: SetUp):
        scene = served_scene(BUSY, adapters=frozenset({"decode"}))
        adapter = {
            "apiVersion": "nvidia.com/v1beta1",
            "kind": "DynamoGraphDeploymentScalingAdapter",
            "metadata": {"name": "llama-decode"},
            "spec": {"replicas": 1, "dgdRef": {"name": "llama", "componentName": "decode"}},
        }
        scene.apply(adapter)
        with without_right(scene.cluster, "patch", "dynamographdeploymentscalingadapters/scale"):
            scene.apply(policy())
            found = scene.wait_condition("TargetResolved", "False", "Forbidden")
            assert "verb 'patch' on 'dynamographdeploymentscalingadapters/scale'" in found["message"]
            assert scene.get("dgdsa", "llama-decode")["spec"]["replicas"] == 1
        wait_until(
            lambda: scene.get("dgdsa", "llama-decode")["spec"]["replicas"] == 2,
            what="the adapter to be scaled",
        )
        assert scene.replicas()["decode"] == 1  # copying is for Dynamo's operator

    def test_the_log_names_the_one_on_finalizers_and_planning_goes_on(
        self, served_scene: SetUp, operator: OperatorProgram
    ):
        scene = served_scene(BUSY)
        with without_right(scene.cluster, "patch", "slapolicies"):
            scene.apply(policy())
            scene.wait_condition("Ready", "True", "Planned")
            scene.wait_replicas(prefill=4, decode=2)
            assert "finalizers" not in scene.get("slapolicy")["metadata"]
            assert any('cannot patch resource "slapolicies"' in str(line) for line in operator.log())
            scene.kubectl("delete", "slapolicy", "llama", "--timeout=60s")
            scene.wait_graph_condition("SLAPlanned", None)
            assert scene.replicas() == {"prefill": 4, "decode": 2}

    def test_the_condition_names_the_one_on_profiles(self, served_scene: SetUp):
        scene = served_scene(BUSY)
        with without_right(scene.cluster, "get", "configmaps"):
            scene.apply(policy(planning=RARELY))
            found = scene.wait_condition("ProfileLoaded", "False", "Forbidden")
            assert found["message"] == (
                "ConfigMap 'profile' cannot be read: missing permission: verb 'get' on 'configmaps' of API "
                f"group '' in namespace {scene.namespace}, for {OPERATOR}"
            )
            assert scene.condition("Ready")["reason"] == "Forbidden"
            assert scene.replicas() == {"prefill": 1, "decode": 1}
        scene.annotate("slaplanner.io/plan-requested-at=granted")
        scene.wait_condition("ProfileLoaded", "True", "Loaded")
        scene.wait_replicas(prefill=4, decode=2)

    def test_autoscalers_that_cannot_be_listed_are_said_to_be_unchecked(self, served_scene: SetUp):
        scene = served_scene(BUSY)
        with without_right(scene.cluster, "list", "horizontalpodautoscalers"):
            scene.apply(policy())
            found = scene.wait_condition("TargetConflict", "False", "NoConflict")
            assert (
                "horizontalpodautoscalers were not looked at: missing permission: verb 'list' on "
                "'horizontalpodautoscalers' of API group 'autoscaling'"
            ) in found["message"]
            scene.wait_replicas(prefill=4, decode=2)


def test_an_api_server_that_was_away_finds_the_policy_planned_again(
    served_scene: SetUp, control_plane: ControlPlane, operator: OperatorProgram
):
    scene = served_scene(BUSY)
    scene.apply(policy())
    scene.wait_replicas(prefill=4, decode=2)
    scene.settle()
    scene.wait_condition("Progressing", "False", "Stable")
    lines = len(operator.log())
    control_plane.stop_api_server()
    try:
        wait_until(
            lambda: any(line.get("reason") == "APIUnavailable" for line in operator.log()[lines:]),
            what="a plan that finds nobody",
        )
    finally:
        control_plane.start_api_server()
    assert scene.replicas() == {"prefill": 4, "decode": 2}
    scene.loads.change(scene.dynamo_namespace, **CALMER)
    scene.wait_replicas(prefill=2, decode=1)
    scene.wait_condition("Ready", "True", "Planned")
    scene.wait_plans()
