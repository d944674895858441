"""The warm-up trace of a policy: from a ConfigMap or a mounted file to points on the planning grid.

A trace is unpacked and summed up once for each of its versions and intervals; between plans only
its bytes are read and compared.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path

from slaplanner.adapters.allowed_files import FileRefusedError, read_bytes, resolved
from slaplanner.adapters.traces.errors import TraceError
from slaplanner.adapters.traces.series import SeriesError, of_trace
from slaplanner.adapters.traces.trace import parse_trace, unpacked
from slaplanner.core.errors import WarmUpError
from slaplanner.core.forecast.warmup import MOST_POINTS
from slaplanner.core.readings import Series
from slaplanner.core.reasons import Reason

MAX_FILE_BYTES = 32 << 20
"""Of a mounted file, as it is; a day of a busy service is 11 MB when it is packed."""

MAX_TEXT_BYTES = 256 << 20
"""After unpacking: three million requests, read in a few seconds."""

KEPT = 64
"""Series, of a quarter of a megabyte each at most."""


class WarmUps:
    """What was made of traces, kept by their content."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[bytes, float], Series] = OrderedDict()

    def of(self, data: bytes, *, name: str, interval_s: float) -> Series:
        """The newest points of a trace, one per interval, at most as many as are ever learnt from.

        Raises:
            WarmUpError: it is no trace, or too short for the interval.
        """
        key = hashlib.sha256(data).digest(), interval_s
        series = self._kept.get(key)
        if series is None:
            series = _series(data, name=name, interval_s=interval_s)
        self._kept[key] = series
        self._kept.move_to_end(key)
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return series


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
    except binascii.Error as error:
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
    try:
        with unpacked(io.BytesIO(data), name=name) as text:
            trace = parse_trace(text, name=name, most_bytes=MAX_TEXT_BYTES)
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
