"""Counters, gauges and histograms with labels, in Prometheus' text format.

As in the client library that Dynamo's frontend uses, a series exists from its first observation on,
and a family without series is not shown at all. Histograms take observations in bulk: the engine
counts the gaps between tokens itself.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

_ROUNDING = 1e-6
"""What sums of fractions may lack at a whole number."""

Labels = tuple[tuple[str, str], ...]
"""Label names and values, in the order in which they are shown."""


def label_set(labels: Mapping[str, str]) -> Labels:
    return tuple(sorted(labels.items()))


@dataclass(slots=True)
class Scalar:
    """A counter or a gauge: one number per label set."""

    name: str
    help: str
    type: str
    values: dict[Labels, float] = field(default_factory=dict)

    def add(self, labels: Labels, amount: float = 1.0) -> None:
        self.values[labels] = self.values.get(labels, 0.0) + amount

    def appear(self, labels: Labels) -> None:
        """Be there, at 0."""
        self.add(labels, 0.0)

    def set(self, labels: Labels, value: float) -> None:
        self.values[labels] = value

    def lines(self) -> Iterator[str]:
        for labels, value in self.values.items():
            shown = _whole(value) if self.type == "counter" else value
            yield f"{self.name}{_braces(labels)} {_number(shown)}"


@dataclass(slots=True)
class Counted:
    """What one histogram series has seen: observations per bucket, and their sum."""

    counts: list[float]
    total: float = 0.0


@dataclass(slots=True)
class HistogramMetric:
    """Observations in buckets with upper `edges` (rising, finite; an infinite one is added)."""

    name: str
    help: str
    edges: Sequence[float]
    values: dict[Labels, Counted] = field(default_factory=dict)
    type: str = "histogram"

    def appear(self, labels: Labels) -> None:
        """Be there, without an observation."""
        self._series(labels)

    def observe(self, labels: Labels, value: float) -> None:
        series = self._series(labels)
        series.counts[bisect.bisect_left(self.edges, value)] += 1
        series.total += value

    def observe_many(self, labels: Labels, counts: Sequence[float], total: float) -> None:
        """Add *counts* per bucket (the infinite one included), whose values sum up to *total*."""
        series = self._series(labels)
        series.counts = [have + more for have, more in zip(series.counts, counts, strict=True)]
        series.total += total

    def _series(self, labels: Labels) -> Counted:
        return self.values.setdefault(labels, Counted([0.0] * (len(self.edges) + 1)))

    def lines(self) -> Iterator[str]:
        for labels, series in self.values.items():
            bounds = [*(_number(edge) for edge in self.edges), "+Inf"]
            counts = [_whole(count) for count in itertools.accumulate(series.counts)]
            for bound, count in zip(bounds, counts, strict=True):
                yield f"{self.name}_bucket{_braces((*labels, ('le', bound)))} {count}"
            yield f"{self.name}_sum{_braces(labels)} {_number(series.total)}"
            yield f"{self.name}_count{_braces(labels)} {counts[-1]}"


def render(families: Sequence[Scalar | HistogramMetric]) -> str:
    """The text that a scrape gets; families of one name (of several frontends) become one."""
    lines: list[str] = []
    named: dict[str, list[Scalar | HistogramMetric]] = {}
    for family in families:
        if family.values:
            named.setdefault(family.name, []).append(family)
    for name, members in named.items():
        lines += [f"# HELP {name} {members[0].help}", f"# TYPE {name} {members[0].type}"]
        lines += [line for member in members for line in member.lines()]
    return "".join(f"{line}\n" for line in lines)


def _braces(labels: Labels) -> str:
    return "{" + ",".join(f'{name}="{_escape(value)}"' for name, value in labels) + "}" if labels else ""


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _whole(count: float) -> int:
    """Tokens flow in the engine's time and are shown when they are whole."""
    return math.floor(count + _ROUNDING)


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) else repr(float(value))
