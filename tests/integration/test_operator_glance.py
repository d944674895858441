"""A load that doubles between two plans, on a real API server and a real Prometheus."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from slaplanner.controller.schedule import last_slot_s
from slaplanner.core.reasons import Reason
from tests.played_load import Load
from tests.scene import PATIENCE_S, Scene, policy
from tests.testbed import wait_until

BUSY = Load(requests_s=60.0, isl=1000.0, osl=200.0, ttft_s=0.12, itl_s=0.012)
SHORTEST_S, LONGEST_S = 180, 360
ROOM_S = 170.0
"""Until the next plan of the grid, so that it is not the grid's plan that sees the step, on a slow machine either."""


def test_a_load_that_doubles_between_two_plans_is_ordered_for_before_the_next(
    served_scene: Callable[..., Scene],
) -> None:
    scene = served_scene(BUSY, replicas={"prefill": 4, "decode": 2})
    planning = {"intervalSeconds": SHORTEST_S, "predictor": {"type": "Constant"}}
    scene.apply(policy(planning=planning, metrics={"windowSeconds": 30}))
    uid = scene.get("slapolicy")["metadata"]["uid"]
    interval_s = next(
        each for each in range(SHORTEST_S, LONGEST_S) if _next_slot_s(uid, each) - time.time() > ROOM_S
    )
    scene.apply(policy(planning=planning | {"intervalSeconds": interval_s}, metrics={"windowSeconds": 30}))
    next_slot_s = _next_slot_s(uid, interval_s)
    scene.wait_condition("Ready", "True", "Planned")
    wait_until(
        lambda: scene.status().get("observedGeneration") == scene.get("slapolicy")["metadata"]["generation"],
        what="a plan for the interval",
        timeout_s=PATIENCE_S,
    )
    scene.settle()
    before = scene.replicas()
    stepped_s = time.time()
    scene.loads.change(scene.dynamo_namespace, requests_s=2 * BUSY.requests_s)

    with scene.described():
        wait_until(
            lambda: scene.replicas()["prefill"] > before["prefill"], what="an order", timeout_s=PATIENCE_S
        )
        wait_until(lambda: _glanced(scene), what="the status that tells of it", timeout_s=PATIENCE_S)
    made = _glanced(scene)[0]
    seen_s, decided_s = _unix_s(made["alarm"]["time"]), _unix_s(made["time"])
    assert made["alarm"]["reason"] == Reason.LOAD_ABOVE_FORECAST, made
    assert int(stepped_s) <= seen_s <= decided_s < next_slot_s
    # A young fleet has no history that the half minute could raise: what the plan measures is its forecast.
    forecast = re.search(r": ([\d.]+) requests/s .* forecast", made["message"])
    assert forecast is not None, made
    assert BUSY.requests_s < float(forecast[1]) <= 2.1 * BUSY.requests_s


def _next_slot_s(uid: str, interval_s: float) -> float:
    return last_slot_s(now_s=time.time(), uid=uid, interval_s=interval_s) + interval_s


def _glanced(scene: Scene) -> list[dict[str, Any]]:
    """The decisions that a glance asked for and that grew a role, oldest first."""
    found = [each for each in scene.status().get("decisions", []) if each.get("trigger") == "glance"]
    return [each for each in reversed(found) if each["from"] != each["to"]]


def _unix_s(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
