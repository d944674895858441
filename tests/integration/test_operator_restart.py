"""An operator that ends at any moment and comes back: nothing is lost, doubled or out of budget."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from slaplanner.controller.schedule import last_slot_s
from tests.budget_watch import BudgetWatch, budget_watch
from tests.gateway import HttpDoor, Manner, TcpDoor
from tests.operator_program import (
    NAMESPACE,
    SERVICE_ACCOUNT,
    OperatorProgram,
    install_operator,
    running_operator,
)
from tests.played_load import Load
from tests.scene import NAME, PATIENCE_S, RARELY, Scene, graph, policy, wait_scraped
from tests.testbed import Cluster, PrometheusServer, Served, install_dynamo, wait_until

PREFILL_HEAVY = Load(requests_s=60.0, isl=1000.0, osl=200.0, ttft_s=0.12, itl_s=0.012)
"""Needs 4 prefill and 2 decode replicas, of 2 GPUs each."""
DECODE_HEAVY = {"requests_s": 30.0, "isl": 300.0, "osl": 1000.0}
"""Needs 1 prefill and 4 decode replicas."""
BUDGET = 12

Start = Callable[..., contextlib.AbstractContextManager[OperatorProgram]]
End = Callable[[OperatorProgram], object]


@pytest.fixture(scope="module")
def scratch(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    install_dynamo(cluster, Served.V1BETA1)
    install_operator(cluster)
    return tmp_path_factory.mktemp("operator")


@pytest.fixture
def start(scratch: Path, scene: Scene, prometheus_server: PrometheusServer) -> Start:
    """Starts an operator for the scene's namespace alone."""

    def begin(**options: Any) -> contextlib.AbstractContextManager[OperatorProgram]:
        options.setdefault("prometheus", prometheus_server.url)
        return running_operator(scene.cluster, scratch, namespace=scene.namespace, **options)

    return begin


def set_up(scene: Scene, load: Load, **options: Any) -> None:
    scene.apply(graph(**options))
    scene.settle()
    scene.play(load)


@contextlib.contextmanager
def half_a_rebalance(scene: Scene, start: Start, end: End) -> Iterator[BudgetWatch]:
    """Prefill has shrunk, decode waits for its GPUs, and the operator has ended."""
    set_up(scene, PREFILL_HEAVY, replicas={"prefill": 4, "decode": 2})
    scene.apply(policy(gpuBudget={"max": BUDGET}))
    with start() as operator:
        scene.wait_condition("Ready", "True")
        with budget_watch(scene) as watched:
            scene.loads.change(scene.dynamo_namespace, **DECODE_HEAVY)
            scene.wait_replicas(prefill=1, decode=2)
            end(operator)
            yield watched
        watched.within(BUDGET)


@pytest.mark.parametrize("end", [OperatorProgram.stop, OperatorProgram.kill], ids=["SIGTERM", "SIGKILL"])
def test_the_second_half_of_a_rebalance_is_finished_by_the_next_operator(
    scene: Scene, start: Start, end: End
) -> None:
    with half_a_rebalance(scene, start, end), start():
        scene.wait_plans()
        assert scene.replicas() == {"prefill": 1, "decode": 2}
        scene.settle(prefill=1)
        scene.wait_replicas(prefill=1, decode=4)


def test_the_second_half_is_dropped_when_the_load_has_changed_meanwhile(
    scene: Scene, start: Start, prometheus_server: PrometheusServer
) -> None:
    """The next operator starts from the deployment as it is."""
    with half_a_rebalance(scene, start, OperatorProgram.kill) as watched:
        scene.settle(prefill=1)
        scene.loads.change(scene.dynamo_namespace, requests_s=0.0)
        # A new operator plans the latest slot again, whose window ends up to an interval ago.
        started = f'requests_started_total{{dynamo_namespace="{scene.dynamo_namespace}"}}'
        prometheus_server.wait_for(f"max(increase(dynamo_frontend_{started}[12s])) == 0")
        with start():
            scene.wait_condition("MetricsAvailable", "True", "Idle")
            scene.wait_replicas(prefill=1, decode=1)
            assert max(moves["decode"] for moves in watched.asked()) == 2


