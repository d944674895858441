"""What is sent, through which version, and whose fields it takes."""

import json
from typing import Any

import pytest

from slaplanner.adapters.deployment.graph import GraphDeployment, parse_graph
from slaplanner.adapters.deployment.ownership import (
    applied_by_us,
    is_droppable,
    replica_managers,
    replica_writers,
    scale_writers,
    write_version,
)
from slaplanner.adapters.deployment.request_bodies import (
    adapter_name,
    ownership_apply,
    replicas_patch,
    scale_patch,
)
from slaplanner.core.model import Role
from slaplanner.core.rebalance import ReplicaWrite
from tests.graphs import ALPHA, BETA, alpha_worker, disagg, graph

DECODE = ReplicaWrite(role=Role.DECODE, component="decode", before=1, replicas=5)
PREFILL = ReplicaWrite(role=Role.PREFILL, component="prefill", before=3, replicas=2)
LOCK = {"op": "replace", "path": "/metadata/resourceVersion", "value": "41"}
BOTH = [BETA, ALPHA]


def owns(
    manager: str, *components: str, version: str = BETA, operation: str = "Apply", more: int = 0, **entry: Any
) -> dict[str, Any]:
    """A managedFields entry that owns the replicas of *components*, and *more* other fields."""
    replicas: dict[str, Any] = {"f:replicas": {}}
    if version == ALPHA:
        fields: dict[str, Any] = {"f:services": {f"f:{name}": replicas for name in components}}
    else:
        keys = [f"k:{json.dumps({'name': name}, separators=(',', ':'))}" for name in components]
        fields = {"f:components": {key: {".": {}, **replicas} for key in keys}}
    fields |= {f"f:other{number}": {} for number in range(more)}
    return {
        "manager": manager,
        "operation": operation,
        "apiVersion": version,
        "fieldsV1": {"f:spec": fields},
        **entry,
    }


def has(manager: str, component: str, *fields: str, version: str = BETA, **entry: Any) -> dict[str, Any]:
    """A managedFields entry that owns these fields of a component."""
    owned: dict[str, Any] = {field: {} for field in fields}
    spec: dict[str, Any] = (
        {"f:services": {f"f:{component}": owned}}
        if version == ALPHA
        else {"f:components": {f'k:{{"name":"{component}"}}': owned}}
    )
    return {"manager": manager, "apiVersion": version, "fieldsV1": {"f:spec": spec}, **entry}


def managed(*entries: dict[str, Any], version: str = BETA) -> GraphDeployment:
    return parse_graph(disagg(version, metadata={"managedFields": list(entries)}))


class TestThePatchOfReplicas:
    def test_addresses_services_by_name_in_v1alpha1(self) -> None:
        assert replicas_patch(parse_graph(disagg(ALPHA)), [PREFILL, DECODE], ALPHA) == [
            LOCK,
            {"op": "add", "path": "/spec/services/prefill/replicas", "value": 2},
            {"op": "add", "path": "/spec/services/decode/replicas", "value": 5},
        ]

    def test_makes_sure_of_the_name_behind_an_index_in_v1beta1(self) -> None:
        assert replicas_patch(parse_graph(disagg(BETA)), [DECODE], BETA) == [
            LOCK,
            {"op": "test", "path": "/spec/components/2/name", "value": "decode"},
            {"op": "add", "path": "/spec/components/2/replicas", "value": 5},
        ]

    def test_can_go_through_the_version_that_was_not_read(self) -> None:
        paths = [entry["path"] for entry in replicas_patch(parse_graph(disagg(BETA)), [DECODE], ALPHA)]
        assert paths == ["/metadata/resourceVersion", "/spec/services/decode/replicas"]

    def test_escapes_names(self) -> None:
        parsed = parse_graph(graph(ALPHA, {"a/b~c": alpha_worker("decode")}))
        move = ReplicaWrite(role=Role.DECODE, component="a/b~c", before=1, replicas=2)
        assert replicas_patch(parsed, [move], ALPHA)[1]["path"] == "/spec/services/a~1b~0c/replicas"


@pytest.mark.parametrize(
    ("version", "spec"),
    [
        (BETA, {"components": [{"name": "prefill", "replicas": 2}, {"name": "decode", "replicas": 5}]}),
        (ALPHA, {"services": {"prefill": {"replicas": 2}, "decode": {"replicas": 5}}}),
    ],
)
def test_an_apply_holds_the_resource_version_and_nothing_but_replicas(
    version: str, spec: dict[str, Any]
) -> None:
    assert ownership_apply(parse_graph(disagg(BETA)), {"prefill": 2, "decode": 5}, version) == {
        "apiVersion": version,
        "kind": "DynamoGraphDeployment",
        "metadata": {"name": "llama", "namespace": "serving", "resourceVersion": "41"},
        "spec": spec,
    }


def test_adapters_are_found_by_dynamos_naming() -> None:
    assert adapter_name("llama", "VllmDecodeWorker") == "llama-vllmdecodeworker"
    assert scale_patch(4) == {"spec": {"replicas": 4}}


