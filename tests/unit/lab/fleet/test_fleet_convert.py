"""Conversion between v1alpha1 and v1beta1 loses nothing, and live fields always win."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaplanner_lab.fleet.convert import convert_adapter, convert_graph
from slaplanner_lab.fleet.graph import FleetError

ALPHA = "nvidia.com/v1alpha1"
BETA = "nvidia.com/v1beta1"

NAMES = st.sampled_from(["Frontend", "VllmPrefillWorker", "VllmDecodeWorker", "decode", "Zeta"])
SCALARS = st.one_of(st.booleans(), st.integers(0, 9), st.text("abc", max_size=4))
CPU = st.fixed_dictionaries(
    {"cpu": st.just("1")},
    optional={
        "gpu": st.just("8"),
        "gpuType": st.just("gpu.intel.com/i915"),
        "custom": st.just({"rdma/ib": "1"}),
    },
)
BETA_CPU = st.dictionaries(
    st.sampled_from(["cpu", "memory", "nvidia.com/gpu", "rdma/ib"]), st.sampled_from(["1", "8"]), min_size=1
)


def resources(amounts: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional={"limits": amounts, "requests": amounts})


CONTAINER = st.fixed_dictionaries(
    {}, optional={"image": st.just("vllm"), "args": st.lists(st.text("-=ab", max_size=5), max_size=3)}
)
ALPHA_SERVICE = st.fixed_dictionaries(
    {},
    optional={
        "componentType": st.sampled_from(["frontend", "worker", "planner", "prefill", "custom"]),
        "subComponentType": st.sampled_from(["prefill", "decode", "odd"]),
        "replicas": st.integers(0, 40),
        "scalingAdapter": st.fixed_dictionaries({}, optional={"enabled": st.booleans()}),
        "multinode": st.just({"nodeCount": 2}),
        "resources": resources(CPU),
        "envs": st.just([{"name": "A", "value": "1"}]),
        "extraPodSpec": st.fixed_dictionaries(
            {},
            optional={
                "mainContainer": CONTAINER,
                "nodeSelector": st.just({"gpu": "h100"}),
                "containers": st.just([{"name": "side"}]),
            },
        ),
        "ingress": st.just({"enabled": True}),
        "serviceName": st.text("ab", max_size=3),
    },
)
BETA_COMPONENT = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["frontend", "worker", "prefill", "decode", "planner"]),
        "replicas": st.integers(0, 40),
        "scalingAdapter": st.just({}),
        "multinode": st.just({"nodeCount": 4}),
        "env": st.just([{"name": "A", "value": "1"}]),
        "podTemplate": st.fixed_dictionaries(
            {},
            optional={
                "metadata": st.just({"labels": {"a": "b"}}),
                "spec": st.fixed_dictionaries(
                    {},
                    optional={
                        "containers": st.lists(
                            st.builds(
                                lambda name, body, amounts: {"name": name, **body, "resources": amounts},
                                st.sampled_from(["main", "side"]),
                                CONTAINER,
                                resources(BETA_CPU),
                            ),
                            max_size=2,
                            unique_by=lambda one: one["name"],
                        ),
                        "priority": SCALARS,
                    },
                ),
            },
        ),
        "experimental": st.just({"checkpoint": {"mode": "Auto"}}),
    },
)
COUNTS = st.fixed_dictionaries(
    {
        "componentKind": st.just("Deployment"),
        "replicas": st.integers(0, 9),
        "updatedReplicas": st.integers(0, 9),
    },
    optional={"readyReplicas": st.integers(0, 9), "componentNames": st.just(["x-old", "x-new"])},
)
COMMON_STATUS = {
    "state": st.just("successful"),
    "conditions": st.just([{"type": "Ready", "status": "True"}, {"type": "SLAMet", "status": "False"}]),
}


def envelope(version: str, spec: dict[str, Any], status: dict[str, Any] | None) -> dict[str, Any]:
    obj: dict[str, Any] = {
        "apiVersion": version,
        "kind": "DynamoGraphDeployment",
        "metadata": {"name": "llama", "namespace": "serving", "uid": "1"},
        "spec": spec,
    }
    return obj if status is None else {**obj, "status": status}


ALPHA_GRAPHS = st.builds(
    envelope,
    st.just(ALPHA),
    st.fixed_dictionaries(
        {},
        optional={
            "services": st.dictionaries(NAMES, ALPHA_SERVICE, max_size=4),
            "backendFramework": st.just("vllm"),
            "pvcs": st.just([{"name": "cache"}]),
            "envs": st.just([{"name": "B", "value": "2"}]),
        },
    ),
    st.none()
    | st.fixed_dictionaries(
        COMMON_STATUS,
        optional={
            "services": st.dictionaries(NAMES, COUNTS, max_size=3),
            "rollingUpdate": st.just({"phase": "InProgress", "updatedServices": ["decode"]}),
        },
    ),
)
BETA_GRAPHS = st.builds(
    envelope,
    st.just(BETA),
    st.fixed_dictionaries(
        {},
        optional={
            "components": st.dictionaries(NAMES, BETA_COMPONENT, max_size=4).map(
                lambda named: [{"name": name, **one} for name, one in named.items()]
            ),
            "env": st.just([{"name": "B", "value": "2"}]),
            "experimental": st.just({"kvTransferPolicy": {}}),
            "topologyConstraint": st.just({"packDomain": "rack"}),
        },
    ),
    st.none()
    | st.fixed_dictionaries(
        COMMON_STATUS,
        optional={
            "components": st.dictionaries(NAMES, COUNTS, max_size=3),
            "rollingUpdate": st.just({"phase": "Completed", "updatedComponents": ["decode"]}),
        },
    ),
)


def as_stored(obj: dict[str, Any]) -> dict[str, Any]:
    """The API server keeps no order of a map's keys."""
    stored: dict[str, Any] = json.loads(json.dumps(obj, sort_keys=True))
    return stored


