"""What the fleet tells the API server about one graph, and when."""

from __future__ import annotations

from typing import Any

import pytest

from slaplanner_lab.engine import EngineTables
from slaplanner_lab.fleet.graph import Faults
from slaplanner_lab.fleet.options import Options
from slaplanner_lab.fleet.played import ApiWrite, Played

OPTIONS = Options(tables=EngineTables.constant(ttft_ms=50.0, itl_ms=5.0), startup_s=20.0)
NOW_S = 1000.0


def graph(
    *, decode: int = 2, adapter: bool = False, version: str = "v1beta1", **status: Any
) -> dict[str, Any]:
    scaling: dict[str, Any] = {"scalingAdapter": {"enabled": True} if version == "v1alpha1" else {}}
    fields: dict[str, Any] = {"replicas": decode, **(scaling if adapter else {})}
    if version == "v1alpha1":
        spec: dict[str, Any] = {"services": {"decode": {"subComponentType": "decode", **fields}}}
    else:
        main = {"name": "main", "resources": {"limits": {"nvidia.com/gpu": "2"}}}
        pods = {"podTemplate": {"spec": {"containers": [main]}}}
        spec = {"components": [{"name": "decode", "type": "decode", **pods, **fields}]}
    return {
        "apiVersion": f"nvidia.com/{version}",
        "kind": "DynamoGraphDeployment",
        "metadata": {"name": "llama", "namespace": "serving", "uid": "1", "resourceVersion": "7"},
        "spec": spec,
        "status": status,
    }


def adapter_of(asked: int, **status: Any) -> dict[str, dict[str, Any]]:
    reference = {"name": "llama", "componentName": "decode"}
    return {"llama-decode": {"spec": {"replicas": asked, "dgdRef": reference}, "status": status}}


def carry_out(obj: dict[str, Any], write: ApiWrite) -> dict[str, Any]:
    status = obj["status"] | write.body["status"]
    return {**obj, "status": {key: value for key, value in status.items() if value is not None}}


def test_the_status_is_written_when_it_moves_and_not_again() -> None:
    obj = graph()
    played = Played.start(obj, OPTIONS, NOW_S)
    played.move(NOW_S)
    (write,) = played.writes({}, NOW_S)
    assert write.path.endswith("/namespaces/serving/dynamographdeployments/llama/status")
    assert write.body["metadata"] == {"resourceVersion": "7"}
    played.observe(carry_out(obj, write))
    played.move(NOW_S + 19.0)
    assert played.writes({}, NOW_S + 19.0) == []
    played.move(NOW_S + 20.0)
    (write,) = played.writes({}, NOW_S + 20.0)
    assert write.body["status"]["components"]["decode"]["readyReplicas"] == 2


def test_replicas_that_served_before_a_restart_of_the_fleet_go_on() -> None:
    played = Played.start(graph(components={"decode": {"readyReplicas": 1}}), OPTIONS, NOW_S)
    played.move(NOW_S)
    assert played.report()["replicas"]["decode"] == {"wanted": 2, "serving": 1, "present": 2}


@pytest.mark.parametrize(
    ("version", "path"),
    [("v1alpha1", "/spec/services/decode/replicas"), ("v1beta1", "/spec/components/0/replicas")],
)
def test_an_adapters_replicas_are_copied_before_any_status(version: str, path: str) -> None:
    played = Played.start(graph(adapter=True, version=version), OPTIONS, NOW_S)
    *_, write = played.writes(adapter_of(5, replicas=2), NOW_S)
    assert write.content_type == "application/json-patch+json"
    assert write.body == [
        {"op": "replace", "path": "/metadata/resourceVersion", "value": "7"},
        {"op": "add", "path": path, "value": 5},
    ]


def test_a_missing_adapter_is_made_with_what_the_graph_asks_for() -> None:
    write, *_ = Played.start(graph(adapter=True), OPTIONS, NOW_S).writes({}, NOW_S)
    assert write.method == "POST"
    assert write.body["metadata"]["name"] == "llama-decode"
    assert write.body["spec"] == {"replicas": 2, "dgdRef": {"name": "llama", "componentName": "decode"}}
    assert write.body["metadata"]["ownerReferences"][0]["uid"] == "1"


@pytest.mark.parametrize("present", [{}, adapter_of(5)], ids=["adapter gone", "adapter there"])
def test_a_graph_that_is_being_deleted_is_left_alone(present: dict[str, dict[str, Any]]) -> None:
    played = Played.start(graph(adapter=True), OPTIONS, NOW_S)
    assert played.writes(present, NOW_S)
    deleted = graph(adapter=True)
    deleted["metadata"] |= {"deletionTimestamp": "2026-05-04T10:00:00Z", "finalizers": ["foregroundDeletion"]}
    played.observe(deleted)
    assert played.writes(present, NOW_S) == []


def test_an_adapter_that_is_switched_off_goes() -> None:
    write, *_ = Played.start(graph(), OPTIONS, NOW_S).writes(adapter_of(2), NOW_S)
    assert (write.method, write.path.rpartition("/")[2]) == ("DELETE", "llama-decode")


def test_an_adapter_of_another_graph_is_not_touched() -> None:
    others = {
        "other-decode": {"spec": {"replicas": 9, "dgdRef": {"name": "other", "componentName": "decode"}}}
    }
    writes = Played.start(graph(), OPTIONS, NOW_S).writes(others, NOW_S)
    assert [write.method for write in writes] == ["PATCH"]


@pytest.mark.parametrize(
    ("before", "status"),
    [
        pytest.param({}, {"replicas": 2}, id="first"),
        pytest.param({"replicas": 1}, {"replicas": 2, "lastScaleTime": "1970-01-01T00:16:40Z"}, id="scaled"),
    ],
)
def test_an_adapters_status_follows_the_graph(before: dict[str, Any], status: dict[str, Any]) -> None:
    write, *_ = Played.start(graph(adapter=True), OPTIONS, NOW_S).writes(adapter_of(2, **before), NOW_S)
    assert write.path.endswith("/llama-decode/status")
    assert {key: write.body["status"].get(key) for key in status} == status
    assert ("lastScaleTime" in write.body["status"]) is ("lastScaleTime" in status)


def test_replicas_share_the_gpus_that_there_are() -> None:
    played = Played.start(graph(decode=5), OPTIONS, NOW_S)
    played.faults = Faults(capacity_gpus=5)
    played.move(NOW_S)
    played.move(NOW_S + 30.0)
    assert played.report()["replicas"]["decode"] == {"wanted": 5, "serving": 2, "present": 5}


def test_told_faults_replace_the_annotations_and_can_be_taken_back() -> None:
    played = Played.start(graph(), OPTIONS, NOW_S)
    played.faults = Faults(crash_looping={"decode": 1})
    played.move(NOW_S)
    played.move(NOW_S + 30.0)
    assert played.report()["replicas"]["decode"]["serving"] == 1
    played.faults = None
    played.move(NOW_S + 40.0)
    played.move(NOW_S + 70.0)
    assert played.report()["replicas"]["decode"]["serving"] == 2


def test_a_component_that_is_taken_out_goes_with_its_replicas() -> None:
    obj = graph(components={"decode": {"readyReplicas": 2}})
    played = Played.start(obj, OPTIONS, NOW_S)
    played.move(NOW_S)
    played.observe({**obj, "spec": {"components": []}})
    played.move(NOW_S + 1.0)
    (write,) = played.writes({}, NOW_S + 1.0)
    assert write.body["status"]["components"] == {"decode": None}
