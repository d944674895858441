"""Profiles from bytes, as Dynamo's profiler writes them: NPZ archives or JSON, never trusted.

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
from collections.abc import Mapping
from typing import Any

import numpy as np

from slaplanner.core.errors import ProfileFormatError
from slaplanner.core.profiles.tables import MAX_POINTS, DecodeTable, FloatArray, PrefillTable

MAX_FILE_BYTES = 4 << 20
"""A profile of 100 points is 10 KiB of JSON; a ConfigMap holds 1 MiB at most."""

MAX_ARRAYS = 64
"""Dynamo writes three to five; further ones are ignored, archives of thousands refused."""

_MAX_HEADER_BYTES = 10_000
_MAX_ARRAY_BYTES = MAX_POINTS * 16 + _MAX_HEADER_BYTES

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

Arrays = Mapping[str, FloatArray]

_PREFILL_KEYS = ("prefill_isl", "prefill_ttft", "prefill_thpt_per_gpu")
_DECODE_KEYS = ("x_kv_usage", "y_context_length", "z_itl", "z_thpt_per_gpu", "max_kv_tokens")


def prefill_table(data: bytes, *, source: str) -> PrefillTable:
    """The prefill stage from an NPZ archive or a JSON object; *source* stands in messages.

    Raises:
        ProfileFormatError: it does not parse, keys are missing, or columns do not fit together.
    """
    arrays = _arrays(data, _PREFILL_KEYS, source=source)
    try:
        return PrefillTable.of(
            isl_tokens=arrays["prefill_isl"],
            ttft_ms=arrays["prefill_ttft"],
            throughput_per_gpu=arrays["prefill_thpt_per_gpu"],
        )
    except ProfileFormatError as exc:
        raise ProfileFormatError(f"{source}: {exc}") from exc


def decode_table(data: bytes, *, source: str) -> DecodeTable:
    """The decode stage, likewise.

    Raises:
        ProfileFormatError: it does not parse, keys are missing, or columns do not fit together.
    """
    arrays = _arrays(data, _DECODE_KEYS, source=source)
    if arrays["max_kv_tokens"].size < 1:
        raise ProfileFormatError(f"{source}: max_kv_tokens: found an empty list, wanted a number")
    try:
        return DecodeTable.of(
            kv_usage=arrays["x_kv_usage"],
            context_tokens=arrays["y_context_length"],
            itl_ms=arrays["z_itl"],
            throughput_per_gpu=arrays["z_thpt_per_gpu"],
            max_kv_tokens=float(arrays["max_kv_tokens"].flat[0]),
        )
    except ProfileFormatError as exc:
        raise ProfileFormatError(f"{source}: {exc}") from exc


def _arrays(data: bytes, keys: tuple[str, ...], *, source: str) -> Arrays:
    if len(data) > MAX_FILE_BYTES:
        raise ProfileFormatError(
            f"{source}: found more than {MAX_FILE_BYTES >> 20} MiB, wanted a profile of some kilobytes"
        )
    if not data.strip():
        raise ProfileFormatError(f"{source}: found nothing in it, wanted {', '.join(keys)}")
    found = (
        _from_npz(data, keys, source=source)
        if data.startswith(b"PK")
        else _from_json(data, keys, source=source)
    )
    missing = [key for key in keys if key not in found]
    if missing:
        raise ProfileFormatError(f"{source}: found no {', '.join(missing)}, wanted {', '.join(keys)}")
    return found


def _from_npz(data: bytes, keys: tuple[str, ...], *, source: str) -> dict[str, FloatArray]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if len(members) > MAX_ARRAYS:
                raise ProfileFormatError(
                    f"{source}: found {len(members)} arrays, wanted at most {MAX_ARRAYS}"
                )
            arrays: dict[str, FloatArray] = {}
            for member in members:
                key = member.filename.removesuffix(".npy")
                if key in keys:
                    with archive.open(member) as file:
                        arrays[key] = _from_npy(file.read(_MAX_ARRAY_BYTES + 1), key=key, source=source)
            return arrays
    except _BROKEN_ARCHIVE as exc:
        raise ProfileFormatError(f"{source}: found a broken archive ({exc}), wanted an NPZ file") from exc


def _from_npy(data: bytes, *, key: str, source: str) -> FloatArray:
    """One array, from the plain layout that numpy writes for numbers."""
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, _, dtype = read_header(file, max_header_size=_MAX_HEADER_BYTES)
    except (ValueError, KeyError, TypeError, SyntaxError, MemoryError, RecursionError) as exc:
        raise ProfileFormatError(f"{source}: {key}: found no NumPy array in it, wanted one") from exc
    if dtype.kind not in "iuf" or dtype.itemsize > 16:
        raise ProfileFormatError(f"{source}: {key}: found elements of type {dtype}, wanted plain numbers")
    count = math.prod(shape)
    if not 0 <= count <= MAX_POINTS or len(shape) > 1:
        raise ProfileFormatError(
            f"{source}: {key}: found an array of shape {shape}, wanted one dimension of at most {MAX_POINTS}"
        )
    if len(data) - file.tell() < count * dtype.itemsize:
        raise ProfileFormatError(
            f"{source}: {key}: found fewer numbers than the {count} its header says, wanted all"
        )
    return np.frombuffer(data, dtype=dtype, count=count, offset=file.tell()).astype(np.float64)


def _from_json(data: bytes, keys: tuple[str, ...], *, source: str) -> dict[str, FloatArray]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise ProfileFormatError(
            f"{source}: found text that is no JSON ({_short(exc)}), wanted an object"
        ) from exc
    if not isinstance(document, dict):
        raise ProfileFormatError(f"{source}: found a JSON {type(document).__name__}, wanted an object")
    return {key: _from_list(document[key], key=key, source=source) for key in keys if key in document}


def _from_list(value: Any, *, key: str, source: str) -> FloatArray:
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
