"""A planner inside the deployment that only advises is no rival, wherever its configuration lies."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from slaplanner.adapters.deployment.graph import parse_graph
from slaplanner.adapters.deployment.inner_planners import LONGEST_CONFIG_CHARS, GraphPlanner
from tests.graphs import ALPHA, BETA, graph

PATH = "/workspace/planner_config/planner_config.json"
ADVISES = json.dumps({"environment": "kubernetes", "advisory": True})
SCALES = json.dumps({"environment": "kubernetes", "max_gpu_budget": 8})
MOUNT = {"name": "config", "mountPath": "/workspace/planner_config"}


def planner(
    version: str,
    *,
    config: str = PATH,
    mount: Mapping[str, Any] = MOUNT,
    source: Mapping[str, Any] | None = None,
    args: list[str] | None = None,
) -> GraphPlanner | None:
    """The planner of a graph, as Dynamo makes it from a deployment request."""
    container = {
        "name": "main",
        "command": ["python3", "-m", "dynamo.planner"],
        "args": ["--config", config] if args is None else args,
        "volumeMounts": [{"name": "results", "mountPath": "/workspace"}, dict(mount)],
    }
    volumes = [
        {"name": "results", "emptyDir": {}},
        {"name": "config", "configMap": dict(source or {"name": "planner-config-4f1e"})},
    ]
    if version == ALPHA:
        component: dict[str, Any] = {
            "componentType": "planner",
            "extraPodSpec": {"volumes": volumes, "mainContainer": container},
        }
    else:
        component = {
            "type": "planner",
            "podTemplate": {"spec": {"volumes": volumes, "containers": [container]}},
        }
    return parse_graph(graph(version, {"Planner": component})).components[0].planner


def verdict(found: GraphPlanner | None, config: str, *, key: str = "planner_config.json") -> str | None:
    """None: it only advises; else why it counts as scaling."""
    assert found is not None
    maps = {"planner-config-4f1e": {key: config}}
    return found.scales(lambda name: maps.get(name, f"ConfigMap {name!r} does not exist"))


BOTH = pytest.mark.parametrize("version", [ALPHA, BETA], ids=["v1alpha1", "v1beta1"])


@BOTH
@pytest.mark.parametrize(
    ("config", "scales"),
    [
        pytest.param(ADVISES, False, id="advises"),
        pytest.param(SCALES, True, id="scales"),
        pytest.param(json.dumps({"advisory": False}), True, id="advisory-off"),
        pytest.param(yaml.safe_dump({"scaling_mode": "noop"}), False, id="yaml"),
        pytest.param('{\n\t"advisory": true\n}', False, id="indented-with-tabs"),
        pytest.param("{broken", True, id="broken"),
        pytest.param("- advisory", True, id="a-list"),
        pytest.param("", True, id="empty"),
        pytest.param("advisory: !!python/name:os.system x", True, id="a-tag-of-somebody-else"),
    ],
)
def test_the_volume_is_followed_to_its_config_map(version: str, config: str, *, scales: bool) -> None:
    assert (verdict(planner(version), config) is not None) is scales


@pytest.mark.parametrize(
    ("path", "mount", "source", "key"),
    [
        pytest.param(PATH, MOUNT, None, "planner_config.json", id="folder"),
        pytest.param(
            PATH, {"name": "config", "mountPath": PATH, "subPath": "own.json"}, None, "own.json", id="one-file"
        ),
        pytest.param(
            PATH, MOUNT, {"name": "planner-config-4f1e", "items": [{"key": "k", "path": "planner_config.json"}]},
            "k", id="renamed-in-the-volume",
        ),
        pytest.param(
            "/workspace/planner_config/deep/a.yaml", MOUNT,
            {"name": "planner-config-4f1e", "items": [{"key": "k", "path": "deep/a.yaml"}]}, "k", id="in-a-subfolder",
        ),
    ],
)  # fmt: skip
def test_the_key_is_that_which_the_container_sees(
    path: str, mount: dict[str, Any], source: dict[str, Any] | None, key: str
) -> None:
    assert verdict(planner(BETA, config=path, mount=mount, source=source), ADVISES, key=key) is None


@pytest.mark.parametrize(
    ("found", "message"),
    [
        pytest.param(
            planner(BETA, source={"name": "gone"}), "ConfigMap 'gone' does not exist", id="no-config-map"
        ),
        pytest.param(planner(BETA, config="/workspace/planner_config/x"), "no key 'x'", id="no-such-key"),
    ],
)
def test_what_is_missing_is_said_and_counts_as_scaling(found: GraphPlanner, message: str) -> None:
    told = verdict(found, ADVISES)
    assert told is not None
    assert message in told


def test_a_configuration_of_pages_is_not_parsed() -> None:
    long = json.dumps({"advisory": True, "padding": "x" * LONGEST_CONFIG_CHARS})
    assert "too long" in (verdict(planner(BETA), long) or "")


@pytest.mark.parametrize(
    "args",
    [[], ["--config"], ["--config", "relative.json"], ["--config", "/elsewhere/planner_config.json"]],
    ids=["none", "no-value", "relative", "not-mounted"],
)
def test_a_configuration_that_lies_nowhere_counts_as_scaling(args: list[str]) -> None:
    found = planner(BETA, args=args)
    assert found is not None
    assert found.file is None
    assert found.scales(lambda _: pytest.fail("nothing is to be read")) == ""


def test_a_command_line_that_advises_needs_no_file() -> None:
    assert planner(BETA, args=["--config", ADVISES]) is None
    assert planner(BETA, args=[f"--config={ADVISES}"]) is None


@pytest.mark.parametrize("depth", [900, 2_000, 100_000])
def test_brackets_of_any_depth_are_a_configuration_that_says_nothing(depth: int) -> None:
    """Found D2: the parser's recursion was an error that nobody caught."""
    nested = '{"a":' + "[" * depth + "]" * depth + "}"
    assert planner(BETA, args=[f"--config={nested}"]) is not None
    assert verdict(planner(BETA), nested[:LONGEST_CONFIG_CHARS]) is not None


@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_no_configuration_is_too_odd(config: str) -> None:
    verdict(planner(BETA), config)
    planner(BETA, args=[f"--config={config}"])
