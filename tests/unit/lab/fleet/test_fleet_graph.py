"""What the fleet reads in a DynamoGraphDeployment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from slaplanner.core.model import Role
from slaplanner_lab.fleet.graph import ComponentKind, FleetError, read_graph

SAMPLES = Path(__file__).parents[3] / "crds" / "samples"


def sample(name: str) -> dict[str, Any]:
    obj: dict[str, Any] = yaml.safe_load((SAMPLES / name).read_text())
    obj["metadata"] |= {"namespace": "serving", "uid": "1", "generation": 1}
    return obj


def beta(*components: dict[str, Any], **annotations: str) -> dict[str, Any]:
    return {
        "apiVersion": "nvidia.com/v1beta1",
        "kind": "DynamoGraphDeployment",
        "metadata": {
            "name": "llama",
            "namespace": "serving",
            "annotations": {
                f"fleet.slaplanner.io/{key.replace('_', '-')}": text for key, text in annotations.items()
            },
        },
        "spec": {"components": list(components)},
    }


def worker(*args: str, **fields: Any) -> dict[str, Any]:
    main = {"name": "main", "args": list(args)}
    return {"name": "w", "type": "worker", "podTemplate": {"spec": {"containers": [main]}}, **fields}


@pytest.mark.parametrize(
    ("file", "prefill", "decode"),
    [
        ("v1alpha1-vllm-disagg.yaml", ("VllmPrefillWorker", 2, 2), ("VllmDecodeWorker", 3, 4)),
        (
            "v1beta1-trtllm-disagg.yaml",
            ("TRTLLMPrefillWorker", None, None),
            ("TRTLLMDecodeWorker", None, None),
        ),
        ("v1alpha1-sglang-script.yaml", ("prefill", None, None), ("decode", None, None)),
    ],
)
def test_both_versions_and_all_frameworks_have_two_roles_and_a_model(
    file: str, prefill: tuple[str, int | None, int | None], decode: tuple[str, int | None, int | None]
) -> None:
    graph = read_graph(sample(file))
    found = {one.role: one for one in graph.workers}
    for role, (name, replicas, gpus) in ((Role.PREFILL, prefill), (Role.DECODE, decode)):
        assert found[role].name == name
        assert found[role].gpus_per_replica > 0
        if replicas is not None:
            assert (found[role].replicas, found[role].gpus_per_replica) == (replicas, gpus)
    assert "/" in graph.model
    assert graph.dynamo_namespace == f"serving-{graph.name}"


@pytest.mark.parametrize(
    "args",
    [
        pytest.param(["--model", "Org/M"], id="list"),
        pytest.param(["--model=Org/M"], id="with an equals sign"),
        pytest.param(["-c", 'python3 -m dynamo.vllm \\\n  --model "Org/M" \\\n  --x 1'], id="script"),
        pytest.param(["--model-path", "/p", "--served-model-name", "Org/M"], id="the served name first"),
    ],
)
def test_the_model_is_found_in_every_shape_of_arguments(args: list[str]) -> None:
    assert read_graph(beta(worker(*args))).model == "Org/M"


def test_without_arguments_the_model_is_called_like_the_graph() -> None:
    assert read_graph(beta(worker())).model == "llama"


def test_a_lone_worker_does_both() -> None:
    assert [one.role for one in read_graph(beta(worker())).workers] == [Role.AGG]


def test_replicas_that_are_not_given_mean_one() -> None:
    assert [one.replicas for one in read_graph(beta(worker(), worker(name="v", replicas=0))).components] == [
        1,
        0,
    ]


def test_several_nodes_multiply_the_gpus_and_ask_for_a_leader_worker_set() -> None:
    main = {"name": "main", "resources": {"limits": {"nvidia.com/gpu": "8"}}}
    pods = {"spec": {"containers": [main]}}
    (one,) = read_graph(beta(worker(multinode={"nodeCount": 2}, podTemplate=pods))).components
    assert one.gpus_per_replica == 16
    assert one.kind is ComponentKind.LEADER_WORKER_SET


@pytest.mark.parametrize(
    ("change", "moves"),
    [
        pytest.param({"replicas": 7}, False, id="replicas"),
        pytest.param({"scalingAdapter": {}}, False, id="adapter"),
        pytest.param({"env": [{"name": "A", "value": "1"}]}, True, id="environment"),
    ],
)
def test_only_the_pod_template_starts_a_rollout(change: dict[str, Any], moves: bool) -> None:
    before, after = (read_graph(beta(worker(**fields))).components[0] for fields in ({}, change))
    assert (before.revision != after.revision) is moves


def test_components_of_the_global_namespace_live_in_dynamo() -> None:
    assert read_graph(beta(worker(globalDynamoNamespace=True))).dynamo_namespace == "dynamo"


def test_annotations_say_what_shall_happen() -> None:
    graph = read_graph(
        beta(
            worker(),
            startup_seconds="2.5",
            crash_looping="w=2",
            capacity_gpus="16",
            amplify="3",
            kind="PodClique",
        )
    )
    assert (graph.startup_s, graph.amplify, graph.faults.capacity_gpus) == (2.5, 3, 16)
    assert graph.faults.crash_looping == {"w": 2}
    assert graph.components[0].kind is ComponentKind.POD_CLIQUE


@pytest.mark.parametrize(
    ("annotations", "message"),
    [
        ({"startup_seconds": "soon"}, "'soon'"),
        ({"startup_seconds": "nan"}, "'nan'"),
        ({"capacity_gpus": "-1"}, "at least 0"),
        ({"crash_looping": "decode"}, "component=count"),
        ({"kind": "StatefulSet"}, "StatefulSet"),
    ],
)
def test_an_annotation_that_cannot_be_read_says_so(annotations: dict[str, str], message: str) -> None:
    with pytest.raises(FleetError, match=message):
        read_graph(beta(worker(), **annotations))


@pytest.mark.parametrize(
    "component",
    [
        pytest.param({"type": "worker"}, id="no name"),
        pytest.param(worker(podTemplate={"spec": {"containers": ["main"]}}), id="a container that is none"),
        pytest.param(
            worker(
                podTemplate={
                    "spec": {
                        "containers": [{"name": "main", "resources": {"limits": {"nvidia.com/gpu": "1k"}}}]
                    }
                }
            ),
            id="a thousand GPUs",
        ),
    ],
)
def test_a_graph_that_cannot_be_read_does_not_stop_the_others(component: dict[str, Any]) -> None:
    with pytest.raises(FleetError, match="found"):
        read_graph(beta(component))
