"""The virtual connector in a running operator: the life of a decision, as an outside system sees it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.operator_program import OperatorProgram
from tests.played_load import Load
from tests.scene import NAME, PATIENCE_S, Scene, wait_scraped
from tests.testbed import PrometheusServer, wait_until
from tests.virtual_scene import (
    ACKNOWLEDGED,
    BUSY,
    QUIET,
    acknowledge,
    published,
    virtual,
    wait_published,
)


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
    told = scene.events("AcknowledgementOverdue")
    assert [(event["type"], event.get("count", 1)) for event in told] == [("Warning", 1)], "on change only"


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
    scene.loads.change(scene.dynamo_namespace, requests_s=15.0)
    # A window that saw two loads asks for a third size: it is over before the answer lets the next out.
    scene.wait_condition("Progressing", "True", message="waiting to publish prefill 4 -> 1")
    acknowledge(scene, 0)
    wait_published(scene, id=1, prefill=1, decode=1)
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


def test_an_id_that_was_never_published_raises_the_next_though_it_was_overwritten(
    published_scene: Callable[..., Scene],
) -> None:
    scene = published_scene()
    wait_published(scene, id=0)
    acknowledge(scene, 7)
    wait_published(scene, id=0, acknowledgedUnpublished=7)
    scene.loads.change(scene.dynamo_namespace, requests_s=15.0)
    scene.wait_condition("Progressing", "True", message="waiting to publish prefill 4 -> 1")
    acknowledge(scene, 0)
    assert "acknowledgedUnpublished" not in wait_published(scene, id=8, prefill=1)
    acknowledge(scene, 8)
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


def test_an_etcd_that_nobody_configured(published_scene: Callable[..., Scene]) -> None:
    scene = published_scene(backend="Etcd")
    told = scene.wait_condition("TargetResolved", "False", "ConnectionUnknown")
    assert "found etcd connection 'default'" in told["message"]
