"""The three shapes of a Prometheus answer, read strictly.

Values are strings, `'NaN'` for 0/0; an absent metric is an empty list; a scalar answers `[time, '1']`
without labels. Anything else is not an answer, and is never guessed at.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass

from slaplanner.core.errors import MetricsError


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One series at one time. The value may be NaN or infinite."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One series over time: Unix seconds and values, oldest first."""

    labels: Mapping[str, str]
    points: tuple[tuple[float, float], ...]


def read_samples(result: object) -> list[Sample]:
    """The answer to an instant query.

    Raises:
        MetricsError: *result* is neither a vector nor a scalar.
    """
    if not isinstance(result, list):
        raise _unreadable(result, "a list of series")
    if result and not isinstance(result[0], dict):
        return [Sample(labels={}, value=_point(result)[1])]
    return [Sample(labels=_labels(entry), value=_point(entry.get("value"))[1]) for entry in _entries(result)]


def read_tracks(result: object) -> list[Track]:
    """The answer to a range query.

    Raises:
        MetricsError: *result* is not a matrix.
    """
    if not isinstance(result, list):
        raise _unreadable(result, "a list of series")
    return [
        Track(labels=_labels(entry), points=tuple(_point(point) for point in _points(entry)))
        for entry in _entries(result)
    ]


def _entries(result: list[object]) -> list[dict[str, object]]:
    for entry in result:
        if not isinstance(entry, dict):
            raise _unreadable(entry, "a series")
    return result  # type: ignore[return-value] # checked above


def _labels(entry: dict[str, object]) -> dict[str, str]:
    labels = entry.get("metric")
    if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
        raise _unreadable(labels, "labels")
    return labels


def _points(entry: dict[str, object]) -> list[object]:
    points = entry.get("values")
    if not isinstance(points, list):
        raise _unreadable(points, "a list of values")
    return points


def _point(found: object) -> tuple[float, float]:
    if not isinstance(found, list) or len(found) != 2:
        raise _unreadable(found, "a time and a value")
    at_s = _number(found[0])
    if not math.isfinite(at_s):
        raise _unreadable(found, "a finite time and a value")
    return at_s, _number(found[1])


def _number(found: object) -> float:
    # Python's float() also takes '1_000', which no Prometheus means.
    if isinstance(found, bool) or not isinstance(found, int | float | str):
        raise _unreadable(found, "a number")
    if isinstance(found, str) and "_" in found:
        raise _unreadable(found, "a number")
    try:
        return float(found)
    except (ValueError, OverflowError) as error:
        raise _unreadable(found, "a number") from error


def _unreadable(found: object, wanted: str) -> MetricsError:
    # An answer may be megabytes long, of which only the beginning is put into words.
    shown = reprlib.repr(found)
    return MetricsError(
        f"the answer cannot be read: found {shown if len(shown) <= 80 else shown[:77] + '...'}, wanted {wanted}"
    )
