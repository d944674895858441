"""Series for backtests: from a CSV of intervals, or summed up from a trace of requests.

A row whose figures are all zero or missing is what collectors write when they collected nothing, so
it is taken for a gap unless the caller says that the service was idle.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slaplanner.adapters.traces.formats import csv_header, is_trace_header, reader_for
from slaplanner.adapters.traces.gunzip import MAGIC
from slaplanner.adapters.traces.times import TimeUnit
from slaplanner.adapters.traces.trace import Trace, per_interval, read_trace, series_of
from slaplanner.core.arrays import Floats
from slaplanner.core.readings import Series

DEFAULT_INTERVAL_S = 60.0
"""For traces, which have no interval of their own."""

MAX_ROWS = 1_000_000

_WRITTEN_OUT = 1e12
"""Numbers below it are written out in messages."""

_HEAD_BYTES = 1 << 16
"""A header is shorter."""

_TIMES = {"minute": 60.0, "t_s": 1.0}
_LOADS = ("request_count", "req_per_s")


class SeriesError(Exception):
    """A series cannot be used; the message says what was found and what was wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedSeries:
    """A series, and what a user should know of how it was read."""

    name: str
    series: Series
    notes: tuple[str, ...] = ()
    has_lengths: bool = True
    """False: one token per request stands in, so token rates are request counts."""


def read_series(
    path: Path,
    *,
    interval_s: float | None = None,
    zeros_are_idle: bool = False,
    time_unit: TimeUnit | None = None,
) -> LoadedSeries:
    """Read a CSV of intervals or a trace; which of the two is told by the content.

    Args:
        path: CSV with columns `minute` or `t_s`, `request_count` or `req_per_s`, and optionally
            `avg_isl`, `avg_osl`; or a trace of requests, gzipped or not.
        interval_s: planning interval; a multiple of the CSV's own. None: the CSV's own, or 60 s.
        zeros_are_idle: all-zero rows of a CSV are true zeros, not gaps.
        time_unit: of a trace's times, where its format does not settle it.

    Raises:
        SeriesError: the CSV cannot be used.
        TraceError: the trace cannot be used.
    """
    if _has_intervals(path):
        return _from_csv(path, interval_s, zeros_are_idle=zeros_are_idle)
    return _from_trace(path, interval_s or DEFAULT_INTERVAL_S, time_unit)


