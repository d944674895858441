"""What is meant for others' operators, on an API server that has their definitions: monitors, rules, how-tos."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import yaml

from tests.testbed import Bed, Cluster, Served, install_dynamo
from tests.testbed.definitions import neighbours_definitions
from tests.testbed.missing import or_skip

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts/slaplanner"
SYSTEM = "slaplanner-system"
PAGES = ("keda", "quotas", "rollouts")

Helm = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def neighbourhood(bed: Bed) -> Iterator[Cluster]:
    """A cluster with the operator's objects, Dynamo's definitions and those of the neighbours."""
    cluster = or_skip(lambda: bed.another_control_plane("neighbours"))
    cluster.install_crds(*or_skip(lambda: list(neighbours_definitions())))
    install_dynamo(cluster, Served.V1BETA1)
    cluster.kubectl("apply", "--server-side", "--kustomize", ROOT / "manifests")
    cluster.kubectl("wait", "--for=condition=Established", "crd/slapolicies.slaplanner.io", "--timeout=60s")
    cluster.kubectl("create", "namespace", "serving")
    yield cluster
    cluster.stop()


def dry_run(cluster: Cluster, document: str) -> list[str]:
    """The objects that the API server would store; it refuses an unknown field."""
    answer = cluster.kubectl(
        *(
            "apply",
            "--server-side",
            "--force-conflicts",
            "--dry-run=server",
            "--validate=strict",
            "--filename=-",
        ),
        stdin=document,
    )
    assert "Warning" not in answer.stderr, answer.stderr
    return answer.stdout.splitlines()


def blocks(page: str) -> list[str]:
    text = (ROOT / f"docs/how-to/{page}.md").read_text()
    return re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    ("page", "block"), [pytest.param(page, block, id=page) for page in PAGES for block in blocks(page)]
)
def test_the_objects_of_a_how_to_are_taken(neighbourhood: Cluster, page: str, block: str) -> None:
    assert len(dry_run(neighbourhood, block)) == len(list(yaml.safe_load_all(block))), page


def test_each_page_has_objects() -> None:
    assert [page for page in PAGES if not blocks(page)] == []


@pytest.mark.parametrize(
    "folder",
    ["manifests/monitoring", "manifests/overlays/high-availability", "manifests/overlays/namespaced"],
)
def test_what_kustomize_builds_is_taken(neighbourhood: Cluster, folder: str) -> None:
    built = neighbourhood.kubectl("kustomize", ROOT / folder).stdout
    assert dry_run(neighbourhood, built)


@pytest.mark.parametrize("file", ["manifests/monitoring/servicemonitor.yaml", "manifests/networkpolicy.yaml"])
def test_a_file_that_stands_alone_is_taken(neighbourhood: Cluster, file: str) -> None:
    assert dry_run(neighbourhood, (ROOT / file).read_text())


@pytest.mark.parametrize("monitor", ["PodMonitor", "ServiceMonitor"])
def test_what_the_chart_renders_with_everything_on_is_taken(
    neighbourhood: Cluster, helm: Helm, monitor: str
) -> None:
    options: Sequence[str] = (
        "replicas=2",
        "networkPolicy.install=true",
        f"monitoring.monitor={monitor}",
        "monitoring.rules=true",
        "monitoring.dashboards=true",
        "monitoring.labels.release=kube-prometheus-stack",
    )
    rendered = helm(
        "template", "slaplanner", CHART, f"--namespace={SYSTEM}", f"--set={','.join(options)}"
    ).stdout
    kinds = [line.partition("/")[0].partition(".")[0] for line in dry_run(neighbourhood, rendered)]
    assert len(kinds) == len([one for one in yaml.safe_load_all(rendered) if one])
    assert {monitor.lower(), "prometheusrule", "networkpolicy", "poddisruptionbudget", "role"} <= set(kinds)
    monitoring = [
        one for one in yaml.safe_load_all(rendered) if one and one["kind"] in (monitor, "PrometheusRule")
    ]
    assert [one["metadata"]["labels"]["release"] for one in monitoring] == ["kube-prometheus-stack"] * 2
