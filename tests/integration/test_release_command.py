"""`slaplanner release` on a real API server: policies that an operator left behind are let go."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from kubernetes import client

from slaplanner.api.policy import FINALIZER, GROUP, PLURAL, VERSION
from slaplanner.cli import main
from tests.policy_corpus import base
from tests.testbed import Cluster

OTHERS = "example.com/audit"
Make = Callable[..., None]


@pytest.fixture
def objects(api_client: client.ApiClient, installed: Cluster) -> client.CustomObjectsApi:
    return client.CustomObjectsApi(api_client)


@pytest.fixture
def make(objects: client.CustomObjectsApi, namespace: str) -> Iterator[Make]:
    """Creates policies with finalizers, and takes away what is left of them at the end."""
    names: list[str] = []

    def make(name: str, *finalizers: str) -> None:
        document = base() | {"metadata": {"name": name, "finalizers": list(finalizers)}}
        objects.create_namespaced_custom_object(GROUP, VERSION, namespace, PLURAL, document)
        names.append(name)

    yield make
    for entry in _listed(objects, namespace):
        name = entry["metadata"]["name"]
        patch = {"metadata": {"finalizers": None}}
        objects.patch_namespaced_custom_object(GROUP, VERSION, namespace, PLURAL, name, patch)


def _listed(objects: client.CustomObjectsApi, namespace: str) -> list[dict[str, Any]]:
    answer: Any = objects.list_namespaced_custom_object(GROUP, VERSION, namespace, PLURAL)
    return list(answer["items"])


def _finalizers(objects: client.CustomObjectsApi, namespace: str) -> dict[str, list[str]]:
    return {
        entry["metadata"]["name"]: entry["metadata"].get("finalizers", [])
        for entry in _listed(objects, namespace)
    }


def _release(kubeconfig: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["release", "--kubeconfig", str(kubeconfig), *arguments])


def test_our_finalizer_goes_and_others_stay(
    installed: Cluster, objects: client.CustomObjectsApi, namespace: str, make: Make
) -> None:
    make("ours", FINALIZER)
    make("shared", OTHERS, FINALIZER)
    make("theirs", OTHERS)

    result = _release(installed.kubeconfig, "-n", namespace)

    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        f"{namespace}/ours: released",
        f"{namespace}/shared: released",
        f"2 with {FINALIZER} in namespace {namespace}, 2 released",
    ]
    assert _finalizers(objects, namespace) == {"ours": [], "shared": [OTHERS], "theirs": [OTHERS]}


def test_a_policy_that_hangs_in_deletion_goes(
    installed: Cluster, objects: client.CustomObjectsApi, namespace: str, make: Make
) -> None:
    make("hanging", FINALIZER)
    objects.delete_namespaced_custom_object(GROUP, VERSION, namespace, PLURAL, "hanging")
    assert _finalizers(objects, namespace) == {"hanging": [FINALIZER]}

    result = _release(installed.kubeconfig, "-n", namespace)

    assert result.exit_code == 0, result.output
    assert _finalizers(objects, namespace) == {}


def test_a_dry_run_changes_nothing(
    installed: Cluster, objects: client.CustomObjectsApi, namespace: str, make: Make
) -> None:
    make("ours", FINALIZER)

    result = _release(installed.kubeconfig, "-n", namespace, "--dry-run")

    assert result.stdout.splitlines() == [
        f"{namespace}/ours: would be released",
        f"1 with {FINALIZER} in namespace {namespace}, dry run, nothing was changed",
    ]
    assert _finalizers(objects, namespace) == {"ours": [FINALIZER]}


def test_all_namespaces_are_looked_through(
    installed: Cluster, objects: client.CustomObjectsApi, namespace: str, make: Make
) -> None:
    make("ours", FINALIZER)

    result = _release(installed.kubeconfig, "--all-namespaces")

    assert result.exit_code == 0, result.output
    assert f"{namespace}/ours: released" in result.stdout
    assert _finalizers(objects, namespace) == {"ours": []}


def test_more_policies_than_fit_a_page_are_all_let_go(
    installed: Cluster,
    objects: client.CustomObjectsApi,
    namespace: str,
    make: Make,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("slaplanner.cli.release._PAGE", 2)
    for number in range(5):
        make(f"policy-{number}", FINALIZER)

    result = _release(installed.kubeconfig, "-n", namespace)

    assert "5 released" in result.stdout
    assert set(map(tuple, _finalizers(objects, namespace).values())) == {()}


def test_a_policy_that_somebody_else_changes_meanwhile_is_let_go(
    installed: Cluster,
    objects: client.CustomObjectsApi,
    namespace: str,
    make: Make,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make("busy", FINALIZER)
    patch = client.CustomObjectsApi.patch_namespaced_custom_object
    disturbances = iter(["one", "two"])

    def disturbed(api: client.CustomObjectsApi, *arguments: Any, **options: Any) -> Any:
        word = next(disturbances, None)
        if word is not None:
            body = {"metadata": {"annotations": {"example.com/word": word}}}
            patch(objects, GROUP, VERSION, namespace, PLURAL, "busy", body)
        return patch(api, *arguments, **options)

    monkeypatch.setattr(client.CustomObjectsApi, "patch_namespaced_custom_object", disturbed)

    result = _release(installed.kubeconfig, "-n", namespace)
    monkeypatch.undo()

    assert result.exit_code == 0, result.output
    assert _finalizers(objects, namespace) == {"busy": []}


def test_nothing_to_let_go_is_fine(installed: Cluster, namespace: str) -> None:
    result = _release(installed.kubeconfig, "-n", namespace)

    assert (result.exit_code, result.stdout) == (
        0,
        f"0 with {FINALIZER} in namespace {namespace}, 0 released\n",
    )


def test_a_missing_right_is_said_in_the_server_s_words(
    installed: Cluster, namespace: str, make: Make
) -> None:
    make("ours", FINALIZER)
    installed.kubectl("create", "serviceaccount", "nobody", "-n", namespace)
    kubeconfig = installed.service_account_kubeconfig(namespace=namespace, name="nobody")

    result = _release(kubeconfig, "-n", namespace)

    assert result.exit_code == 1
    assert 'cannot list resource "slapolicies" in API group "slaplanner.io"' in result.stderr


def test_a_server_that_is_away_is_said(tmp_path: Path) -> None:
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "away",
        "contexts": [{"name": "away", "context": {"cluster": "away", "user": "me"}}],
        "clusters": [{"name": "away", "cluster": {"server": "http://127.0.0.1:9"}}],
        "users": [{"name": "me", "user": {}}],
    }
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(kubeconfig))

    result = _release(path, "-n", "default")

    assert result.exit_code == 1
    assert "the API server cannot be reached" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("-n", "a", "--all-namespaces"), id="one-namespace-and-all"),
        pytest.param(("--context", "no-such-context"), id="an-unknown-context"),
    ],
)
def test_wrong_usage_has_its_own_exit_code(installed: Cluster, arguments: tuple[str, ...]) -> None:
    assert _release(installed.kubeconfig, *arguments).exit_code == 2
