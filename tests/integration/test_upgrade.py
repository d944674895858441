"""From the first version's manifests to these, with policies in place: none is lost, none is planned from nothing.

The policies are stored with the status that the first version's operator wrote (tests/upgrade/0.1.0).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.budget_watch import budget_watch
from tests.operator_program import OperatorProgram, running_operator
from tests.played_load import Load, PlayedLoads
from tests.scene import NAME, Scene, wait_scraped
from tests.testbed import Bed, Cluster, PrometheusServer, Served, install_dynamo
from tests.testbed.missing import or_skip

ROOT = Path(__file__).parents[2]
FIRST = ROOT / "tests/upgrade/0.1.0"
SYSTEM = "slaplanner-system"
BUSY = Load(requests_s=60.0, isl=1000.0, osl=200.0, ttft_s=0.12, itl_s=0.012)
"""What was served when the status was recorded."""
STORED = ("enforced", "paused")


def stored(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The policy, and the deployment that it scales."""
    policy, graph = yaml.safe_load_all((FIRST / f"{name}.yaml").read_text())
    return policy, graph


@dataclass(frozen=True, slots=True)
class Before:
    """A policy as it lay in the API server when the upgrade came."""

    scene: Scene
    uid: str
    status: dict[str, Any]
    replicas: dict[str, int]


def store(scene: Scene, name: str) -> Before:
    """Policy and deployment with their recorded status; what names the deployment's uid names the new one."""
    policy, graph = stored(name)
    scene.apply_profile()
    scene.apply(graph, policy)
    recorded = graph["status"]
    scene.patch(scene.graph_kind, NAME, {"status": recorded}, subresource="status")
    old_uid = policy["status"]["target"]["uid"]
    text = json.dumps(policy["status"]).replace(old_uid, scene.get(scene.graph_kind)["metadata"]["uid"])
    text = text.replace(policy["status"]["target"]["dynamoNamespace"], scene.dynamo_namespace)
    scene.patch("slapolicy", NAME, {"status": json.loads(text)}, subresource="status")
    scene.settle()
    uid = scene.get("slapolicy")["metadata"]["uid"]
    return Before(scene, uid, scene.status(), scene.replicas())


@pytest.fixture(scope="module")
def upgraded(
    bed: Bed,
    played_loads: PlayedLoads,
    prometheus_server: PrometheusServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Cluster, dict[str, Before], OperatorProgram]]:
    """A cluster that had the first version, with its policies, and now runs this one."""
    cluster = or_skip(lambda: bed.another_control_plane("upgrade"))
    install_dynamo(cluster, Served.V1BETA1)
    # As the first version's README said: without --server-side.
    cluster.kubectl("apply", "-f", FIRST / "manifests.yaml")
    cluster.kubectl("wait", "--for=condition=Established", "crd/slapolicies.slaplanner.io", "--timeout=60s")
    before = {}
    for name in STORED:
        namespace = f"upgrade-{name}-{os.getpid()}"
        cluster.kubectl("create", "namespace", namespace)
        scene = Scene(cluster=cluster, namespace=namespace, loads=played_loads)
        scene.play(BUSY)
        before[name] = store(scene, name)
    for one in before.values():
        wait_scraped(one.scene, prometheus_server)
    # As docs/how-to/upgrade.md says.
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "--kustomize", ROOT / "manifests")
    scratch = tmp_path_factory.mktemp("operator")
    with running_operator(cluster, scratch, prometheus=prometheus_server.url) as program:
        yield cluster, before, program
    cluster.stop()


@pytest.mark.parametrize("name", STORED)
def test_a_policy_goes_on_from_what_it_knew(
    upgraded: tuple[Cluster, dict[str, Before], OperatorProgram], name: str
) -> None:
    _, found, program = upgraded
    before = found[name]
    scene = before.scene
    with budget_watch(scene) as watched:
        scene.wait_plans(3)
        scene.wait_condition("Ready", "True", "Planned")
    assert scene.get("slapolicy")["metadata"]["uid"] == before.uid
    now = scene.status()
    # Decisions are counted on, and those of the first version are still told.
    assert now["lastDecision"]["id"] >= before.status["lastDecision"]["id"] + 3
    kept = {one["id"]: one["message"] for one in before.status["decisions"]}
    assert kept.items() <= {one["id"]: one["message"] for one in now["decisions"]}.items()
    # The measured start-up is remembered to the second.
    assert now["startup"]["source"] == before.status["startup"]["source"] == "Measured"
    assert now["startup"]["seconds"] == pytest.approx(before.status["startup"]["seconds"], abs=0.5)
    # The same load has the same replicas: none was given back for want of memory.
    roles = {role["name"]: role["current"] for role in before.status["roles"]}
    for asked in watched.asked():
        assert all(asked[role] >= replicas for role, replicas in roles.items()), watched.asked()
    assert scene.events("PlannerStateDropped") == []
    dropped = [line for line in program.log() if line.get("message") == "planner state dropped"]
    assert dropped == []


def test_a_pause_of_the_first_version_still_holds(
    upgraded: tuple[Cluster, dict[str, Before], OperatorProgram],
) -> None:
    scene = upgraded[1]["paused"].scene
    scene.wait_plans()
    assert scene.condition("Paused")["reason"] == "PausedScaleIn"


def test_what_the_first_version_installed_is_replaced_or_named(
    upgraded: tuple[Cluster, dict[str, Before], OperatorProgram],
) -> None:
    """What no manifest names any more stays behind; the upgrade page says how to delete it."""
    cluster, _, _ = upgraded
    found = json.loads(cluster.kubectl("get", "configmaps", "-n", SYSTEM, "-o", "json").stdout)
    names = {one["metadata"]["name"] for one in found["items"]} - {"kube-root-ca.crt"}
    (left,) = names - {"slaplanner-settings"}
    assert left in (ROOT / "docs/how-to/upgrade.md").read_text()
    deployment = json.loads(
        cluster.kubectl("get", "deployment", "slaplanner", "-n", SYSTEM, "-o", "json").stdout
    )
    (volume,) = [one for one in deployment["spec"]["template"]["spec"]["volumes"] if "configMap" in one]
    assert volume["configMap"]["name"] == "slaplanner-settings"
    again = cluster.kubectl("apply", "--server-side", "--kustomize", ROOT / "manifests", "--dry-run=server")
    assert "conflict" not in again.stderr
