"""The model's name and the role, in every way that manifests start an engine."""

import re
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaplanner.adapters.deployment.args import (
    command_words,
    metrics_prefix_from,
    model_from,
    role_from,
    stage_from,
)
from slaplanner.core.model import Role

SCRIPT = """\
set -Eeuo pipefail   # stop when the cache isn't there
mkdir -p "${CACHE_ROOT}"
ulimit -l unlimited
exec python3 -m dynamo.vllm \\
  --model /cache/mixtral \\
  --served-model-name 'mistral/Mixtral' \\
  --eplb-config '{"window": "1000", "note": "--model decoy"}' \\
  --kv-transfer-config "{\\"role\\": \\"both\\"}" \\
  --disaggregation-mode decode
"""


@pytest.mark.parametrize(
    ("argv", "env", "model"),
    [
        pytest.param(["--model", "meta/Llama"], {}, "meta/Llama", id="list"),
        pytest.param(["--model=meta/Llama"], {}, "meta/Llama", id="equals"),
        pytest.param(["-m", "dynamo.sglang", "--model-path", "meta/Llama"], {}, "meta/Llama", id="path"),
        pytest.param(
            ["--model-path", "/cache/x", "--served-model-name", "meta/Llama"], {}, "meta/Llama",
            id="what-clients-call-it-comes-first",
        ),
        pytest.param(
            ["--model-path", "a", "--model-name", "b", "--model", "c"], {}, "b", id="name-before-model"
        ),
        pytest.param(["--served-model-name", "first", "second"], {}, "first", id="first-of-several"),
        pytest.param(["/bin/bash", "-lc", SCRIPT], {}, "mistral/Mixtral", id="script-over-many-lines"),
        pytest.param(
            ["python3 -m dynamo.trtllm --model-path /cache/r1 --served-model-name deepseek/R1"], {},
            "deepseek/R1", id="folded-into-one-line",
        ),
        pytest.param(["sh", "-c", "serve --model a & router --model b"], {}, "a", id="first-command"),
        pytest.param(["sh", "-c", "(serve --model a)>log"], {}, "a", id="operators-end-words"),
        pytest.param(["--served-model-name", "my model"], {}, "my model", id="a-value-may-have-spaces"),
        pytest.param(["--override", '{"a": "--model x"}', "--model", "y"], {}, "y", id="json-is-no-script"),
        pytest.param(["--model", "$(MODEL)"], {"MODEL": "meta/Llama"}, "meta/Llama", id="kubernetes-variable"),
        pytest.param(["sh", "-c", 'run --model "${MODEL}"'], {"MODEL": "a"}, "a", id="shell-variable"),
        pytest.param(["sh", "-c", "run --model $DIR/llama"], {"DIR": "/m"}, "/m/llama", id="inside-a-word"),
        pytest.param(["--served-model-name", "$(X)", "--model", "y"], {}, None, id="unknown-variable-is-no-name"),
        pytest.param(["sh", "-c", "run --model $(cat name)"], {}, None, id="substitution-is-no-name"),
        pytest.param(["--config", "/etc/engine.yaml"], {}, None, id="in-a-file"),
        pytest.param(["--model"], {}, None, id="flag-without-value"),
        pytest.param(["--model", "--tp", "8"], {}, None, id="flag-before-flag"),
        pytest.param([], {}, None, id="nothing"),
        pytest.param(["sh", "-c", "run --model 'open"], {}, "open", id="open-quote"),
        pytest.param(["sh", "-c", "# run --model a\nrun --model b"], {}, "b", id="commented-out"),
    ],
)  # fmt: skip
def test_the_model_is_found(argv: list[str], env: dict[str, str], model: str | None) -> None:
    assert model_from(command_words(argv, env)) == model


@pytest.mark.parametrize(
    ("argv", "role"),
    [
        pytest.param(["--disaggregation-mode", "prefill"], Role.PREFILL, id="mode"),
        pytest.param(["--disaggregation-mode=decode"], Role.DECODE, id="mode-with-equals"),
        pytest.param(["--is-prefill-worker"], Role.PREFILL, id="older-flag"),
        pytest.param(["--is-decode-worker"], Role.DECODE, id="older-decode-flag"),
        pytest.param(["bash", "-c", SCRIPT], Role.DECODE, id="script"),
        pytest.param(["--disaggregation-mode", "agg"], None, id="another-mode"),
        pytest.param([], None, id="nothing"),
    ],
)
def test_the_role_is_found(argv: list[str], role: Role | None) -> None:
    assert role_from(command_words(argv, {})) is role


