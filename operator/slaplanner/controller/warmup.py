"""The warm-up trace of a policy, read from a ConfigMap or a mounted file into points on the planning grid.

A trace is parsed once per version and interval. Later plans read only its bytes and compare them. Parsing may take
long, because the user chooses the size of the trace. So it runs in a thread of its own and within bounds, and a trace
that was refused is not parsed again.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path

from slaplanner.adapters.allowed_files import FileRefusedError, read_bytes, resolved
from slaplanner.adapters.traces.errors import TraceError
from slaplanner.adapters.traces.series import SeriesError, of_trace
from slaplanner.adapters.traces.trace import parse_trace, unpacked
from slaplanner.controller.thread_pools import ThreadPool
from slaplanner.core.errors import WarmUpError
from slaplanner.core.forecast.warmup import MOST_POINTS
from slaplanner.core.readings import Series
from slaplanner.core.reasons import Reason

MAX_FILE_BYTES = 32 << 20
"""Of a mounted file, as it is; a day of a busy service is 11 MB when it is packed."""

MAX_TEXT_BYTES = 256 << 20
"""After unpacking: three million requests, read in a few seconds."""

MAX_READING_S = 15.0
"""Of one thread's own time."""

MAX_OTHER_LINES = 100_000
"""Lines that are no requests: the parser is slowest with them."""

WAIT_S = 2.0
"""A plan waits so long for a trace that was not read yet; then it goes on without."""

KEPT = 256
"""Series, of a quarter of a megabyte each at most, and refusals."""

_Key = tuple[bytes, float]


class WarmUps:
    """What was made of traces, kept by their content."""

    def __init__(self, pool: ThreadPool | None = None) -> None:
        """*pool*: the thread in which traces are read (one of its own when there is none)."""
        self._kept: OrderedDict[_Key, Series | WarmUpError] = OrderedDict()
        self._pool = pool or ThreadPool("traces", size=1)
        self._reading: dict[_Key, asyncio.Future[Series]] = {}

    async def soon(self, data: bytes, *, name: str, interval_s: float) -> Series:
        """As `of`, without holding up the caller for longer than `WAIT_S`: reading then goes on alone.

        Raises:
            WarmUpError: as of `of`, or it is still being read.
        """
        key = await asyncio.to_thread(_key, data, interval_s)
        if key in self._kept:
            return self.of(data, name=name, interval_s=interval_s, key=key)
        reading = self._reading.get(key)
        if reading is None:
            reading = asyncio.ensure_future(
                self._pool.run(self.of, data, name=name, interval_s=interval_s, key=key)
            )
            self._reading[key] = reading
            reading.add_done_callback(lambda done: self._read(key, done))
        try:
            return await asyncio.wait_for(asyncio.shield(reading), WAIT_S)
        except TimeoutError as error:
            raise WarmUpError(f"warm-up trace: {name} is still being read") from error

    def _read(self, key: _Key, done: asyncio.Future[Series]) -> None:
        del self._reading[key]
        if not done.cancelled():
            done.exception()  # asked for, so that asyncio does not report it: it is kept

    def of(self, data: bytes, *, name: str, interval_s: float, key: _Key | None = None) -> Series:
        """The newest points of a trace, one per interval, at most as many as are ever learnt from.

        Raises:
            WarmUpError: it is no trace, too short for the interval, or takes too long to read.
        """
        key = key or _key(data, interval_s)
        found = self._kept.get(key)
        if found is None:
            try:
                found = _series(data, name=name, interval_s=interval_s)
            except WarmUpError as error:
                found = error
        self._kept[key] = found
        self._kept.move_to_end(key)
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        if isinstance(found, WarmUpError):
            raise WarmUpError(str(found), reason=found.reason)
        return found


def _key(data: bytes, interval_s: float) -> _Key:
    return hashlib.sha256(data).digest(), interval_s


def config_map_bytes(
    name: str, data: Mapping[str, str] | None, binary_data: Mapping[str, str] | None
) -> bytes:
    """The only entry of a ConfigMap.

    Raises:
        WarmUpError: it has none or several, or one that is not base64.
    """
    entries = sorted([*(data or {}), *(binary_data or {})])
    if len(entries) != 1:
        raise WarmUpError(
            f"warm-up trace: ConfigMap {name!r} has {', '.join(entries) or 'no entries'}, wanted one: the trace"
        )
    if data:
        return data[entries[0]].encode()
    try:
        return base64.b64decode((binary_data or {})[entries[0]], validate=True)
    except ValueError as error:  # binascii.Error, and text that is not ASCII
        raise WarmUpError(
            f"warm-up trace: {entries[0]} of ConfigMap {name!r} is not base64: {error}"
        ) from error


def file_bytes(path: str, *, allowed: Sequence[Path]) -> bytes:
    """A mounted file below one of the *allowed* directories.

    Raises:
        WarmUpError: it lies elsewhere (PROFILE_PATH_NOT_ALLOWED), is absent, no file, or too big.
    """
    try:
        place = resolved(Path(path), [root.resolve() for root in allowed], shown=path)
        data = read_bytes(place, most=MAX_FILE_BYTES, shown=path)
    except FileRefusedError as error:
        reason = Reason.PROFILE_PATH_NOT_ALLOWED if error.outside else None
        raise WarmUpError(f"warm-up trace: {error}", reason=reason) from error
    if data is None:
        raise WarmUpError(f"warm-up trace: {path}: found no such file, wanted a trace of JSON lines")
    if len(data) > MAX_FILE_BYTES:
        raise WarmUpError(
            f"warm-up trace: {path}: found more than {MAX_FILE_BYTES >> 20} MiB, wanted at most so much"
        )
    return data


def _series(data: bytes, *, name: str, interval_s: float) -> Series:
    until_s = time.thread_time() + MAX_READING_S
    try:
        with unpacked(io.BytesIO(data), name=name) as text:
            trace = parse_trace(
                text,
                name=name,
                most_bytes=MAX_TEXT_BYTES,
                most_dropped=MAX_OTHER_LINES,
                expired=lambda: time.thread_time() > until_s,
            )
        series = of_trace(trace, interval_s=interval_s)
    except (TraceError, SeriesError) as error:
        raise WarmUpError(f"warm-up trace: {error}") from error
    newest = slice(max(0, len(series) - MOST_POINTS), None)
    return Series(
        end_s=series.end_s,
        step_s=series.step_s,
        requests=series.requests[newest],
        isl_tokens=series.isl_tokens[newest],
        osl_tokens=series.osl_tokens[newest],
    )
