"""Traces of requests: single requests with their time, ISL and OSL, from files of several formats.

`formats` finds the format by the content, the readers beside it read it. Lines that are no requests are dropped
and counted with their reason, because real traces have a few; more than `MOST_DROPPED` are refused, because what
is left is then another load. Unsorted traces are sorted. A million requests of mooncake take a second or two.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from slaplanner.adapters.traces.amplify import jittered
from slaplanner.adapters.traces.errors import TraceError
from slaplanner.adapters.traces.formats import WANTED, reader_for
from slaplanner.adapters.traces.gunzip import BROKEN, MAGIC, gunzipped
from slaplanner.adapters.traces.mooncake import Mooncake
from slaplanner.adapters.traces.reader import Reader
from slaplanner.adapters.traces.rows import Rows
from slaplanner.adapters.traces.times import FROM_START, TimeUnit, on_clock, paced
from slaplanner.core.arrays import Floats
from slaplanner.core.readings import Series

IntArray = npt.NDArray[np.int64]

BLOCK_BYTES = 1 << 18
"""With what is worked out from it a block fits into a core's cache, which saves a tenth of the time."""
MAX_LINE_BYTES = 1 << 20
"""A line of a million tokens' block hashes is still shorter."""
MAX_REQUESTS = 20_000_000
"""Half a gigabyte of arrays; a day of the busiest published trace is 1.4 million."""
MAX_BYTES = 8 << 30
"""Of text after decompression: a small file must not unpack without end."""
MOST_DROPPED = 0.01
"""Of all lines. One broken line alone is never too many."""

BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trace:
    """Requests in the order of their arrival; arrays of shape (requests,), at least one."""

    name: str
    t_s: Floats
    """Arrival in seconds, on the trace's own clock, never falling."""
    isl_tokens: IntArray
    osl_tokens: IntArray
    clock: str = ""
    """What its times were taken for."""
    skipped_lines: int = 0
    """Lines that should be requests and are none."""
    notes: tuple[str, ...] = ()
    """What a user should know of how it was read: what it was taken for unless that is mooncake with times in ms
    from the start, and what was dropped, left out, sorted or assumed."""
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
            TraceError: these are more than `MAX_REQUESTS`.
            ValueError: *copies* is below 1.
        """
        if copies < 1:
            raise ValueError(f"a trace is repeated 1 or more times, found {copies}")
        self._check_copies(copies)
        return replace(
            self,
            t_s=np.repeat(self.t_s, copies),
            isl_tokens=np.repeat(self.isl_tokens, copies),
            osl_tokens=np.repeat(self.osl_tokens, copies),
        )

    def amplified(self, copies: int, *, seed: int) -> Trace:
        """Each request *copies* times, jittered (see `amplify`).

        Raises:
            TraceError: these are more than `MAX_REQUESTS`.
            ValueError: *copies* is below 1.
        """
        self._check_copies(copies)
        t_s, original = jittered(self.t_s, copies, seed=seed)
        return replace(
            self, t_s=t_s, isl_tokens=self.isl_tokens[original], osl_tokens=self.osl_tokens[original]
        )

    def _check_copies(self, copies: int) -> None:
        if copies * len(self) > MAX_REQUESTS:
            raise TraceError(
                f"{self.name}: found {len(self):,} requests to be taken {copies:,} times, wanted at most "
                f"{MAX_REQUESTS:,} in all"
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


def read_trace(path: str | Path, *, time_unit: TimeUnit | None = None) -> Trace:
    """Read one trace file, gzipped or not (by its first bytes, whatever its name).

    Args:
        path: of the file.
        time_unit: of its times, where the format does not settle it.

    Raises:
        TraceError: the file is missing, cannot be read or unpacked, is too big, is no trace, has no valid
            line or too many others, or the unit of its times is not clear.
    """
    path = Path(path)
    try:
        with path.open("rb") as file, unpacked(file, name=str(path)) as text:
            return parse_trace(text, name=path.name, time_unit=time_unit)
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


def parse_trace(
    file: BinaryIO,
    *,
    name: str,
    most_bytes: int | None = None,
    most_dropped: int | None = None,
    time_unit: TimeUnit | None = None,
    expired: Callable[[], bool] = lambda: False,
) -> Trace:
    """Read a trace from an open file.

    Args:
        file: its text.
        name: stands in messages.
        most_bytes: of text.
        most_dropped: lines that are no requests; None: however many, while they are a small share.
        time_unit: of its times; None: found by the reader.
        expired: asked after each block of lines; True: reading has taken long enough.

    Raises:
        TraceError: it is too big, is no trace, has no valid line or too many others, or the unit of its times
            is not clear.
    """
    head = file.read(BLOCK_BYTES).removeprefix(BOM)
    reader, rows = reader_for(head, name=name), Rows()
    chunks = itertools.chain((head,), iter(lambda: file.read(BLOCK_BYTES), b""))
    most = MAX_BYTES if most_bytes is None else most_bytes
    most_line = reader.MOST_LINE_BYTES or MAX_LINE_BYTES
    for block in _blocks(chunks, name=name, most_bytes=most, most_line_bytes=most_line):
        reader.feed(block, rows)
        if most_dropped is not None and rows.dropped.total() > most_dropped:
            raise TraceError(
                f"{name}: found more than {most_dropped:,} lines that are no requests, wanted a trace of requests"
            )
        if expired():
            raise TraceError(
                f"{name}: takes too long to read after {len(rows):,} requests, wanted a smaller one"
            )
        if len(rows) > MAX_REQUESTS:
            raise TraceError(f"{name}: found more than {MAX_REQUESTS:,} requests, wanted at most so many")
    reader.finish(rows)
    notes = _dropped(rows, name=name)
    table = rows.table()
    clock = _timed(rows, table, reader, name=name, given=time_unit)
    is_plain = isinstance(reader, Mooncake) and clock == FROM_START.format(TimeUnit.MS.words)
    unsorted = bool((np.diff(table[:, 0]) < 0).any())
    if unsorted:
        table = table[np.argsort(table[:, 0], kind="stable")]
        notes.append("was not in the order of time and was sorted")
    if not is_plain:
        span_s = float(table[-1, 0] - table[0, 0])
        notes.insert(0, f"found {reader.NAME}, {clock}: {paced(len(table), span_s)}")
    return Trace(
        name=name,
        t_s=table[:, 0],
        isl_tokens=table[:, 1].astype(np.int64),
        osl_tokens=table[:, 2].astype(np.int64),
        clock=clock,
        skipped_lines=rows.dropped.total(),
        notes=tuple(notes),
        was_unsorted=unsorted,
    )


def _timed(rows: Rows, table: Floats, reader: Reader, *, name: str, given: TimeUnit | None) -> str:
    """Turn the times of *table* into seconds, in place; the clock in words."""
    times = table[:, 0]
    own = np.isfinite(times) if rows.delayed else slice(None)
    clock = on_clock(
        times[own],
        unit=TimeUnit.S if rows.iso else reader.UNIT,
        documented=bool(rows.iso) or reader.DOCUMENTED,
        given=given,
        name=name,
    )
    times[own] = clock.seconds
    for row, after, delay_ms in rows.delayed:
        times[row] = times[after] + delay_ms / 1000.0
    return clock.words


def _dropped(rows: Rows, *, name: str) -> list[str]:
    """Notes of what is no request.

    Raises:
        TraceError: nothing is, or too much is not.
    """
    skipped, total = rows.dropped.total(), len(rows) + rows.dropped.total()
    if not len(rows):
        reasons = f" ({_counted(rows.dropped + rows.left_out)})" if rows.dropped or rows.left_out else ""
        raise TraceError(f"{name}: found {skipped} lines and none of them valid, wanted {WANTED}{reasons}")
    if skipped > max(1, MOST_DROPPED * total):
        raise TraceError(
            f"{name}: found {skipped:,} of {total:,} lines ({skipped / total:.1%}) that are no requests "
            f"({_counted(rows.dropped)}), wanted at most {MOST_DROPPED:.0%}: what is left is another load"
        )
    notes = []
    if skipped:
        notes.append(
            f"{skipped:,} lines are no requests and were skipped "
            f"({skipped / total:.2%} of them: {_counted(rows.dropped)})"
        )
    if rows.left_out:
        notes.append(f"left out: {_counted(rows.left_out)}")
    if rows.delayed:
        notes.append(
            f"{len(rows.delayed):,} turns have no time, only a delay: they are counted so much after the turn "
            "before came, because a trace does not tell how long its answer took"
        )
    return notes


def _counted(reasons: Counter[str]) -> str:
    return "; ".join(f"{count:,} {reason}" for reason, count in reasons.most_common() if count)


def per_interval(trace: Trace, *, interval_s: float, start_s: float = 0.0, least: int = 2) -> Series:
    """Requests and mean lengths of each interval from *start_s* to the one with the last arrival.

    An interval without requests counts 0 and has NaN for lengths.

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
            + (f"; times were read as {trace.clock}" if trace.clock else "")
        )
    requests = np.bincount(index, minlength=count).astype(np.float64)
    present = np.where(requests > 0, requests, np.nan)
    return series_of(
        requests,
        np.bincount(index, trace.isl_tokens[used], minlength=count) / present,
        np.bincount(index, trace.osl_tokens[used], minlength=count) / present,
        interval_s=interval_s,
        start_s=start_s,
    )


def series_of(requests: Floats, isl: Floats, osl: Floats, *, interval_s: float, start_s: float) -> Series:
    """The load of intervals, arrays of shape (intervals,), as a series that begins at *start_s*."""
    return Series(
        end_s=start_s + len(requests) * interval_s,
        step_s=interval_s,
        requests=tuple(requests.tolist()),
        isl_tokens=tuple(isl.tolist()),
        osl_tokens=tuple(osl.tolist()),
    )


def _blocks(chunks: Iterable[bytes], *, name: str, most_bytes: int, most_line_bytes: int) -> Iterator[bytes]:
    """The file in blocks of whole lines."""
    total, rest = 0, b""
    for chunk in chunks:
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
        if len(rest) > most_line_bytes:
            raise TraceError(
                f"{name}: found a line of more than {most_line_bytes:,} bytes, wanted JSON lines"
            )
    if rest:
        yield rest + b"\n"
