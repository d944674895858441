"""Profiles from bytes, in the forms that Dynamo leaves them in: NPZ archives or JSON, never trusted.

The profiler writes one array per column. Its pre-swept results have one row per configuration in each array, of
which `tp` chooses one. The mocker's `perf_data.npz` has a grid of ITL and no throughput, which follows from the
latencies and the GPUs of a replica.

NPZ is read without numpy's loader: each array's header is checked against the bounds before
anything is allocated, so neither a pickle nor an archive that unpacks to terabytes gets further
than its header.
"""

from __future__ import annotations

import io
import json
import lzma
import math
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from slaplanner.core.arrays import Floats
from slaplanner.core.errors import ProfileFormatError
from slaplanner.core.profiles.tables import MAX_POINTS, DecodeTable, PrefillTable

MAX_FILE_BYTES = 4 << 20
"""A profile of 100 points is 10 KiB of JSON; a ConfigMap holds 1 MiB at most."""

MAX_ARRAYS = 64
"""Dynamo writes three to five; further ones are ignored, archives of thousands refused."""

MAX_GRID_POINTS = 40_000
"""Of the mocker's grid, which is 100 by 100."""

_MAX_HEADER_BYTES = 10_000

_BROKEN_ARCHIVE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    ArithmeticError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    ValueError,
)
"""What `zipfile` raises on what is no archive: each part of the directory can point anywhere."""

Arrays = Mapping[str, Floats]

_PREFILL_KEYS = ("prefill_isl", "prefill_ttft", "prefill_thpt_per_gpu")
_DECODE_KEYS = ("x_kv_usage", "y_context_length", "z_itl", "z_thpt_per_gpu", "max_kv_tokens")
_MOCKER_PREFILL_KEYS = ("prefill_isl", "prefill_ttft_ms")
_MOCKER_DECODE_KEYS = ("decode_active_kv_tokens", "decode_context_length", "decode_itl")
_TP = "tp"
"""Of each row of pre-swept results; a profile of one configuration may leave it out."""

_MOST_GPUS = 400
"""No replica has so many: either the latencies are in another unit, or the throughput is wrong."""
_LONGEST_TTFT_S = 60.0
_LONGEST_ITL_S = 2.0
"""Latencies above these are no seconds. Then the throughput is what is wrong, and a fault says so."""
_FASTEST_TOKENS_PER_S = 5e6
"""No replica reads prompts so fast."""
_LEAST_ITL_MS = 0.5


def stages_in(data: bytes, *, source: str) -> tuple[bool, bool]:
    """Whether there is a prefill stage, and whether there is a decode stage.

    Raises:
        ProfileFormatError: it does not parse.
    """
    names = _names(data, source=source)
    return bool(names & {"prefill_ttft", "prefill_ttft_ms"}), bool(names & {"z_itl", "decode_itl"})


