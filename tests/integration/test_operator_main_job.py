"""The main job: a policy applied with kubectl, real metrics, replicas written, and a report that says why."""

from __future__ import annotations

from collections.abc import Callable

from tests.played_load import Load
from tests.scene import Scene, policy

BUSY = Load(requests_s=60.0, isl=1000.0, osl=200.0, ttft_s=0.12, itl_s=0.012)
"""60,000 input tokens/s need 4 prefill replicas, 12,000 output tokens/s need 2 for decode."""


def test_a_policy_sizes_both_roles_and_says_why(served_scene: Callable[..., Scene]):
    scene = served_scene(BUSY)
    scene.apply(policy())
    scene.wait_condition("Ready", "True", "Planned")
    scene.wait_replicas(prefill=4, decode=2)
    described = scene.kubectl("describe", "slapolicy", "llama")
    assert "prefill 1 -> 4, decode 1 -> 2" in described
    (event,) = [one for one in scene.events("Scaled") if one["involvedObject"]["kind"] == "SLAPolicy"]
    assert "requests/s" in event["message"]
    assert event["reportingComponent"] == "slaplanner"


def test_the_load_that_ends_gives_the_replicas_back(served_scene: Callable[..., Scene]):
    scene = served_scene(BUSY)
    scene.apply(policy())
    scene.wait_replicas(prefill=4, decode=2)
    scene.settle()
    scene.loads.change(scene.dynamo_namespace, requests_s=0.0)
    scene.wait_condition("MetricsAvailable", "True", "Idle")
    scene.wait_replicas(prefill=1, decode=1)


def test_printer_columns_tell_the_state(served_scene: Callable[..., Scene]):
    scene = served_scene(BUSY)
    scene.apply(policy(gpuBudget={"max": 40}))
    scene.wait_replicas(prefill=4, decode=2)
    scene.settle()
    scene.wait_plans()
    heading, row = scene.kubectl("get", "slap").strip().splitlines()
    assert heading.split() == [
        "NAME",
        "READY",
        "MODE",
        "TTFT(MS)",
        "ITL(MS)",
        "PREFILL",
        "DECODE",
        "GPUS",
        "ATTAINED",
        "WHY",
        "AGE",
    ]
    assert row.split()[:8] == ["llama", "True", "disagg", "120/500", "12/30", "4/4", "2/2", "12/40"]


def test_the_deployment_itself_says_that_it_is_planned(served_scene: Callable[..., Scene]):
    scene = served_scene(BUSY)
    scene.apply(policy())
    scene.wait_replicas(prefill=4, decode=2)
    scene.settle()
    scene.wait_plans(3)
    conditions = {one["type"]: one for one in scene.get("dynamographdeployments")["status"]["conditions"]}
    assert conditions["Ready"]["status"] == "True"
    assert conditions["SLAPlanned"]["status"] == "True"
    assert (conditions["SLAMet"]["status"], conditions["SLAMet"]["reason"]) == ("True", "TargetsMet")
