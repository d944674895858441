"""`slaplanner virtual` where there is nothing to speak with: one message, and the exit code that says why."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from slaplanner.cli import main

NOBODY = "http://127.0.0.1:9"
SERVER = "clusters: [{name: a, cluster: {server: 'http://127.0.0.1:9'}}]\nusers: []\n"
CONTEXT = "contexts: [{name: a, context: {cluster: a, user: b}}]\ncurrent-context: a\n"


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["virtual", *words])


def in_one_line(result: Result) -> str:
    assert isinstance(result.exception, SystemExit), result.exception
    (line,) = result.output.splitlines()
    return line


@pytest.mark.parametrize(
    ("words", "says"),
    [
        pytest.param([], "give either --policy", id="no-backend"),
        pytest.param(["--policy", "a", "--dynamo-namespace", "b"], "give either --policy", id="two-backends"),
        pytest.param(
            ["--dynamo-namespace", "b", "--etcd-cert", __file__], "belong together", id="half-a-pair"
        ),
        pytest.param(
            ["--dynamo-namespace", "b", "--etcd-password-file", __file__],
            "belong together",
            id="half-a-login",
        ),
    ],
)
def test_usage_is_told(words: list[str], says: str) -> None:
    result = run(*words, "get")
    assert result.exit_code == 2
    assert says in result.output


@pytest.mark.parametrize("words", [["get"], ["complete", "3"]], ids=["get", "complete"])
def test_an_etcd_that_is_away_is_named(words: list[str]) -> None:
    result = run("--dynamo-namespace", "fleet", "--etcd", NOBODY, *words)
    assert result.exit_code == 1
    assert f"etcd does not answer ({NOBODY}" in in_one_line(result)


def test_an_etcd_that_is_away_is_waited_for_as_long_as_is_said() -> None:
    result = run("--dynamo-namespace", "fleet", "--etcd", NOBODY, "wait", "--timeout", "0.3")
    assert result.exit_code == 3
    assert "nothing came in time" in result.output


def test_an_address_without_a_scheme_is_refused() -> None:
    result = run("--dynamo-namespace", "fleet", "--etcd", "127.0.0.1:2379", "get")
    assert result.exit_code == 1
    assert "wanted http://host:port or https://host:port" in in_one_line(result)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a text",
        "[1, 2]",
        "a: {",
        "clusters: 3",
        SERVER,
        SERVER + CONTEXT.replace("current-context: a", ""),
    ],
    ids=["empty", "text", "list", "no-yaml", "odd-clusters", "no-contexts", "no-current-context"],
)
def test_a_kubeconfig_that_is_none_is_an_error_in_one_line(text: str, tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(text)
    result = run("--policy", "fleet", "--kubeconfig", str(kubeconfig), "get")
    assert result.exit_code == 1
    assert "there is no way to an API server" in result.output
    assert isinstance(result.exception, SystemExit)


def test_an_api_server_that_is_away_is_named(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(SERVER + CONTEXT)
    result = run("--policy", "fleet", "--kubeconfig", str(kubeconfig), "get")
    assert result.exit_code == 1
    assert "the API server does not answer" in in_one_line(result)
