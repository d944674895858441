"""The virtual connector in a running operator: the life of a decision, as an outside system sees it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.operator_program import OperatorProgram, running_operator
from tests.played_load import Load
from tests.scene import NAME, PATIENCE_S, Scene, policy
from tests.testbed import Cluster, EtcdFactory, EtcdServer, PrometheusServer, wait_until

BUSY = Load(requests_s=60.0, isl=1000.0, osl=200.0, ttft_s=0.12, itl_s=0.012)
"""4 prefill replicas, 2 for decode."""

QUIET = Load(requests_s=15.0, isl=1000.0, osl=200.0, ttft_s=0.12, itl_s=0.012)
"""1 prefill replica, 1 for decode."""

ACKNOWLEDGED = "slaplanner.io/scaled-decision-id"


def virtual(scene: Scene, *, max_wait_s: int = 600, **virtual: Any) -> dict[str, Any]:
    return policy(
        targetRef=None,
        roles=[{"name": "prefill", "gpusPerReplica": 2}, {"name": "decode", "gpusPerReplica": 2}],
        connector={
            "type": "Virtual",
            "virtual": {
                "backend": "Kubernetes",
                "dynamoNamespace": scene.dynamo_namespace,
                "model": "Meta/Llama-70B",
                "maxWaitSeconds": max_wait_s,
                "checkIntervalSeconds": 1,
                **virtual,
            },
        },
    )


def wait_scraped(scene: Scene, prometheus: PrometheusServer) -> None:
    """The first plan is to see the load: it always publishes."""
    prometheus.wait_for(
        f'dynamo_frontend_requests_started_total{{dynamo_namespace="{scene.dynamo_namespace}"}}'
    )


def published(scene: Scene) -> dict[str, Any]:
    found: dict[str, Any] = scene.status().get("lastPublished", {})
    return found


def wait_published(scene: Scene, **fields: Any) -> dict[str, Any]:
    def said() -> bool:
        return fields.items() <= published(scene).items()

    try:
        wait_until(said, what=f"lastPublished with {fields}", timeout_s=PATIENCE_S)
    except Exception as error:
        error.add_note(scene.kubectl("describe", "slapolicy", NAME, check=False))
        raise
    return published(scene)


def acknowledge(scene: Scene, decision_id: object) -> None:
    scene.annotate(f"{ACKNOWLEDGED}={decision_id}")


@pytest.fixture
def published_scene(
    scene: Scene, operator: OperatorProgram, prometheus_server: PrometheusServer
) -> Callable[..., Scene]:
    """A function that applies a virtual policy under a load."""

    def apply(load: Load = BUSY, **options: Any) -> Scene:
        scene.play(load)
        wait_scraped(scene, prometheus_server)
        scene.apply(virtual(scene, **options))
        return scene

    return apply


def test_a_decision_is_published_waits_and_is_acknowledged(published_scene: Callable[..., Scene]) -> None:
    scene = published_scene()
    first = wait_published(scene, id=0, prefill=4, decode=2)
    assert "superseded" not in first
    scene.wait_condition("TargetResolved", "True", "Virtual", message="meta/llama-70b")
    scene.wait_condition("Ready", "True", "Planned")
    waiting = scene.wait_condition("Progressing", "True", "AwaitingAcknowledgement")
    assert "decision 0 (prefill 4, decode 2) was published" in waiting["message"]
    assert "the last acknowledged is none" in waiting["message"]
    acknowledge(scene, 0)
    scene.wait_condition("Progressing", "False", "Stable")
    assert scene.status()["lastAcknowledged"] == {"id": 0, "prefill": 4, "decode": 2}
    assert [event["reason"] for event in scene.events("Scaled")] == ["Scaled"]
    scene.wait_plans(2)
    assert published(scene) == first, "nothing is published when nothing changed"


def test_the_first_plan_publishes_also_when_the_floors_are_enough(
    published_scene: Callable[..., Scene],
) -> None:
    scene = published_scene(QUIET)
    wait_published(scene, id=0, prefill=1, decode=1)
    scene.wait_plans(2)
    assert published(scene)["id"] == 0


def test_a_newer_decision_waits_and_the_latest_wins(published_scene: Callable[..., Scene]) -> None:
    scene = published_scene()
    wait_published(scene, id=0, prefill=4)
    scene.loads.change(scene.dynamo_namespace, requests_s=120.0)
    scene.wait_condition("Progressing", "True", message="waiting to publish prefill 4 -> ")
    scene.loads.change(scene.dynamo_namespace, requests_s=15.0)
    scene.wait_condition("Progressing", "True", message="waiting to publish prefill 4 -> 1")
    assert published(scene)["id"] == 0
    assert "waitingSince" in published(scene)
    acknowledge(scene, 0)
    wait_published(scene, id=1, prefill=1, decode=1)
    scene.wait_condition(
        "Progressing", "True", "AwaitingAcknowledgement", message="the last acknowledged is 0"
    )


def test_after_the_longest_wait_the_next_goes_out_and_both_ids_are_named(
    published_scene: Callable[..., Scene],
) -> None:
    scene = published_scene(max_wait_s=4)
    wait_published(scene, id=0, prefill=4)
    scene.loads.change(scene.dynamo_namespace, requests_s=15.0)
    wait_published(scene, id=1, superseded=0)
    overdue = scene.wait_condition("Progressing", "True", "AcknowledgementOverdue", message="though ")
    named = re.search(r"decision (\d+) .* though (\d+) was not acknowledged", overdue["message"])
    assert named is not None
    assert int(named[1]) == int(named[2]) + 1
    wait_published(scene, prefill=1, decode=1)
    acknowledge(scene, published(scene)["id"])
    scene.wait_condition("Progressing", "False", "Stable")


@pytest.mark.parametrize(
    ("annotation", "event"),
    [
        pytest.param("done", "PublicationUnreadable", id="a text"),
        pytest.param("7", "AcknowledgementUnpublished", id="an id that was never published"),
    ],
)
def test_what_acknowledges_nothing_is_told(
    annotation: str, event: str, published_scene: Callable[..., Scene]
) -> None:
    scene = published_scene()
    wait_published(scene, id=0, prefill=4)
    acknowledge(scene, annotation)
    wait_until(lambda: bool(scene.events(event)), what=f"an event {event}", timeout_s=PATIENCE_S)
    assert annotation in scene.events(event)[0]["message"]
    assert scene.condition("Progressing")["status"] == "True"


def test_an_old_id_is_ignored_and_an_answer_counts_once_it_was_seen(
    published_scene: Callable[..., Scene],
) -> None:
    scene = published_scene()
    wait_published(scene, id=0)
    acknowledge(scene, 0)
    scene.wait_condition("Progressing", "False", "Stable")
    scene.loads.change(scene.dynamo_namespace, requests_s=15.0)
    wait_published(scene, id=1)
    acknowledge(scene, 1)
    scene.wait_condition("Progressing", "False", "Stable")
    acknowledge(scene, 0)
    wait_until(
        lambda: bool(scene.events("AcknowledgementOld")), what="an event about it", timeout_s=PATIENCE_S
    )
    scene.annotate(f"{ACKNOWLEDGED}-")
    scene.wait_plans(1)
    assert scene.condition("Progressing")["reason"] == "Stable"
    assert scene.status()["lastAcknowledged"]["id"] == 1


def test_ids_go_on_above_all_that_were_seen_when_the_status_is_restored(
    published_scene: Callable[..., Scene],
) -> None:
    """A backup of the status, and an annotation that Git keeps."""
    scene = published_scene()
    wait_published(scene, id=0)
    acknowledge(scene, 5)
    wait_until(
        lambda: bool(scene.events("AcknowledgementUnpublished")), what="an event", timeout_s=PATIENCE_S
    )
    scene.patch("slapolicy", NAME, {"status": {"lastPublished": None}}, subresource="status")
    wait_published(scene, id=6, prefill=4)
    acknowledge(scene, 6)
    scene.wait_condition("Progressing", "False", "Stable")


def test_a_recreated_policy_starts_above_the_annotation_that_git_keeps(
    published_scene: Callable[..., Scene],
) -> None:
    scene = published_scene()
    wait_published(scene, id=0)
    scene.kubectl("delete", "slapolicy", NAME)
    again = virtual(scene)
    again["metadata"]["annotations"] = {ACKNOWLEDGED: "3"}
    scene.apply(again)
    wait_published(scene, id=4, prefill=4)


class EtcdScene:
    """A policy that publishes in an etcd of the test's own, and an operator that knows it."""

    def __init__(self, scene: Scene, etcd: EtcdServer) -> None:
        self.scene = scene
        self.etcd = etcd

    def key(self, name: str) -> str | None:
        return self.etcd.get(f"v1/{self.scene.dynamo_namespace}/planner/{name}")

    def put(self, name: str, value: str) -> None:
        self.etcd.put(f"v1/{self.scene.dynamo_namespace}/planner/{name}", value)

    def wait_keys(self, **values: str | None) -> None:
        def said() -> bool:
            return all(self.key(name) == value for name, value in values.items())

        try:
            wait_until(said, what=f"keys {values}", timeout_s=PATIENCE_S)
        except Exception as error:
            error.add_note(self.scene.kubectl("describe", "slapolicy", NAME, check=False))
            raise


