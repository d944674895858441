"""The Helm chart and the Kustomize overlays install the same objects."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.testbed import Cluster

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts/slaplanner"
SYSTEM = "slaplanner-system"
HELM_LABELS = {"helm.sh/chart", "app.kubernetes.io/managed-by", "app.kubernetes.io/version"}

Helm = Callable[..., subprocess.CompletedProcess[str]]
Objects = dict[tuple[str, str, str], Mapping[str, Any]]


def objects(rendered: str) -> Objects:
    """By kind, namespace and name, without what only Helm adds and with the settings as values."""
    found: Objects = {}
    for document in yaml.safe_load_all(rendered):
        if document is None:
            continue
        metadata = document["metadata"]
        for label in HELM_LABELS:
            metadata["labels"].pop(label, None)
        metadata.get("annotations", {}).pop("helm.sh/resource-policy", None)
        if not metadata.get("annotations"):
            metadata.pop("annotations", None)
        if document["kind"] == "ConfigMap":
            # Settings and dashboards: what they say, however it is spelt.
            document["data"] = {key: yaml.safe_load(text) for key, text in document["data"].items()}
        if document["kind"] == "Deployment":
            (container,) = document["spec"]["template"]["spec"]["containers"]
            # The default of a tag that is not `latest`; Kustomize leaves it to the API server.
            container.setdefault("imagePullPolicy", "IfNotPresent")
        key = (document["kind"], metadata.get("namespace", ""), metadata["name"])
        assert key not in found, f"{key} is rendered twice"
        found[key] = document
    return found


def template(helm: Helm, *options: str) -> str:
    return helm("template", "slaplanner", CHART, f"--namespace={SYSTEM}", *options).stdout


@pytest.mark.parametrize(
    ("overlay", "options"),
    [
        pytest.param("cluster", (), id="all-namespaces"),
        pytest.param("namespaced", ("--set", "watchNamespaces={serving}"), id="one-namespace"),
        pytest.param("high-availability", ("--set", "replicas=2"), id="two-replicas"),
    ],
)
def test_the_chart_renders_what_kustomize_renders(
    cluster: Cluster, helm: Helm, overlay: str, options: tuple[str, ...]
) -> None:
    by_helm = objects(template(helm, *options))
    by_kustomize = objects(cluster.kubectl("kustomize", ROOT / "manifests/overlays" / overlay).stdout)
    # `helm install --create-namespace` makes it.
    del by_kustomize["Namespace", "", SYSTEM]
    assert by_helm.keys() == by_kustomize.keys()
    for key, document in by_kustomize.items():
        assert by_helm[key] == document, key


def test_monitoring_and_the_network_policy_are_those_of_kustomize(cluster: Cluster, helm: Helm) -> None:
    options = ["networkPolicy.install=true", "monitoring.rules=true", "monitoring.dashboards=true"]
    with_pods, with_service, plain = (
        objects(template(helm, "--set", ",".join([*options, *more]) if more else "replicas=1"))
        for more in (["monitoring.monitor=PodMonitor"], ["monitoring.monitor=ServiceMonitor"], [])
    )
    by_kustomize = objects(cluster.kubectl("kustomize", ROOT / "manifests/monitoring").stdout)
    added = {key: with_pods[key] for key in with_pods.keys() - plain.keys()}
    policy = added.pop(("NetworkPolicy", SYSTEM, "slaplanner"))
    assert added == by_kustomize
    alone = yaml.safe_load((ROOT / "manifests/networkpolicy.yaml").read_text())
    assert policy["spec"] == alone["spec"]
    monitor = yaml.safe_load((ROOT / "manifests/monitoring/servicemonitor.yaml").read_text())
    assert with_service["ServiceMonitor", SYSTEM, "slaplanner"]["spec"] == monitor["spec"]
    assert {key[0] for key in with_service.keys() - with_pods.keys()} == {"ServiceMonitor"}


def test_a_lease_of_another_name_is_refused(helm: Helm) -> None:
    """The Role that the chart grants names one Lease."""
    answer = helm("template", "slaplanner", CHART, "--set", "settings.leaderElection.name=mine", check=False)
    assert answer.returncode != 0
    assert "found mine, wanted slaplanner" in answer.stderr


def test_a_real_api_server_takes_the_chart(control_plane: Cluster, helm: Helm, namespace: str) -> None:
    """In a namespace of another name, with every value set that renders something more."""
    values = {
        "image": {"repository": "registry.example.com/slaplanner", "digest": f"sha256:{'0' * 64}"},
        "watchNamespaces": [namespace],
        "serviceAccount": {"annotations": {"example.com/role": "planner"}},
        "priorityClassName": "system-cluster-critical",
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "infra", "operator": "Exists"}],
        "extraEnv": [{"name": "PROMETHEUS_ENDPOINT", "value": "http://prometheus:9090"}],
        "extraVolumes": [{"name": "credentials", "secret": {"secretName": "prometheus"}}],
        "extraVolumeMounts": [{"name": "credentials", "mountPath": "/etc/slaplanner-credentials"}],
    }
    file = control_plane.scratch / f"values-{namespace}.yaml"
    file.write_text(yaml.safe_dump(values))
    rendered = helm("template", "planner", CHART, f"--namespace={namespace}", "--values", file).stdout
    answer = control_plane.kubectl(
        "apply", "--server-side", "--force-conflicts", "--dry-run=server", "--filename=-", stdin=rendered
    )
    assert len(answer.stdout.splitlines()) == len(objects(rendered))
    (deployment,) = [one for key, one in objects(rendered).items() if key[0] == "Deployment"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"registry.example.com/slaplanner@sha256:{'0' * 64}"


@pytest.mark.parametrize(
    ("option", "named"),
    [
        pytest.param("settings.prometheus.default.uri=http://p:9090", "uri", id="unknown-setting"),
        pytest.param("settings.heartbeatSeconds=often", "heartbeatSeconds", id="setting-of-another-type"),
        pytest.param("settings.watchedNamespaces={a}", "watchedNamespaces", id="namespaces-in-two-places"),
        pytest.param("watchNamespaces={Not_A_Namespace}", "watchNamespaces", id="not-a-namespace"),
        pytest.param("replicas=0", "replicas", id="no-operator"),
        pytest.param("monitoring.monitor=Both", "monitor", id="no-such-monitor"),
        pytest.param("image.digest=latest", "digest", id="not-a-digest"),
    ],
)
def test_values_that_cannot_work_are_refused_by_name(helm: Helm, option: str, named: str) -> None:
    answer = helm("template", "slaplanner", CHART, "--set", option, check=False)
    assert answer.returncode != 0
    assert named in answer.stderr


def test_helm_finds_nothing_to_complain_about(helm: Helm) -> None:
    answer = helm("lint", "--strict", CHART)
    assert "[WARNING]" not in answer.stdout


def test_uninstalling_keeps_the_definition_and_so_all_policies(helm: Helm) -> None:
    (definition,) = [
        document
        for document in yaml.safe_load_all(template(helm))
        if document["kind"] == "CustomResourceDefinition"
    ]
    assert definition["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert "CustomResourceDefinition" not in template(helm, "--set", "crd.install=false")
