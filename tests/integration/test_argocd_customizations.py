"""What Argo CD shows of a policy: health and buttons, run by its own Lua engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from slaplanner.api.validation import judge
from tests.testbed import LuaEngine

TREE = Path(__file__).parents[2] / "manifests/argocd/resource_customizations/slaplanner.io/SLAPolicy"
SAMPLES = sorted(TREE.rglob("testdata/*.yaml"))


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


HEALTH = read(TREE / "health_test.yaml")["tests"]
ACTIONS = read(TREE / "actions/action_test.yaml")
PAUSED, REQUESTED = "slaplanner.io/paused", "slaplanner.io/plan-requested-at"


@pytest.mark.parametrize("case", HEALTH, ids=[Path(case["inputPath"]).stem for case in HEALTH])
def test_health_is_what_the_sample_says(lua_engine: LuaEngine, case: dict[str, Any]):
    expected = case["healthStatus"]
    assert lua_engine.health(read(TREE / case["inputPath"])) == (expected["status"], expected["message"])


def test_every_state_of_health_has_a_sample():
    assert {case["healthStatus"]["status"] for case in HEALTH} == {
        "Progressing",
        "Healthy",
        "Degraded",
        "Suspended",
    }


@pytest.mark.parametrize("sample", SAMPLES, ids=[f"{path.parents[1].name}-{path.stem}" for path in SAMPLES])
def test_a_sample_is_a_policy_that_the_server_would_take(sample: Path):
    document = read(sample)
    assert judge({key: value for key, value in document.items() if key != "status"}).faults == ()


@pytest.mark.parametrize(
    "case",
    ACTIONS["discoveryTests"],
    ids=[Path(case["inputPath"]).stem for case in ACTIONS["discoveryTests"]],
)
def test_buttons_that_would_change_nothing_are_disabled(lua_engine: LuaEngine, case: dict[str, Any]):
    found = lua_engine.actions(read(TREE / "actions" / case["inputPath"]))
    assert [(one.name, one.disabled) for one in found] == sorted(
        (one["name"], one["disabled"]) for one in case["result"]
    )


@pytest.mark.parametrize(
    "case",
    ACTIONS["actionTests"],
    ids=[f"{case['action']}-{Path(case['inputPath']).stem}" for case in ACTIONS["actionTests"]],
)
def test_a_button_does_what_it_says(lua_engine: LuaEngine, case: dict[str, Any]):
    pressed = lua_engine.act(read(TREE / "actions" / case["inputPath"]), case["action"])
    assert pressed == read(TREE / "actions" / case["expectedOutputPath"])


def test_plan_now_stamps_the_time_and_touches_nothing_else(lua_engine: LuaEngine):
    before = read(TREE / "actions/testdata/paused.yaml")
    after = lua_engine.act(before, "plan-now")
    stamp = after["metadata"]["annotations"].pop(REQUESTED)
    assert stamp.endswith("Z")
    assert after == before


def test_resume_keeps_the_annotations_of_others(lua_engine: LuaEngine):
    before = read(TREE / "actions/testdata/running.yaml")
    before["metadata"]["annotations"] = {PAUSED: "true", "example.com/owner": "serving"}
    after = lua_engine.act(before, "resume")
    assert after["metadata"]["annotations"] == {"example.com/owner": "serving"}