@pytest.fixture
def etcd_scene(
    scene: Scene,
    installed: Cluster,
    prometheus_server: PrometheusServer,
    etcd_server: EtcdFactory,
    tmp_path: Path,
) -> Iterator[Callable[..., EtcdScene]]:
    """A function that starts operators on one etcd, with TLS, and applies the policy: `etcd_scene(BUSY)`."""
    etcd = etcd_server(tls=True)
    assert etcd.tls is not None
    connection = {
        "endpoints": [etcd.endpoint],
        "caFile": str(etcd.tls.ca),
        "clientCertificate": {
            "certFile": str(etcd.tls.client.certificate),
            "keyFile": str(etcd.tls.client.key),
        },
    }
    with contextlib.ExitStack() as running:

        def start(load: Load = BUSY, *, operators: int = 1, **options: Any) -> EtcdScene:
            for _ in range(operators):
                running.enter_context(
                    running_operator(
                        installed,
                        tmp_path,
                        prometheus=prometheus_server.url,
                        settings={"etcd": {"fleet": connection}},
                        namespace=scene.namespace,
                    )
                )
            scene.play(load)
            wait_scraped(scene, prometheus_server)
            scene.apply(virtual(scene, backend="Etcd", etcd={"connection": "fleet"}, **options))
            return EtcdScene(scene, etcd)

        yield start


