"""What `slaplanner validate` finds in a repository that will fight over replicas, and what it leaves alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from slaplanner.cli import main
from tests.scene import graph, policy

BY_MANAGER = {"managedFieldsManagers": ["slaplanner"]}
BY_PATH = {"jqPathExpressions": [".spec.services[].replicas"]}
BY_POINTERS = {"jsonPointers": ["/spec/services/prefill/replicas", "/spec/services/decode/replicas"]}
RESPECTS = "RespectIgnoreDifferences=true"
SETS = "sets replicas of prefill, decode, which SLAPolicy 'llama' scales"


def placed(obj: dict[str, Any], namespace: str | None = "serving") -> dict[str, Any]:
    metadata = obj["metadata"] | ({"namespace": namespace} if namespace else {})
    return obj | {"metadata": metadata}


def without_replicas(obj: dict[str, Any]) -> dict[str, Any]:
    for component in (*obj["spec"].get("services", {}).values(), *obj["spec"].get("components", ())):
        component.pop("replicas")
    return obj


def application(
    ignore: dict[str, Any] | None = None, *options: str, path: str = "apps/llama", kind: str = "Application"
) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "source": {"repoURL": "https://git.example.com/fleet", "path": path},
        "syncPolicy": {"automated": {"selfHeal": True}, "syncOptions": list(options)},
    }
    if ignore is not None:
        spec["ignoreDifferences"] = [{"group": "nvidia.com", "kind": "DynamoGraphDeployment", **ignore}]
    whole = spec if kind == "Application" else {"generators": [], "template": {"spec": spec}}
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": kind,
        "metadata": {"name": "llama", "namespace": "argocd"},
        "spec": whole,
    }


def autoscaler(kind: str, target_kind: str, target: str) -> dict[str, Any]:
    return {
        "apiVersion": "autoscaling/v2" if kind == "HorizontalPodAutoscaler" else "keda.sh/v1alpha1",
        "kind": kind,
        "metadata": {"name": "busy", "namespace": "serving"},
        "spec": {"scaleTargetRef": {"apiVersion": "nvidia.com/v1beta1", "kind": target_kind, "name": target}},
    }


def validate(directory: Path, *objects: dict[str, Any], flags: tuple[str, ...] = ()) -> Result:
    """Objects of the deployment lie under `apps/llama`, the rest beside it."""
    for number, one in enumerate((placed(policy()), *objects)):
        folder = directory / ("argocd" if one["apiVersion"].startswith("argoproj") else "apps/llama")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.yaml").write_text(yaml.safe_dump(one))
    return CliRunner().invoke(main, ["validate", *flags, str(directory)])


ALPHA = placed(graph(version="v1alpha1"))
BETA = placed(graph(version="v1beta1"))


@pytest.mark.parametrize(
    ("objects", "warning"),
    [
        pytest.param([BETA], f"{SETS}: every apply writes them back", id="a-plain-manifest"),
        pytest.param([placed(graph(), None)], SETS, id="a-manifest-whose-namespace-is-set-elsewhere"),
        pytest.param(
            [ALPHA, application()], "does not ignore them", id="an-application-that-ignores-nothing"
        ),
        pytest.param(
            [ALPHA, application({"name": "other", **BY_PATH}, RESPECTS)],
            "does not ignore them",
            id="an-application-that-ignores-another-deployment",
        ),
        pytest.param(
            [ALPHA, application(kind="ApplicationSet", path="{{.path}}")], "does not ignore them", id="a-set"
        ),
        pytest.param([ALPHA, application(BY_PATH)], "not when it syncs", id="ignored-only-in-the-comparison"),
        pytest.param(
            [BETA, application(BY_MANAGER, RESPECTS)],
            "would never arrive",
            id="a-list-that-is-kept-whole",
        ),
        pytest.param(
            [autoscaler("HorizontalPodAutoscaler", "DynamoGraphDeployment", "llama")],
            "keep one of the two",
            id="an-hpa-on-the-deployment",
        ),
        pytest.param(
            [autoscaler("ScaledObject", "DynamoGraphDeploymentScalingAdapter", "llama-decode")],
            "keep one of the two",
            id="a-scaled-object-on-an-adapter",
        ),
    ],
)
def test_what_will_fight_is_warned_of(tmp_path: Path, objects: list[dict[str, Any]], warning: str) -> None:
    result = validate(tmp_path, *objects)
    assert result.exit_code == 0
    assert warning in result.stderr
    assert "1 checked, 0 refused, 1 warnings" in result.stdout


@pytest.mark.parametrize(
    "objects",
    [
        pytest.param([without_replicas(placed(graph()))], id="replicas-left-out"),
        pytest.param([placed(graph(), "elsewhere")], id="another-namespace"),
        pytest.param([ALPHA, application(BY_MANAGER, RESPECTS)], id="ignored-by-field-manager"),
        pytest.param([ALPHA, application(BY_PATH, RESPECTS)], id="ignored-by-path"),
        pytest.param([ALPHA, application(BY_POINTERS, RESPECTS)], id="ignored-by-pointers"),
        pytest.param([ALPHA, application(BY_PATH, RESPECTS, kind="ApplicationSet")], id="ignored-by-a-set"),
        pytest.param(
            [autoscaler("HorizontalPodAutoscaler", "DynamoGraphDeployment", "other")], id="another-target"
        ),
    ],
)
def test_what_will_not_fight_earns_no_warning(tmp_path: Path, objects: list[dict[str, Any]]) -> None:
    result = validate(tmp_path, *objects, flags=("--strict",))
    assert result.exit_code == 0
    assert "0 warnings" in result.stdout


def test_only_the_frontend_has_replicas_of_its_own(tmp_path: Path) -> None:
    manifest = placed(graph())
    for component in manifest["spec"]["components"][1:]:
        component.pop("replicas")
    assert "0 warnings" in validate(tmp_path, manifest).stdout


def test_strict_turns_a_warning_into_an_exit_code(tmp_path: Path) -> None:
    assert validate(tmp_path, BETA, flags=("--strict",)).exit_code == 1


def test_quiet_keeps_warnings_to_itself_and_the_exit_code_strict(tmp_path: Path) -> None:
    result = validate(tmp_path, BETA, flags=("--strict", "--quiet"))
    assert (result.exit_code, result.output) == (1, "")