def prefill_table(data: bytes, *, source: str, tp: int | None = None) -> PrefillTable:
    """The prefill stage from an NPZ archive or a JSON object.

    Args:
        data: the file's bytes.
        source: stands in messages.
        tp: GPUs that work together on a request: which row of pre-swept results, and the GPUs of a replica
            where the file does not tell its throughput.

    Raises:
        ProfileFormatError: it does not parse, keys are missing, columns do not fit together, latencies are in
            seconds, or *tp* is needed and None or not there.
    """
    if "prefill_ttft_ms" in _names(data, source=source):
        arrays = dict(_arrays(data, _MOCKER_PREFILL_KEYS, source=source))
        gpus = _gpus(tp, source=source)
        ttft_ms = arrays.pop("prefill_ttft_ms")
        if ttft_ms.shape != arrays["prefill_isl"].shape:
            raise ProfileFormatError(
                f"{source}: found shape {ttft_ms.shape} of prefill_ttft_ms, wanted that of prefill_isl, "
                f"{arrays['prefill_isl'].shape}"
            )
        with np.errstate(all="ignore"):  # what is not positive is refused below
            arrays |= {
                "prefill_ttft": ttft_ms,
                "prefill_thpt_per_gpu": arrays["prefill_isl"] / ttft_ms * 1000.0 / gpus,
            }
    else:
        arrays = dict(_row(_arrays(data, _PREFILL_KEYS, source=source), tp, source=source))
    try:
        table = PrefillTable.of(
            isl_tokens=arrays["prefill_isl"],
            ttft_ms=arrays["prefill_ttft"],
            throughput_per_gpu=arrays["prefill_thpt_per_gpu"],
        )
    except ProfileFormatError as exc:
        raise ProfileFormatError(f"{source}: {exc}") from exc
    alone = table.isl_tokens / table.ttft_ms * 1000.0
    are_seconds = float(np.median(alone)) > _FASTEST_TOKENS_PER_S
    _wants_milliseconds(
        "prefill_ttft",
        table.ttft_ms,
        alone / table.throughput_per_gpu,
        source=source,
        are_seconds=are_seconds,
        longest_s=_LONGEST_TTFT_S,
    )
    return table


def decode_table(data: bytes, *, source: str, tp: int | None = None) -> DecodeTable:
    """The decode stage, likewise.

    Raises:
        ProfileFormatError: as `prefill_table`.
    """
    if "decode_itl" in _names(data, source=source):
        columns, max_kv_tokens = _mocker_decode(_arrays(data, _MOCKER_DECODE_KEYS, source=source), tp, source)
    else:
        arrays = _row(_arrays(data, _DECODE_KEYS, source=source), tp, source=source)
        if arrays["max_kv_tokens"].size < 1:
            raise ProfileFormatError(f"{source}: max_kv_tokens: found an empty list, wanted a number")
        columns = {
            "kv_usage": arrays["x_kv_usage"],
            "context_tokens": arrays["y_context_length"],
            "itl_ms": arrays["z_itl"],
            "throughput_per_gpu": arrays["z_thpt_per_gpu"],
        }
        max_kv_tokens = float(arrays["max_kv_tokens"].flat[0])
    try:
        table = DecodeTable.of(**columns, max_kv_tokens=max_kv_tokens)
    except ProfileFormatError as exc:
        raise ProfileFormatError(f"{source}: {exc}") from exc
    _wants_milliseconds(
        "z_itl",
        table.itl_ms,
        table.concurrency / table.itl_ms * 1000.0 / table.throughput_per_gpu,
        source=source,
        are_seconds=float(np.median(table.itl_ms)) < _LEAST_ITL_MS,
        longest_s=_LONGEST_ITL_S,
    )
    return table


def _mocker_decode(arrays: Arrays, tp: int | None, source: str) -> tuple[dict[str, Floats], float]:
    """Columns of the mocker's grid, thinned out to what a table may have, and the size of the KV cache.

    Of the grid's `decode_itl[kv tokens, context]`; its largest KV load is taken for the size of the cache.
    """
    gpus = _gpus(tp, source=source)
    tokens, context, itl_ms = (arrays[key] for key in _MOCKER_DECODE_KEYS)
    if tokens.ndim != 1 or context.ndim != 1 or itl_ms.shape != (tokens.size, context.size):
        raise ProfileFormatError(
            f"{source}: decode_itl: found shape {itl_ms.shape}, wanted {(tokens.size, context.size)}: "
            "a row for each of decode_active_kv_tokens, a column for each of decode_context_length"
        )
    step = max(1, math.ceil(math.sqrt(itl_ms.size / MAX_POINTS)))
    # Without a load there is no request that an ITL could be of. The highest load stays.
    used = np.flatnonzero(tokens > 0.0)[::-1][::step][::-1]
    columns = np.arange(context.size)[::step]
    kv, long = (axis.ravel() for axis in np.meshgrid(tokens[used], context[columns], indexing="ij"))
    itl = itl_ms[np.ix_(used, columns)].ravel()
    size = float(tokens.max(initial=0.0))
    with np.errstate(all="ignore"):  # what is not positive is refused by the table
        return {
            "kv_usage": kv / size,
            "context_tokens": long,
            "itl_ms": itl,
            "throughput_per_gpu": kv / long / itl * 1000.0 / gpus,
        }, size


