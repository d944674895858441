"""Profiles as Dynamo leaves them: pre-swept results, the mocker's data, single files, ConfigMaps with other things."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaplanner.adapters.profiles import LoadedProfile, load_config_map, load_directory, load_file
from slaplanner.core.errors import ProfileError, ProfileFormatError, ProfileNotFound
from slaplanner.core.model import Interpolation
from tests.profile_data import LLAMA_8B, PROFILES

PREFILL: dict[str, Any] = json.loads((PROFILES / LLAMA_8B / "prefill_raw_data.json").read_text())
DECODE: dict[str, Any] = json.loads((PROFILES / LLAMA_8B / "decode_raw_data.json").read_text())
MONOTONE = Interpolation.MONOTONE


def _npz(arrays: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def _pre_swept(stage: dict[str, Any], latency: str, tps: list[int]) -> bytes:
    """One row per tp, each twice as fast as the row before, with the columns that Dynamo adds to each row.

    Source: pre_swept_results_utils.py in Dynamo's planner.
    """
    arrays = {key: np.array([stage[key]] * len(tps), dtype=float) for key in stage if key != "max_kv_tokens"}
    arrays[latency] = np.array([np.array(stage[latency]) / 2**row for row in range(len(tps))])
    if "max_kv_tokens" in stage:
        arrays["max_kv_tokens"] = np.array([[float(np.ravel(stage["max_kv_tokens"])[0])]] * len(tps))
    words = {"gpu_type": "h200_sxm", "model": "m", "framework": "vllm"}
    arrays |= {key: np.array([[word]] * len(tps)) for key, word in words.items()}
    return _npz({**arrays, "tp": np.array([[tp] for tp in tps]), "pp": np.array([[1]] * len(tps))})


def _swept_directory(folder: Path, tps: list[int], **meta: int) -> Path:
    (folder / "prefill.npz").write_bytes(_pre_swept(PREFILL, "prefill_ttft", tps))
    (folder / "decode.npz").write_bytes(_pre_swept(DECODE, "z_itl", tps))
    if meta:
        (folder / "meta.json").write_text(json.dumps(meta))
    return folder


def _directory(path: Path, tp: int | None = None) -> LoadedProfile:
    return load_directory(path, allowed=None, interpolation=MONOTONE, tp=tp)


class TestPreSweptResults:
    @pytest.mark.parametrize(("tp", "faster"), [(1, 1), (2, 2), (8, 4)])
    def test_have_a_row_per_tp_that_the_caller_chooses(self, tmp_path: Path, tp: int, faster: int) -> None:
        tables = _directory(_swept_directory(tmp_path, [1, 2, 8]), tp).tables
        assert tables.prefill is not None
        assert tables.decode is not None
        np.testing.assert_allclose(tables.prefill.ttft_ms, np.array(PREFILL["prefill_ttft"]) / faster)
        np.testing.assert_allclose(tables.decode.itl_ms, np.array(DECODE["z_itl"]) / faster)

    def test_have_a_row_that_meta_json_chooses(self, tmp_path: Path) -> None:
        tables = _directory(_swept_directory(tmp_path, [1, 2], tp=2)).tables
        assert tables.prefill is not None
        np.testing.assert_allclose(tables.prefill.ttft_ms, np.array(PREFILL["prefill_ttft"]) / 2)

    def test_of_one_configuration_need_no_choice(self, tmp_path: Path) -> None:
        assert _directory(_swept_directory(tmp_path, [4])).tables.decode is not None

    @pytest.mark.parametrize(
        ("tp", "wanted"), [(None, "wanted one: choose"), (3, "wanted one with tp 3: choose")]
    )
    def test_without_a_choice_name_what_there_is(self, tmp_path: Path, tp: int | None, wanted: str) -> None:
        with pytest.raises(
            ProfileFormatError, match=rf"prefill\.npz: .*3 configurations \(tp 1, 2, 8\), {wanted}"
        ):
            _directory(_swept_directory(tmp_path, [1, 2, 8]), tp)


def _mocker(resolution: int = 100) -> bytes:
    """The mocker's data: TTFT of ISL, and a grid of ITL over KV load and context.

    Source: planner_profiler_perf_data_converter.py of Dynamo's mocker.
    """
    isl = np.linspace(100.0, 8000.0, resolution)
    kv, context = np.linspace(0.0, 400_000.0, resolution), np.linspace(500.0, 9000.0, resolution)
    itl = 5.0 + kv[:, None] / 20_000.0 + context[None, :] / 9000.0
    return _npz(
        {
            "prefill_isl": isl,
            "prefill_ttft_ms": 20.0 + isl / 20.0,
            "decode_active_kv_tokens": kv,
            "decode_context_length": context,
            "decode_itl": itl,
        }
    )


class TestTheMockersData:
    def test_is_read_with_the_gpus_that_meta_json_says(self, tmp_path: Path) -> None:
        (tmp_path / "perf_data.npz").write_bytes(_mocker())
        (tmp_path / "meta.json").write_text(json.dumps({"tp": 4}))
        loaded = _directory(tmp_path)
        assert loaded.tables.prefill is not None
        assert loaded.tables.decode is not None
        prefill, decode = loaded.tables.prefill, loaded.tables.decode
        np.testing.assert_allclose(
            prefill.throughput_per_gpu, prefill.isl_tokens / prefill.ttft_ms * 1000 / 4
        )
        np.testing.assert_allclose(decode.throughput_per_gpu, decode.concurrency / decode.itl_ms * 1000 / 4)
        assert (decode.max_kv_tokens, decode.kv_usage.max()) == (400_000.0, 1.0)
        load = decode.kv_usage * decode.max_kv_tokens
        np.testing.assert_allclose(decode.itl_ms, 5.0 + load / 20_000.0 + decode.context_tokens / 9000.0)

    def test_is_not_guessed_about_when_nobody_says_the_gpus(self) -> None:
        with pytest.raises(ProfileFormatError, match="wanted the GPUs of a replica"):
            load_file("perf_data.npz", _mocker(), interpolation=MONOTONE)

    def test_with_axes_that_do_not_fit_is_refused(self) -> None:
        with np.load(io.BytesIO(_mocker(10))) as file:
            arrays = {**file, "decode_itl": file["decode_itl"][:5]}
        with pytest.raises(ProfileFormatError, match=r"decode_itl: found shape \(5, 10\), wanted \(10, 10\)"):
            load_file("p.npz", _npz(arrays), interpolation=MONOTONE, tp=1)


class TestSingleFiles:
    def test_of_json_hold_both_stages(self, tmp_path: Path) -> None:
        text = json.dumps({**PREFILL, **DECODE})
        (tmp_path / "profile.json").write_text(text)
        for loaded in (_directory(tmp_path), load_file("p.json", text.encode(), interpolation=MONOTONE)):
            assert loaded.tables.prefill is not None
            assert loaded.tables.decode is not None

    def test_without_a_stage_are_not_found(self) -> None:
        with pytest.raises(ProfileNotFound, match="no prefill_ttft and no z_itl"):
            load_file("p.json", b"{}", interpolation=MONOTONE)


class TestConfigMaps:
    @pytest.mark.parametrize("key", ["profile.json", "anything"])
    def test_with_one_entry_hold_the_profile_under_any_key(self, key: str) -> None:
        loaded = load_config_map({key: json.dumps({**PREFILL, **DECODE})}, interpolation=MONOTONE)
        assert loaded.tables.prefill is not None

    def test_hold_npz_as_binary_data(self) -> None:
        binary = {"perf_data.npz": base64.b64encode(_mocker(20)).decode()}
        assert (
            load_config_map({"meta.json": '{"tp": 2}'}, binary, interpolation=MONOTONE).tables.decode
            is not None
        )

    def test_with_binary_data_that_is_no_base64_are_refused(self) -> None:
        with pytest.raises(ProfileFormatError, match="no base64"):
            load_config_map({}, {"perf_data.npz": "*"}, interpolation=MONOTONE)


class TestSeconds:
    def test_of_ttft_are_called_that(self) -> None:
        seconds = {**PREFILL, "prefill_ttft": [value / 1000 for value in PREFILL["prefill_ttft"]]}
        with pytest.raises(
            ProfileFormatError, match=r"prefill_ttft: found .* look like seconds .*wanted milliseconds"
        ):
            load_file("p.json", json.dumps(seconds).encode(), interpolation=MONOTONE)

    def test_of_itl_are_called_that(self) -> None:
        seconds = {**DECODE, "z_itl": [value / 1000 for value in DECODE["z_itl"]]}
        with pytest.raises(ProfileFormatError, match=r"z_itl: found .* look like seconds"):
            load_file("p.json", json.dumps(seconds).encode(), interpolation=MONOTONE)

    @pytest.mark.parametrize("folder", sorted(path.name for path in PROFILES.iterdir() if path.is_dir()))
    @pytest.mark.parametrize(("stage", "latency"), [("prefill", "prefill_ttft"), ("decode", "z_itl")])
    def test_are_told_from_milliseconds_in_every_example(self, folder: str, stage: str, latency: str) -> None:
        document = json.loads((PROFILES / folder / f"{stage}_raw_data.json").read_text())
        load_file("p", json.dumps(document).encode(), interpolation=MONOTONE)
        document[latency] = [value / 1000 for value in document[latency]]
        with pytest.raises(ProfileFormatError, match="look like seconds"):
            load_file("p", json.dumps(document).encode(), interpolation=MONOTONE)


_ARRAYS = st.sampled_from(
    [
        np.array([1.0, 2.0]),
        np.zeros((2, 2)),
        np.array([[1.0, 2.0]]),
        np.array(3.0),
        np.array([]),
        np.zeros((0, 3)),
    ]
)
_KEYS = (
    *("prefill_isl", "prefill_ttft", "prefill_thpt_per_gpu", "prefill_ttft_ms", "tp", "max_kv_tokens"),
    *("x_kv_usage", "y_context_length", "z_itl", "z_thpt_per_gpu"),
    *("decode_active_kv_tokens", "decode_context_length", "decode_itl"),
)


@given(st.dictionaries(st.sampled_from(_KEYS), _ARRAYS, min_size=1), st.one_of(st.none(), st.integers(1, 8)))
def test_random_archives_are_read_or_refused_with_a_reason(arrays: dict[str, Any], tp: int | None) -> None:
    try:
        load_file("p.npz", _npz(arrays), interpolation=MONOTONE, tp=tp)
    except ProfileError as error:
        assert "found" in str(error)  # noqa: PT017 - both ends are right
