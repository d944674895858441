"""Consistency checks: faults that leave a profile usable but should be known before it is trusted.

A profile says the same thing several times over: throughput follows from latency and GPUs, load
from concurrency and context. Where the sayings differ, one is wrong. Each fault has a fixed name
and a message with the numbers that disagree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from slaplanner.core.arrays import Floats
from slaplanner.core.model import Role
from slaplanner.core.profiles.hardware import MEMORY_SHARE, Hardware
from slaplanner.core.profiles.outliers import contradicted
from slaplanner.core.profiles.protocol import PrefillProfile
from slaplanner.core.profiles.tables import DecodeTable, PrefillTable, ProfileTables
from slaplanner.core.wording import figure

LATENCY_NOISE = 0.05
"""Relative fall of a latency that measurements of one thing show anyway."""

GPU_NOISE = 0.05
"""Relative distance from the common GPU count that rounding and timing explain."""

THROUGHPUT_NOISE = 0.15
"""The same for decode, where batches start and end inside a measurement."""

KV_DOUBT = 2.0
"""How many times the usual KV cache per token makes `max_kv_tokens` implausible."""

CUBIC_POINTS = 4

OVERSHOOT_STEPS = 200
"""Lengths at which splines are looked at: between any two of a profile's points lie several."""


class FaultKind(StrEnum):
    """The names of faults."""

    STAGE_MISSING = "StageMissing"
    FEW_POINTS = "FewPoints"
    NOT_SORTED = "NotSorted"
    REPEATED_POINTS = "RepeatedPoints"
    TTFT_OUTLIER = "TTFTOutlier"
    TTFT_FALLS = "TTFTFalls"
    ITL_FALLS = "ITLFalls"
    GPU_COUNT_UNCLEAR = "GPUCountUnclear"
    GPU_COUNT_MISMATCH = "GPUCountMismatch"
    THROUGHPUT_MISMATCH = "ThroughputMismatch"
    MAX_KV_TOKENS_IMPLAUSIBLE = "MaxKVTokensImplausible"
    CUBIC_OVERSHOOTS = "CubicOvershoots"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing in a profile that cannot be as it says."""

    kind: FaultKind
    stage: Role
    message: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.stage}: {self.message}"


def _prefill_fault(kind: FaultKind, message: str) -> Fault:
    return Fault(kind=kind, stage=Role.PREFILL, message=message)


def _decode_fault(kind: FaultKind, message: str) -> Fault:
    return Fault(kind=kind, stage=Role.DECODE, message=message)


def check(tables: ProfileTables, hardware: Hardware | None = None) -> tuple[Fault, ...]:
    """All faults of *tables*, prefill first; the more is known of the *hardware*, the more is checked.

    >>> table = PrefillTable.of(isl_tokens=[100, 200, 300], ttft_ms=[10, 20, 30],
    ...                         throughput_per_gpu=[5000, 5000, 5000])
    >>> [str(fault.kind) for fault in check(ProfileTables(prefill=table, decode=None))]
    ['FewPoints', 'StageMissing']
    """
    hardware = hardware or Hardware()
    return (*_prefill(tables.prefill, hardware), *_decode(tables, hardware))


def implied_gpus(tables: ProfileTables) -> float:
    """GPUs per replica that prefill's ISL, TTFT and throughput imply together.

    Without prefill, those that the lightest decode load implies; not rounded.
    """
    if tables.prefill is not None:
        return float(np.median(_prefill_gpus(tables.prefill)))
    assert tables.decode is not None, "tables have at least one stage"
    gpus = _decode_gpus(tables.decode)
    return float(gpus[np.argmin(tables.decode.kv_usage)])


def _prefill_gpus(table: PrefillTable) -> Floats:
    return np.asarray(1000 * table.isl_tokens / (table.ttft_ms * table.throughput_per_gpu))


def _decode_gpus(table: DecodeTable) -> Floats:
    return np.asarray(1000 * table.concurrency / (table.itl_ms * table.throughput_per_gpu))


def _prefill(table: PrefillTable | None, hardware: Hardware) -> Iterator[Fault]:
    if table is None:
        yield _prefill_fault(
            FaultKind.STAGE_MISSING, "found no table; a policy that sizes prefill cannot use this profile"
        )
        return
    if len(table) < CUBIC_POINTS:
        yield _prefill_fault(
            FaultKind.FEW_POINTS,
            f"found {len(table)} points; interpolation Cubic needs {CUBIC_POINTS}, Monotone works",
        )
    steps = np.diff(table.isl_tokens)
    if (steps < 0).any():
        i = int(np.flatnonzero(steps < 0)[0])
        yield _prefill_fault(
            FaultKind.NOT_SORTED,
            f"prefill_isl falls from {table.isl_tokens[i]:,.0f} to {table.isl_tokens[i + 1]:,.0f} "
            "where it should rise; read as sorted",
        )
    table = table.by_isl()
    if (np.diff(table.isl_tokens) == 0).any():
        isl = table.isl_tokens[np.flatnonzero(np.diff(table.isl_tokens) == 0)[0]]
        yield _prefill_fault(
            FaultKind.REPEATED_POINTS, f"ISL {isl:,.0f} was measured more than once; Cubic cannot use it"
        )
    yield from _ttft(table)
    yield from _prefill_gpu_count(table, hardware)


def _ttft(table: PrefillTable) -> Iterator[Fault]:
    isl, ttft = table.isl_tokens, table.ttft_ms
    outliers = contradicted(isl.tolist(), ttft.tolist()) if (np.diff(isl) > 0).all() else ()
    for i in outliers:
        yield _prefill_fault(
            FaultKind.TTFT_OUTLIER,
            f"TTFT {figure(ttft[i])} ms at ISL {isl[i]:,.0f} contradicts {figure(ttft[i - 1])} ms at "
            f"{isl[i - 1]:,.0f} and {figure(ttft[i + 1])} ms at {isl[i + 1]:,.0f}; Monotone sets it aside",
        )
    kept = np.array([i for i in range(len(table)) if i not in outliers])
    fall = _worst_fall(ttft[kept])
    if fall is not None:
        before, after = kept[fall], kept[fall + 1]
        yield _prefill_fault(
            FaultKind.TTFT_FALLS,
            f"TTFT falls from {figure(ttft[before])} ms at ISL {isl[before]:,.0f} to "
            f"{figure(ttft[after])} ms at {isl[after]:,.0f}; longer prompts do not get faster",
        )


def overshoots(prefill: PrefillProfile, table: PrefillTable) -> Iterator[Fault]:
    """Where splines through the points leave what was measured so far that they turn negative."""
    isl = np.linspace(table.isl_tokens.min(), table.isl_tokens.max(), OVERSHOOT_STEPS)
    for name, unit, figures in (
        ("TTFT", "ms", prefill.ttft_row_ms(isl)),
        ("throughput", "tokens/s/GPU", np.array([prefill.throughput_per_gpu(one) for one in isl.tolist()])),
    ):
        lowest = int(np.argmin(figures))
        if figures[lowest] <= 0:
            yield _prefill_fault(
                FaultKind.CUBIC_OVERSHOOTS,
                f"interpolation Cubic gives a {name} of {figure(figures[lowest])} {unit} at ISL {isl[lowest]:,.0f}; "
                "interpolation Monotone stays within what was measured",
            )


def _prefill_gpu_count(table: PrefillTable, hardware: Hardware) -> Iterator[Fault]:
    gpus = _prefill_gpus(table)
    middle = float(np.median(gpus))
    off = np.abs(gpus / middle - 1)
    if off.max() > GPU_NOISE or _distance_from_whole(middle) > GPU_NOISE:
        worst = int(np.argmax(off))
        yield _prefill_fault(
            FaultKind.GPU_COUNT_UNCLEAR,
            f"ISL / TTFT / throughput implies {figure(middle)} GPUs per replica on the whole and "
            f"{figure(gpus[worst])} at ISL {table.isl_tokens[worst]:,.0f}, where one whole number should be",
        )
    elif hardware.gpus_per_replica is not None and round(middle) != hardware.gpus_per_replica:
        yield _prefill_fault(
            FaultKind.GPU_COUNT_MISMATCH,
            f"ISL / TTFT / throughput implies {figure(middle)} GPUs per replica, the replica has "
            f"{hardware.gpus_per_replica}: throughput per GPU is "
            f"{figure(hardware.gpus_per_replica / middle)} times what it should be",
        )


def _decode(tables: ProfileTables, hardware: Hardware) -> Iterator[Fault]:
    table = tables.decode
    if table is None:
        yield _decode_fault(
            FaultKind.STAGE_MISSING, "found no table; a policy that sizes decode cannot use this profile"
        )
        return
    if len(table) < CUBIC_POINTS:
        yield _decode_fault(
            FaultKind.FEW_POINTS,
            f"found {len(table)} points; interpolation Cubic needs {CUBIC_POINTS}, Monotone works",
        )
    places = np.unique(np.column_stack((table.kv_usage, table.context_tokens)), axis=0)
    if len(places) < len(table):
        yield _decode_fault(
            FaultKind.REPEATED_POINTS, f"{len(table) - len(places)} points were measured more than once"
        )
    yield from _itl(table)
    yield from _decode_throughput(table, max(1, round(implied_gpus(tables))))
    yield from _max_kv_tokens(table, hardware)


def _itl(table: DecodeTable) -> Iterator[Fault]:
    for context in np.unique(table.context_tokens).tolist():
        row = table.take(np.flatnonzero(table.context_tokens == context))
        row = row.take(np.argsort(row.kv_usage, kind="stable"))
        fall = _worst_fall(row.itl_ms)
        if fall is not None:
            yield _decode_fault(
                FaultKind.ITL_FALLS,
                f"ITL falls from {figure(row.itl_ms[fall])} ms at {row.concurrency[fall]:,.0f} requests to "
                f"{figure(row.itl_ms[fall + 1])} ms at {row.concurrency[fall + 1]:,.0f}, context "
                f"{context:,.0f}; more load does not get faster",
            )


def _decode_throughput(table: DecodeTable, gpus: int) -> Iterator[Fault]:
    expected = 1000 * table.concurrency / table.itl_ms / gpus
    share = table.throughput_per_gpu / expected
    off = np.abs(np.log(share)) > -np.log(1 - THROUGHPUT_NOISE)
    if off.any():
        worst = int(np.argmax(np.abs(np.log(share))))
        yield _decode_fault(
            FaultKind.THROUGHPUT_MISMATCH,
            f"{int(off.sum())} of {len(table)} points are more than {THROUGHPUT_NOISE:.0%} off concurrency / ITL "
            f"/ {gpus} GPUs; the worst is {figure(table.throughput_per_gpu[worst])} tokens/s/GPU where "
            f"{figure(expected[worst])} would follow, at {table.concurrency[worst]:,.0f} requests and context "
            f"{table.context_tokens[worst]:,.0f}",
        )


def _max_kv_tokens(table: DecodeTable, hardware: Hardware) -> Iterator[Fault]:
    memory, weights, usual = hardware.gpu_memory_bytes, hardware.weight_bytes, hardware.kv_bytes_per_token
    if memory is None or weights is None or usual is None or hardware.gpus_per_replica is None:
        return
    free = hardware.gpus_per_replica * memory * MEMORY_SHARE - weights
    size = f"{table.max_kv_tokens:,.0f}"
    place = f"{hardware.gpus_per_replica} x {hardware.gpu_type} with {hardware.model}"
    if free <= 0:
        yield _decode_fault(
            FaultKind.MAX_KV_TOKENS_IMPLAUSIBLE,
            f"max_kv_tokens is {size}, but on {place} the weights leave no memory for any",
        )
        return
    per_token = free / table.max_kv_tokens
    if per_token > KV_DOUBT * usual:
        fits = max(1, round((table.max_kv_tokens * usual + weights) / (memory * MEMORY_SHARE)))
        yield _decode_fault(
            FaultKind.MAX_KV_TOKENS_IMPLAUSIBLE,
            f"max_kv_tokens {size} would mean {figure(per_token / 1e3)} kB of KV cache per token on {place}, "
            f"where about {figure(usual / 1e3)} kB are usual: it looks like that of {_gpus(fits)}",
        )


def _gpus(count: int) -> str:
    return "1 GPU" if count == 1 else f"{count} GPUs"


def _worst_fall(latencies: Floats) -> int | None:
    """Index before the largest relative fall beyond noise; None if there is none."""
    if len(latencies) < 2:
        return None
    falls = 1 - latencies[1:] / latencies[:-1]
    worst = int(np.argmax(falls))
    return worst if falls[worst] > LATENCY_NOISE else None


def _distance_from_whole(number: float) -> float:
    """Relative distance from the nearest whole number from 1."""
    whole = max(1, round(number))
    return abs(number / whole - 1)
