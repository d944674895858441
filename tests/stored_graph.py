"""One deployment on a real API server, and everybody else who writes to it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client

from slaplanner.adapters.deployment import (
    GraphConnector,
    GraphTarget,
    KubernetesApi,
    ModelDiscovery,
    bounded_client,
)
from slaplanner.core.model import Mode, RolePolicy
from tests.graphs import ALPHA, disagg
from tests.testbed import Cluster, Served, dynamo_kubeconfig


class StoredGraph:
    """The deployment `llama` in *namespace*, in one of the served versions."""

    def __init__(
        self, cluster: Cluster, namespace: str, served: Served, *, version: str | None = None
    ) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.served = served
        self.version = version or f"nvidia.com/{served.value[-1]}"
        self.where = f"--namespace={namespace}"
        # With its version: kubectl remembers the versions that an earlier test served.
        self.resource = self.resource_in(self.version)

    @staticmethod
    def resource_in(version: str, kind: str = "dynamographdeployments", name: str = "llama") -> str:
        return f"{kind}.{version.removeprefix('nvidia.com/')}.nvidia.com/{name}"

    def manifest(self, **parts: Any) -> dict[str, Any]:
        made = disagg(self.version, **parts)
        made["metadata"] = {"name": "llama", "namespace": self.namespace}
        return made

    def create(self, **parts: Any) -> None:
        """As `kubectl create` does it."""
        self.cluster.kubectl("create", "-f", "-", self.where, stdin=yaml.safe_dump(self.manifest(**parts)))

    def apply(self, manifest: Mapping[str, Any], *, manager: str = "argocd-controller") -> None:
        """A forced server-side apply, as GitOps tools do it."""
        self.cluster.kubectl(
            "apply", "--server-side", "--force-conflicts", f"--field-manager={manager}", "-f", "-", self.where,
            stdin=yaml.safe_dump(dict(manifest)),
        )  # fmt: skip

    def create_adapter(self, component: str, replicas: int) -> None:
        """As Dynamo's operator does it for a component that has one."""
        version = f"nvidia.com/{self.served.value[-1]}"
        key = "serviceName" if version == ALPHA else "componentName"
        adapter = {
            "apiVersion": version,
            "kind": "DynamoGraphDeploymentScalingAdapter",
            "metadata": {"name": self.adapter_name(component)},
            "spec": {"replicas": replicas, "dgdRef": {"name": "llama", key: component}},
        }
        self.cluster.kubectl("create", "-f", "-", self.where, stdin=yaml.safe_dump(adapter))

    def report_adapter(self, component: str, **status: Any) -> None:
        """Write an adapter's status as Dynamo's operator does it."""
        resource = self.resource_in(
            self.version, "dynamographdeploymentscalingadapters", self.adapter_name(component)
        )
        patch = json.dumps({"status": status})
        self.cluster.kubectl(
            "patch", resource, self.where, "--subresource=status", "--type=merge", f"--patch={patch}"
        )

    @staticmethod
    def adapter_name(component: str) -> str:
        return f"llama-{component.lower()}"

    def delete_adapter(self, component: str) -> None:
        kind = "dynamographdeploymentscalingadapters"
        resource = self.resource_in(self.version, kind, self.adapter_name(component))
        self.cluster.kubectl("delete", resource, self.where)

    def adapter_replicas(self, component: str) -> int:
        resource = self.resource_in(
            self.version, "dynamographdeploymentscalingadapters", self.adapter_name(component)
        )
        found = self.cluster.kubectl("get", resource, self.where, "-o", "json").stdout
        return int(json.loads(found)["spec"]["replicas"])

    def read(self, version: str | None = None) -> dict[str, Any]:
        found = self.cluster.kubectl(
            "get", self.resource_in(version or self.version), self.where, "-o", "json",
            "--show-managed-fields",
        ).stdout  # fmt: skip
        result: dict[str, Any] = json.loads(found)
        return result

    def replicas(self) -> dict[str, int | None]:
        """By worker; None where the manifest says nothing."""
        spec = self.read()["spec"]
        components = spec.get("services") or {one["name"]: one for one in spec["components"]}
        return {name: components[name].get("replicas") for name in ("prefill", "decode")}

    def managers(self) -> set[tuple[str, str]]:
        return {(entry["manager"], entry["operation"]) for entry in self.read()["metadata"]["managedFields"]}

    def report(self, *, ready: bool = True, present: Mapping[str, int] | None = None, **extra: Any) -> None:
        """Write the status as Dynamo's operator does; *present* by worker, else what the spec asks for."""
        graph = self.read()
        counts = {**{name: n or 1 for name, n in self.replicas().items()}, **(present or {})}
        status = {
            "state": "successful" if ready else "pending",
            "observedGeneration": graph["metadata"]["generation"],
            "conditions": [
                {
                    "type": "Ready",
                    "status": "True" if ready else "False",
                    "reason": "all_resources_are_ready" if ready else "pods_not_ready",
                    "message": "",
                    "lastTransitionTime": "2026-01-01T00:00:00Z",
                },
                *(
                    entry
                    for entry in graph.get("status", {}).get("conditions", [])
                    if entry["type"] != "Ready"
                ),
            ],
            "services" if self.version == ALPHA else "components": {
                name: {
                    "componentKind": "Deployment",
                    **({"componentName": name} if self.version == ALPHA else {}),
                    "replicas": count,
                    "updatedReplicas": count,
                    "readyReplicas": count,
                    "availableReplicas": count,
                }
                for name, count in counts.items()
            },
            **extra,
        }
        self.cluster.kubectl(
            "patch", self.resource,
            self.where, "--subresource=status", "--type=merge", f"--patch={json.dumps({'status': status})}",
            kubeconfig=dynamo_kubeconfig(self.cluster),
        )  # fmt: skip

    def conditions(self) -> dict[str, dict[str, Any]]:
        return {entry["type"]: entry for entry in self.read().get("status", {}).get("conditions", [])}

    def api(self, kubeconfig: Path | None = None) -> KubernetesApi:
        configuration: client.Configuration = self.cluster.api_client(kubeconfig=kubeconfig).configuration
        return KubernetesApi(bounded_client(configuration))

    def connector(
        self,
        *roles: RolePolicy,
        mode: Mode = Mode.DISAGG,
        kubeconfig: Path | None = None,
        api: KubernetesApi | None = None,
        discover: ModelDiscovery | None = None,
    ) -> GraphConnector:
        return GraphConnector(
            api or self.api(kubeconfig),
            GraphTarget(namespace=self.namespace, name="llama", mode=mode, roles=roles),
            discover=discover,
            pause=lambda _: None,
        )


def without_replicas(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest as it should be in Git once a policy scales it."""
    copy: dict[str, Any] = json.loads(json.dumps(manifest))
    spec = copy["spec"]
    workers = spec["services"].values() if copy["apiVersion"] == ALPHA else spec["components"]
    for worker in workers:
        worker.pop("replicas", None)
    return copy
