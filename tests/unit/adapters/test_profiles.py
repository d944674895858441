"""Where profiles are read from, and where not."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from slaplanner.adapters.profiles import (
    DECODE_JSON,
    PREFILL_JSON,
    LoadedProfile,
    load_config_map,
    load_directory,
)
from slaplanner.core.errors import ProfileError, ProfileFormatError, ProfileNotFound
from slaplanner.core.model import Interpolation
from slaplanner.core.profiles.checks import FaultKind
from slaplanner.core.reasons import Reason
from tests.profile_data import LLAMA_8B, LLAMA_70B_TP4, PROFILES

MONOTONE = Interpolation.MONOTONE


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An allowed directory."""
    (tmp_path / "profiles").mkdir()
    return tmp_path / "profiles"


def _config_map(folder: str) -> dict[str, str]:
    return {name: (PROFILES / folder / name).read_text() for name in (PREFILL_JSON, DECODE_JSON)}


def _write(directory: Path, folder: str = LLAMA_8B) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in _config_map(folder).items():
        (directory / name).write_text(text)
    return directory


def _load(path: Path, root: Path) -> LoadedProfile:
    return load_directory(str(path), allowed=[root], interpolation=MONOTONE)


def test_a_config_map_holds_the_two_json_files() -> None:
    loaded = load_config_map(_config_map(LLAMA_8B), interpolation=MONOTONE)
    assert loaded.profile.prefill.isl_range == (100, 16_372)
    assert loaded.summary.startswith("prefill 17 points, ISL 100 to 16,372; decode 41 points")


def test_a_config_map_with_one_stage_loads_and_says_what_is_missing() -> None:
    data = {PREFILL_JSON: _config_map(LLAMA_8B)[PREFILL_JSON]}
    loaded = load_config_map(data, interpolation=MONOTONE)
    assert [fault.kind for fault in loaded.faults] == [FaultKind.STAGE_MISSING]


def test_a_config_map_without_the_keys_names_those_that_it_has() -> None:
    with pytest.raises(ProfileNotFound, match=r"has a\.yaml, b\.yaml, wanted prefill_raw_data\.json"):
        load_config_map({"b.yaml": "", "a.yaml": ""}, interpolation=MONOTONE)


def test_an_empty_config_map_says_so() -> None:
    with pytest.raises(ProfileNotFound, match="has no keys"):
        load_config_map({}, interpolation=MONOTONE)


def test_a_key_that_does_not_parse_is_named() -> None:
    with pytest.raises(ProfileFormatError, match=r"^prefill_raw_data\.json: found text that is no JSON"):
        load_config_map({PREFILL_JSON: "nothing"}, interpolation=MONOTONE)


def test_one_version_is_built_once_and_an_edit_is_another() -> None:
    data = _config_map(LLAMA_8B)
    first = load_config_map(data, interpolation=MONOTONE)
    assert load_config_map(dict(data), interpolation=MONOTONE) is first
    assert load_config_map(data, interpolation=Interpolation.CUBIC) is not first
    edited = {**data, PREFILL_JSON: data[PREFILL_JSON].replace("19.525209", "19.6")}
    assert load_config_map(edited, interpolation=MONOTONE).profile.prefill.ttft_ms(100) == 19.6


def test_a_directory_of_json_is_read(root: Path) -> None:
    assert _load(_write(root / "llama"), root).profile.decode.max_kv_tokens == 945_029


def test_npz_is_read_before_json(root: Path) -> None:
    directory = _write(root / "llama")
    (directory / "selected_prefill_interpolation").mkdir()
    np.savez(
        directory / "selected_prefill_interpolation" / "raw_data.npz",
        prefill_isl=[1, 2],
        prefill_ttft=[5.0, 6.0],
        prefill_thpt_per_gpu=[7.0, 8.0],
    )
    loaded = _load(directory, root)
    assert loaded.profile.prefill.isl_range == (1, 2)
    assert loaded.profile.decode.max_kv_tokens == 945_029, "the other stage from its JSON"


def test_meta_json_tells_the_hardware(root: Path) -> None:
    directory = _write(root / "llama", LLAMA_70B_TP4)
    assert FaultKind.GPU_COUNT_MISMATCH not in {fault.kind for fault in _load(directory, root).faults}
    (directory / "meta.json").write_text((PROFILES / LLAMA_70B_TP4 / "meta.json").read_text())
    assert {fault.kind for fault in _load(directory, root).faults} == {
        FaultKind.GPU_COUNT_MISMATCH,
        FaultKind.THROUGHPUT_MISMATCH,
        FaultKind.MAX_KV_TOKENS_IMPLAUSIBLE,
    }


