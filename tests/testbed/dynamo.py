"""Dynamo's definitions, identity and admission on a test cluster.

A cluster serves v1alpha1 alone (older releases), v1beta1 alone, or both with a webhook between
them. A definition whose stored version changes cannot be edited into place: it is deleted, with its
objects, and made anew.
"""

import hashlib
import json
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import yaml

from slaplanner_lab.fleet import install
from slaplanner_lab.fleet.install import ConversionWebhook
from tests.testbed.cluster import Cluster
from tests.testbed.processes import wait_until

OPERATOR = install.CRDS / "dynamo-operator.yaml"
OPERATOR_NAMESPACE = "dynamo-system"
OPERATOR_SERVICE_ACCOUNT = "dynamo-operator"
INSTALLED = "slaplanner.io/testbed-installed"
"""On a definition: the hash of what was installed completely, so that the next test need not."""
DEFINITIONS = ("dynamographdeployments", "dynamographdeploymentscalingadapters")


class Served(Enum):
    """Which versions of `nvidia.com` the cluster serves; the last one is stored."""

    V1ALPHA1 = ("v1alpha1",)
    V1BETA1 = ("v1beta1",)
    BOTH = ("v1alpha1", "v1beta1")


def definitions(served: Served, *, webhook: ConversionWebhook | None = None) -> list[dict[str, Any]]:
    """The two definitions with the versions of *served*.

    Without a *webhook*, `BOTH` falls back to the strategy None, which empties what it converts.
    """
    return install.definitions(served.value, webhook=webhook)


def install_dynamo(cluster: Cluster, served: Served, *, webhook: ConversionWebhook | None = None) -> None:
    """Serve exactly *served*, with Dynamo's admission in force; objects of other versions are lost."""
    wanted = definitions(served, webhook=webhook)
    mark = hashlib.sha256(json.dumps(wanted).encode() + OPERATOR.read_bytes()).hexdigest()[:16]
    if all(_annotation(cluster, definition) == mark for definition in wanted):
        return
    for definition in wanted:
        name = definition["metadata"]["name"]
        if _served_now(cluster, name) not in (None, served.value):
            cluster.delete_crds(name)
    files = [cluster.scratch / f"{definition['metadata']['name']}.yaml" for definition in wanted]
    for file, definition in zip(files, wanted, strict=True):
        file.write_text(yaml.safe_dump(definition))
    cluster.install_crds(*files)
    cluster.kubectl("apply", "--server-side", "--force-conflicts", f"--filename={OPERATOR}")
    if webhook is not None or served is not Served.BOTH:
        _wait_for_admission(cluster, served)
    names = [definition["metadata"]["name"] for definition in wanted]
    cluster.kubectl("annotate", "--overwrite", "customresourcedefinition", *names, f"{INSTALLED}={mark}")


def uninstall_dynamo(cluster: Cluster) -> None:
    """Back to a cluster that has never heard of Dynamo."""
    cluster.delete_crds(*(f"{name}.nvidia.com" for name in DEFINITIONS))
    cluster.kubectl("delete", f"--filename={OPERATOR}", "--ignore-not-found", "--timeout=60s")


def dynamo_kubeconfig(cluster: Cluster) -> Path:
    """The identity that may edit replicas under a scaling adapter: for whoever plays Dynamo's operator."""
    return cluster.service_account_kubeconfig(namespace=OPERATOR_NAMESPACE, name=OPERATOR_SERVICE_ACCOUNT)


def _served_now(cluster: Cluster, name: str) -> tuple[str, ...] | None:
    return tuple(_field(cluster, name, "{.spec.versions[*].name}").split()) or None


def _annotation(cluster: Cluster, definition: Mapping[str, Any]) -> str:
    key = INSTALLED.replace(".", "\\.")
    return _field(cluster, definition["metadata"]["name"], f"{{.metadata.annotations.{key}}}")


def _field(cluster: Cluster, name: str, path: str) -> str:
    """What *path* finds in the definition *name*; empty when one of the two is absent."""
    arguments = ("get", "customresourcedefinition", name, "--ignore-not-found", "-o", f"jsonpath={path}")
    return cluster.kubectl(*arguments).stdout


def _wait_for_admission(cluster: Cluster, served: Served) -> None:
    """A policy acts some time after it was stored: edit a canary until the edit is refused."""
    version = served.value[-1]
    canary: Mapping[str, Any] = {
        "apiVersion": f"nvidia.com/{version}",
        "kind": "DynamoGraphDeployment",
        "metadata": {"name": "admission-canary", "namespace": OPERATOR_NAMESPACE},
        "spec": {"services": {"worker": {"replicas": 1, "scalingAdapter": {"enabled": True}}}}
        if version == "v1alpha1"
        else {"components": [{"name": "worker", "replicas": 1, "scalingAdapter": {}}]},
    }
    path = "/spec/services/worker/replicas" if version == "v1alpha1" else "/spec/components/0/replicas"
    edit = json.dumps([{"op": "replace", "path": path, "value": 2}])
    resource = f"dynamographdeployments.{version}.nvidia.com/admission-canary"
    where = f"--namespace={OPERATOR_NAMESPACE}"
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(canary))

    def refused() -> bool:
        answer = cluster.kubectl(
            "patch", resource, where, "--type=json", f"--patch={edit}", "--dry-run=server", check=False
        )
        return "scaling adapter" in answer.stderr

    wait_until(refused, what="the admission policy of scaling adapters to act")
    cluster.kubectl("delete", resource, where, "--wait=false")
