"""The profiles of `examples/profiles` and the golden figures, for every test that needs them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from slaplanner.core.profiles import DecodeTable, PrefillTable, ProfileTables

ROOT = Path(__file__).resolve().parent.parent
PROFILES = ROOT / "examples" / "profiles"
GOLDEN: dict[str, Any] = json.loads((ROOT / "tests" / "golden" / "dynamo_planner.json").read_text())

LLAMA_8B = "h200_sxm_vllm_Llama-3.1-8B-Instruct-FP8_tp1"
LLAMA_70B_TP8 = "h100_sxm_vllm_Llama-3.3-70B-Instruct-FP8_tp8"
LLAMA_70B_TP4 = "h100_sxm_vllm_Llama-3.3-70B-Instruct-FP8_tp4"
MODELLED_70B = "h100_vllm_Llama-3.1-70B-FP8_tp4"
MODELLED_32B = "h100_vllm_Qwen3-32B_bf16_tp2"
MEASURED = (LLAMA_8B, LLAMA_70B_TP8, LLAMA_70B_TP4)
MODELLED = (MODELLED_70B, MODELLED_32B)

GOLDEN_PROFILES = {
    "h200_llama31_8b_fp8_tp1": LLAMA_8B,
    "h100_llama33_70b_fp8_tp8": LLAMA_70B_TP8,
    "h100_llama33_70b_fp8_tp4": LLAMA_70B_TP4,
}
"""The golden file's names of the measured profiles."""


@cache
def measured(folder: str) -> ProfileTables:
    """The tables of one folder below `examples/profiles`."""
    prefill = json.loads((PROFILES / folder / "prefill_raw_data.json").read_text())
    decode = json.loads((PROFILES / folder / "decode_raw_data.json").read_text())
    return ProfileTables(
        prefill=PrefillTable.of(
            isl_tokens=prefill["prefill_isl"],
            ttft_ms=prefill["prefill_ttft"],
            throughput_per_gpu=prefill["prefill_thpt_per_gpu"],
        ),
        decode=DecodeTable.of(
            kv_usage=decode["x_kv_usage"],
            context_tokens=decode["y_context_length"],
            itl_ms=decode["z_itl"],
            throughput_per_gpu=decode["z_thpt_per_gpu"],
            max_kv_tokens=decode["max_kv_tokens"],
        ),
    )
