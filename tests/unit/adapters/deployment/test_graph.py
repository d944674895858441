"""Deployments of both versions become one shape, and the status says no more than it reports."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaplanner.adapters.deployment.graph import parse_graph
from slaplanner.core.errors import TargetError
from slaplanner.core.reasons import Reason
from tests.graphs import ALPHA, BETA, alpha_worker, beta_worker, disagg, graph

BOTH = pytest.mark.parametrize("version", [ALPHA, BETA], ids=["v1alpha1", "v1beta1"])
ADVISES = ["--config", json.dumps({"environment": "kubernetes", "advisory": True})]


def one(version: str, component: dict[str, Any], **parts: Any) -> Any:
    return parse_graph(graph(version, {"worker": component}, **parts)).components[0]


@BOTH
def test_identity_and_components_are_read(version: str) -> None:
    parsed = parse_graph(disagg(version, prefill=2, decode=3))
    assert (parsed.namespace, parsed.name, parsed.uid) == ("serving", "llama", "uid-1")
    assert (parsed.resource_version, parsed.generation, parsed.api_version) == ("41", 3, version)
    assert {c.name: c.replicas for c in parsed.components} == {"Frontend": 1, "prefill": 2, "decode": 3}


@BOTH
def test_absent_replicas_mean_one(version: str) -> None:
    worker = alpha_worker() if version == ALPHA else beta_worker()
    assert one(version, worker).replicas == 1


@BOTH
@pytest.mark.parametrize(("replicas", "expected"), [(0, 0), (7, 7)])
def test_replicas_are_what_is_written(version: str, replicas: int, expected: int) -> None:
    worker = alpha_worker(replicas=replicas) if version == ALPHA else beta_worker(replicas=replicas)
    assert one(version, worker).replicas == expected


def beta_containers(*containers: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "worker", "podTemplate": {"spec": {"containers": list(containers)}}, **more}


def gpus(kind: str, count: object, name: str = "nvidia.com/gpu") -> dict[str, Any]:
    return {"name": "main", "resources": {kind: {name: count}}}


@pytest.mark.parametrize(
    ("version", "worker", "expected"),
    [
        pytest.param(ALPHA, {"resources": {"limits": {"gpu": "8"}}}, 8, id="alpha-limit-is-a-string"),
        pytest.param(ALPHA, {"resources": {"requests": {"gpu": "4"}}}, 4, id="alpha-request"),
        pytest.param(
            ALPHA, {"resources": {"limits": {"gpu": "2"}, "requests": {"gpu": "4"}}}, 2,
            id="limits-before-requests",
        ),
        pytest.param(
            ALPHA, {"resources": {"limits": {"gpu": "8"}}, "multinode": {"nodeCount": 4}}, 32,
            id="times-nodes",
        ),
        pytest.param(
            ALPHA, {"resources": {"limits": {"gpu": "8"}}, "multinode": {}}, 16,
            id="multinode-defaults-to-two-nodes",
        ),
        pytest.param(
            ALPHA, {"resources": {"limits": {"cpu": "4", "custom": {"gpu.intel.com/xe": "2", "rdma/ib": "8"}}}},
            2, id="alpha-custom-accelerator",
        ),
        pytest.param(
            ALPHA, {"extraPodSpec": {"mainContainer": gpus("limits", 2)}}, 2, id="alpha-main-container"
        ),
        pytest.param(ALPHA, {"resources": {"limits": {"cpu": "4"}}}, None, id="alpha-says-nothing"),
        pytest.param(ALPHA, {"resources": {"limits": {"gpu": "all"}}}, None, id="not-a-number"),
        pytest.param(BETA, beta_containers(gpus("limits", "4")), 4, id="beta-limit"),
        pytest.param(BETA, beta_containers(gpus("requests", 4)), 4, id="beta-request"),
        pytest.param(
            BETA, beta_containers(gpus("limits", 8), multinode={"nodeCount": 2}), 16, id="beta-times-nodes"
        ),
        pytest.param(
            BETA, beta_containers({"name": "main"}, {**gpus("limits", "1"), "name": "engine"}), 1,
            id="beta-engine-beside-main",
        ),
        pytest.param(BETA, beta_containers({"name": "main"}), None, id="beta-says-nothing"),
        pytest.param(BETA, {"type": "worker"}, None, id="beta-without-a-pod"),
        pytest.param(
            ALPHA, {"device": {"resources": {"nvidia.com/gpu": "2", "nvidia.com/gpumem": "3000"}}}, 2,
            id="alpha-sliced-by-a-scheduler",
        ),
        pytest.param(
            BETA, {"type": "worker", "device": {"resources": {"nvidia.com/gpu": 2}}, "multinode": {"nodeCount": 3}},
            6, id="beta-sliced-by-a-scheduler",
        ),
        pytest.param(
            ALPHA, {"resources": {"limits": {"gpu": "4"}}, "device": {"resources": {"nvidia.com/gpu": "2"}}}, 4,
            id="limits-before-device",
        ),
        pytest.param(ALPHA, {"device": {"resources": {"nvidia.com/gpumem": "3000"}}}, None, id="memory-is-no-gpu"),
    ],
)  # fmt: skip
def test_gpus_per_replica(version: str, worker: dict[str, Any], expected: int | None) -> None:
    assert one(version, worker).gpus_per_replica == expected


@BOTH
def test_reported_gpus_come_before_limits(version: str) -> None:
    key = "services" if version == ALPHA else "components"
    worker = alpha_worker(gpu="8") if version == ALPHA else beta_worker(gpu="8")
    status = {key: {"worker": {"replicas": 1, "updatedReplicas": 1, "gpusPerReplica": 16}}}
    assert one(version, worker, status=status).gpus_per_replica == 16


@pytest.mark.parametrize(
    ("version", "adapter", "expected"),
    [
        pytest.param(ALPHA, {"enabled": True}, True, id="alpha-on"),
        pytest.param(ALPHA, {"enabled": False}, False, id="alpha-off"),
        pytest.param(ALPHA, {}, False, id="alpha-empty-is-off"),
        pytest.param(BETA, {}, True, id="beta-empty-is-on"),
    ],
)
def test_a_scaling_adapter_is_seen(version: str, adapter: dict[str, Any], *, expected: bool) -> None:
    worker = alpha_worker(scalingAdapter=adapter) if version == ALPHA else beta_worker(scalingAdapter=adapter)
    assert one(version, worker).scaling_adapter is expected


@BOTH
@pytest.mark.parametrize(
    ("reported", "replicas", "serving"),
    [
        pytest.param({"replicas": 3, "readyReplicas": 2, "availableReplicas": 1}, 3, 1, id="deployment"),
        pytest.param({"replicas": 3, "availableReplicas": 2}, 3, 2, id="scaling-group-has-no-ready"),
        pytest.param({"replicas": 3, "readyReplicas": 2}, 3, 2, id="pod-clique-has-no-available"),
        pytest.param({"replicas": 3}, 3, None, id="neither"),
        pytest.param({}, None, None, id="nothing"),
    ],
)
def test_counts_that_are_absent_are_not_zero(
    version: str, reported: dict[str, int], replicas: int | None, serving: int | None
) -> None:
    key = "services" if version == ALPHA else "components"
    worker = alpha_worker() if version == ALPHA else beta_worker()
    status = one(version, worker, status={key: {"worker": reported}}).status
    assert (status.replicas, status.serving) == (replicas, serving)


@pytest.mark.parametrize(
    ("status", "rollout"),
    [
        pytest.param({}, False, id="nothing"),
        pytest.param({"rollingUpdate": {"phase": "InProgress"}}, True, id="in-progress"),
        pytest.param({"rollingUpdate": {"phase": "Pending"}}, True, id="pending"),
        pytest.param(
            {"rollingUpdate": {"phase": "InProgress", "updatedComponents": ["worker"]}}, False, id="this-is-done"
        ),
        pytest.param(
            {"rollingUpdate": {"phase": "InProgress", "updatedServices": ["other"]}}, True, id="another-is-done"
        ),
        pytest.param({"rollingUpdate": {"phase": "Completed"}}, False, id="completed"),
        pytest.param(
            {"components": {"worker": {"replicas": 4, "updatedReplicas": 2}}}, True, id="old-replicas-are-left"
        ),
        pytest.param(
            {"components": {"worker": {"replicas": 4, "updatedReplicas": 4}}}, False, id="all-are-new"
        ),
        pytest.param(
            {"restart": {"phase": "Restarting", "inProgress": ["worker"]}}, True, id="restarting"
        ),
        pytest.param({"restart": {"phase": "Restarting", "inProgress": ["x"]}}, False, id="another-restarts"),
    ],
)  # fmt: skip
def test_a_rollout_is_seen_per_component(status: dict[str, Any], *, rollout: bool) -> None:
    assert one(BETA, beta_worker(), status=status).rollout is rollout


@pytest.mark.parametrize(
    ("args", "replicas", "scales"),
    [
        pytest.param([], 1, True, id="says-nothing"),
        pytest.param(["--config", '{"environment": "kubernetes"}'], 1, True, id="scales"),
        pytest.param(["--config", "/etc/planner.yaml"], 1, True, id="a-file-cannot-be-read"),
        pytest.param(ADVISES, 1, False, id="advises"),
        pytest.param(["--config", '{"no_operation": true}'], 1, False, id="no-operation"),
        pytest.param(["--config=" + json.dumps({"scaling_mode": "advisory"})], 1, False, id="advisory-mode"),
        pytest.param(["bash", "-c", f"exec planner --config '{ADVISES[1]}'"], 1, False, id="in-a-script"),
        pytest.param(["--no-operation"], 1, False, id="flag"),
        pytest.param(["--config", "{broken"], 1, True, id="broken-json"),
        pytest.param([], 0, False, id="switched-off"),
    ],
)
@BOTH
def test_an_in_graph_planner_scales_unless_it_says_that_it_advises(
    version: str, args: list[str], replicas: int, *, scales: bool
) -> None:
    if version == ALPHA:
        planner = alpha_worker(args=args, replicas=replicas) | {"componentType": "planner"}
    else:
        planner = beta_worker("planner", args=args, replicas=replicas)
    assert one(version, planner).scales is scales


@BOTH
def test_variables_come_from_the_graph_and_the_container(version: str) -> None:
    args = ["--model", "$(ORG)/$(MODEL)"]
    entries = [{"name": "MODEL", "value": "Llama"}]
    if version == ALPHA:
        worker = alpha_worker(args=args, envs=entries)
        spec = {"envs": [{"name": "ORG", "value": "meta"}]}
    else:
        worker = beta_worker(args=args)
        worker["podTemplate"]["spec"]["containers"][0]["env"] = entries
        spec = {"env": [{"name": "ORG", "value": "meta"}]}
    assert one(version, worker, spec=spec).model == "meta/Llama"


def test_the_model_is_found_beside_the_main_container() -> None:
    engine = {"name": "engine", "restartPolicy": "Always", "args": ["--model", "meta/Llama"]}
    pod = {"containers": [{"name": "main", "args": ["--endpoint", "x"]}], "initContainers": [engine]}
    assert one(BETA, {"type": "worker", "podTemplate": {"spec": pod}}).model == "meta/Llama"


@pytest.mark.parametrize(
    ("observed", "generation", "current"), [(3, 3, True), (4, 3, True), (2, 3, False), (None, 3, True)]
)
def test_an_older_generation_in_the_status_is_noticed(
    observed: int | None, generation: int, *, current: bool
) -> None:
    status = {} if observed is None else {"observedGeneration": observed}
    parsed = parse_graph(disagg(BETA, status=status, metadata={"generation": generation}))
    assert parsed.status_is_current is current


@pytest.mark.parametrize(
    ("manifest", "found"),
    [
        pytest.param({}, "no kind in no apiVersion", id="empty"),
        pytest.param("text", "no kind", id="not-an-object"),
        pytest.param(
            {"apiVersion": "apps/v1", "kind": "Deployment"}, "Deployment in apps/v1", id="another-kind"
        ),
        pytest.param(disagg(BETA) | {"apiVersion": "nvidia.com/v2"}, "nvidia.com/v2", id="another-version"),
        pytest.param(graph(BETA, {}), "no spec.components", id="no-components"),
        pytest.param(graph(ALPHA, {}), "no spec.services", id="no-services"),
    ],
)
def test_what_is_no_deployment_is_refused_with_what_was_found(manifest: object, found: str) -> None:
    with pytest.raises(TargetError, match=found) as caught:
        parse_graph(manifest)
    assert caught.value.reason is Reason.INVALID_TARGET


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = (
    "replicas", "type", "componentType", "subComponentType", "resources", "multinode", "podTemplate",
    "extraPodSpec", "scalingAdapter", "envs", "globalDynamoNamespace", "device",
)  # fmt: skip

POD_FIELDS = ("containers", "initContainers", "mainContainer", "volumes", "resourceClaims")
STATUS_FIELDS = ("services", "components", "conditions", "rollingUpdate", "restart", "observedGeneration")
ROLLING = {"phase": "InProgress", "updatedComponents": [{}, "worker"]}


def test_lists_of_odd_things_in_a_rollout_are_read_past() -> None:
    assert not one(BETA, beta_worker(), status={"rollingUpdate": ROLLING}).rollout


@given(
    version=st.sampled_from([ALPHA, BETA]),
    fields=st.dictionaries(st.sampled_from(FIELDS), junk),
    pod=st.dictionaries(
        st.sampled_from(POD_FIELDS),
        junk
        | st.lists(
            st.dictionaries(
                st.sampled_from(["name", "args", "env", "resources", "volumeMounts", "configMap"]), junk
            ),
            max_size=2,
        ),
    ),
    status=st.dictionaries(st.sampled_from(STATUS_FIELDS), junk | st.dictionaries(st.just("worker"), junk)),
    metadata=st.dictionaries(st.sampled_from(["managedFields", "generation", "uid"]), junk),
)
def test_fields_of_any_shape_never_break_the_parser(
    version: str,
    fields: dict[str, Any],
    pod: dict[str, Any],
    status: dict[str, Any],
    metadata: dict[str, Any],
) -> None:
    odd_pod = {"extraPodSpec": pod} if version == ALPHA else {"podTemplate": {"spec": pod}}
    planner = {"componentType": "planner", "type": "planner", **odd_pod}
    components = {"worker": odd_pod | fields, "Planner": planner}
    parsed = parse_graph(graph(version, components, status=status, metadata=metadata))
    assert parsed.components[0].name == "worker"
    assert parsed.components[0].replicas >= 0