def test_a_decision_is_published_in_etcd_and_acknowledged_there(etcd_scene: Callable[..., EtcdScene]) -> None:
    at = etcd_scene()
    at.wait_keys(decision_id="0", num_prefill_workers="4", num_decode_workers="2", scaled_decision_id=None)
    at.scene.wait_condition("Progressing", "True", "AwaitingAcknowledgement")
    at.put("scaled_decision_id", "0")
    at.scene.wait_condition("Progressing", "False", "Stable")
    # The client's lease ends: the answer was seen, and counts.
    at.etcd.delete_prefix(f"v1/{at.scene.dynamo_namespace}/planner/scaled")
    at.scene.wait_plans(1)
    assert at.scene.condition("Progressing")["reason"] == "Stable"
    at.scene.loads.change(at.scene.dynamo_namespace, requests_s=15.0)
    at.wait_keys(decision_id="1")


def test_lost_keys_and_garbage_are_told_and_published_again(etcd_scene: Callable[..., EtcdScene]) -> None:
    at = etcd_scene()
    at.wait_keys(decision_id="0")
    at.put("scaled_decision_id", "0")
    at.scene.wait_condition("Progressing", "False", "Stable")
    at.etcd.delete_prefix(f"v1/{at.scene.dynamo_namespace}/planner/")
    at.wait_keys(decision_id="1", num_prefill_workers="4", num_decode_workers="2")
    wait_until(lambda: bool(at.scene.events("PublicationLost")), what="an event", timeout_s=PATIENCE_S)
    at.put("decision_id", "what")
    at.wait_keys(decision_id="2", num_prefill_workers="4")
    wait_until(lambda: bool(at.scene.events("PublicationUnreadable")), what="an event", timeout_s=PATIENCE_S)


def test_an_etcd_that_is_away_is_a_condition_meanwhile(etcd_scene: Callable[..., EtcdScene]) -> None:
    at = etcd_scene()
    at.wait_keys(decision_id="0")
    at.etcd.stop()
    at.scene.wait_condition("TargetResolved", "False", "EtcdUnavailable", message=at.etcd.endpoint)
    at.scene.wait_condition("Ready", "False")
    at.etcd.start()
    at.scene.wait_condition("TargetResolved", "True", "Virtual")
    at.wait_keys(decision_id="0", num_prefill_workers="4")


def test_two_operators_at_once_raise_ids_by_one(etcd_scene: Callable[..., EtcdScene]) -> None:
    at = etcd_scene(operators=2)
    for number, (load, prefill) in enumerate([(60.0, "4"), (15.0, "1"), (60.0, "4")]):
        at.scene.loads.change(at.scene.dynamo_namespace, requests_s=load)
        if number == 0:
            at.wait_keys(num_prefill_workers=prefill)
        decision = at.key("decision_id")
        assert decision is not None
        at.put("scaled_decision_id", decision)
        at.scene.wait_plans(1)
    published = at.scene.status()["lastPublished"]["id"]
    assert at.key("decision_id") == str(published)


def test_an_etcd_that_nobody_configured(published_scene: Callable[..., Scene]) -> None:
    scene = published_scene(backend="Etcd")
    told = scene.wait_condition("TargetResolved", "False", "ConnectionUnknown")
    assert "found etcd connection 'default'" in told["message"]