@pytest.mark.parametrize(
    ("entries", "served", "expected"),
    [
        pytest.param([], BOTH, BETA, id="nobody-yet"),
        pytest.param([], [ALPHA], ALPHA, id="only-the-old-one-is-served"),
        pytest.param([owns("argocd-controller", "decode", version=ALPHA)], BOTH, ALPHA, id="applied-in-alpha"),
        pytest.param([owns("argocd-controller", "decode", version=BETA)], BOTH, BETA, id="applied-in-beta"),
        pytest.param(
            [owns("kubectl-client-side-apply", "decode", version=ALPHA, operation="Update")], BOTH, ALPHA,
            id="updated-in-alpha",
        ),
        pytest.param(
            [owns("manager", "decode", version=BETA, operation="Update", more=9), owns("argocd", version=ALPHA)],
            BOTH, ALPHA, id="appliers-before-updaters",
        ),
        pytest.param(
            [owns("manager", "decode", version=BETA, operation="Update"),
             owns("kubectl", "decode", version=ALPHA, operation="Update", more=5)],
            BOTH, ALPHA, id="the-one-that-owns-most",
        ),
        pytest.param([owns("slaplanner", "decode", version=ALPHA)], BOTH, BETA, id="we-do-not-count"),
        pytest.param(
            [owns("manager", "decode", version=ALPHA, subresource="status")], BOTH, BETA,
            id="the-status-does-not-count",
        ),
        pytest.param([owns("argocd", "decode", version=ALPHA)], [BETA], BETA, id="no-longer-served"),
    ],
)  # fmt: skip
def test_the_version_that_others_apply_is_written_through(
    entries: list[dict[str, Any]], served: list[str], expected: str
) -> None:
    assert write_version(managed(*entries), served) == expected


@pytest.mark.parametrize("version", BOTH, ids=["v1beta1", "v1alpha1"])
class TestOwnership:
    def test_every_manager_of_a_components_replicas_is_named(self, version: str) -> None:
        parsed = managed(
            owns("argocd", "decode", "prefill", version=version), owns("us", "decode", version=version)
        )
        assert replica_managers(parsed, "decode") == ("argocd", "us")
        assert replica_managers(parsed, "prefill") == ("argocd",)
        assert replica_managers(parsed, "Frontend") == ()

    def test_replicas_of_others_alone_can_be_dropped(self, version: str) -> None:
        parsed = managed(
            owns("argocd", "decode", "prefill", version=version),
            owns("slaplanner", "decode", version=version, operation="Update"),
        )
        assert is_droppable(parsed, "prefill")
        assert not is_droppable(parsed, "decode")
        assert not is_droppable(parsed, "Frontend")

    def test_what_we_applied_before_is_remembered(self, version: str) -> None:
        parsed = managed(
            owns("slaplanner", "prefill", version=version),
            owns("slaplanner", "decode", version=version, operation="Update"),
        )
        assert applied_by_us(parsed) == ("prefill",)

    def test_other_replicas_than_ours_are_due_to_their_owners(self, version: str) -> None:
        parsed = managed(
            owns("argocd", "decode", version=version), owns("slaplanner", "decode", version=version)
        )
        assert replica_writers(parsed, "decode") == ("argocd",)

    def test_ours_are_due_to_nobody_else(self, version: str) -> None:
        assert replica_writers(managed(owns("slaplanner", "decode", version=version)), "decode") == ()

    def test_replicas_that_were_taken_away_are_due_to_who_owns_most_of_the_component(
        self, version: str
    ) -> None:
        parsed = managed(
            has("argocd-controller", "decode", "f:args", "f:image", "f:type", version=version),
            has("manager", "decode", "f:labels", version=version),
            has("dashboard", "prefill", "f:args", "f:image", "f:type", "f:labels", version=version),
            has("kubelet", "decode", *"abcdef", version=version, subresource="status"),
        )
        assert replica_writers(parsed, "decode") == ("argocd-controller",)
        assert replica_writers(parsed, "Frontend") == ()


def test_an_adapters_replicas_are_due_to_whoever_set_them_through_any_subresource() -> None:
    entries = [
        {"manager": "hpa", "subresource": "scale", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
        {"manager": "argocd-controller", "fieldsV1": {"f:spec": {"f:replicas": {}, "f:dgdRef": {}}}},
        {"manager": "manager", "fieldsV1": {"f:spec": {"f:dgdRef": {}}}},
        {"manager": "slaplanner", "subresource": "scale", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
        {},
    ]
    assert scale_writers(entries) == ("argocd-controller", "hpa")


def test_keys_that_do_not_parse_own_nothing() -> None:
    entry = owns("argocd")
    entry["fieldsV1"]["f:spec"] = {
        "f:components": {"k:{broken": {"f:replicas": {}}, "v:1": {"f:replicas": {}}}
    }
    assert replica_managers(managed(entry), "decode") == ()
