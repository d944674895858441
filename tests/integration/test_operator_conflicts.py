"""Who may scale: two policies, autoscalers, planners inside the deployment; and what two policies say."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from tests.played_load import Load
from tests.scene import PATIENCE_S, RARELY, Scene, graph, policy
from tests.testbed import Cluster, wait_until

BUSY = Load(requests_s=60.0, isl=1000.0, osl=200.0, ttft_s=0.12, itl_s=0.012)
"""Needs 4 prefill replicas and 2 for decode."""
UNTOUCHED = {"prefill": 1, "decode": 1}
SECOND = "second"
SCALED_OBJECTS = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "scaledobjects.keda.sh"},
    "spec": {
        "group": "keda.sh",
        "scope": "Namespaced",
        "names": {"plural": "scaledobjects", "singular": "scaledobject", "kind": "ScaledObject"},
        "versions": [
            {
                "name": "v1alpha1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
                },
            }
        ],
    },
}
"""As much of KEDA as a planner sees of it."""

SetUp = Callable[..., Scene]


def let_a_second_pass(scene: Scene) -> None:
    """Until who is created now is younger than the policy: ages are whole seconds, and uids decide between equals."""
    created = scene.get("slapolicy")["metadata"]["creationTimestamp"]
    wait_until(lambda: time.strftime("%FT%TZ", time.gmtime()) > created, what="the next second")


def autoscaler(kind: str, name: str) -> dict[str, Any]:
    """An HPA on an object of Dynamo's."""
    reference = {"apiVersion": "nvidia.com/v1beta1", "kind": kind, "name": name}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "hpa"},
        "spec": {"scaleTargetRef": reference, "maxReplicas": 9},
    }


def adapter(component: str, replicas: int) -> dict[str, Any]:
    """As Dynamo's operator makes it."""
    return {
        "apiVersion": "nvidia.com/v1beta1",
        "kind": "DynamoGraphDeploymentScalingAdapter",
        "metadata": {"name": f"llama-{component}"},
        "spec": {"replicas": replicas, "dgdRef": {"name": "llama", "componentName": component}},
    }


def with_planner(*args: str) -> dict[str, Any]:
    """A deployment with Dynamo's own planner in it."""
    made = graph()
    container = {"name": "main", "image": "planner", "args": ["-m", "dynamo.planner", *args]}
    planner = {
        "name": "Planner",
        "type": "planner",
        "replicas": 1,
        "podTemplate": {"spec": {"containers": [container]}},
    }
    made["spec"]["components"].append(planner)
    return made


def workers(scene: Scene) -> dict[str, int]:
    return {name: count for name, count in scene.replicas().items() if name in UNTOUCHED}


@pytest.fixture(scope="module")
def keda(cluster: Cluster) -> Iterator[None]:
    """A cluster that knows ScaledObjects."""
    file = cluster.scratch / "keda.yaml"
    file.write_text(yaml.safe_dump(SCALED_OBJECTS))
    cluster.install_crds(file)
    yield
    cluster.delete_crds("scaledobjects.keda.sh")


def refuses_to_write(scene: Scene, reason: str, *named: str, name: str = "llama") -> None:
    """The policy says with whom it conflicts, is not Ready, plans on, and writes nothing."""
    found = scene.wait_condition("TargetConflict", "True", reason, name=name)
    for one in named:
        assert one in found["message"]
    assert "nothing is written" in found["message"]
    ready = scene.condition("Ready", name)
    assert (ready["status"], ready["reason"]) == ("False", reason)


class TestTwoPoliciesOnOneRole:
    def test_the_older_one_plans_and_the_other_says_with_whom_it_conflicts(self, served_scene: SetUp):
        scene = served_scene(BUSY)
        scene.apply(policy())
        scene.wait_replicas(prefill=4, decode=2)
        scene.settle()
        let_a_second_pass(scene)
        second = policy(SECOND, roles=[{"name": "prefill", "minReplicas": 9}], planning=RARELY)
        scene.apply(second)
        refuses_to_write(
            scene, "OtherPolicy", "SLAPolicy 'llama' (prefill)", "SLAPolicy 'llama' (decode)", name=SECOND
        )
        scene.wait_plans(name=SECOND)
        assert scene.replicas() == {"prefill": 4, "decode": 2}
        assert scene.condition("TargetConflict")["reason"] == "NoConflict"
        assert SECOND not in scene.graph_conditions()["SLAPlanned"]["message"]
        scene.kubectl("delete", "slapolicy", "llama", "--timeout=60s")
        scene.wait_condition("TargetConflict", "False", "NoConflict", name=SECOND)
        scene.wait_replicas(prefill=9, decode=2)

    def test_only_the_contested_role_is_named(self, served_scene: SetUp):
        scene = served_scene(BUSY)
        scene.apply(policy(mode="prefill"))
        scene.wait_condition("Ready", "True")
        let_a_second_pass(scene)
        scene.apply(policy(SECOND))
        refuses_to_write(scene, "OtherPolicy", "SLAPolicy 'llama' (prefill)", name=SECOND)
        assert "(decode)" not in scene.condition("TargetConflict", SECOND)["message"]

    def test_one_that_observes_is_in_nobodys_way(self, served_scene: SetUp):
        scene = served_scene(BUSY)
        scene.apply(policy(actuation="Observe"))
        scene.wait_condition("Ready", "True")
        scene.apply(policy(SECOND))
        scene.wait_condition("TargetConflict", "False", "NoConflict", name=SECOND)
        scene.wait_replicas(prefill=4, decode=2)