def test_a_signal_ends_the_operator_while_prometheus_hangs(
    scene: Scene, start: Start, prometheus_server: PrometheusServer
) -> None:
    set_up(scene, PREFILL_HEAVY)
    with HttpDoor(prometheus_server.url) as door:
        door.behave(Manner(silent=True))
        patient = {"default": {"url": door.url, "readTimeoutSeconds": 100}}
        with start(prometheus=None, settings={"prometheus": patient}) as operator:
            scene.apply(policy())
            wait_until(lambda: door.held, what="a question")
            operator.stop()
            assert door.held_so_far == 1, "it ended under the first question, which may take 100 s"


def test_a_signal_ends_the_operator_while_the_api_server_hangs(
    scene: Scene, scratch: Path, prometheus_server: PrometheusServer
) -> None:
    set_up(scene, PREFILL_HEAVY)
    own = scene.cluster.service_account_kubeconfig(namespace=NAMESPACE, name=SERVICE_ACCOUNT)
    document = yaml.safe_load(own.read_text())
    reached = document["clusters"][0]["cluster"]
    host, _, port = reached["server"].removeprefix("https://").partition(":")
    with TcpDoor(host, int(port)) as door:
        reached["server"] = f"https://127.0.0.1:{door.port}"
        through = scratch / "through-the-door.kubeconfig"
        through.write_text(yaml.safe_dump(document))
        with running_operator(
            scene.cluster,
            scratch,
            prometheus=prometheus_server.url,
            namespace=scene.namespace,
            kubeconfig=through,
        ) as operator:
            scene.apply(policy())
            scene.wait_condition("Ready", "True")
            # One is being tidied up after, beside one that plans.
            scene.apply(policy("leaving", actuation="Observe"))
            scene.wait_condition("Ready", "True", name="leaving")
            scene.kubectl("delete", "slapolicy", "leaving", "--wait=false")
            door.freeze()
            operator.stop()
            door.thaw()


def test_a_restarted_operator_remembers_what_it_recommended(scene: Scene, start: Start) -> None:
    """The scale-down window outlives the process: fallen load takes nothing away meanwhile."""
    window = {"scaleDown": {"stabilizationWindowSeconds": 3600}}
    set_up(scene, PREFILL_HEAVY)
    scene.apply(policy(behavior=window))
    with start() as operator:
        scene.wait_replicas(prefill=4, decode=2)
        scene.settle()
        scene.wait_plans(3)
        scene.wait_graph_condition("SLAMet", "True")
        met = scene.graph_conditions()["SLAMet"]
        decided = scene.decisions()
        operator.kill()
    scene.loads.change(scene.dynamo_namespace, requests_s=1.0)
    with start():
        scene.wait_condition("MetricsAvailable", "True", "MetricsRead", message="1 requests/s")
        scene.wait_plans()
        assert scene.graph_conditions()["SLAMet"] == met, "three plans have to disagree"
        kept = {"prefill": "StabilizedDown", "decode": "StabilizedDown"}
        with scene.described():  # a window that saw both loads asks for a size between
            wait_until(lambda: limits(scene) == kept, what="the window to keep both", timeout_s=PATIENCE_S)
        assert scene.decisions() > decided
        assert scene.replicas() == {"prefill": 4, "decode": 2}


def limits(scene: Scene) -> dict[str, str]:
    """What limits each role."""
    return {role["name"]: role.get("limitedBy", "") for role in scene.status()["roles"]}


def test_a_policy_that_was_edited_while_the_operator_was_away_is_planned_at_once(
    scene: Scene, start: Start
) -> None:
    set_up(scene, PREFILL_HEAVY)
    scene.apply(policy(planning=RARELY))
    with start() as operator:
        scene.wait_replicas(prefill=4, decode=2)
        operator.stop()
    scene.settle()
    scene.patch("slapolicy", NAME, {"spec": {"roles": [{"name": "decode", "minReplicas": 3}]}})
    with start():
        scene.wait_replicas(prefill=4, decode=3)


