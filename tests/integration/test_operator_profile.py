"""Profiles that come late, are wrong, change or lie where nobody may read them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.operator_program import OperatorProgram, install_operator, running_operator
from tests.played_load import Load
from tests.profile_data import PROFILES
from tests.scene import PROFILE, RARELY, Scene, policy
from tests.testbed import Cluster, PrometheusServer, Served, install_dynamo

BUSY = Load(requests_s=60.0, isl=1000.0, osl=200.0, ttft_s=0.12, itl_s=0.012)
"""Needs 4 prefill and 2 decode replicas."""
LATE = {"configMapRef": {"name": "late"}}
PREFILL, DECODE = "prefill_raw_data.json", "decode_raw_data.json"

Serve = Callable[..., Scene]


@pytest.fixture(scope="module")
def operator(
    cluster: Cluster, prometheus_server: PrometheusServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OperatorProgram]:
    """Its administrator allows profiles from one directory."""
    install_dynamo(cluster, Served.V1BETA1)
    install_operator(cluster)
    scratch = tmp_path_factory.mktemp("operator")
    settings = {"profileDirectories": [str(PROFILES)]}
    url = prometheus_server.url
    with running_operator(cluster, scratch, prometheus=url, settings=settings) as program:
        yield program


def tables() -> dict[str, dict[str, Any]]:
    """The example profile, to be changed."""
    return {key: json.loads((PROFILE / key).read_text()) for key in (PREFILL, DECODE)}


def config_map(data: dict[str, Any], name: str = "late") -> dict[str, Any]:
    """A ConfigMap of *data*; what is not text becomes JSON."""
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in data.items()}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": texts}


def test_a_profile_that_comes_after_its_policy_is_planned_with_at_once(served_scene: Serve) -> None:
    scene = served_scene(BUSY)
    scene.apply(policy(profile=LATE, planning=RARELY))
    said = scene.wait_condition("ProfileLoaded", "False", "ProfileNotFound")
    assert said["message"] == f"ConfigMap 'late' does not exist in namespace {scene.namespace!r}"
    assert scene.condition("Ready")["status"] == "False"
    assert scene.condition("Ready")["reason"] == "ProfileNotFound"
    assert scene.condition("TargetResolved")["status"] == "True"
    assert scene.condition("MetricsAvailable")["reason"] == "MetricsRead"
    assert scene.replicas() == {"prefill": 1, "decode": 1}
    scene.apply_profile(name="late")
    scene.wait_condition("ProfileLoaded", "True", "Loaded", message="17 points")
    scene.wait_replicas(prefill=4, decode=2)


@pytest.mark.parametrize(
    ("data", "reason", "message"),
    [
        pytest.param({"profile.yaml": "x"}, "ProfileNotFound", "has profile.yaml", id="other-keys"),
        pytest.param({PREFILL: "{", DECODE: "{"}, "ProfileInvalid", PREFILL, id="no-json"),
        pytest.param(
            tables() | {PREFILL: {"prefill_isl": [1, 2], "prefill_ttft": [1]}},
            "ProfileInvalid",
            PREFILL,
            id="half-a-table",
        ),
        pytest.param(
            {PREFILL: tables()[PREFILL]}, "ProfileNotFound", "its decode stage", id="one-stage-of-two"
        ),
    ],
)
def test_a_profile_that_cannot_be_used_changes_nothing_and_says_what_was_wanted(
    served_scene: Serve, data: dict[str, Any], reason: str, message: str
) -> None:
    scene = served_scene(BUSY)
    scene.apply(config_map(data), policy(profile=LATE, planning=RARELY))
    said = scene.wait_condition("ProfileLoaded", "False", reason, message=message)
    assert "wanted" in said["message"]
    assert scene.replicas() == {"prefill": 1, "decode": 1}
    scene.apply_profile(name="late")
    scene.wait_replicas(prefill=4, decode=2)


def test_an_edited_profile_is_planned_with_at_once(served_scene: Serve) -> None:
    """Twice the throughput needs half the replicas."""
    scene = served_scene(BUSY)
    scene.apply(policy(planning=RARELY))
    scene.wait_replicas(prefill=4, decode=2)
    scene.settle()
    faster = tables()
    for key, column in ((PREFILL, "prefill_thpt_per_gpu"), (DECODE, "z_thpt_per_gpu")):
        faster[key][column] = [2 * value for value in faster[key][column]]
    scene.apply(config_map(faster, "profile"))
    scene.wait_replicas(prefill=2, decode=1)


def test_a_profile_that_goes_away_leaves_what_runs(served_scene: Serve) -> None:
    scene = served_scene(BUSY)
    scene.apply(policy(planning=RARELY))
    scene.wait_replicas(prefill=4, decode=2)
    scene.kubectl("delete", "configmap", "profile")
    scene.wait_condition("ProfileLoaded", "False", "ProfileNotFound")
    assert scene.replicas() == {"prefill": 4, "decode": 2}


def test_a_profile_with_faults_is_used_and_its_faults_are_told(served_scene: Serve) -> None:
    scene = served_scene(BUSY)
    odd = tables()
    odd[PREFILL]["prefill_ttft"][8] *= 20
    scene.apply(config_map(odd), policy(profile=LATE))
    scene.wait_condition("ProfileLoaded", "True", "LoadedWithFaults", message="TTFT")
    scene.wait_replicas(prefill=4, decode=2)
    scene.wait_condition("Ready", "True")


def test_cubic_needs_more_points_and_names_the_way_out(served_scene: Serve) -> None:
    scene = served_scene(BUSY)
    few = tables()
    few[PREFILL] = {key: column[:3] for key, column in few[PREFILL].items()}
    scene.apply(config_map(few), policy(profile=LATE | {"interpolation": "Cubic"}, planning=RARELY))
    scene.wait_condition("ProfileLoaded", "False", "ProfileInvalid", message="Monotone")
    scene.patch("slapolicy", "llama", {"spec": {"profile": {"interpolation": "Monotone"}}})
    scene.wait_condition("ProfileLoaded", "True")


def test_a_directory_that_the_administrator_allows_is_read(served_scene: Serve) -> None:
    scene = served_scene(BUSY)
    scene.apply(policy(profile={"path": str(PROFILE)}))
    scene.wait_condition("ProfileLoaded", "True", "Loaded")
    scene.wait_replicas(prefill=4, decode=2)


@pytest.mark.parametrize(
    "path", ["/etc", f"{PROFILES}/../../tests"], ids=["elsewhere", "out-through-the-parent"]
)
def test_any_other_directory_is_refused(served_scene: Serve, path: str) -> None:
    scene = served_scene(BUSY)
    scene.apply(policy(profile={"path": path}))
    said = scene.wait_condition("ProfileLoaded", "False", "ProfilePathNotAllowed")
    assert str(PROFILES) in said["message"]
    assert scene.replicas() == {"prefill": 1, "decode": 1}
