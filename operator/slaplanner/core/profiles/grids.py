"""Tables of a profile's curves on axes of the caller's choice, for simulators and plots."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from slaplanner.core.arrays import Floats
from slaplanner.core.profiles.protocol import DecodeGrid, DecodeProfile, PrefillGrid, PrefillProfile

DEFAULT_ISL_POINTS = 513
DEFAULT_KV_POINTS = 129
DEFAULT_CONTEXT_POINTS = 65


def prefill_grid(profile: PrefillProfile, isl_tokens: Sequence[float] | Floats | None) -> PrefillGrid:
    """Both prefill curves at *isl_tokens* (see `PrefillProfile.tabulate`)."""
    if isl_tokens is None:
        isl_tokens = np.linspace(0.0, profile.isl_range[1], DEFAULT_ISL_POINTS)
    lengths = np.asarray(isl_tokens, dtype=np.float64)
    return PrefillGrid(
        isl_tokens=lengths,
        ttft_ms=np.array([profile.ttft_ms(isl) for isl in lengths.tolist()]),
        throughput_per_gpu=np.array([profile.throughput_per_gpu(isl) for isl in lengths.tolist()]),
    )


def decode_grid(
    profile: DecodeProfile,
    *,
    kv_usage: Sequence[float] | Floats | None,
    context_tokens: Sequence[float] | Floats | None,
) -> DecodeGrid:
    """Both decode surfaces on the product of the axes (see `DecodeProfile.tabulate`)."""
    if kv_usage is None:
        kv_usage = np.linspace(0.0, 1.0, DEFAULT_KV_POINTS)
    if context_tokens is None:
        context_tokens = np.geomspace(*profile.context_range, DEFAULT_CONTEXT_POINTS)
    loads = np.asarray(kv_usage, dtype=np.float64)
    contexts = np.asarray(context_tokens, dtype=np.float64)
    itl = np.empty((contexts.size, loads.size))
    throughput = np.empty_like(itl)
    for i, context in enumerate(contexts.tolist()):
        for j, kv in enumerate(loads.tolist()):
            concurrency = kv * profile.max_kv_tokens / context
            itl[i, j] = profile.itl_ms(concurrency=concurrency, context_tokens=context)
            throughput[i, j] = profile.throughput_per_gpu(concurrency=concurrency, context_tokens=context)
    return DecodeGrid(
        context_tokens=contexts,
        kv_usage=loads,
        itl_ms=itl,
        throughput_per_gpu=throughput,
        max_kv_tokens=profile.max_kv_tokens,
    )
