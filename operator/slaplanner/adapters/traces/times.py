"""Times of traces: which unit they are in, by what the format says and by the rate that they imply.

A unit that is not written down is never guessed in silence. Times of the Unix clock show their unit by their
size. Times that count from a trace's start do not: they are read in the unit that the format's documentation
names, unless that gives a rate that no service has and another unit gives a usual one. Then the user says it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from slaplanner.adapters.traces.errors import TraceError
from slaplanner.core.arrays import Floats


class TimeUnit(StrEnum):
    """A unit of times, as users write it."""

    S = "s"
    MS = "ms"
    US = "us"
    NS = "ns"

    @property
    def per_second(self) -> float:
        return _PER_SECOND[self]

    @property
    def words(self) -> str:
        return _WORDS[self]


_PER_SECOND = {TimeUnit.S: 1.0, TimeUnit.MS: 1e3, TimeUnit.US: 1e6, TimeUnit.NS: 1e9}
_WORDS = {
    TimeUnit.S: "seconds",
    TimeUnit.MS: "milliseconds",
    TimeUnit.US: "microseconds",
    TimeUnit.NS: "nanoseconds",
}

UNIX_FROM_S, UNIX_TO_S = 946_684_800.0, 4_102_444_800.0
"""The years 2000 to 2100: times between them are of the Unix clock."""

LEAST_GAPS = 100
"""Fewer arrivals do not show a rate: a handful may well come within a second, or over a month."""
SLOWEST_RPS, FASTEST_RPS = 0.03, 200.0
"""Rates that a recorded service has, in requests per second. Outside of them another unit is likelier."""
SHORT_S = 60.0
"""A trace shorter than a minute is hardly worth recording."""
LONGEST_S = 400 * 86_400.0
"""A year, and a little more."""

FLAG = "--time-unit"
FROM_START = "{} from the trace's start"
"""Words for a clock that is not the Unix clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivalTimes:
    """Arrivals in seconds, from the first one on where the times were of the Unix clock."""

    seconds: Floats
    words: str
    """The unit and the clock, for a message."""


def unix_seconds(text: str) -> float | None:
    """Seconds since 1970 of an ISO 8601 time, UTC where it names no zone; None where it is no such time.

    >>> unix_seconds("2023-11-16 18:15:46.6805900")
    1700158546.68059
    >>> unix_seconds("20231116") is None
    True
    """
    if ":" not in text:
        return None
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def on_clock(
    times: Floats, *, unit: TimeUnit, documented: bool, given: TimeUnit | None, name: str
) -> ArrivalTimes:
    """Times in seconds.

    Args:
        times: as they stand in the file; finite, at least one.
        unit: of the format, by its documentation.
        documented: the format has no other, so neither the user's word nor the rate changes it.
        given: what the user says that the unit is.
        name: of the file, for messages.

    Raises:
        TraceError: the unit is not clear, or the times span more than a year.
    """
    unit = unit if documented else given or _likely(times, unit, name=name)
    seconds = times / unit.per_second
    first_s, span_s = float(seconds.min()), float(seconds.max() - seconds.min())
    if times.size > LEAST_GAPS and span_s > LONGEST_S:
        raise TraceError(
            f"{name}: found a span of {_length(span_s)} with times in {unit.words}, "
            f"wanted at most {_length(LONGEST_S)}"
        )
    if first_s >= UNIX_FROM_S:
        day = datetime.fromtimestamp(min(first_s, UNIX_TO_S), UTC)
        words = f"Unix {unit.words} from {day:%Y-%m-%d %H:%M:%S} UTC"
        return ArrivalTimes(seconds=seconds - first_s, words=words)
    return ArrivalTimes(seconds=seconds, words=FROM_START.format(unit.words))


def paced(count: int, span_s: float) -> str:
    """A load in words.

    >>> paced(7201, 3600.0)
    '7,201 requests over 60 min (2/s)'
    """
    if span_s <= 0.0:
        return f"{count:,} requests at one time"
    return f"{count:,} requests over {_length(span_s)} ({count / span_s:.3g}/s)"


def _likely(times: Floats, documented: TimeUnit, *, name: str) -> TimeUnit:
    first, last = float(times.min()), float(times.max())
    for unit in TimeUnit:
        if UNIX_FROM_S * unit.per_second <= first and last <= UNIX_TO_S * unit.per_second:
            documented = unit
    if times.size <= LEAST_GAPS and not _has_odd_fractions(times, documented):
        return documented
    usual = [unit for unit in TimeUnit if _is_usual(times, unit)]
    worthy = [unit for unit in usual if (last - first) / unit.per_second >= SHORT_S]
    others = [unit for unit in worthy or usual if unit is not documented]
    if documented in worthy or not others:
        return documented
    readings = "; ".join(
        f"in {unit.words}: {paced(times.size, (last - first) / unit.per_second)}"
        for unit in (documented, *others)
    )
    raise TraceError(
        f"{name}: found times whose unit is not clear ({readings}). Say it with {FLAG} "
        f"{' or '.join((documented, *others))}, or write ISO times or times of the Unix clock"
    )


def _is_usual(times: Floats, unit: TimeUnit) -> bool:
    """Whether a recorded service may have such times."""
    first_s, last_s = float(times.min()) / unit.per_second, float(times.max()) / unit.per_second
    if last_s == first_s or last_s - first_s > LONGEST_S:
        return False
    if first_s > LONGEST_S and not UNIX_FROM_S <= first_s <= UNIX_TO_S:
        return False
    return SLOWEST_RPS <= (times.size - 1) / (last_s - first_s) <= FASTEST_RPS


def _has_odd_fractions(times: Floats, unit: TimeUnit) -> bool:
    """Fractions of a second are usual in a short trace, fractions of a millisecond are not."""
    return unit is TimeUnit.MS and times.max() - times.min() < SHORT_S * 1e3 and bool((times % 1.0).any())


def _length(seconds: float) -> str:
    for unit_s, word in ((86_400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * unit_s or (word == "min" and seconds >= unit_s):
            return f"{seconds / unit_s:.3g} {word}"
    return f"{seconds:.3g} s"
