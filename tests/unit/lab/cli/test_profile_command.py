"""`slaplanner profile check|show`: what users see."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from slaplanner.cli import main
from tests.profile_data import LLAMA_8B, LLAMA_70B_TP4, LLAMA_70B_TP8, MODELLED_70B, PROFILES


def _run(*arguments: object, text: str | None = None) -> Result:
    return CliRunner().invoke(main, ["profile", *map(str, arguments)], input=text)


@pytest.fixture
def config_map(tmp_path: Path) -> Path:
    """A ConfigMap's manifest with a profile."""
    path = tmp_path / "configmap.yaml"
    names = ("prefill_raw_data.json", "decode_raw_data.json")
    data = {name: (PROFILES / LLAMA_8B / name).read_text() for name in names}
    path.write_text(
        yaml.safe_dump({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "p"}, "data": data})
    )
    return path


def test_the_profile_is_found_beside_the_planners_configuration(config_map: Path) -> None:
    planner = yaml.safe_dump(
        {"kind": "ConfigMap", "metadata": {"name": "planner-config"}, "data": {"a": "{}"}}
    )
    assert "decode 41 points" in _run("check", "-", text=f"{planner}---\n{config_map.read_text()}").stdout


def test_a_json_file_with_both_stages_is_a_profile(tmp_path: Path) -> None:
    path = tmp_path / "both.json"
    names = ("prefill_raw_data.json", "decode_raw_data.json")
    stages = [json.loads((PROFILES / LLAMA_8B / name).read_text()) for name in names]
    path.write_text(json.dumps({**stages[0], **stages[1]}))
    assert "decode 41 points" in _run("check", path).stdout


def test_a_clean_profile_is_usable() -> None:
    result = _run("check", PROFILES / MODELLED_70B)
    assert result.exit_code == 0
    assert result.stdout.endswith("usable, 0 faults\n")


def test_faults_leave_a_profile_usable() -> None:
    result = _run("check", PROFILES / LLAMA_70B_TP8)
    assert result.exit_code == 0
    assert "TTFTOutlier: prefill: TTFT 498 ms at ISL 6,205" in result.stdout
    assert result.stdout.endswith("usable, 3 faults\n")


def test_strict_fails_on_any_fault() -> None:
    assert _run("check", PROFILES / LLAMA_70B_TP8, "--strict").exit_code == 1
    assert _run("check", PROFILES / MODELLED_70B, "--strict").exit_code == 0


def test_the_gpus_of_a_replica_may_be_given() -> None:
    assert "GPUCountMismatch" in _run("check", PROFILES / LLAMA_70B_TP4).stdout
    assert "GPUCountMismatch" not in _run("check", PROFILES / LLAMA_70B_TP4, "--gpus-per-replica", 8).stdout


def test_a_config_map_is_a_profile_too(config_map: Path) -> None:
    assert "decode 41 points" in _run("check", config_map).stdout
    assert "decode 41 points" in _run("check", "-", text=config_map.read_text()).stdout


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found nothing, wanted one ConfigMap"),
        ("kind: Secret", "found Secret, wanted one ConfigMap"),
        ("kind: ConfigMap\n---\nkind: ConfigMap", "found ConfigMap, ConfigMap, wanted one ConfigMap"),
        ("kind: ConfigMap", "found a ConfigMap without data"),
        ("kind: ConfigMap\ndata: {a: b}", "the ConfigMap has a, wanted prefill_raw_data.json"),
        ("a: [", "found no YAML"),
        ("- 1", "found list, wanted one ConfigMap"),
    ],
    ids=["empty", "secret", "two", "no-data", "no-key", "no-yaml", "list"],
)
def test_what_is_no_profile_is_refused_in_one_line(text: str, message: str) -> None:
    result = _run("check", "-", text=text)
    assert result.exit_code == 1
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_missing_path_is_named() -> None:
    result = _run("show", "gone")
    assert result.exit_code == 1
    assert "ProfileNotFound: gone: found no such file or directory" in result.stderr


def test_refusals_have_a_json_form() -> None:
    result = _run("check", "gone", "--output", "json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["usable"] is False


def test_faults_have_a_json_form() -> None:
    document = json.loads(_run("check", PROFILES / LLAMA_70B_TP8, "--output", "json").stdout)
    assert document["usable"] is True
    assert [fault["kind"] for fault in document["faults"]] == [
        "TTFTOutlier",
        "ThroughputMismatch",
        "MaxKVTokensImplausible",
    ]


def test_show_prints_both_stages() -> None:
    result = _run("show", PROFILES / LLAMA_8B)
    assert result.exit_code == 0
    assert "16,372" in result.stdout
    assert "1 to 1,573" in result.stdout


def test_show_has_a_json_form() -> None:
    document = json.loads(_run("show", PROFILES / LLAMA_8B, "--output", "json").stdout)
    assert document["maxKvTokens"] == 945_029
    assert document["prefill"][0] == {
        "islTokens": 100.0,
        "ttftMs": 19.525209,
        "throughputPerGpu": 5121.58410186544,
    }
    assert len(document["decode"]) == 41


@pytest.mark.parametrize("suffix", ["png", "svg"])
@pytest.mark.parametrize("interpolation", ["Monotone", "Cubic"])
def test_show_draws_a_plot(tmp_path: Path, suffix: str, interpolation: str) -> None:
    path = tmp_path / f"plot.{suffix}"
    result = _run("show", PROFILES / LLAMA_70B_TP8, "--plot", path, "--interpolation", interpolation)
    assert result.exit_code == 0, result.output
    assert path.read_bytes().startswith(b"\x89PNG" if suffix == "png" else b"<?xml")
    assert "drawn into" in result.stderr
    assert "drawn into" not in result.stdout


def test_an_unknown_format_of_plot_is_one_message(tmp_path: Path) -> None:
    result = _run("show", PROFILES / LLAMA_8B, "--plot", tmp_path / "plot.docx")
    assert result.exit_code == 1
    assert "cannot be drawn" in result.stderr


def test_without_matplotlib_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def no_matplotlib(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith(("matplotlib", "slaplanner_lab.drawing.profile_plot")):
            raise ImportError("No module named 'matplotlib'")
        return real_import(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", no_matplotlib)
    result = _run("show", PROFILES / LLAMA_8B, "--plot", tmp_path / "plot.png")
    assert result.exit_code == 1
    assert "pip install 'slaplanner[plot]'" in result.stderr


def test_help_has_examples() -> None:
    for command in ("check", "show"):
        assert f"slaplanner profile {command} examples/profiles/" in _run(command, "--help").stdout
