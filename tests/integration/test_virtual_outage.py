"""etcd away for a whole minute, while decisions are due and a client follows: told, and nothing lost."""

from __future__ import annotations

import threading
from collections.abc import Callable

from slaplanner.virtual import ScalingDecision
from tests.virtual_scene import EtcdScene, following

OUTAGE_S = 60.0


def test_a_minute_without_etcd(etcd_scene: Callable[..., EtcdScene]) -> None:
    at = etcd_scene()
    at.wait_keys(decision_id="0", num_prefill_workers="4")
    carried_out: list[ScalingDecision] = []
    with following(at, carried_out):
        at.scene.wait_condition("Progressing", "False", "Stable")
        at.etcd.stop()
        minute = threading.Event()
        threading.Timer(OUTAGE_S, minute.set).start()
        at.scene.loads.change(at.scene.dynamo_namespace, requests_s=15.0)
        told = at.scene.wait_condition("TargetResolved", "False", "EtcdUnavailable")
        assert at.etcd.endpoint in told["message"]
        at.scene.wait_condition("Ready", "False")
        minute.wait()
        assert at.scene.condition("TargetResolved")["reason"] == "EtcdUnavailable", "to the end of it"
        assert at.scene.status()["lastPublished"]["id"] == 0, "published nowhere, so not said to be"
        at.etcd.start()
        at.scene.wait_condition("TargetResolved", "True", "Virtual")
        at.wait_keys(decision_id="1", num_prefill_workers="1", scaled_decision_id="1")
        at.scene.wait_condition("Progressing", "False", "Stable")
    assert [decision.id for decision in carried_out] == [0, 1]
    assert at.history("decision_id") == ["0", "1"]
    assert at.scene.status()["lastAcknowledged"] == {"id": 1, "prefill": 1, "decode": 1}
