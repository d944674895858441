"""What the hardware and the model imply, as far as their names tell: memory, weights, KV cache.

None of this is measured; it serves to doubt a profile whose numbers cannot be right, so everything
here is deliberately coarse and says nothing about what it does not know.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

GPU_MEMORY_GB = {
    "b300": 288,
    "gb300": 288,
    "b200": 180,
    "gb200": 186,
    "h200": 141,
    "h100": 80,
    "a100": 80,
    "h20": 96,
    "l40s": 48,
    "l40": 48,
    "l4": 24,
    "a10": 24,
}
"""Published sizes, by the part of a GPU type before its first underscore."""

MEMORY_SHARE = 0.9
"""Of the memory that engines use for weights and KV cache (vLLM's default)."""

_BYTES_PER_PARAMETER = (
    (re.compile(r"fp4|nvfp4|mxfp4|int4|awq|gptq|w4a", re.IGNORECASE), 0.5),
    (re.compile(r"fp8|int8|w8a", re.IGNORECASE), 1.0),
)
_PARAMETERS = re.compile(r"(?<![\w.])(\d{1,4}(?:\.\d{1,2})?)B(?![a-z])", re.IGNORECASE)

_KV_BYTES_70B = 4096 * 80
"""Per token: 80 layers of 8 KV heads of 128 keys and values in 16 bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """What a profile was measured on, as far as somebody says so."""

    gpus_per_replica: int | None = None
    tp: int | None = None
    """GPUs that work together on a request."""
    gpu_type: str | None = None
    model: str | None = None

    @property
    def gpu_memory_bytes(self) -> float | None:
        """Memory of one GPU."""
        name = (self.gpu_type or "").lower().split("_")[0]
        size = GPU_MEMORY_GB.get(name)
        return None if size is None else size * 1e9

    @property
    def parameters(self) -> float | None:
        """Of the model, from its name: 70e9 for `Llama-3.3-70B-Instruct-FP8`."""
        found = _PARAMETERS.search(self.model or "")
        return float(found[1]) * 1e9 if found else None

    @property
    def weight_bytes(self) -> float | None:
        """Of the model's parameters, by the precision in its name (16 bits when there is none)."""
        if self.parameters is None:
            return None
        per_parameter = next(
            (size for pattern, size in _BYTES_PER_PARAMETER if pattern.search(self.model or "")), 2.0
        )
        return self.parameters * per_parameter

    @property
    def kv_bytes_per_token(self) -> float | None:
        """Of a model of this size with grouped-query attention; right within a factor of 2.

        Layers grow with about the 0.4th power of the parameters (8B: 32, 32B: 64, 70B: 80).
        """
        if self.parameters is None:
            return None
        return float(_KV_BYTES_70B * (self.parameters / 70e9) ** 0.4)
