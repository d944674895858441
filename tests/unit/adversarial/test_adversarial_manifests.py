"""Deployments that somebody wrote to harm: bounded in memory and time, and never an unexpected error."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaplanner.adapters.deployment.args import command_words, metrics_prefix_from, model_from, stage_from
from slaplanner.adapters.deployment.fleet_state import fleet_of
from slaplanner.adapters.deployment.gpu_claims import claimed_gpus
from slaplanner.adapters.deployment.graph import parse_graph
from slaplanner.adapters.deployment.ownership import (
    applied_by_us,
    replica_managers,
    replica_writers,
    scale_writers,
)
from slaplanner.adapters.deployment.roles import (
    declared_model,
    dynamo_namespace,
    metrics_prefix,
    resolve_roles,
    runtime_namespaces,
)
from slaplanner.core.errors import TargetError
from slaplanner.core.model import Mode
from tests.graphs import ALPHA, BETA, alpha_worker, beta_worker, graph

MIB = 1 << 20


def peak_bytes(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def bomb(version: str, *, value: int, uses: int, workers: int = 1, containers: int = 1) -> dict[str, Any]:
    """A manifest of some hundred kilobytes whose variables stand for gigabytes."""
    entries = [{"name": "X", "value": "a" * value}]
    args = ["--model", "$X" * uses, *["$X"] * (uses // 100)]
    sidecars = [{"name": f"s{n}", "args": args} for n in range(containers - 1)]
    components: dict[str, Any] = {}
    for index in range(workers):
        if version == ALPHA:
            components[f"w{index}"] = alpha_worker(args=args)
            components[f"w{index}"]["extraPodSpec"]["containers"] = sidecars
        else:
            components[f"w{index}"] = beta_worker(args=args)
            components[f"w{index}"]["podTemplate"]["spec"]["containers"] += sidecars
    return graph(version, components, spec={"envs" if version == ALPHA else "env": entries})


@pytest.mark.parametrize("version", [ALPHA, BETA])
@pytest.mark.parametrize(
    "shape",
    [
        pytest.param({"value": 100_000, "uses": 12_000}, id="one-word"),
        pytest.param({"value": 1_000, "uses": 300_000}, id="many-words"),
        pytest.param({"value": 900, "uses": 200, "workers": 300}, id="many-components"),
        pytest.param({"value": 900, "uses": 200, "containers": 2_000}, id="many-containers"),
    ],
)
def test_variables_that_stand_for_gigabytes_cost_megabytes(version: str, shape: dict[str, int]) -> None:
    """Found S1: a deployment of 124 KB took 1,191 MB, in a pod of 1 GiB, at every start again."""
    manifest = bomb(version, **shape)
    parsed = []
    assert peak_bytes(lambda: parsed.append(parse_graph(manifest))) < 60 * MIB
    assert all(component.model is None or "$" not in component.model for component in parsed[0].components)


@given(
    name=st.from_regex(r"\A[A-Z]{1,3}\Z"),
    value=st.text(max_size=200),
    around=st.text(st.sampled_from("ab/-$(){} "), max_size=20),
    times=st.integers(1, 400),
)
def test_no_words_outgrow_what_was_written_and_the_bound(
    name: str, value: str, around: str, times: int
) -> None:
    argv = [around + f"$({name})" * times, "--model", f"${name}", *[f"${{{name}}}x"] * times]
    written = sum(map(len, argv))
    assert sum(map(len, command_words(argv, {name: value}))) <= written + 16_384


def test_what_manifests_really_expand_is_expanded() -> None:
    env = {"ORG": "meta", "NAME": "Llama-3.1-405B-Instruct-FP8", "DIR": "/model-cache" * 8}
    words = command_words(["--model=$(DIR)/x", "--served-model-name", "$(ORG)/${NAME}"], env)
    assert model_from(words) == "meta/Llama-3.1-405B-Instruct-FP8"
    assert words[0] == f"--model={env['DIR']}/x"


def test_a_script_of_a_megabyte_is_split_in_linear_time() -> None:
    def took_s(size: int) -> float:
        started = time.thread_time()
        command_words(["sh", "-c", "run " + "a" * size], {})
        return time.thread_time() - started

    # The least of several: what else the machine does only adds. A quadratic splitter takes 256 times as long.
    small, large = (min(took_s(size) for _ in range(5)) for size in (50_000, 800_000))
    assert large < 16 * small * 8


WORDS = st.sampled_from(
    ["--model", "--model=", "x", "$X", "$(X)", "--disaggregation-mode", "prefill", "encode", "{", "'", '"', "\\",
     "--config", "sh", "-c", "# a", "--metrics-prefix=p", "worker.py", "a b --is-decode-worker"]
)  # fmt: skip
TEXTS = st.text(max_size=8) | WORDS
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
KEYS = st.sampled_from(
    ["name", "type", "componentType", "subComponentType", "replicas", "resources", "limits", "requests", "gpu",
     "nvidia.com/gpu", "custom", "claims", "device", "multinode", "nodeCount", "extraPodSpec", "mainContainer",
     "podTemplate", "spec", "containers", "initContainers", "args", "command", "env", "envs", "value", "volumes",
     "volumeMounts", "configMap", "mountPath", "subPath", "items", "key", "path", "resourceClaims",
     "resourceClaimTemplateName", "scalingAdapter", "enabled", "globalDynamoNamespace"]
)  # fmt: skip
SHAPED = st.recursive(
    JUNK,
    lambda inner: (
        st.dictionaries(KEYS, inner, max_size=5) | st.lists(st.dictionaries(KEYS, inner), max_size=3)
    ),
    max_leaves=20,
)
STATUS = st.dictionaries(
    st.sampled_from(["components", "services", "conditions", "observedGeneration", "rollingUpdate", "restart"]),
    JUNK
    | st.dictionaries(st.sampled_from(["w", "p"]), st.dictionaries(st.sampled_from(
        ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "scheduledReplicas", "gpusPerReplica",
         "runtimeNamespace", "servedModelName"]), JUNK))
    | st.lists(st.dictionaries(st.sampled_from(["type", "status", "reason", "message"]), JUNK), max_size=3),
)  # fmt: skip
FIELDS = st.recursive(
    st.dictionaries(
        st.sampled_from(["f:spec", "f:services", "f:components", "f:w", "f:replicas", "."]), JUNK
    ),
    lambda inner: st.dictionaries(
        st.sampled_from(["f:spec", "f:services", "f:components", 'k:{"name":"w"}', "k:{", "f:w"]), inner
    ),
    max_leaves=8,
)
MANAGED = JUNK | st.lists(
    st.fixed_dictionaries({}, optional={
        "manager": JUNK, "operation": JUNK, "apiVersion": JUNK, "fieldsV1": FIELDS | JUNK, "time": JUNK,
        "subresource": JUNK,
    }),
    max_size=3,
)  # fmt: skip


@given(
    version=st.sampled_from([ALPHA, BETA]),
    component=st.dictionaries(KEYS, SHAPED, max_size=6),
    status=STATUS,
    metadata=st.fixed_dictionaries({"managedFields": MANAGED, "annotations": JUNK, "generation": JUNK}),
    mode=st.sampled_from(Mode),
)
def test_deployments_of_any_shape_are_read_or_refused(
    version: str, component: dict[str, Any], status: Any, metadata: dict[str, Any], mode: Mode
) -> None:
    components = {"w": component, "p": component | {"componentType": "planner", "type": "planner"}}
    parsed = parse_graph(graph(version, components, status=status, metadata=metadata))
    for name in ("w", "p"):
        replica_managers(parsed, name)
        replica_writers(parsed, name)
    applied_by_us(parsed)
    scale_writers(entry for entry in parsed.managed_fields)
    metrics_prefix(parsed)
    try:
        roles = resolve_roles(parsed, mode, claim=lambda _: component)
        declared_model(parsed, roles)
    except TargetError:
        return
    fleet_of(parsed, roles)
    dynamo_namespace(parsed, roles)
    runtime_namespaces(parsed, roles)


@given(st.lists(TEXTS), SHAPED)
def test_claims_and_command_lines_of_any_shape_are_read(argv: list[str], template: Any) -> None:
    words = command_words(argv, {"X": "y" * 100})
    model_from(words)
    stage_from(words)
    metrics_prefix_from(words, {})
    claimed_gpus(argv, lambda _: template if isinstance(template, dict) else None)
