"""Dynamo's definitions as the test cluster serves them: as strict, and as open, as the real ones."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from tests.testbed import Cluster, Served, dynamo_kubeconfig, install_dynamo, uninstall_dynamo

SAMPLES = Path(__file__).parents[1] / "crds" / "samples"
SAMPLE_FILES = sorted(SAMPLES.glob("*.yaml"))


def served_for(sample: Path) -> Served:
    return Served.V1ALPHA1 if sample.name.startswith("v1alpha1") else Served.V1BETA1


class Graph(NamedTuple):
    """A stored deployment with an adapter on decode, as arguments of kubectl."""

    resource: str
    where: str
    seven_replicas: tuple[str, str]


SEVEN_DECODE_REPLICAS = {
    Served.V1ALPHA1: ("--type=merge", '--patch={"spec": {"services": {"decode": {"replicas": 7}}}}'),
    Served.V1BETA1: (
        "--type=json",
        '--patch=[{"op": "replace", "path": "/spec/components/2/replicas", "value": 7}]',
    ),
}


@pytest.mark.parametrize("sample", SAMPLE_FILES, ids=lambda path: path.stem)
def test_a_manifest_is_stored_as_it_was_written(
    cluster: Cluster, dynamo: Callable[..., None], namespace: str, sample: Path
) -> None:
    dynamo(served_for(sample))
    cluster.kubectl(
        "apply", "--server-side", "--validate=strict", f"--filename={sample}", f"--namespace={namespace}"
    )
    stored = yaml.safe_load(
        cluster.kubectl("get", "dynamographdeployments", f"--namespace={namespace}", "-o", "yaml").stdout
    )["items"]
    assert [item["spec"] for item in stored] == [yaml.safe_load(sample.read_text())["spec"]]


@pytest.mark.parametrize(
    "sample",
    ["v1alpha1-sglang-script.yaml", "v1beta1-trtllm-disagg.yaml"],
    ids=["v1alpha1", "v1beta1"],
    scope="class",
)
class TestReplicasUnderAScalingAdapter:
    @pytest.fixture
    def graph(self, cluster: Cluster, namespace: str, sample: str) -> Graph:
        file = SAMPLES / sample
        install_dynamo(cluster, served_for(file))
        where = f"--namespace={namespace}"
        created = cluster.kubectl("create", f"--filename={file}", where, "-o", "name").stdout.strip()
        return Graph(created, where, SEVEN_DECODE_REPLICAS[served_for(file)])

    def test_an_edit_by_anybody_is_refused(self, cluster: Cluster, graph: Graph) -> None:
        refused = cluster.kubectl("patch", graph.resource, graph.where, *graph.seven_replicas, check=False)
        assert refused.returncode == 1
        assert "the replicas of" in refused.stderr
        assert "belong to a scaling adapter" in refused.stderr

    def test_dynamos_operator_may_edit_them(self, cluster: Cluster, graph: Graph) -> None:
        identity = dynamo_kubeconfig(cluster)
        cluster.kubectl("patch", graph.resource, graph.where, *graph.seven_replicas, kubeconfig=identity)

    def test_anything_else_may_be_edited(self, cluster: Cluster, graph: Graph) -> None:
        labels = '--patch={"spec": {"labels": {"team": "search"}}}'
        cluster.kubectl("patch", graph.resource, graph.where, "--type=merge", labels)


def test_the_scale_subresource_of_an_adapter_sets_its_replicas(
    cluster: Cluster, dynamo: Callable[..., None], namespace: str
) -> None:
    dynamo(Served.V1BETA1)
    adapter = {
        "apiVersion": "nvidia.com/v1beta1",
        "kind": "DynamoGraphDeploymentScalingAdapter",
        "metadata": {"name": "trtllm-disagg-trtllmdecodeworker", "namespace": namespace},
        "spec": {"replicas": 4, "dgdRef": {"name": "trtllm-disagg", "componentName": "TRTLLMDecodeWorker"}},
    }
    where = f"--namespace={namespace}"
    cluster.kubectl("create", "--filename=-", stdin=yaml.safe_dump(adapter))
    cluster.kubectl("scale", "dgdsa/trtllm-disagg-trtllmdecodeworker", where, "--replicas=6")
    stored = cluster.kubectl("get", "dgdsa", where, "-o", "jsonpath={.items[*].spec.replicas}").stdout
    assert stored == "6"


def test_conditions_are_atomic_in_v1alpha1_and_keyed_by_type_in_v1beta1(
    cluster: Cluster, dynamo: Callable[..., None], namespace: str
) -> None:
    """Two managers apply one condition each, server-side: what is left of the first?"""
    left = {}
    for served in (Served.V1ALPHA1, Served.V1BETA1):
        dynamo(served)
        for manager in ("Ready", "SLAPlanned"):
            graph = {
                "apiVersion": f"nvidia.com/{served.value[0]}",
                "kind": "DynamoGraphDeployment",
                "metadata": {"name": "graph", "namespace": namespace},
            }
            condition = {
                "type": manager,
                "status": "True",
                "reason": "Test",
                "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }
            if manager == "Ready":
                cluster.kubectl("create", "--filename=-", stdin=yaml.safe_dump({**graph, "spec": {}}))
            cluster.kubectl(
                "apply",
                "--server-side",
                "--force-conflicts",
                "--subresource=status",
                f"--field-manager={manager}",
                "--filename=-",
                stdin=yaml.safe_dump({**graph, "status": {"state": "successful", "conditions": [condition]}}),
            )
        left[served] = cluster.kubectl(
            "get", "dgd", "graph", f"--namespace={namespace}", "-o", "jsonpath={.status.conditions[*].type}"
        ).stdout
    assert left == {Served.V1ALPHA1: "SLAPlanned", Served.V1BETA1: "Ready SLAPlanned"}


def test_a_cluster_can_forget_dynamo(cluster: Cluster, dynamo: Callable[..., None]) -> None:
    dynamo(Served.V1ALPHA1)
    uninstall_dynamo(cluster)
    assert "nvidia.com" not in cluster.kubectl("api-resources", "-o", "name").stdout