def _gpus(tp: int | None, *, source: str) -> int:
    if tp is None:
        raise ProfileFormatError(
            f"{source}: found latencies of Dynamo's mocker, which tell no throughput per GPU, wanted the GPUs of a "
            'replica: {"tp": N} in meta.json, or --tp'
        )
    return tp


def _row(found: Arrays, tp: int | None, *, source: str) -> Arrays:
    """The row of pre-swept results for *tp*; what has no rows as it is."""
    columns = {key: array for key, array in found.items() if key != _TP}
    if not any(array.ndim == 2 for array in columns.values()):
        return columns
    counts = {array.shape[0] if array.ndim == 2 else -1 for array in columns.values()}
    if len(counts) != 1:
        shapes = ", ".join(f"{key} {array.shape}" for key, array in columns.items())
        raise ProfileFormatError(
            f"{source}: found arrays of different shapes ({shapes}), wanted a row in each for every configuration"
        )
    count = counts.pop()
    tps = found[_TP].reshape(-1) if _TP in found and found[_TP].size == count else np.full(count, np.nan)
    places = np.flatnonzero(tps == tp) if tp is not None else np.arange(count)
    if places.size != 1:
        shown = ", ".join("not said" if math.isnan(each) else f"{each:g}" for each in tps.tolist())
        raise ProfileFormatError(
            f"{source}: found pre-swept results of {count} configurations (tp {shown}), wanted one"
            f'{"" if tp is None else f" with tp {tp}"}: choose with {{"tp": N}} in meta.json, or --tp'
        )
    return {key: array[places[0]] for key, array in columns.items()}


def _wants_milliseconds(
    name: str, latency: Floats, gpus: Floats, *, source: str, are_seconds: bool, longest_s: float
) -> None:
    """Refuse latencies in seconds: they imply replicas of a thousand times as many GPUs.

    Latencies that are too long for seconds are left to the checks of the throughput.

    Raises:
        ProfileFormatError: they are in seconds.
    """
    implied = float(np.median(gpus))
    if are_seconds or (implied > _MOST_GPUS and float(np.median(latency)) <= longest_s):
        why = f"a replica would have {implied:,.0f} GPUs" if implied > _MOST_GPUS else "no engine is so fast"
        raise ProfileFormatError(
            f"{source}: {name}: found {latency.min():.3g} to {latency.max():.3g}, which look like seconds ({why} if "
            "they were milliseconds), wanted milliseconds"
        )


def _names(data: bytes, *, source: str) -> frozenset[str]:
    """The keys in a file.

    Raises:
        ProfileFormatError: it does not parse.
    """
    if data.startswith(b"PK"):
        with _opened(data, source=source) as archive:
            return frozenset(member.filename.removesuffix(".npy") for member in archive.infolist())
    return (
        frozenset()
        if not data.strip() or len(data) > MAX_FILE_BYTES
        else frozenset(_object(data, source=source))
    )


def _arrays(data: bytes, keys: tuple[str, ...], *, source: str) -> Arrays:
    if len(data) > MAX_FILE_BYTES:
        raise ProfileFormatError(
            f"{source}: found more than {MAX_FILE_BYTES >> 20} MiB, wanted a profile of some kilobytes"
        )
    if not data.strip():
        raise ProfileFormatError(f"{source}: found nothing in it, wanted {', '.join(keys)}")
    read = _from_npz if data.startswith(b"PK") else _from_json
    found = read(data, (*keys, _TP), source=source)
    missing = [key for key in keys if key not in found]
    if missing:
        raise ProfileFormatError(f"{source}: found no {', '.join(missing)}, wanted {', '.join(keys)}")
    return found


