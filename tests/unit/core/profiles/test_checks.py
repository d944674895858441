"""Every fault that is known of the published profiles is found, and nothing in clean ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from slaplanner.core.profiles import DecodeTable, PrefillTable, ProfileTables
from slaplanner.core.profiles.checks import FaultKind, check, implied_gpus
from slaplanner.core.profiles.hardware import Hardware
from tests.profile_data import (
    LLAMA_8B,
    LLAMA_70B_TP4,
    LLAMA_70B_TP8,
    MODELLED_32B,
    MODELLED_70B,
    measured,
)

H100_TP4 = Hardware(gpus_per_replica=4, gpu_type="h100_sxm", model="nvidia/Llama-3.3-70B-Instruct-FP8")
H100_TP8 = replace(H100_TP4, gpus_per_replica=8)
H200_TP1 = Hardware(gpus_per_replica=1, gpu_type="h200_sxm", model="nvidia/Llama-3.1-8B-Instruct-FP8")
QWEN_TP2 = Hardware(gpus_per_replica=2, gpu_type="h100_sxm", model="Qwen/Qwen3-32B")


def _faults(folder: str, hardware: Hardware | None = None) -> dict[FaultKind, str]:
    return {fault.kind: fault.message for fault in check(measured(folder), hardware)}


@pytest.mark.parametrize(
    ("folder", "hardware"), [(MODELLED_70B, H100_TP4), (MODELLED_32B, QWEN_TP2)], ids=["70b", "32b"]
)
def test_the_modelled_profiles_are_clean(folder: str, hardware: Hardware) -> None:
    assert _faults(folder, hardware) == {}


def test_throughput_at_1573_requests_is_half_of_what_follows_from_itl() -> None:
    faults = _faults(LLAMA_8B, H200_TP1)
    assert set(faults) == {FaultKind.THROUGHPUT_MISMATCH, FaultKind.ITL_FALLS}
    message = faults[FaultKind.THROUGHPUT_MISMATCH]
    assert "2 of 41 points" in message
    assert "19,000 tokens/s/GPU where 36,900 would follow, at 1,573 requests and context 350" in message
    assert "46.6 ms at 1,049 requests to 41 ms at 1,311" in faults[FaultKind.ITL_FALLS]


def test_the_ttft_outlier_of_the_70b_profile_is_found() -> None:
    message = _faults(LLAMA_70B_TP8, H100_TP8)[FaultKind.TTFT_OUTLIER]
    assert "TTFT 498 ms at ISL 6,205 contradicts 162 ms at 4,170 and 321 ms at 8,240" in message


def test_throughput_divided_by_8_gpus_where_4_serve_is_found() -> None:
    message = _faults(LLAMA_70B_TP4, H100_TP4)[FaultKind.GPU_COUNT_MISMATCH]
    assert "implies 8 GPUs per replica, the replica has 4" in message
    assert "0.5 times what it should be" in message


def test_without_the_replicas_gpus_nothing_is_said_of_their_number() -> None:
    assert FaultKind.GPU_COUNT_MISMATCH not in _faults(LLAMA_70B_TP4)
    assert implied_gpus(measured(LLAMA_70B_TP4)) == pytest.approx(8, rel=0.01)


@pytest.mark.parametrize(
    ("folder", "hardware"), [(LLAMA_70B_TP4, H100_TP4), (LLAMA_70B_TP8, H100_TP8)], ids=["tp4", "tp8"]
)
def test_the_kv_cache_of_two_gpus_is_found_on_more(folder: str, hardware: Hardware) -> None:
    message = _faults(folder, hardware)[FaultKind.MAX_KV_TOKENS_IMPLAUSIBLE]
    assert "max_kv_tokens 224,133" in message
    assert message.endswith("it looks like that of 2 GPUs")


def test_weights_that_do_not_fit_leave_no_cache() -> None:
    message = _faults(LLAMA_70B_TP4, replace(H100_TP4, gpus_per_replica=1, model="Llama-405B"))[
        FaultKind.MAX_KV_TOKENS_IMPLAUSIBLE
    ]
    assert "the weights leave no memory" in message


@pytest.mark.parametrize(
    "hardware",
    [
        pytest.param(replace(H100_TP8, model="my-finetune"), id="no-size-in-the-name"),
        pytest.param(replace(H100_TP8, gpu_type="tpu_v6"), id="unknown-gpu"),
        pytest.param(replace(H100_TP8, gpus_per_replica=None), id="gpus-unknown"),
    ],
)
def test_what_is_not_known_is_not_judged(hardware: Hardware) -> None:
    assert FaultKind.MAX_KV_TOKENS_IMPLAUSIBLE not in _faults(LLAMA_70B_TP8, hardware)


@pytest.mark.parametrize(
    ("model", "parameters", "weight_bytes"),
    [
        ("nvidia/Llama-3.3-70B-Instruct-FP8", 70e9, 70e9),
        ("Qwen/Qwen3-32B", 32e9, 64e9),
        ("meta-llama/Llama-3.2-1.5B-AWQ", 1.5e9, 0.75e9),
        ("Qwen3-235B-A22B-NVFP4", 235e9, 117.5e9),
        ("gpt-next", None, None),
        (None, None, None),
    ],
)
def test_names_tell_parameters_and_precision(
    model: str | None, parameters: float | None, weight_bytes: float | None
) -> None:
    hardware = Hardware(model=model)
    assert (hardware.parameters, hardware.weight_bytes) == (parameters, weight_bytes)


def _prefill(isl: list[float], ttft: list[float], *, gpus: float = 2.0) -> ProfileTables:
    throughput = [1000 * length / latency / gpus for length, latency in zip(isl, ttft, strict=True)]
    return ProfileTables(
        prefill=PrefillTable.of(isl_tokens=isl, ttft_ms=ttft, throughput_per_gpu=throughput), decode=None
    )


def _kinds(tables: ProfileTables, hardware: Hardware | None = None) -> set[FaultKind]:
    return {fault.kind for fault in check(tables, hardware)} - {FaultKind.STAGE_MISSING}


@pytest.mark.parametrize(
    ("tables", "kinds"),
    [
        pytest.param(_prefill([1, 2, 3, 4], [10, 20, 30, 40]), set(), id="clean"),
        pytest.param(_prefill([1, 2, 3], [10, 20, 30]), {FaultKind.FEW_POINTS}, id="three-points"),
        pytest.param(_prefill([1, 3, 2, 4], [10, 30, 20, 40]), {FaultKind.NOT_SORTED}, id="unsorted"),
        pytest.param(_prefill([1, 2, 2, 4], [10, 20, 20, 40]), {FaultKind.REPEATED_POINTS}, id="repeated"),
        pytest.param(_prefill([1, 2, 3, 4], [10, 20, 18, 40]), {FaultKind.TTFT_FALLS}, id="falls"),
        pytest.param(_prefill([1, 2, 3, 4], [10, 20, 19.5, 40]), set(), id="noise"),
        pytest.param(_prefill([1, 2, 3, 4], [10, 90, 30, 40]), {FaultKind.TTFT_OUTLIER}, id="outlier"),
        pytest.param(
            _prefill([1, 2, 3, 4], [10, 20, 30, 40], gpus=2.4),
            {FaultKind.GPU_COUNT_UNCLEAR},
            id="part-of-a-gpu",
        ),
    ],
)
def test_each_fault_of_prefill_has_its_name(tables: ProfileTables, kinds: set[FaultKind]) -> None:
    assert _kinds(tables) == kinds


def test_gpus_that_differ_from_point_to_point_are_unclear() -> None:
    table = PrefillTable.of(
        isl_tokens=[100, 200, 300, 400], ttft_ms=[10, 20, 30, 40], throughput_per_gpu=[5000, 5000, 2500, 5000]
    )
    faults = check(ProfileTables(prefill=table, decode=None))
    assert "implies 2 GPUs per replica on the whole and 4 at ISL 300" in faults[0].message


def test_a_stage_that_is_missing_is_said() -> None:
    assert [fault.kind for fault in check(_prefill([1, 2, 3, 4], [1, 2, 3, 4]))] == [FaultKind.STAGE_MISSING]


def test_repeated_decode_points_are_counted() -> None:
    table = DecodeTable.of(
        kv_usage=[0.1, 0.1, 0.2, 0.3],
        context_tokens=[100] * 4,
        itl_ms=[10, 10, 20, 30],
        throughput_per_gpu=1000 * np.array([10, 10, 20, 30]) / np.array([10, 10, 20, 30]),
        max_kv_tokens=10_000,
    )
    faults = {fault.kind: fault.message for fault in check(ProfileTables(prefill=None, decode=table))}
    assert faults[FaultKind.REPEATED_POINTS] == "1 points were measured more than once"