def of_trace(trace: Trace, *, interval_s: float) -> Series:
    """A trace summed up per interval, from the one of its first request on.

    The last interval is left out: a trace does not tell when it ends.

    Raises:
        SeriesError: fewer than two whole intervals are left, or more than `MAX_ROWS`.
        TraceError: the trace fills a single interval.
    """
    start_s = float(trace.t_s[0] // interval_s * interval_s)
    span = (trace.t_s[-1] - start_s) / interval_s
    if span > MAX_ROWS:
        raise SeriesError(f"{trace.name}: found a span of {span:,.0f} intervals, wanted at most {MAX_ROWS:,}")
    load = per_interval(trace, interval_s=interval_s, start_s=start_s)
    if len(load) < 3:
        raise SeriesError(f"{trace.name}: found {len(load)} intervals of {interval_s:g} s, wanted at least 3")
    return Series(
        end_s=load.end_s - interval_s,
        step_s=interval_s,
        requests=load.requests[:-1],
        isl_tokens=load.isl_tokens[:-1],
        osl_tokens=load.osl_tokens[:-1],
    )


def _has_intervals(path: Path) -> bool:
    """Whether it is a CSV of intervals: no reader of traces knows its columns.

    Raises:
        TraceError: it is known to be neither.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return path.suffix == ".csv"
    if head.startswith(MAGIC):
        return False
    header = csv_header(head)
    if header is not None:
        return not is_trace_header(header)
    reader_for(head, name=str(path))
    return path.suffix == ".csv"


def _from_trace(path: Path, interval_s: float, time_unit: TimeUnit | None) -> LoadedSeries:
    trace = read_trace(path, time_unit=time_unit)
    notes = (*trace.notes, "the last interval is left out: a trace does not tell when it ends")
    return LoadedSeries(name=path.name, series=of_trace(trace, interval_s=interval_s), notes=notes)


def _from_csv(path: Path, interval_s: float | None, *, zeros_are_idle: bool) -> LoadedSeries:
    times, table = _rows(path)
    step_s = _step(path, times)
    span = (times[-1] - times[0]) / step_s
    if not span < MAX_ROWS:
        found = f"{span + 1:,.0f}" if span < _WRITTEN_OUT else f"{span:.3g}"
        raise SeriesError(f"{path}: found a span of {found} intervals, wanted at most {MAX_ROWS:,}")
    index = np.round((times - times[0]) / step_s).astype(int)
    length = int(index[-1]) + 1
    columns = {name: np.full(length, np.nan) for name in table}
    for name, values in table.items():
        columns[name][index] = values
    requests = columns["request_count"] if "request_count" in columns else columns["req_per_s"] * step_s
    has_lengths = {"avg_isl", "avg_osl"} <= columns.keys()
    isl = columns["avg_isl"] if has_lengths else np.ones(length)
    osl = columns["avg_osl"] if has_lengths else np.ones(length)
    notes = []
    silent = requests == 0
    if silent.any() and not zeros_are_idle:
        requests = np.where(silent, np.nan, requests)
        notes.append(f"{int(silent.sum())} rows without requests are taken for gaps, not for zero load")
    times_coarser = _times_coarser(path, interval_s, step_s)
    wanted_s = step_s * times_coarser
    requests, isl, osl = _coarser(requests, isl, osl, times_coarser)
    if len(requests) < 3:
        raise SeriesError(f"{path}: found {len(requests)} intervals of {wanted_s:g} s, wanted at least 3")
    if not has_lengths:
        notes.append("no avg_isl and avg_osl: token rates are request counts")
    return LoadedSeries(
        name=path.name,
        series=series_of(requests, isl, osl, interval_s=wanted_s, start_s=float(times[0])),
        notes=tuple(notes),
        has_lengths=has_lengths,
    )


def _rows(path: Path) -> tuple[Floats, dict[str, Floats]]:
    """Times in seconds, rising, and the columns that count."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            found = reader.fieldnames or []
            time = next((name for name in _TIMES if name in found), None)
            load = next((name for name in _LOADS if name in found), None)
            if time is None or load is None:
                raise SeriesError(
                    f"{path}: found columns {', '.join(found) or 'none'}, "
                    "wanted minute or t_s, and request_count or req_per_s"
                )
            names = [load, *(name for name in ("avg_isl", "avg_osl") if name in found)]
            rows = []
            for row in reader:
                rows.append([_number(path, reader.line_num, name, row[name]) for name in (time, *names)])
                if len(rows) > MAX_ROWS:
                    raise SeriesError(f"{path}: found more than {MAX_ROWS:,} rows, wanted at most so many")
    except FileNotFoundError as error:
        raise SeriesError(f"{path}: found no such file, wanted a CSV") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SeriesError(f"{path}: cannot be read: {error}") from error
    table = np.array(rows, dtype=float).reshape(len(rows), 1 + len(names))
    if len(table) < 3:
        raise SeriesError(f"{path}: found {len(table)} rows, wanted at least 3")
    if not np.isfinite(table[:, 0]).all():
        raise SeriesError(f"{path}: found a row without {time}, wanted one in each")
    table = table[np.argsort(table[:, 0], kind="stable")]
    with np.errstate(over="ignore"):  # the span is looked at next
        times = table[:, 0] * _TIMES[time]
    return times, {name: table[:, at] for at, name in enumerate(names, start=1)}


def _number(path: Path, line: int, name: str, text: str | None) -> float:
    if text is None or text.strip().lower() in {"", "nan", "null"}:
        return math.nan
    try:
        number = float(text)
    except ValueError as error:
        raise SeriesError(f"{path}, line {line}: found {text!r} in {name}, wanted a number") from error
    if number < 0 or math.isinf(number):
        raise SeriesError(f"{path}, line {line}: found {text!r} in {name}, wanted a finite number >= 0")
    return number


def _step(path: Path, times: Floats) -> float:
    if not math.isfinite(times[-1] - times[0]):
        raise SeriesError(f"{path}: found times without end, wanted at most {MAX_ROWS:,} intervals")
    gaps = np.diff(times)
    if (gaps <= 0).any():
        raise SeriesError(f"{path}: found two rows at {times[1:][gaps <= 0][0]:g} s, wanted one per interval")
    step_s = float(np.min(gaps))
    ratio = gaps / step_s
    if (np.abs(ratio - np.round(ratio)) > 0.01).any():
        raise SeriesError(f"{path}: found rows off a grid of {step_s:g} s, wanted equal intervals")
    return step_s


def _times_coarser(path: Path, interval_s: float | None, step_s: float) -> int:
    if interval_s is None:
        return 1
    times = round(interval_s / step_s)
    if times < 1 or abs(times * step_s - interval_s) > 1e-6 * interval_s:
        raise SeriesError(
            f"{path}: has a row every {step_s:g} s, wanted an interval that is a multiple, found {interval_s:g} s"
        )
    return times


def _coarser(requests: Floats, isl: Floats, osl: Floats, times: int) -> tuple[Floats, Floats, Floats]:
    """Sums of requests, means of lengths weighed by requests; a gap makes its whole interval a gap."""
    if times == 1:
        return requests, isl, osl
    whole = len(requests) // times * times
    counts = requests[:whole].reshape(-1, times)
    total = counts.sum(axis=1)
    present = np.where(total > 0, total, np.nan)
    means = []
    for lengths in (isl, osl):
        tokens = np.where(counts == 0, 0.0, counts * lengths[:whole].reshape(-1, times))
        means.append(tokens.sum(axis=1) / present)
    return total, means[0], means[1]
