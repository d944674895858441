"""Traces of requests: mooncake JSON lines, plain or gzipped, read fast and within bounds.

A line is `{"timestamp": ms, "input_length": tokens, "output_length": tokens}`; further keys are
ignored. Lines that are no such object are skipped and counted, because real traces have a few;
unsorted traces are sorted. A million requests take a second or two: blocks of lines in the plain
layout go through numpy, all others through the JSON parser, with the same result.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from slaplanner.adapters.traces.amplify import jittered
from slaplanner.adapters.traces.gunzip import BROKEN, MAGIC, gunzipped

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

BLOCK_BYTES = 1 << 18
"""With what is worked out from it a block fits into a core's cache, which saves a tenth of the time."""
MAX_LINE_BYTES = 1 << 20
"""A line of a million tokens' block hashes is still shorter."""
MAX_REQUESTS = 20_000_000
"""Half a gigabyte of arrays; a day of the busiest published trace is 1.4 million."""
MAX_BYTES = 8 << 30
"""Of text after decompression: a small file must not unpack without end."""
MAX_TOKENS = 10**9
MAX_TIMESTAMP_MS = 1e15
"""Unix milliseconds of the year 33658; beyond it doubles lose the millisecond."""

_LAYOUT = re.compile(rb'\{"timestamp": ?, ?"input_length": ?, ?"output_length": ?\}\r?\n')
"""A line in the plain layout, without its digits."""
_MOST_DIGITS = np.array([15, 9, 9])
"""Of each number: 15 digits fit a double."""
_POWERS = 10.0 ** np.arange(_MOST_DIGITS.max() - 1, -1, -1)
"""Of each digit of the longest number, the first one first."""
_COMMA, _BRACE = np.frombuffer(b",}", dtype=np.uint8)
_ZERO = np.uint8(ord("0"))


