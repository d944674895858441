"""Who plays which role, and what the roles agree on."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaplanner.adapters.deployment.graph import parse_graph
from slaplanner.adapters.deployment.roles import (
    declared_model,
    discovered_model,
    dynamo_namespace,
    metrics_prefix,
    resolve_roles,
    runtime_namespaces,
)
from slaplanner.core.errors import TargetError
from slaplanner.core.model import Mode, Role, RolePolicy
from slaplanner.core.reasons import Reason
from tests.graphs import ALPHA, BETA, alpha_worker, beta_worker, disagg, graph

FRONTEND = {"Frontend": {"componentType": "frontend"}}
P, D, A = Role.PREFILL, Role.DECODE, Role.AGG
DISAGG = Mode.DISAGG
BOTH = pytest.mark.parametrize("version", [ALPHA, BETA], ids=["v1alpha1", "v1beta1"])


def alpha(**workers: dict[str, Any]) -> dict[str, Any]:
    return graph(ALPHA, FRONTEND | workers)


def beta(**workers: dict[str, Any]) -> dict[str, Any]:
    return graph(BETA, {"Frontend": {"type": "frontend"}} | workers)


def resolved(manifest: dict[str, Any], mode: Mode, *policies: RolePolicy) -> dict[Role, str]:
    return {
        entry.role: entry.component.name for entry in resolve_roles(parse_graph(manifest), mode, policies)
    }


MAIN = alpha_worker() | {"componentType": "main"}
STARTED_AS_PREFILL = ["--disaggregation-mode", "prefill"]


@pytest.mark.parametrize(
    ("manifest", "mode", "expected"),
    [
        pytest.param(
            alpha(first=alpha_worker("prefill"), second=alpha_worker("decode")), DISAGG,
            {P: "first", D: "second"}, id="sub-component-types",
        ),
        pytest.param(
            beta(first=beta_worker("prefill"), second=beta_worker("decode")), DISAGG,
            {P: "first", D: "second"}, id="types",
        ),
        pytest.param(
            alpha(VllmPrefillWorker=alpha_worker(), VllmDecodeWorker=alpha_worker()), DISAGG,
            {P: "VllmPrefillWorker", D: "VllmDecodeWorker"}, id="names-of-vllm",
        ),
        pytest.param(
            alpha(prefill=alpha_worker(), decode=alpha_worker()), DISAGG, {P: "prefill", D: "decode"},
            id="names-of-sglang-and-the-mocker",
        ),
        pytest.param(
            alpha(TRTLLMPrefillWorker=alpha_worker(), TRTLLMDecodeWorker=alpha_worker()), DISAGG,
            {P: "TRTLLMPrefillWorker", D: "TRTLLMDecodeWorker"}, id="names-of-tensorrt-llm",
        ),
        pytest.param(
            alpha(TrtllmPrefillWorker=MAIN, TrtllmDecodeWorker=MAIN), DISAGG,
            {P: "TrtllmPrefillWorker", D: "TrtllmDecodeWorker"}, id="other-case-and-older-type",
        ),
        pytest.param(
            alpha(Router={"componentType": "main"}, Engine=MAIN), Mode.AGG, {A: "Engine"},
            id="agg-of-the-older-type-is-the-one-with-gpus",
        ),
        pytest.param(
            alpha(VllmDecodeWorker=alpha_worker(), VllmPrefillWorker=alpha_worker("prefill")), DISAGG,
            {P: "VllmPrefillWorker", D: "VllmDecodeWorker"}, id="one-declares-the-other-is-named",
        ),
        pytest.param(
            beta(PrefillWorker=beta_worker(args=STARTED_AS_PREFILL),
                 DecodeWorker=beta_worker(args=["--disaggregation-mode=decode"])), DISAGG,
            {P: "PrefillWorker", D: "DecodeWorker"}, id="by-how-they-are-started",
        ),
        pytest.param(
            alpha(decode=alpha_worker("prefill"), other=alpha_worker("decode")), DISAGG,
            {P: "decode", D: "other"}, id="a-declaration-beats-a-name",
        ),
        pytest.param(
            beta(decode=beta_worker(args=STARTED_AS_PREFILL), p=beta_worker("prefill")), Mode.DECODE,
            {D: "decode"}, id="a-name-beats-how-it-is-started",
        ),
        pytest.param(alpha(p=alpha_worker("prefill")), Mode.PREFILL, {P: "p"}, id="prefill-only"),
        pytest.param(alpha(worker=alpha_worker()), Mode.AGG, {A: "worker"}, id="agg-is-the-one-worker"),
        pytest.param(
            alpha(VllmDecodeWorker=alpha_worker("decode")), Mode.AGG, {A: "VllmDecodeWorker"},
            id="agg-under-the-name-of-decode",
        ),
        pytest.param(
            beta(epp={"type": "epp"}, planner={"type": "planner"}, worker=beta_worker()), Mode.AGG,
            {A: "worker"}, id="only-workers-are-workers",
        ),
        pytest.param(
            alpha(p=alpha_worker("prefill"), d=alpha_worker("decode"), encode=alpha_worker("encode")), DISAGG,
            {P: "p", D: "d"}, id="an-encoder-plays-no-role",
        ),
    ],
)  # fmt: skip
def test_roles_are_found(manifest: dict[str, Any], mode: Mode, expected: dict[Role, str]) -> None:
    assert resolved(manifest, mode) == expected


@pytest.mark.parametrize(
    ("manifest", "mode", "reason", "message"),
    [
        pytest.param(
            alpha(a=alpha_worker("prefill"), b=alpha_worker("prefill"), d=alpha_worker("decode")), DISAGG,
            Reason.DUPLICATE_ROLE, "a, b of .*'llama' all play prefill", id="two-pools",
        ),
        pytest.param(
            beta(a=beta_worker("decode"), b=beta_worker("decode")), Mode.DECODE, Reason.DUPLICATE_ROLE,
            "a, b", id="two-pools-in-v1beta1",
        ),
        pytest.param(
            beta(prefill=beta_worker(), VllmPrefillWorker=beta_worker()), Mode.PREFILL,
            Reason.DUPLICATE_ROLE, "prefill, VllmPrefillWorker", id="two-by-name",
        ),
        pytest.param(
            alpha(a=alpha_worker(), b=alpha_worker()), Mode.AGG, Reason.DUPLICATE_ROLE, "a, b",
            id="two-workers-for-agg",
        ),
        pytest.param(
            alpha(worker=alpha_worker()), DISAGG, Reason.ROLE_NOT_FOUND,
            r"plays prefill: found Frontend \(frontend\), worker \(worker\)", id="nobody",
        ),
        pytest.param(alpha(), Mode.AGG, Reason.ROLE_NOT_FOUND, "plays agg", id="no-worker-at-all"),
        pytest.param(
            graph(BETA, {"p": beta_worker("prefill")}, spec={
                "experimental": {"componentGroups": [{"name": "pair", "replicas": 1}]}}), Mode.PREFILL,
            Reason.COMPONENT_GROUPS_UNSUPPORTED, "pair", id="component-groups",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_planned_is_refused(
    manifest: dict[str, Any], mode: Mode, reason: Reason, message: str
) -> None:
    with pytest.raises(TargetError, match=message) as caught:
        resolved(manifest, mode)
    assert caught.value.reason is reason


ROUTER = {"componentType": "default"}
ENCODES = alpha_worker(args=["--disaggregation-mode", "encode"])


@pytest.mark.parametrize(
    ("manifest", "expected"),
    [
        pytest.param(alpha(Eyes=ENCODES, Mouth=alpha_worker()), "Mouth", id="encode-by-its-command-line"),
        pytest.param(alpha(Eyes=alpha_worker("encode"), Mouth=alpha_worker()), "Mouth", id="encode-declared"),
        pytest.param(
            alpha(A=alpha_worker(args=["python3 components/encode_worker.py --model m"]), B=alpha_worker(
                args=["python3 components/worker.py --model m --worker-type prefill"]),
                C=alpha_worker(args=["python3 components/processor.py --model m"])),
            "B", id="multimodal-scripts",
        ),
        pytest.param(
            beta(A=beta_worker(args=["--multimodal-processor"]), B=beta_worker(args=["--multimodal-worker"])),
            "B", id="multimodal-flags",
        ),
        pytest.param(beta(Chat=beta_worker(), Vectors=beta_worker(args=["--embedding-worker"])), "Chat", id="embedding"),
        pytest.param(alpha(Processor=alpha_worker(), Engine=alpha_worker()), "Engine", id="by-name-last-of-all"),
        pytest.param(alpha(TheProcessor=alpha_worker()), "TheProcessor", id="a-lone-workers-name-says-nothing"),
        pytest.param(
            beta(w=beta_worker(args=["--disaggregation-mode", "prefill_and_decode"]),
                 e=beta_worker(args=["--disaggregation-mode=encode"])),
            "w", id="trtllm-with-an-encoder",
        ),
        pytest.param(
            graph(BETA, {"epp": {"type": "epp"}, "w": beta_worker("decode")}), "w", id="behind-a-gateway"
        ),
    ],
)  # fmt: skip
def test_agg_is_the_worker_that_takes_whole_requests(manifest: dict[str, Any], expected: str) -> None:
    assert resolved(manifest, Mode.AGG) == {A: expected}


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        pytest.param(
            graph(ALPHA, {"Router": ROUTER, "Pool": alpha_worker("prefill")}),
            "'Pool' says that it is prefill; wanted mode prefill", id="a-prefill-pool",
        ),
        pytest.param(
            graph(ALPHA, {"Router": ROUTER, "Pool": alpha_worker("decode")}),
            "'Pool' says that it is decode; wanted mode decode", id="a-decode-pool",
        ),
        pytest.param(
            alpha(w=alpha_worker(args=["--is-prefill-worker"])),
            "'w' says that it is prefill; wanted mode prefill", id="started-to-prefill",
        ),
        pytest.param(
            beta(w=beta_worker(args=["--disaggregation-mode=decode"])),
            "'w' says that it is decode; wanted mode decode", id="started-to-decode",
        ),
        pytest.param(beta(p=beta_worker("prefill"), d=beta_worker("decode")), "wanted mode disagg", id="both"),
        pytest.param(
            alpha(VllmPrefillWorker=alpha_worker(args=["--is-prefill-worker"]), VllmDecodeWorker=alpha_worker()),
            "'VllmPrefillWorker' says that it is prefill; wanted mode disagg", id="the-other-does-not-say",
        ),
        pytest.param(
            alpha(Eyes=alpha_worker("encode")), "found Frontend .*Eyes .encode", id="nobody-but-an-encoder"
        ),
    ],
)  # fmt: skip
def test_agg_refuses_workers_of_one_stage_and_asks_for_their_mode(
    manifest: dict[str, Any], message: str
) -> None:
    with pytest.raises(TargetError, match=message) as caught:
        resolved(manifest, Mode.AGG)
    assert caught.value.reason is Reason.ROLE_NOT_FOUND


WORDS = st.text(st.sampled_from("abcdefgXYZ019-"), min_size=1, max_size=12)
HELPS = st.sampled_from(
    ["--multimodal-encode-worker", "--multimodal-processor", "--embedding-worker", "--classify-worker",
     "--disaggregation-mode=encode"]
)  # fmt: skip


@given(data=st.data(), version=st.sampled_from([ALPHA, BETA]), helpers=st.lists(HELPS, max_size=4))
def test_helpers_of_any_name_and_number_hide_no_worker(
    data: st.DataObject, version: str, helpers: list[str]
) -> None:
    names = data.draw(
        st.lists(WORDS, min_size=len(helpers) + 1, max_size=len(helpers) + 1, unique_by=str.lower)
    )
    make = alpha_worker if version == ALPHA else beta_worker
    workers = {
        names[0]: make(args=["--model", "m"]),
        **{name: make(args=["--model", "m", flag]) for name, flag in zip(names[1:], helpers, strict=True)},
    }
    shuffled = dict(data.draw(st.permutations(list(workers.items()))))
    assert resolved(graph(version, shuffled), Mode.AGG) == {A: names[0]}


@given(
    name=WORDS, role=st.sampled_from([P, D]), started=st.booleans(), version=st.sampled_from([ALPHA, BETA])
)
def test_a_pool_of_one_stage_is_never_sized_as_agg(
    name: str, role: Role, *, started: bool, version: str
) -> None:
    args = ["--disaggregation-mode", role.value] if started else []
    if version == ALPHA:
        worker = alpha_worker(None if started else role.value, args=args)
    else:
        worker = beta_worker("worker" if started else role.value, args=args)
    manifest = graph(version, {name: worker})
    with pytest.raises(TargetError, match=f"wanted mode {role}") as caught:
        resolved(manifest, Mode.AGG)
    assert name in str(caught.value)
    assert resolved(manifest, Mode(role.value)) == {role: name}


class TestThePolicyNamesTheComponent:
    def test_where_it_cannot_be_found(self) -> None:
        manifest = alpha(a=alpha_worker(), b=alpha_worker())
        policies = (RolePolicy(role=P, component="a"), RolePolicy(role=D, component="b"))
        assert resolved(manifest, DISAGG, *policies) == {P: "a", D: "b"}

    def test_that_does_not_exist(self) -> None:
        with pytest.raises(TargetError, match=r"'gone' is the prefill worker.*Frontend, a") as caught:
            resolved(alpha(a=alpha_worker()), Mode.PREFILL, RolePolicy(role=P, component="gone"))
        assert caught.value.reason is Reason.ROLE_NOT_FOUND

    def test_but_two_pools_stay_two_pools(self) -> None:
        manifest = alpha(a=alpha_worker("prefill"), b=alpha_worker("prefill"))
        with pytest.raises(TargetError) as caught:
            resolved(manifest, Mode.PREFILL, RolePolicy(role=P, component="a"))
        assert caught.value.reason is Reason.DUPLICATE_ROLE

    def test_one_of_several_workers_for_agg(self) -> None:
        manifest = alpha(a=alpha_worker(), b=alpha_worker())
        with pytest.raises(TargetError, match=r"roles\[\]\.component names it"):
            resolved(manifest, Mode.AGG)
        assert resolved(manifest, Mode.AGG, RolePolicy(role=A, component="b")) == {A: "b"}

    def test_a_decode_pool_that_takes_whole_requests_after_all(self) -> None:
        manifest = graph(ALPHA, {"Router": ROUTER, "Pool": alpha_worker("decode")})
        assert resolved(manifest, Mode.AGG, RolePolicy(role=A, component="Pool")) == {A: "Pool"}

    def test_but_not_against_what_it_declares(self) -> None:
        manifest = alpha(a=alpha_worker("prefill"), b=alpha_worker("decode"))
        with pytest.raises(TargetError, match="'a' says that it is prefill"):
            resolved(manifest, Mode.AGG, RolePolicy(role=A, component="a"))
        only = alpha(b=alpha_worker("decode"))
        with pytest.raises(TargetError, match=r"'b' is the prefill worker; .* says that it is decode"):
            resolved(only, Mode.PREFILL, RolePolicy(role=P, component="b"))

    def test_for_both_roles_is_refused(self) -> None:
        policies = (RolePolicy(role=P, component="a"), RolePolicy(role=D, component="a"))
        with pytest.raises(TargetError, match="both the prefill and the decode worker"):
            resolved(alpha(a=alpha_worker()), DISAGG, *policies)


@pytest.mark.parametrize(("said", "expected"), [(None, 2), (4, 4)])
def test_the_policys_gpus_come_before_the_targets(said: int | None, expected: int) -> None:
    parsed = parse_graph(alpha(p=alpha_worker("prefill", gpu="2")))
    (entry,) = resolve_roles(parsed, Mode.PREFILL, [RolePolicy(role=P, gpus_per_replica=said)])
    assert entry.gpus_per_replica == expected


def claim_template(
    version: str = "v1", *, count: object = 1, device: str = "gpu.nvidia.com", **more: Any
) -> Any:
    request = {"deviceClassName": device, "count": count, **more}
    return {
        "apiVersion": f"resource.k8s.io/{version}",
        "kind": "ResourceClaimTemplate",
        "metadata": {"name": "gpus"},
        "spec": {"spec": {"devices": {"requests": [
            {"name": "gpu", **(request if version == "v1beta1" else {"exactly": request})}
        ]}}},
    }  # fmt: skip


def claiming(version: str, **more: Any) -> dict[str, Any]:
    claims = [{"name": "gpu", "resourceClaimTemplateName": "gpus"}]
    if version == ALPHA:
        pod = {"resourceClaims": claims, "mainContainer": {"resources": {"claims": [{"name": "gpu"}]}}}
        return {"componentType": "worker", "extraPodSpec": pod, **more}
    containers = [{"name": "main", "resources": {"claims": [{"name": "gpu"}]}}]
    return {
        "type": "worker",
        "podTemplate": {"spec": {"resourceClaims": claims, "containers": containers}},
        **more,
    }


@BOTH
@pytest.mark.parametrize(
    ("template", "expected"),
    [
        pytest.param(claim_template(count=4), 8, id="count-times-nodes"),
        pytest.param(claim_template("v1beta1", count=4), 8, id="older-version"),
        pytest.param(claim_template(device="mig.nvidia.com"), 2, id="a-slice-counts-as-one"),
        pytest.param(claim_template(device="gpu.intel.com"), 2, id="another-maker"),
        pytest.param(claim_template(allocationMode="All"), None, id="as-many-as-there-are"),
        pytest.param(claim_template(device="nic.example.com"), None, id="no-gpu"),
        pytest.param(claim_template(count="many"), None, id="no-number"),
        pytest.param({"spec": "odd"}, None, id="odd"),
        pytest.param(None, None, id="not-at-hand"),
    ],
)
def test_gpus_by_resource_claims(version: str, template: Any, expected: int | None) -> None:
    parsed = parse_graph(graph(version, {"worker": claiming(version, multinode={"nodeCount": 2})}))
    (entry,) = resolve_roles(parsed, Mode.AGG, claim=lambda name: template if name == "gpus" else None)
    assert entry.gpus_per_replica == expected


@BOTH
def test_what_the_status_reports_comes_before_claims(version: str) -> None:
    status = {"services" if version == ALPHA else "components": {"worker": {"gpusPerReplica": 3}}}
    parsed = parse_graph(graph(version, {"worker": claiming(version)}, status=status))
    (entry,) = resolve_roles(parsed, Mode.AGG, claim=lambda _: claim_template(count=4))
    assert entry.gpus_per_replica == 3


def model_of(prefill: list[str], decode: list[str]) -> str | None:
    parsed = parse_graph(
        alpha(p=alpha_worker("prefill", args=prefill), d=alpha_worker("decode", args=decode))
    )
    return declared_model(parsed, resolve_roles(parsed, DISAGG))


@pytest.mark.parametrize(
    ("prefill", "decode", "expected"),
    [
        pytest.param(["--model", "meta/Llama"], ["--model", "meta/Llama"], "meta/llama", id="agreed"),
        pytest.param(["--model", "meta/Llama"], ["--model", "META/llama"], "meta/llama", id="but-for-case"),
        pytest.param(["--model", "meta/Llama"], ["--config", "x"], "meta/llama", id="only-one-tells"),
        pytest.param(["--config", "x"], ["--config", "y"], None, id="none-tells"),
    ],
)
def test_the_model_that_the_roles_agree_on(
    prefill: list[str], decode: list[str], expected: str | None
) -> None:
    assert model_of(prefill, decode) == expected


def test_roles_of_different_models_are_refused() -> None:
    with pytest.raises(TargetError, match="prefill 'a', decode 'b'") as caught:
        model_of(["--model", "a"], ["--model", "b"])
    assert caught.value.reason is Reason.MODEL_MISMATCH


def reporting(version: str, metadata: dict[str, Any] | None = None, **workers: dict[str, str]) -> Any:
    """A graph of two roles; *workers*: what its status says of each."""
    status = {"services" if version == ALPHA else "components": workers}
    return parse_graph(disagg(version, status=status, metadata=metadata or {}))


NAMES = st.text(st.sampled_from("abcXYZ019-_./"), min_size=1)


@BOTH
@given(model=NAMES)
def test_the_model_that_the_status_reports_beats_the_arguments(version: str, model: str) -> None:
    parsed = reporting(version, decode={"servedModelName": model})
    assert declared_model(parsed, resolve_roles(parsed, DISAGG)) == model.lower()


@BOTH
def test_roles_that_report_different_models_are_refused(version: str) -> None:
    parsed = reporting(version, prefill={"servedModelName": "a"}, decode={"servedModelName": "b"})
    with pytest.raises(TargetError, match="prefill 'a', decode 'b'"):
        declared_model(parsed, resolve_roles(parsed, DISAGG))


@BOTH
@given(old=NAMES, new=NAMES)
def test_the_worker_sets_namespaces_are_those_of_the_status(version: str, old: str, new: str) -> None:
    parsed = reporting(version, prefill={"runtimeNamespace": old}, decode={"runtimeNamespace": new})
    assert runtime_namespaces(parsed, resolve_roles(parsed, DISAGG)) == tuple(dict.fromkeys((old, new)))


@pytest.mark.parametrize(
    "annotation", ["nvidia.com/current-worker-hash", "nvidia.com/current-worker-hash-v2"]
)
@BOTH
def test_a_worker_sets_namespace_follows_from_the_hash_of_older_versions(
    version: str, annotation: str
) -> None:
    parsed = reporting(version, {"annotations": {annotation: "5f3a9c21"}})
    assert runtime_namespaces(parsed, resolve_roles(parsed, DISAGG)) == ("serving-llama-5f3a9c21",)


@BOTH
def test_without_either_no_namespace_is_made_up(version: str) -> None:
    parsed = reporting(version)
    assert runtime_namespaces(parsed, resolve_roles(parsed, DISAGG)) == ()


PREFIX = [{"name": "DYN_METRICS_PREFIX", "value": "nv_llm_http_service"}]


@pytest.mark.parametrize(
    ("manifest", "expected"),
    [
        pytest.param(
            graph(ALPHA, {"Frontend": {"componentType": "frontend", "envs": PREFIX}, "w": alpha_worker()}),
            "nv_llm_http_service", id="alpha-environment",
        ),
        pytest.param(
            graph(ALPHA, {"w": alpha_worker(), "Frontend": {"componentType": "frontend", "extraPodSpec": {
                "mainContainer": {"args": ["--metrics-prefix", "shop"]}}}}),
            "shop", id="alpha-flag",
        ),
        pytest.param(
            graph(BETA, {"Frontend": {"type": "frontend"}, "w": beta_worker()}, spec={"env": PREFIX}),
            "nv_llm_http_service", id="environment-of-the-graph",
        ),
        pytest.param(
            graph(BETA, {"w": beta_worker() | {"podTemplate": {"spec": {"containers": [
                {"name": "main"}, {"name": "frontend", "env": PREFIX}]}}}}),
            "nv_llm_http_service", id="beside-a-worker",
        ),
        pytest.param(disagg(BETA), None, id="not-said"),
    ],
)  # fmt: skip
def test_the_prefix_of_the_frontends_metrics_is_found(manifest: dict[str, Any], expected: str | None) -> None:
    assert metrics_prefix(parse_graph(manifest)) == expected


class TestDiscoveringTheModel:
    def test_the_only_one_seen_is_it_in_whatever_case(self) -> None:
        assert discovered_model("serving-llama", ("Meta/Llama", "meta/llama")) == "meta/llama"

    @pytest.mark.parametrize(
        ("seen", "message"),
        [((), "there are none of"), (("b", "a"), "are a, b; set metrics.model")],
        ids=["none", "several"],
    )
    def test_none_or_several_ask_for_the_policys_word(self, seen: tuple[str, ...], message: str) -> None:
        with pytest.raises(TargetError, match=message) as caught:
            discovered_model("serving-llama", seen)
        assert caught.value.reason is Reason.MODEL_NOT_FOUND


@pytest.mark.parametrize(
    ("extra", "expected"), [({}, "serving-llama"), ({"globalDynamoNamespace": True}, "dynamo")]
)
def test_the_dynamo_namespace(extra: dict[str, Any], expected: str) -> None:
    parsed = parse_graph(beta(worker=beta_worker(**extra)))
    assert dynamo_namespace(parsed, resolve_roles(parsed, Mode.AGG)) == expected