def test_the_gpus_of_the_target_are_compared_with_those_that_the_profile_implies(root: Path) -> None:
    loaded = _load(_write(root / "llama", LLAMA_70B_TP4), root)
    assert FaultKind.GPU_COUNT_MISMATCH in {fault.kind for fault in loaded.faults_on(4)}
    assert FaultKind.GPU_COUNT_MISMATCH not in {fault.kind for fault in loaded.faults_on(8)}


@pytest.mark.parametrize(
    "text",
    ["", "[]", "nothing", '{"tp": "four"}', '{"tp": -1, "model": 3, "gpu_type": []}', "[" * 100_000],
    ids=["empty", "list", "text", "text-for-tp", "wrong-types", "nested-without-end"],
)
def test_a_strange_meta_json_is_no_fault_of_the_profile(root: Path, text: str) -> None:
    directory = _write(root / "llama")
    (directory / "meta.json").write_text(text)
    assert _load(directory, root).hardware.gpus_per_replica is None


def test_a_directory_that_is_absent_is_not_found(root: Path) -> None:
    with pytest.raises(ProfileNotFound, match="no such directory") as refusal:
        _load(root / "gone", root)
    assert refusal.value.reason is Reason.PROFILE_NOT_FOUND


def test_a_directory_without_a_profile_says_what_it_holds(root: Path) -> None:
    for index in range(10):
        (root / f"{index}.txt").touch()
    with pytest.raises(ProfileNotFound, match=r"found 0\.txt, .*7\.txt and 2 more, wanted one or more of"):
        _load(root, root)


@pytest.mark.parametrize("path", ["/etc", "../outside", "nested/../../outside", "/proc/self/root"])
def test_a_path_outside_the_allowed_directories_is_refused(root: Path, path: str) -> None:
    (root / "nested").mkdir()
    _write(root.parent / "outside")
    with pytest.raises(ProfileError, match="wanted a path below an allowed profile directory") as refusal:
        _load(root / path, root)
    assert refusal.value.reason is Reason.PROFILE_PATH_NOT_ALLOWED


def test_a_name_that_only_begins_like_an_allowed_directory_is_refused(root: Path) -> None:
    _write(root.parent / "profiles-of-others")
    with pytest.raises(ProfileError, match="allowed profile directory"):
        _load(root.parent / "profiles-of-others", root)


def test_a_link_out_of_the_allowed_directory_is_refused(root: Path) -> None:
    (root / "llama").symlink_to(_write(root.parent / "outside"))
    with pytest.raises(ProfileError, match="allowed profile directory"):
        _load(root / "llama", root)


def test_a_file_that_links_out_of_the_allowed_directory_is_refused(root: Path) -> None:
    outside = _write(root.parent / "outside")
    (root / "llama").mkdir()
    (root / "llama" / PREFILL_JSON).symlink_to(outside / PREFILL_JSON)
    with pytest.raises(ProfileError, match="allowed profile directory"):
        _load(root / "llama", root)


def test_links_inside_the_allowed_directory_are_followed_as_mounted_config_maps_need(root: Path) -> None:
    _write(root / "..2026_11_22")
    (root / "..data").symlink_to("..2026_11_22")
    for name in (PREFILL_JSON, DECODE_JSON):
        (root / name).symlink_to(f"..data/{name}")
    assert _load(root, root).profile.decode.max_kv_tokens == 945_029


def test_links_that_go_round_are_refused(root: Path) -> None:
    (root / "a").symlink_to(root / "b")
    (root / "b").symlink_to(root / "a")
    with pytest.raises(ProfileError):
        _load(root / "a", root)


def test_with_no_allowed_directory_every_path_is_refused(root: Path) -> None:
    with pytest.raises(ProfileError, match=r"\(none\)"):
        load_directory(_write(root / "llama"), allowed=[], interpolation=MONOTONE)


def test_the_command_line_may_read_any_directory(root: Path) -> None:
    assert load_directory(_write(root / "llama"), allowed=None, interpolation=MONOTONE).summary


def test_a_pipe_in_place_of_a_file_does_not_block(root: Path) -> None:
    os.mkfifo(root / PREFILL_JSON)
    with pytest.raises(ProfileFormatError, match="something other than a file"):
        _load(root, root)


def test_a_directory_in_place_of_a_file_is_refused(root: Path) -> None:
    (root / PREFILL_JSON).mkdir()
    with pytest.raises(ProfileFormatError, match="something other than a file"):
        _load(root, root)


def test_an_unbounded_file_is_read_up_to_the_bound(root: Path) -> None:
    with (root / PREFILL_JSON).open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ProfileFormatError, match="found more than 4 MiB"):
        _load(root, root)


def test_a_file_in_place_of_the_directory_is_not_found(root: Path) -> None:
    (root / "file").write_text(json.dumps({}))
    with pytest.raises(ProfileNotFound, match="no such directory"):
        _load(root / "file", root)