class TestTwoPoliciesOnTwoRoles:
    def test_they_share_the_deployment_and_its_conditions(self, served_scene: SetUp):
        scene = served_scene(BUSY)
        scene.apply(policy("first", mode="prefill"), policy(SECOND, mode="decode"))
        scene.wait_replicas(prefill=4, decode=2)
        for name in ("first", SECOND):
            scene.wait_condition("Ready", "True", name=name)
            assert scene.condition("TargetConflict", name)["reason"] == "NoConflict"
        scene.wait_graph_condition("SLAPlanned", "True", message="first: ")
        scene.wait_graph_condition("SLAPlanned", "True", message=f"{SECOND}: ")
        for name in ("first", SECOND):
            scene.wait_plans(3, name=name)
        scene.wait_graph_condition("SLAMet", "True", message="first: TTFT 120 ms of 500 ms")
        scene.wait_graph_condition("SLAMet", "True", message=f"{SECOND}: ITL 12 ms of 30 ms")

        # Either of them makes the conditions False, and is named.
        scene.patch("slapolicy", SECOND, {"spec": {"profile": {"configMapRef": {"name": "absent"}}}})
        scene.wait_graph_condition("SLAPlanned", "False", message=f"{SECOND}: ")
        planned = scene.graph_conditions()["SLAPlanned"]
        assert planned["reason"] == "ProfileNotFound"
        assert "first" not in planned["message"]

        # The one that stays keeps them, the last one takes them along.
        scene.kubectl("delete", "slapolicy", SECOND, "--timeout=60s")
        scene.wait_graph_condition("SLAPlanned", "True", message="first: ")
        assert scene.graph_conditions().keys() == {"Ready", "SLAPlanned", "SLAMet"}
        scene.kubectl("delete", "slapolicy", "first", "--timeout=60s")
        scene.wait_graph_condition("SLAPlanned", None)
        assert scene.graph_conditions().keys() == {"Ready"}
        assert scene.replicas() == {"prefill": 4, "decode": 2}


class TestAutoscalers:
    @pytest.mark.parametrize(
        ("scaled", "named"),
        [
            pytest.param(
                ("DynamoGraphDeployment", "llama"), "HorizontalPodAutoscaler 'hpa'", id="deployment"
            ),
            pytest.param(
                ("DynamoGraphDeploymentScalingAdapter", "llama-decode"),
                "HorizontalPodAutoscaler 'hpa' (decode)",
                id="adapter",
            ),
        ],
    )
    def test_an_hpa_keeps_the_policy_from_writing(
        self, served_scene: SetUp, scaled: tuple[str, str], named: str
    ):
        scene = served_scene(BUSY, adapters=frozenset({"decode"}))
        scene.apply(adapter("decode", 1), autoscaler(*scaled))
        scene.apply(policy())
        refuses_to_write(scene, "OtherAutoscaler", named)
        scene.wait_plans()
        assert scene.replicas() == UNTOUCHED
        assert scene.get("dgdsa", "llama-decode")["spec"]["replicas"] == 1
        assert scene.graph_conditions().keys() == {"Ready"}

    @pytest.mark.usefixtures("keda")
    def test_a_scaled_object_does_too_until_it_is_gone(self, served_scene: SetUp):
        scene = served_scene(BUSY)
        spec = autoscaler("DynamoGraphDeployment", "llama")["spec"]
        keda_object = {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "keda"}}
        scene.apply(keda_object | {"spec": spec}, policy())
        refuses_to_write(scene, "OtherAutoscaler", "ScaledObject 'keda'")
        assert scene.replicas() == UNTOUCHED
        scene.kubectl("delete", "scaledobjects.keda.sh", "keda")
        scene.wait_condition("TargetConflict", "False", "NoConflict")
        scene.wait_replicas(prefill=4, decode=2)


class TestPlannersInTheDeployment:
    def test_one_that_scales_keeps_the_policy_from_writing(self, served_scene: SetUp):
        scene = served_scene(BUSY)
        scene.apply(with_planner(), policy())
        refuses_to_write(scene, "OtherPlanner", "planner component 'Planner'")
        scene.wait_plans()
        assert workers(scene) == UNTOUCHED

    def test_one_that_only_advises_is_no_conflict(self, served_scene: SetUp):
        scene = served_scene(BUSY)
        scene.apply(with_planner("--no-operation"), policy())
        scene.wait_condition("TargetConflict", "False", "NoConflict")
        wait_until(
            lambda: workers(scene) == {"prefill": 4, "decode": 2},
            what="replicas beside an advising planner",
            timeout_s=PATIENCE_S,
        )
