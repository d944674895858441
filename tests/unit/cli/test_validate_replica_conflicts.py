"""What `slaplanner validate` finds in a repository that will fight over replicas, and what it leaves alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from slaplanner.cli import main
from tests.scene import graph, policy

EXAMPLES = Path(__file__).parents[3] / "manifests/argocd/examples"
BY_MANAGER = {"managedFieldsManagers": ["slaplanner"]}
BY_PATH = {"jqPathExpressions": [".spec.services[].replicas"]}
BY_POINTERS = {"jsonPointers": ["/spec/services/prefill/replicas", "/spec/services/decode/replicas"]}
BY_PATH_IN_A_LIST = {"jqPathExpressions": [".spec.components[].replicas"]}
RESPECTS = "RespectIgnoreDifferences=true"
SERVER_SIDE = "ServerSideApply=true"
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


def adapter(target: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "nvidia.com/v1beta1",
        "kind": "DynamoGraphDeploymentScalingAdapter",
        "metadata": {"name": f"{target}-decode", "namespace": "serving"},
        "spec": {"dgdRef": {"name": target, "componentName": "decode"}, **spec},
    }


def chart() -> dict[str, Any]:
    """An Application that has nothing to do with the files here."""
    made = application()
    made["spec"]["source"] = {"repoURL": "https://charts.example.com", "chart": "grafana"}
    return made


def annotated(obj: dict[str, Any], options: str) -> dict[str, Any]:
    metadata = obj["metadata"] | {"annotations": {"argocd.argoproj.io/sync-options": options}}
    return obj | {"metadata": metadata}


def validate(directory: Path, *objects: dict[str, Any], flags: tuple[str, ...] = ()) -> Result:
    """Objects of the deployment lie under `apps/llama`, the rest beside it."""
    for number, one in enumerate((placed(policy()), *objects)):
        folder = directory / ("argocd" if one["apiVersion"].startswith("argoproj") else "apps/llama")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.yaml").write_text(yaml.safe_dump(one))
    return CliRunner().invoke(main, ["validate", *flags, str(directory)])


ALPHA = placed(graph(version="v1alpha1"))
BETA = placed(graph(version="v1beta1"))
SILENT_ALPHA = placed(without_replicas(graph(version="v1alpha1")))
SILENT = placed(without_replicas(graph(version="v1beta1")))


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
            [BETA, application(BY_MANAGER, RESPECTS, kind="ApplicationSet", path="{{.path.path}}")],
            "would never arrive",
            id="a-list-that-a-set-keeps-whole",
        ),
        pytest.param(
            [SILENT, application(BY_PATH_IN_A_LIST, RESPECTS)],
            "would never arrive",
            id="a-silent-list-that-is-kept-whole",
        ),
        pytest.param(
            [BETA, application(BY_MANAGER, SERVER_SIDE)],
            "not when it syncs",
            id="server-side-and-ignored-only-in-the-comparison",
        ),
        pytest.param(
            [BETA, application(BY_PATH, RESPECTS)], "does not ignore them", id="a-path-of-the-other-version"
        ),
        pytest.param([SILENT, application(BY_PATH_IN_A_LIST)], "client-side", id="a-list-that-is-sent-whole"),
        pytest.param(
            [SILENT, application(kind="ApplicationSet", path="{{path}}")],
            "client-side",
            id="a-list-that-a-set-sends-whole",
        ),
        pytest.param(
            [annotated(SILENT, "Prune=false,ServerSideApply=false"), application(None, SERVER_SIDE)],
            "client-side",
            id="a-list-that-is-an-exception",
        ),
        pytest.param(
            [BETA, application({"jsonPointers": ["/spec/components/1/replicas", "/spec/components/2"]})],
            "not when it syncs",
            id="pointers-into-a-list",
        ),
        pytest.param([SILENT, adapter("llama", replicas=2)], "leave it out", id="an-adapter-in-git"),
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
        pytest.param(
            [ALPHA, application({"jsonPointers": ["/spec/services"]}, RESPECTS)], id="ignored-altogether"
        ),
        pytest.param([SILENT, application(BY_MANAGER, SERVER_SIDE)], id="the-recommended-way"),
        pytest.param(
            [SILENT, application(BY_MANAGER, SERVER_SIDE, kind="ApplicationSet", path="{{.path.path}}")],
            id="the-recommended-way-in-a-set",
        ),
        pytest.param(
            [annotated(SILENT, SERVER_SIDE), application(BY_PATH_IN_A_LIST)],
            id="server-side-for-the-deployment-alone",
        ),
        pytest.param([SILENT_ALPHA, application(BY_PATH)], id="a-map-is-merged"),
        pytest.param([SILENT, chart()], id="an-application-of-something-else"),
        pytest.param([SILENT, adapter("other", replicas=2)], id="an-adapter-of-another-deployment"),
        pytest.param([SILENT, adapter("llama")], id="an-adapter-that-leaves-replicas-out"),
        pytest.param(
            [SILENT, autoscaler("ScaledObject", "DynamoGraphDeploymentScalingAdapter", "llama-70b-decode")],
            id="an-adapter-of-a-deployment-with-a-longer-name",
        ),
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


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
@pytest.mark.parametrize("manifest", [SILENT, SILENT_ALPHA], ids=["v1beta1", "v1alpha1"])
def test_the_examples_for_argo_cd_earn_no_warning(
    tmp_path: Path, example: Path, manifest: dict[str, Any]
) -> None:
    folder = tmp_path / "llama-70b"
    folder.mkdir()
    (folder / "all.yaml").write_text(yaml.safe_dump_all([placed(policy()), manifest]))
    result = CliRunner().invoke(main, ["validate", "--strict", str(folder), str(example)])
    assert (result.exit_code, "1 checked, 0 refused, 0 warnings" in result.stdout) == (0, True), result.output


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