@given(ALPHA_GRAPHS)
def test_v1alpha1_comes_back_as_it_was_written(graph: dict[str, Any]) -> None:
    assert convert_graph(as_stored(convert_graph(graph, "v1beta1")), "v1alpha1") == graph


@given(BETA_GRAPHS)
def test_v1beta1_comes_back_as_it_was_written_order_included(graph: dict[str, Any]) -> None:
    assert convert_graph(as_stored(convert_graph(graph, "v1alpha1")), "v1beta1") == graph


@given(BETA_GRAPHS | ALPHA_GRAPHS)
def test_conversion_leaves_its_source_alone(graph: dict[str, Any]) -> None:
    before = copy.deepcopy(graph)
    convert_graph(graph, "v1alpha1" if graph["apiVersion"] == BETA else "v1beta1")
    assert graph == before


@given(ALPHA_GRAPHS, st.integers(0, 99))
def test_a_live_edit_beats_what_was_kept(graph: dict[str, Any], replicas: int) -> None:
    beta = convert_graph(graph, "v1beta1")
    for component in beta["spec"].get("components", []):
        component["replicas"] = replicas
        component["type"] = "decode"
    services = convert_graph(beta, "v1alpha1")["spec"].get("services", {})
    assert services.keys() == graph["spec"].get("services", {}).keys()
    for service in services.values():
        assert service["replicas"] == replicas
        assert "decode" in (service.get("subComponentType"), service.get("componentType"))


def test_both_versions_say_the_same_of_a_worker() -> None:
    alpha = envelope(
        ALPHA,
        {
            "services": {
                "VllmDecodeWorker": {
                    "componentType": "worker",
                    "subComponentType": "decode",
                    "replicas": 3,
                    "scalingAdapter": {"enabled": True},
                    "resources": {"limits": {"gpu": "4"}},
                    "extraPodSpec": {"mainContainer": {"image": "vllm", "args": ["--model", "m"]}},
                }
            }
        },
        None,
    )
    beta = convert_graph(alpha, "v1beta1")
    assert beta["metadata"] == alpha["metadata"]
    assert beta["spec"]["components"] == [
        {
            "name": "VllmDecodeWorker",
            "type": "decode",
            "replicas": 3,
            "scalingAdapter": {},
            "podTemplate": {
                "spec": {
                    "containers": [
                        {
                            "name": "main",
                            "image": "vllm",
                            "args": ["--model", "m"],
                            "resources": {"limits": {"nvidia.com/gpu": "4"}},
                        }
                    ]
                }
            },
        }
    ]


def test_a_removed_component_takes_what_was_kept_of_it_along() -> None:
    alpha = envelope(
        ALPHA, {"services": {"a": {"ingress": {"enabled": True}}, "b": {"serviceName": "x"}}}, None
    )
    beta = convert_graph(alpha, "v1beta1")
    beta["spec"]["components"] = [one for one in beta["spec"]["components"] if one["name"] == "b"]
    assert convert_graph(beta, "v1alpha1")["spec"] == {"services": {"b": {"serviceName": "x"}}}


@pytest.mark.parametrize("damaged", ["{", "[]", '{"spec": 3}', '{"spec": {"": []}}', '{"other": {"": {}}}'])
def test_a_damaged_annotation_keeps_nothing_and_breaks_nothing(damaged: str) -> None:
    beta = envelope(BETA, {"components": [{"name": "a", "type": "decode"}]}, None)
    beta["metadata"]["annotations"] = {"fleet.slaplanner.io/kept-v1alpha1": damaged}
    assert convert_graph(beta, "v1alpha1")["spec"]["services"]["a"]["subComponentType"] == "decode"


@pytest.mark.parametrize(
    ("obj", "to_version", "message"),
    [
        pytest.param(envelope(ALPHA, {}, None), "v2", "'v2'", id="unknown target"),
        pytest.param(envelope("nvidia.com/v0", {}, None), "v1beta1", "nvidia.com/v0", id="unknown source"),
        pytest.param(envelope(BETA, {"components": [3]}, None), "v1alpha1", "shape", id="not a component"),
    ],
)
def test_what_cannot_be_converted_says_why(obj: dict[str, Any], to_version: str, message: str) -> None:
    with pytest.raises(FleetError, match=message):
        convert_graph(obj, to_version)


def test_an_adapter_refers_to_a_service_or_a_component() -> None:
    alpha = {
        "apiVersion": ALPHA,
        "kind": "DynamoGraphDeploymentScalingAdapter",
        "metadata": {"name": "llama-decode"},
        "spec": {"replicas": 2, "dgdRef": {"name": "llama", "serviceName": "decode"}},
    }
    beta = convert_adapter(alpha, "v1beta1")
    assert beta["spec"] == {"replicas": 2, "dgdRef": {"name": "llama", "componentName": "decode"}}
    assert convert_adapter(beta, "v1alpha1") == alpha
