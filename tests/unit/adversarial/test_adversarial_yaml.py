"""YAML that a user hands to the commands: read as Kubernetes reads it, or refused in one sentence."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from slaplanner.api.policy import SLAPolicy
from slaplanner.api.validation import is_policy, judge
from slaplanner.cli import main
from slaplanner.settings import Settings
from slaplanner.settings_reading import SettingsError, read_tree, read_yaml
from slaplanner.yaml_documents import DocumentError, read_documents

POLICY = """\
apiVersion: slaplanner.io/v1alpha1
kind: SLAPolicy
metadata: {METADATA}
spec:
  targetRef: {name: llama}
  sla: {ttft: TTFT}
  profile: {configMapRef: {name: profile}}
  metrics: {matchers: [{label: model, operator: Matches, value: 'EXPRESSION'}]}
"""


def policy(*, metadata: str = "name: llama", ttft: str = "500", expression: str = "a.*") -> str:
    return POLICY.replace("METADATA", metadata).replace("TTFT", ttft).replace("EXPRESSION", expression)


ALIASES = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + level)}: &{chr(98 + level)} [{','.join(['*' + chr(97 + level)] * 9)}]\n" for level in range(9)
)
MERGES = "a: &a {k: 1}\n" + "".join(
    f"{chr(98 + level)}: &{chr(98 + level)} {{<<: [{','.join(['*' + chr(97 + level)] * 9)}]}}\n"
    for level in range(12)
)

REFUSED = [
    pytest.param("a: !!timestamp x", id="Y1-timestamp-of-a-word"),
    pytest.param("a: !!timestamp 2024-13-45", id="Y1-a-month-that-is-none"),
    pytest.param("a: !!float x", id="Y1-float-of-a-word"),
    pytest.param("a: !!float ''", id="Y1-float-of-nothing"),
    pytest.param("a: !!int ''", id="int-of-nothing"),
    pytest.param("a: !!bool [x]", id="bool-of-a-list"),
    pytest.param("a: !!map [a]", id="Y2-map-of-a-list"),
    pytest.param("a: !!set [a]", id="Y2-set-of-a-list"),
    pytest.param("a: !!omap x", id="omap-of-a-word"),
    pytest.param("a: !!pairs {a: b}", id="pairs-of-a-map"),
    pytest.param("a: !!binary é", id="binary-of-other-letters"),
    pytest.param("a: !!python/object:os.system x", id="a-tag-of-python"),
    pytest.param("a: !own x", id="a-tag-of-nobody"),
    pytest.param("a: 1" + "0" * 5_000, id="a-number-of-thousands-of-digits"),
    pytest.param(ALIASES, id="Y9-aliases-of-aliases"),
    pytest.param("[" * 5_000, id="brackets"),
    pytest.param("? [a, b]\n: c", id="a-list-as-key"),
    pytest.param("a: &a [*a]", id="an-anchor-in-itself"),
]


@pytest.mark.parametrize("text", REFUSED)
def test_what_kubernetes_would_not_read_is_refused(text: str, tmp_path: Path) -> None:
    started = time.thread_time()
    with pytest.raises(DocumentError) as caught:
        list(read_documents(text))
    assert time.thread_time() - started < 3
    assert "\n" not in str(caught.value)
    file = tmp_path / "policy.yaml"
    file.write_text(text)
    result = CliRunner().invoke(main, ["validate", str(file)])
    assert result.exit_code == 1
    assert str(file) in result.stderr


def test_merges_of_merges_keep_each_key_once() -> None:
    started = time.thread_time()
    (document,) = read_documents(MERGES)
    assert time.thread_time() - started < 3
    assert document.content["m"] == {"k": 1}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("0x" + "f" * 16, 2**64 - 1, id="64-bits"),
        pytest.param("0x1" + "0" * 16, 2**64, id="more-is-a-float"),
        pytest.param("!!timestamp 2024-01-31", "2024-01-31", id="a-date-is-its-text"),
    ],
)
def test_odd_scalars_mean_what_they_mean_to_kubernetes(text: str, value: object) -> None:
    (document,) = read_documents(f"a: {text}")
    assert document.content["a"] == value


def test_a_long_list_is_no_bomb() -> None:
    (document,) = read_documents("- a\n" * 20_000)
    assert len(document.content) == 20_000


@pytest.mark.parametrize(
    ("text", "exit_code", "said"),
    [
        pytest.param(policy(ttft="0x" + "f" * 4_000), 1, "is not an integer that JSON can carry", id="Y3-huge"),
        pytest.param(policy(metadata="name: llama, namespace: null"), 0, "ok", id="Y4-null-namespace"),
        pytest.param(policy(metadata="name: llama, annotations: {a: null}"), 0, "ok", id="null-annotation"),
        pytest.param(policy(metadata="generateName: llama-"), 0, "ok", id="a-generated-name"),
        pytest.param("kind: List\nitems: 5", 0, "skipped", id="Y7-a-list-of-nothing"),
        pytest.param("kind: PodList\nitems: {a: b}", 0, "skipped", id="a-list-of-a-map"),
        pytest.param(
            policy(expression="a{99999999999999999999}"), 0, "does not look like a regular expression",
            id="Y8-an-expression-beyond-all-bounds",
        ),
        pytest.param(policy(expression="[[a]"), 0, "ok", id="an-expression-that-python-warns-of"),
    ],
)  # fmt: skip
def test_odd_policies_are_judged(text: str, exit_code: int, said: str, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(text)
    result = CliRunner().invoke(main, ["validate", str(file)])
    assert (result.exit_code, type(result.exception) in (type(None), SystemExit)) == (exit_code, True)
    assert said in result.output


PIECES = st.sampled_from(
    ["a: ", "- ", "\n", "  ", "{", "}", "[", "]", "&a ", "*a", "!!timestamp ", "!!float ", "!!int ", "!!set ",
     "!!omap ", "!!binary ", "!!bool ", "!x ", "2024-13-45", "0x", "1e999", "1:30", "<<: ", "? ", ": ", "---\n",
     "'", '"', "|\n", ">\n", "#", "null", "~", "~\n", "=", "kind: List\n", "items: ", "spec: ", "metadata: ",
     "apiVersion: slaplanner.io/v1alpha1\nkind: SLAPolicy\n", "9" * 400, ".inf", ".nan", "\t", "%", "@"]
)  # fmt: skip
TEXTS = st.text() | st.lists(PIECES | st.text(max_size=4), max_size=25).map("".join)


@given(TEXTS)
def test_no_text_is_too_odd_for_documents(text: str) -> None:
    try:
        documents = [document.content for document in read_documents(text)]
    except DocumentError:
        return
    for content in documents:
        if is_policy(content) and judge(content).accepted:
            SLAPolicy.parse(content)


@given(TEXTS)
def test_no_text_is_too_odd_for_settings(text: str) -> None:
    try:
        read_tree(Settings, read_yaml(text), "settings")
    except SettingsError:
        return


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("heartbeatSeconds: 1" + "0" * 400, id="Y5-a-number-beyond-doubles"),
        pytest.param("heartbeatSeconds: 0x" + "f" * 5_000, id="a-number-of-thousands-of-digits"),
        pytest.param("port: 2024-13-45", id="Y6-a-date-that-is-none"),
        pytest.param("port: !!timestamp x", id="a-tag-that-does-not-fit"),
        pytest.param("port: !!set [a]", id="a-set-of-a-list"),
    ],
)
def test_odd_settings_are_refused(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_tree(Settings, read_yaml(text), "settings")
    assert len(str(caught.value)) < 500
