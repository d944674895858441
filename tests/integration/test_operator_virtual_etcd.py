"""The virtual connector in a running operator, with decisions in etcd. No other operator may run beside these."""

from __future__ import annotations

from collections.abc import Callable

from tests.scene import PATIENCE_S
from tests.testbed import wait_until
from tests.virtual_scene import EtcdScene, published


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
    at.wait_keys(num_prefill_workers="4")
    for load, prefill in [(15.0, "1"), (60.0, "4"), (15.0, "1")]:
        at.acknowledge_all_until(load, num_prefill_workers=prefill)
    history = at.history("decision_id")
    assert history == [str(number) for number in range(len(history))]
    wait_until(
        lambda: str(published(at.scene)["id"]) == at.key("decision_id"),
        what="the status to say what etcd says",
        timeout_s=PATIENCE_S,
    )