@pytest.mark.parametrize(
    ("argv", "stage"),
    [
        pytest.param(["--disaggregation-mode", "encode"], "encode", id="mode"),
        pytest.param(["--disaggregation-mode", "prefill_and_decode"], "", id="whole-requests"),
        pytest.param(["--disaggregation-mode", "$(MODE)"], "", id="a-mode-that-is-not-known"),
        pytest.param(
            ["sh", "-c", "python3 -m dynamo.vllm --multimodal-encode-worker --model x"], "encode", id="flag"
        ),
        pytest.param(["--multimodal-processor"], "processor", id="processor"),
        pytest.param(["--embedding-worker"], "embedding", id="embedding"),
        pytest.param(
            ["sh", "-c", "python3 components/audio_encode_worker.py --model x"], "encode", id="script"
        ),
        pytest.param(["python3", "components/processor.py"], "processor", id="script-of-the-processor"),
        pytest.param(
            ["python3", "components/worker.py", "--worker-type", "prefill"], "", id="prefills-and-decodes"
        ),
        pytest.param(["--multimodal-worker"], "", id="the-engine-itself"),
    ],
)
def test_the_stage_that_an_engine_is_started_for_is_found(argv: list[str], stage: str) -> None:
    assert stage_from(command_words(argv, {})) == stage


@pytest.mark.parametrize(
    ("argv", "env", "prefix"),
    [
        pytest.param([], {"DYN_METRICS_PREFIX": "nv_llm_http_service"}, "nv_llm_http_service", id="environment"),
        pytest.param(["--metrics-prefix", "a"], {"DYN_METRICS_PREFIX": "b"}, "a", id="flag-before-environment"),
        pytest.param(["sh", "-c", "run --metrics-prefix=shop"], {}, "shop", id="in-a-script"),
        pytest.param(["--metrics-prefix", "$(P)"], {"P": "shop"}, "shop", id="variable"),
        pytest.param(["--metrics-prefix", "$(P)"], {}, None, id="unknown-variable"),
        pytest.param([], {"DYN_METRICS_PREFIX": "my-shop.eu"}, "my_shop_eu", id="as-the-series-spell-it"),
        pytest.param([], {"DYN_METRICS_PREFIX": "9shops"}, "_9shops", id="no-digit-first"),
        pytest.param([], {"DYN_METRICS_PREFIX": ""}, None, id="empty-is-none"),
        pytest.param([], {"DYN_METRICS_PREFIX": "--"}, None, id="nothing-valid-is-none"),
        pytest.param([], {}, None, id="nothing"),
    ],
)  # fmt: skip
def test_the_prefix_of_the_metrics_is_found(argv: list[str], env: dict[str, str], prefix: str | None) -> None:
    assert metrics_prefix_from(command_words(argv, env), env) == prefix


@given(st.text(), st.text())
def test_a_prefix_is_one_that_a_metric_can_have(flag: str, variable: str) -> None:
    prefix = metrics_prefix_from(["--metrics-prefix", flag], {"DYN_METRICS_PREFIX": variable})
    assert prefix is None or re.fullmatch(r"[a-zA-Z_:][a-zA-Z0-9_:]*", prefix)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=2, max_size=8))
def test_a_quoted_command_line_reads_as_a_shell_reads_it(words: list[str]) -> None:
    literal = [word.replace("$", "") or "x" for word in words]
    assert list(command_words(["sh", "-c", shlex.join(["run", *literal])], {})) == [
        "sh",
        "-c",
        "run",
        *literal,
    ]


@given(st.lists(st.text()), st.dictionaries(st.text(), st.text()))
def test_no_command_line_is_too_odd_to_read(argv: list[str], env: dict[str, str]) -> None:
    words = command_words(argv, env)
    model_from(words)
    role_from(words)
