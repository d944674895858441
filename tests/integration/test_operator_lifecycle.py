"""A policy's life: its target comes late, goes and comes anew; it changes in mid-move, pauses, ends."""

from __future__ import annotations

import contextlib
import copy
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.budget_watch import BudgetWatch, budget_watch
from tests.httpserver import Script, Server, handler
from tests.operator_program import OperatorProgram, install_operator, running_operator, without_right
from tests.played_load import Load
from tests.scene import RARELY, Scene, graph, policy
from tests.testbed import Cluster, PrometheusServer, Served, install_dynamo, wait_until

BUSY = Load(requests_s=60.0, isl=1000.0, osl=200.0, ttft_s=0.12, itl_s=0.012)
"""Needs 4 prefill replicas and 2 for decode."""
LONG_ANSWERS = Load(requests_s=100.0, isl=100.0, osl=900.0, ttft_s=0.12, itl_s=0.012)
"""Needs more for decode than a budget of 5 replicas leaves."""
"""Whatever happens within a test does not happen because a plan was due."""
BUDGET_GPUS = 10
FEW_PREFILL = {"name": "prefill", "maxReplicas": 1}
FEW_DECODE = {"name": "decode", "maxReplicas": 2}

SetUp = Callable[..., Scene]


@pytest.fixture(scope="module")
def hanging() -> Iterator[Script]:
    """A Prometheus that takes every query and never answers."""
    script = Script(silent=True)
    server = Server(("127.0.0.1", 0), handler(script))
    script.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield script
    script.over.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def operator(
    cluster: Cluster,
    prometheus_server: PrometheusServer,
    hanging: Script,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[OperatorProgram]:
    """Knows a second Prometheus, which hangs."""
    install_dynamo(cluster, Served.V1BETA1)
    install_operator(cluster)
    patient = {"url": hanging.url, "readTimeoutSeconds": 100}
    connections = {"default": {"url": prometheus_server.url}, "hanging": patient}
    with running_operator(
        cluster,
        tmp_path_factory.mktemp("operator"),
        prometheus=prometheus_server.url,
        settings={"prometheus": connections},
    ) as program:
        yield program


class TestTheTargetComesAndGoes:
    @pytest.mark.usefixtures("operator")
    def test_a_deployment_that_comes_after_its_policy_is_found_at_once(self, scene: Scene):
        scene.play(BUSY)
        scene.apply(policy(planning=RARELY))
        absent = scene.wait_condition("TargetResolved", "False", "TargetNotFound")
        assert (
            absent["message"]
            == f"DynamoGraphDeployment 'llama' in namespace '{scene.namespace}' does not exist"
        )
        assert scene.condition("Ready")["status"] == "False"
        scene.apply(graph())
        scene.wait_condition("TargetResolved", "True", "Resolved")
        scene.wait_replicas(prefill=4, decode=2)

    def test_one_that_is_recreated_is_planned_for_afresh(self, served_scene: SetUp):
        scene = served_scene(BUSY)
        scene.apply(policy(planning=RARELY))
        scene.wait_replicas(prefill=4, decode=2)
        first = scene.status()["target"]["uid"]
        scene.kubectl("delete", scene.graph_kind, "llama")
        scene.wait_condition("TargetResolved", "False", "TargetNotFound")
        scene.apply(graph(replicas={"prefill": 2}))
        scene.wait_condition("TargetResolved", "True")
        scene.wait_replicas(prefill=4, decode=2)
        second = scene.get(scene.graph_kind)["metadata"]["uid"]
        wait_until(
            lambda: scene.status()["target"]["uid"] == second != first, what="the new uid in the status"
        )


class TestAMoveIsInterrupted:
    @pytest.fixture
    def halfway(self, served_scene: SetUp) -> Iterator[tuple[Scene, BudgetWatch]]:
        """Prefill was told to shrink and still holds its GPUs, so decode waits with its growth."""
        scene = served_scene(LONG_ANSWERS, replicas={"prefill": 4, "decode": 1})
        with budget_watch(scene) as watched:
            scene.apply(policy(gpuBudget={"max": BUDGET_GPUS}, planning=RARELY, roles=[FEW_PREFILL]))
            waiting = scene.wait_condition("Progressing", "True", "GPUBudget")
            assert waiting["message"] == "waiting to write decode 1 -> 4"
            assert scene.replicas() == {"prefill": 1, "decode": 1}
            yield scene, watched
        watched.within(BUDGET_GPUS)

    def test_the_second_half_follows_when_the_gpus_are_free(self, halfway: tuple[Scene, BudgetWatch]):
        scene, watched = halfway
        scene.settle()
        scene.wait_replicas(prefill=1, decode=4)
        moves = [{"prefill": 4, "decode": 1}, {"prefill": 1, "decode": 1}, {"prefill": 1, "decode": 4}]
        wait_until(lambda: watched.asked() == moves, what="shrink first, then grow")

    def test_a_pause_drops_the_rest_and_its_end_starts_from_what_is_there(
        self, halfway: tuple[Scene, BudgetWatch]
    ):
        scene, _ = halfway
        scene.annotate("slaplanner.io/paused=true")
        scene.wait_condition("Paused", "True", "Paused")
        scene.settle()
        scene.wait_condition("Progressing", "False", "Stable")
        scene.wait_plans()
        assert scene.replicas() == {"prefill": 1, "decode": 1}
        scene.annotate("slaplanner.io/paused-")
        scene.wait_replicas(prefill=1, decode=4)

    def test_a_changed_spec_drops_the_rest(self, halfway: tuple[Scene, BudgetWatch]):
        scene, watched = halfway
        scene.patch("slapolicy", "llama", {"spec": {"roles": [FEW_PREFILL, FEW_DECODE]}})
        scene.wait_condition("Progressing", "True", message="decode 1 -> 2")
        scene.settle()
        scene.wait_replicas(prefill=1, decode=2)
        moves = [{"prefill": 4, "decode": 1}, {"prefill": 1, "decode": 1}, {"prefill": 1, "decode": 2}]
        wait_until(lambda: watched.asked() == moves, what="the new plan's moves")

    def test_a_deleted_policy_leaves_replicas_as_they_are(self, halfway: tuple[Scene, BudgetWatch]):
        scene, _ = halfway
        scene.kubectl("delete", "slapolicy", "llama", "--timeout=60s")
        scene.settle()
        scene.wait_graph_condition("SLAPlanned", None)
        assert scene.replicas() == {"prefill": 1, "decode": 1}


class TestDeletion:
    def test_in_the_middle_of_a_plan_it_does_not_wait_for_the_plan(
        self, served_scene: SetUp, hanging: Script
    ):
        scene = served_scene()
        asked = len(hanging.requests)
        scene.apply(policy(metrics={"connection": "hanging", "windowSeconds": 5}))
        wait_until(lambda: len(hanging.requests) > asked, what="a query that hangs")
        scene.kubectl("delete", "slapolicy", "llama", "--wait=false")
        scene.wait_gone(timeout_s=60)
        assert len(hanging.requests) == asked + 1, "it went under the first question, which may take 100 s"
        assert scene.replicas() == {"prefill": 1, "decode": 1}

    def test_our_conditions_go_and_those_of_others_stay(self, served_scene: SetUp):
        scene = served_scene(BUSY)
        scene.apply(policy())
        scene.wait_graph_condition("SLAPlanned", "True")
        scene.wait_replicas(prefill=4, decode=2)
        scene.kubectl("delete", "slapolicy", "llama", "--timeout=60s")
        scene.wait_graph_condition("SLAPlanned", None)
        assert scene.graph_conditions().keys() == {"Ready"}
        assert scene.replicas() == {"prefill": 4, "decode": 2}

    @pytest.mark.parametrize("resource", ["dynamographdeployments/status", "dynamographdeployments"])
    def test_it_does_not_wait_for_an_api_that_refuses_us(self, served_scene: SetUp, resource: str):
        scene = served_scene(BUSY)
        scene.apply(policy())
        scene.wait_graph_condition("SLAPlanned", "True")
        with without_right(scene.cluster, "get" if "/" not in resource else "patch", resource):
            scene.kubectl("delete", "slapolicy", "llama", "--wait=false")
            scene.wait_gone()
        assert "SLAPlanned" in scene.graph_conditions()

    @pytest.mark.usefixtures("operator")
    def test_one_that_never_found_its_target_goes_as_well(self, scene: Scene):
        scene.apply(policy())
        scene.wait_condition("TargetResolved", "False", "TargetNotFound")
        scene.kubectl("delete", "slapolicy", "llama", "--wait=false")
        scene.wait_gone()


class TestPauses:
    @pytest.mark.parametrize(
        ("value", "reason", "then"),
        [
            pytest.param("true", "Paused", {"prefill": 1, "decode": 6}, id="all"),
            pytest.param("scale-in", "PausedScaleIn", {"prefill": 4, "decode": 6}, id="scale-in"),
            pytest.param("scale-out", "PausedScaleOut", {"prefill": 1, "decode": 2}, id="scale-out"),
            pytest.param("maybe", "PausedByUnknownValue", {"prefill": 1, "decode": 6}, id="nonsense"),
        ],
    )
    def test_a_pause_holds_its_direction(
        self, served_scene: SetUp, value: str, reason: str, then: dict[str, int]
    ):
        scene = served_scene(BUSY, replicas={"prefill": 1, "decode": 6})
        paused = policy()
        paused["metadata"]["annotations"] = {"slaplanner.io/paused": value}
        scene.apply(paused)
        found = scene.wait_condition("Paused", "True", reason)
        assert value in found["message"]
        scene.wait_plans()
        scene.wait_replicas(**then)
        scene.wait_condition("Ready", "True")
        scene.settle()
        scene.annotate("slaplanner.io/paused-")
        scene.wait_condition("Paused", "False", "NotPaused")
        scene.wait_replicas(prefill=4, decode=2)


class TestAskingAndObserving:
    def test_a_requested_plan_is_made_at_once(self, served_scene: SetUp):
        scene = served_scene(BUSY)
        scene.apply(policy(planning=RARELY))
        scene.wait_replicas(prefill=4, decode=2)
        patch = [{"op": "replace", "path": "/spec/components/1/replicas", "value": 2}]
        scene.patch_json(scene.graph_kind, "llama", patch)
        scene.settle()
        scene.annotate("slaplanner.io/plan-requested-at=now")
        scene.wait_replicas(prefill=4, decode=2)

    def test_a_policy_that_observes_plans_and_writes_nothing(self, served_scene: SetUp):
        scene = served_scene(BUSY)
        scene.apply(policy(actuation="Observe"))
        found = scene.wait_condition("Progressing", "False", message="only reported (Observe)")
        assert found["reason"] == "Stable"
        scene.wait_plans()
        desired = {role["name"]: role["desired"] for role in scene.status()["roles"]}
        assert desired == {"prefill": 4, "decode": 2}
        scene.wait_condition("Ready", "True")
        assert scene.replicas() == {"prefill": 1, "decode": 1}
        assert scene.graph_conditions().keys() == {"Ready"}
        assert scene.events("Scaled") == []
        scene.patch("slapolicy", "llama", {"spec": {"actuation": "Enforce"}})
        scene.wait_replicas(prefill=4, decode=2)


@contextlib.contextmanager
def lenient_admission(cluster: Cluster) -> Iterator[None]:
    """A spec of any shape is stored, as by a definition of another release."""
    name = "slapolicies.slaplanner.io"
    strict = json.loads(cluster.kubectl("get", "customresourcedefinition", name, "-o", "json").stdout)
    strict["metadata"] = {"name": name}
    lenient = copy.deepcopy(strict)
    properties = lenient["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    properties["spec"] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}

    def serve(definition: dict[str, Any], *, accepts_nonsense: bool) -> None:
        cluster.kubectl("replace", "-f", "-", stdin=json.dumps(definition))
        nonsense = json.dumps(policy("nonsense", sla={"ttft": -1}))

        def accepted() -> bool:
            create = ("create", "--dry-run=server", "--validate=false", "-f", "-")
            return cluster.kubectl(*create, stdin=nonsense, check=False).returncode == 0

        wait_until(lambda: accepted() == accepts_nonsense, what="the definition to act")

    serve(lenient, accepts_nonsense=True)
    try:
        yield
    finally:
        serve(strict, accepts_nonsense=False)


def test_a_stored_policy_that_cannot_be_read_says_why_and_plans_again_when_mended(served_scene: SetUp):
    scene = served_scene(BUSY)
    scene.apply(policy())
    scene.wait_replicas(prefill=4, decode=2)
    scene.wait_graph_condition("SLAPlanned", "True")
    scene.settle()
    with lenient_admission(scene.cluster):
        scene.patch("slapolicy", "llama", {"spec": {"sla": {"ttft": -1}}})
    found = scene.wait_condition("TargetResolved", "False", "InvalidSpec", message="spec.sla.ttft")
    assert found["observedGeneration"] == scene.get("slapolicy")["metadata"]["generation"]
    assert scene.condition("Ready")["reason"] == "InvalidSpec"
    scene.wait_graph_condition("SLAPlanned", None)
    assert scene.replicas() == {"prefill": 4, "decode": 2}
    scene.patch("slapolicy", "llama", {"spec": {"sla": {"ttft": 500}}})
    scene.wait_condition("Ready", "True", "Planned")
    scene.wait_graph_condition("SLAPlanned", "True")
