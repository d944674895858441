"""Which format a trace is in, by its content."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from slaplanner.adapters.traces.aiperf import AiPerf
from slaplanner.adapters.traces.azure import Azure
from slaplanner.adapters.traces.burstgpt import BurstGpt
from slaplanner.adapters.traces.dynamo_requests import DynamoRequests, record_of
from slaplanner.adapters.traces.errors import TraceError
from slaplanner.adapters.traces.mooncake import Mooncake, QwenBailian
from slaplanner.adapters.traces.reader import Csv, Reader, columns_of
from slaplanner.adapters.traces.vllm_bench import VllmBench

FORMATS: tuple[type[Reader], ...] = (
    Mooncake,
    QwenBailian,
    DynamoRequests,
    AiPerf,
    VllmBench,
    Azure,
    BurstGpt,
)
_CSVS: tuple[type[Csv], ...] = (Azure, BurstGpt)

WANTED = 'lines like {"timestamp": 0, "input_length": 374, "output_length": 44}, or one of ' + ", ".join(
    each.NAME for each in FORMATS[1:]
)

_LOOKED_AT = 100
"""Lines from the beginning, of which one shows the format."""

_NO_TRACES = (
    (b"version https://git-lfs.github.com/spec/", "a Git LFS pointer", "the file itself (git lfs pull)"),
    (b"PK\x03\x04", "a ZIP archive", "it unpacked, or packed with gzip"),
    (b"\x28\xb5\x2f\xfd", "a file packed with Zstandard", "it unpacked, or packed with gzip"),
    (b"\xfd7zXZ", "a file packed with xz", "it unpacked, or packed with gzip"),
    (b"BZh", "a file packed with bzip2", "it unpacked, or packed with gzip"),
    (b"PAR1", "a Parquet file", "it as CSV or JSON lines"),
    (b"\xff\xfe", "UTF-16 text", "UTF-8 text"),
    (b"\xfe\xff", "UTF-16 text", "UTF-8 text"),
)
_HTML = re.compile(rb"\s*<(!doctype html|html|head|body)", re.IGNORECASE)
_COLUMN = re.compile(r"[A-Za-z_][\w .()/%-]*")


def reader_for(head: bytes, *, name: str) -> Reader:
    """The reader of a file that begins with *head*; `Mooncake` where nothing shows a format.

    Raises:
        TraceError: it is known to be no trace.
    """
    for magic, found, wanted in _NO_TRACES:
        if head.startswith(magic):
            raise TraceError(f"{name}: found {found}, wanted {wanted}")
    if _HTML.match(head):
        raise TraceError(
            f"{name}: found an HTML page, wanted a trace: was a page saved instead of the file behind it?"
        )
    first = head.lstrip()
    if first.startswith(b"["):
        raise TraceError(f"{name}: found one JSON array, wanted JSON lines (jq -c '.[]' makes them)")
    if first.startswith(b"{"):
        return _of_json(head, name=name)
    header = csv_header(head)
    if header is None:
        return Mooncake(name)
    for each in _CSVS:
        if _has_columns(each, header):
            return each(name)
    raise TraceError(
        f"{name}: found a CSV with columns {', '.join(header)}, wanted "
        + " or ".join(f"{', '.join(each.COLUMNS)} ({each.NAME})" for each in _CSVS)
        + "; slaplanner forecast also reads loads per interval"
    )


def is_trace_header(header: Sequence[str]) -> bool:
    """Whether a CSV with these columns is a trace of requests."""
    return any(_has_columns(each, header) for each in _CSVS)


def csv_header(head: bytes) -> list[str] | None:
    """The column names that a CSV begins with; None where it does not begin so."""
    line = next((line for line in head.decode("utf-8", errors="replace").splitlines() if line.strip()), "")
    names, _ = columns_of(line)
    return names if len(names) > 1 and all(_COLUMN.fullmatch(name) for name in names) else None


def _has_columns(reader: type[Csv], header: Sequence[str]) -> bool:
    return set(reader.COLUMNS) <= set(header)


def _of_json(head: bytes, *, name: str) -> Reader:
    for entry in _entries(head):
        for each, claims in _CLAIMS:
            if claims(entry):
                return each(name)
    # A whole run of a benchmark may be one line, longer than what is looked at.
    return VllmBench(name) if b'"num_prompts"' in head or b'"start_times"' in head else Mooncake(name)


_CLAIMS: tuple[tuple[type[Reader], Callable[[Mapping[str, Any]], bool]], ...] = (
    (DynamoRequests, lambda entry: record_of(entry) is not None),
    (AiPerf, lambda entry: "metadata" in entry and "metrics" in entry),
    (VllmBench, lambda entry: "start_times" in entry or "num_prompts" in entry),
    (QwenBailian, lambda entry: "chat_id" in entry and "input_length" in entry),
    (Mooncake, lambda entry: "input_length" in entry or "output_length" in entry),
)
"""By which keys a format is known, the particular ones first."""


def _entries(head: bytes) -> Iterator[dict[str, Any]]:
    for line in head.splitlines()[:_LOOKED_AT]:
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict):
            yield entry