class TraceError(Exception):
    """A trace cannot be used; the message says what was found and what was wanted."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trace:
    """Requests in the order of their arrival; arrays of shape (requests,), at least one."""

    name: str
    t_s: FloatArray
    """Arrival in seconds, on the trace's own clock, never falling."""
    isl_tokens: IntArray
    osl_tokens: IntArray
    skipped_lines: int = 0
    was_unsorted: bool = False

    def __len__(self) -> int:
        return int(self.t_s.size)

    @property
    def span_s(self) -> float:
        """From the first arrival to the last."""
        return float(self.t_s[-1] - self.t_s[0])

    def repeated(self, copies: int) -> Trace:
        """Each request *copies* times, at its own time.

        Raises:
            ValueError: *copies* is below 1.
        """
        if copies < 1:
            raise ValueError(f"a trace is repeated 1 or more times, found {copies}")
        return replace(
            self,
            t_s=np.repeat(self.t_s, copies),
            isl_tokens=np.repeat(self.isl_tokens, copies),
            osl_tokens=np.repeat(self.osl_tokens, copies),
        )

    def amplified(self, copies: int, *, seed: int) -> Trace:
        """Each request *copies* times, jittered (see `offline.amplify`).

        Raises:
            ValueError: *copies* is below 1.
        """
        t_s, original = jittered(self.t_s, copies, seed=seed)
        return replace(
            self, t_s=t_s, isl_tokens=self.isl_tokens[original], osl_tokens=self.osl_tokens[original]
        )

    def between(self, from_s: float, to_s: float) -> Trace:
        """The requests that arrive in [from_s, to_s), their times counted from *from_s*.

        Raises:
            TraceError: there are none.
        """
        first, last = np.searchsorted(self.t_s, (from_s, to_s), side="left")
        if first == last:
            raise TraceError(
                f"{self.name}: found no request from {from_s:g} s to {to_s:g} s; "
                f"the trace runs from {self.t_s[0]:g} s to {self.t_s[-1]:g} s"
            )
        part = slice(int(first), int(last))
        return Trace(
            name=self.name,
            t_s=self.t_s[part] - from_s,
            isl_tokens=self.isl_tokens[part],
            osl_tokens=self.osl_tokens[part],
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IntervalLoad:
    """A trace summed up per interval; arrays of shape (intervals,).

    `start_s`: start of the first interval on the trace's clock. Empty intervals count 0 requests
    and have NaN lengths.
    """

    start_s: float
    interval_s: float
    requests: FloatArray
    isl_tokens: FloatArray
    osl_tokens: FloatArray

    def __len__(self) -> int:
        return int(self.requests.size)


def read_trace(path: str | Path) -> Trace:
    """Read one trace file, gzipped or not (by its first bytes, whatever its name).

    Raises:
        TraceError: the file is missing, cannot be read or unpacked, is too big, or has no valid line.
    """
    path = Path(path)
    try:
        with path.open("rb") as file, unpacked(file, name=str(path)) as text:
            return parse_trace(text, name=path.name)
    except FileNotFoundError as exc:
        raise TraceError(f"{path}: found no such file, wanted a trace of JSON lines") from exc
    except OSError as exc:
        raise TraceError(f"{path}: cannot be read: {exc.strerror or exc}") from exc


@contextmanager
def unpacked(file: BinaryIO, *, name: str) -> Iterator[BinaryIO]:
    """The text in *file*, gzipped or not (by its first bytes); *name* stands in messages.

    Raises (while it is read):
        TraceError: it cannot be unpacked.
    """
    zipped = file.read(len(MAGIC)) == MAGIC
    file.seek(0)
    if not zipped:
        yield file
        return
    try:
        with gunzipped(file) as text:
            yield text
    except BROKEN as exc:
        raise TraceError(f"{name}: found a broken gzip file ({exc}), wanted a whole one") from exc


def parse_trace(file: BinaryIO, *, name: str, most_bytes: int | None = None) -> Trace:
    """Read a trace from an open file, of at most *most_bytes* of text; *name* stands in messages.

    Raises:
        TraceError: it is too big, or has no valid line.
    """
    blocks: list[FloatArray] = []
    requests = skipped = 0
    for block in _blocks(file, name=name, most_bytes=MAX_BYTES if most_bytes is None else most_bytes):
        rows, bad = _parse_block(block)
        blocks.append(rows)
        requests += len(rows)
        skipped += bad
        if requests > MAX_REQUESTS:
            raise TraceError(f"{name}: found more than {MAX_REQUESTS:,} requests, wanted at most so many")
    if not requests:
        raise TraceError(
            f"{name}: found {skipped} lines and none of them valid, wanted lines like "
            '{"timestamp": 0, "input_length": 374, "output_length": 44}'
        )
    rows = np.concatenate(blocks)
    unsorted = bool((np.diff(rows[:, 0]) < 0).any())
    if unsorted:
        rows = rows[np.argsort(rows[:, 0], kind="stable")]
    return Trace(
        name=name,
        t_s=rows[:, 0] / 1000,
        isl_tokens=rows[:, 1].astype(np.int64),
        osl_tokens=rows[:, 2].astype(np.int64),
        skipped_lines=skipped,
        was_unsorted=unsorted,
    )


def per_interval(trace: Trace, *, interval_s: float, start_s: float = 0.0, least: int = 2) -> IntervalLoad:
    """Requests and mean lengths of each interval from *start_s* to the one with the last arrival.

    Raises:
        TraceError: the trace fills less than *least* intervals; a single one leaves nothing to predict.
    """
    used = slice(int(trace.t_s.searchsorted(start_s)), len(trace))
    index = ((trace.t_s[used] - start_s) / interval_s).astype(np.int64)
    count = int(index[-1]) + 1 if index.size else 0
    if count < least:
        raise TraceError(
            f"{trace.name}: found {count} interval of {interval_s:g} s (requests over {trace.span_s:g} s), "
            "wanted at least two: one to learn from and one to predict"
        )
    requests = np.bincount(index, minlength=count).astype(np.float64)
    present = np.where(requests > 0, requests, np.nan)
    return IntervalLoad(
        start_s=start_s,
        interval_s=interval_s,
        requests=requests,
        isl_tokens=np.bincount(index, trace.isl_tokens[used], minlength=count) / present,
        osl_tokens=np.bincount(index, trace.osl_tokens[used], minlength=count) / present,
    )


def _blocks(file: BinaryIO, *, name: str, most_bytes: int) -> Iterator[bytes]:
    """The file in blocks of whole lines."""
    total, rest = 0, b""
    while chunk := file.read(BLOCK_BYTES):
        total += len(chunk)
        if total > most_bytes:
            raise TraceError(
                f"{name}: found more than {most_bytes >> 20:,} MiB of text, wanted at most so much"
            )
        end = chunk.rfind(b"\n") + 1
        if end:
            yield rest + chunk[:end]
            rest = chunk[end:]
        else:
            rest += chunk
        if len(rest) > MAX_LINE_BYTES:
            raise TraceError(f"{name}: found a line of more than {MAX_LINE_BYTES:,} bytes, wanted JSON lines")
    if rest:
        yield rest + b"\n"


def _parse_block(block: bytes) -> tuple[FloatArray, int]:
    """Rows (timestamp ms, ISL, OSL) of a block of whole lines, and how many lines are no request."""
    rows = _plain_rows(block)
    if rows is not None:
        valid = (rows[:, 1:] > 0).all(axis=1)
        bad = len(rows) - int(np.count_nonzero(valid))
        return rows[valid] if bad else rows, bad
    parsed: list[tuple[float, float, float]] = []
    skipped = 0
    for line in block.splitlines():
        if not line.strip():
            continue
        row = _parse_line(line)
        if row is None:
            skipped += 1
        else:
            parsed.append(row)
    return np.array(parsed, dtype=np.float64).reshape(-1, 3), skipped


def _plain_rows(block: bytes) -> FloatArray | None:
    """Rows of a block whose lines all have the same plain layout, shape (lines, 3); None for any other.

    Without its digits such a block is one line again and again, and each line has three runs of digits
    that end before a comma or the brace: so they stand where the numbers belong. Digit by digit, all lines
    at once: several times as fast as a pattern and numpy's own parser.
    """
    text = block.translate(None, b"0123456789")
    line = text[: text.find(b"\n") + 1]
    if not _LAYOUT.fullmatch(line) or text != line * (len(text) // len(line)):
        return None
    characters = np.frombuffer(block, dtype=np.uint8)
    digits = characters - _ZERO
    is_digit = digits < 10
    edges = np.flatnonzero(is_digit[1:] != is_digit[:-1]) + 1
    if edges.size != 6 * (len(text) // len(line)):
        return None
    # A row for each of the three numbers.
    first, end = np.ascontiguousarray(edges.reshape(-1, 3, 2).T)
    closing, places = characters.take(end), (end - first).max(axis=1)
    if not ((closing == _COMMA) | (closing == _BRACE)).all() or (places > _MOST_DIGITS).any():
        return None
    # What stands before a shorter number then counts nothing; names are longer than numbers.
    digits *= is_digit
    return np.array([_numbers(digits, *column) for column in zip(end, places.tolist(), strict=True)]).T


def _numbers(digits: npt.NDArray[np.uint8], end: npt.NDArray[np.intp], places: int) -> FloatArray:
    """The numbers that stand before each *end*, of so many digits; exact, for 15 of them fit a double."""
    each = digits.take(end + np.arange(-places, 0)[:, None], mode="wrap").astype(np.float64)
    numbers: FloatArray = _POWERS[-places:] @ each
    return numbers


def _parse_line(line: bytes) -> tuple[float, float, float] | None:
    """One request, or None where the line is none."""
    try:
        entry = json.loads(line)
        timestamp, isl, osl = entry["timestamp"], entry["input_length"], entry["output_length"]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        return None
    if not all(type(value) in (int, float) for value in (timestamp, isl, osl)):
        return None
    try:
        row = float(timestamp), float(isl), float(osl)
    except OverflowError:
        return None
    if not (0 <= row[0] <= MAX_TIMESTAMP_MS and all(math.isfinite(value) for value in row)):
        return None
    return row if all(1 <= value <= MAX_TOKENS and value.is_integer() for value in row[1:]) else None