@contextmanager
def _opened(data: bytes, *, source: str) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            count = len(archive.infolist())
            if count > MAX_ARRAYS:
                raise ProfileFormatError(f"{source}: found {count} arrays, wanted at most {MAX_ARRAYS}")
            yield archive
    except _BROKEN_ARCHIVE as exc:
        raise ProfileFormatError(f"{source}: found a broken archive ({exc}), wanted an NPZ file") from exc


def _from_npz(data: bytes, keys: tuple[str, ...], *, source: str) -> dict[str, Floats]:
    arrays: dict[str, Floats] = {}
    with _opened(data, source=source) as archive:
        for member in archive.infolist():
            key = member.filename.removesuffix(".npy")
            if key in keys:
                most = MAX_GRID_POINTS if key == "decode_itl" else MAX_POINTS
                with archive.open(member) as file:
                    text = file.read(most * 16 + _MAX_HEADER_BYTES + 1)
                arrays[key] = _from_npy(text, key=key, source=source, most=most)
    return arrays


def _from_npy(data: bytes, *, key: str, source: str, most: int) -> Floats:
    """One array, from the plain layout that numpy writes for numbers."""
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, by_columns, dtype = read_header(file, max_header_size=_MAX_HEADER_BYTES)
    except (ValueError, KeyError, TypeError, SyntaxError, MemoryError, RecursionError) as exc:
        raise ProfileFormatError(f"{source}: {key}: found no NumPy array in it, wanted one") from exc
    if dtype.kind not in "iuf" or dtype.itemsize > 16:
        raise ProfileFormatError(f"{source}: {key}: found elements of type {dtype}, wanted plain numbers")
    count = math.prod(shape)
    if not 0 <= count <= most or len(shape) > 2 or (len(shape) == 2 and not count):
        raise ProfileFormatError(
            f"{source}: {key}: found an array of shape {shape}, wanted one dimension, or two for pre-swept results, "
            f"and at most {most} numbers"
        )
    if len(data) - file.tell() < count * dtype.itemsize:
        raise ProfileFormatError(
            f"{source}: {key}: found fewer numbers than the {count} its header says, wanted all"
        )
    numbers = np.frombuffer(data, dtype=dtype, count=count, offset=file.tell()).astype(np.float64)
    return numbers.reshape(shape, order="F" if by_columns else "C")


def _from_json(data: bytes, keys: tuple[str, ...], *, source: str) -> dict[str, Floats]:
    document = _object(data, source=source)
    keys = tuple(key for key in keys if key != _TP)  # of rows, which JSON does not have
    return {key: _from_list(document[key], key=key, source=source) for key in keys if key in document}


def _object(data: bytes, *, source: str) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise ProfileFormatError(
            f"{source}: found text that is no JSON ({_short(exc)}), wanted an object"
        ) from exc
    if not isinstance(document, dict):
        raise ProfileFormatError(f"{source}: found a JSON {type(document).__name__}, wanted an object")
    return document


def _from_list(value: Any, *, key: str, source: str) -> Floats:
    numbers = value if isinstance(value, list) else [value]
    wrong = [item for item in numbers if type(item) not in (int, float)]
    if wrong or (not isinstance(value, list) and key != "max_kv_tokens"):
        found = type(wrong[0] if wrong else value).__name__
        raise ProfileFormatError(f"{source}: {key}: found a {found}, wanted a list of numbers")
    if len(numbers) > MAX_POINTS:
        raise ProfileFormatError(f"{source}: {key}: found {len(numbers)} points, wanted at most {MAX_POINTS}")
    try:
        return np.array(numbers, dtype=np.float64)
    except OverflowError as exc:
        raise ProfileFormatError(f"{source}: {key}: found a number beyond 1e308, wanted finite ones") from exc


def _short(exc: Exception) -> str:
    return str(exc)[:100]