def test_an_operator_that_finds_nothing_changed_waits_for_the_grid(scene: Scene, start: Start) -> None:
    set_up(scene, PREFILL_HEAVY)
    scene.apply(policy(planning=RARELY))
    with start() as operator:
        scene.wait_replicas(prefill=4, decode=2)
        scene.settle()
        scene.wait_condition("Progressing", "False", "Stable")
        operator.kill()
    decided = scene.decisions()
    uid = scene.get("slapolicy")["metadata"]["uid"]
    slot = last_slot_s(now_s=time.time(), uid=uid, interval_s=RARELY["intervalSeconds"])
    with start() as operator:
        wait_until(lambda: "slaplanner_policies 1.0" in operator.metrics(), what="heartbeats")
        beats = operator.metrics()
        assert scene.decisions() == decided or slot != last_slot_s(
            now_s=time.time(), uid=uid, interval_s=RARELY["intervalSeconds"]
        ), beats


REMEMBERING = {"scaleDown": {"stabilizationWindowSeconds": 30}}
"""Plans depend on those before them."""


@pytest.fixture
def twin(scene: Scene, cluster: Cluster) -> Iterator[Scene]:
    """A second scene, for whom everything is the same."""
    namespace = cluster.create_namespace(f"{scene.namespace}-twin")
    twin = Scene(cluster=cluster, namespace=namespace, loads=scene.loads)
    twin.apply_profile()
    yield twin
    cluster.delete_namespace(namespace)


def test_an_operator_that_was_killed_three_times_decides_what_the_other_one_does(
    scene: Scene, twin: Scene, start: Start, scratch: Path, prometheus_server: PrometheusServer
) -> None:
    """Both plan on request only, and are asked when Prometheus knows nothing but the new load."""
    both = (scene, twin)

    def ask(number: float) -> None:
        for one in both:
            one.annotate(f"slaplanner.io/plan-requested-at={number}")

    for one in both:
        one.apply(graph())
        one.play(PREFILL_HEAVY)
        wait_scraped(one, prometheus_server)
    for one in both:
        one.apply(policy(planning=RARELY, behavior=REMEMBERING))
    undisturbed = running_operator(
        twin.cluster, scratch, prometheus=prometheus_server.url, namespace=twin.namespace
    )
    with budget_watch(scene) as disturbed_moves, budget_watch(twin) as moves, undisturbed:
        for requests_s in (60.0, 90.0, 10.0):
            decided = [one.decisions() for one in both]
            for one in both:
                one.settle()
                one.loads.change(one.dynamo_namespace, requests_s=requests_s)
            for one in both:
                wait_rate(one, prometheus_server, requests_s)
            ask(requests_s)
            with start() as operator:
                wait_until(
                    lambda: all(one.decisions() > seen for one, seen in zip(both, decided, strict=True)),  # noqa: B023
                    what="a decision of both",
                    timeout_s=PATIENCE_S,
                )
                operator.kill()
        numbers = itertools.count()
        for one in both:
            one.settle()

        def ended() -> bool:
            ask(next(numbers))
            return all(one.replicas() == {"prefill": 1, "decode": 1} for one in both)

        with start(), scene.described(), twin.described():
            wait_until(ended, what="the window to end", timeout_s=PATIENCE_S, poll_s=2)
    assert disturbed_moves.asked() == moves.asked()
    assert {"prefill": 6, "decode": 3} in moves.asked()


def wait_rate(scene: Scene, prometheus: PrometheusServer, requests_s: float) -> None:
    """Wait until the last eight seconds are of that load alone."""
    started = f'dynamo_frontend_requests_started_total{{dynamo_namespace="{scene.dynamo_namespace}"}}'
    prometheus.wait_for(f"abs(rate({started}[8s]) - {requests_s}) < {requests_s / 100}")


def test_a_new_operator_is_ready_at_once_and_plans_nothing_before_it_has_settled(
    scene: Scene, start: Start
) -> None:
    settle_s = 4.0
    set_up(scene, PREFILL_HEAVY)
    scene.apply(policy())
    began_s = time.time()
    with start(settings={"settleSeconds": settle_s}) as operator:
        assert operator.answer("/readyz") == "ok\n"
        scene.wait_replicas(prefill=4, decode=2)

        def planned() -> list[str]:
            return [line["timestamp"] for line in operator.log() if line["message"] == "planned"]

        # Of a decision the status tells the slot that it was due in; the log tells when it was taken.
        wait_until(planned, what="a line about the plan")
        plans = planned()
        assert min(datetime.fromisoformat(plan).timestamp() for plan in plans) >= began_s + settle_s
