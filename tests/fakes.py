"""Working stand-ins for the world outside, for tests that are about what is made of its answers."""

import re
from collections.abc import Mapping, Sequence

from slaplanner.adapters.prometheus import Deadline
from slaplanner.adapters.prometheus.answers import Sample, Track
from slaplanner.core.errors import MetricsError

Answer = float | Sequence[Sample]
Points = Mapping[float, float]


class FakePrometheus:
    """Answers each figure that a query names with what it was given, whatever it is computed from.

    `figures`: of instant queries, a number or series; `tracks`: of range queries, per figure a list of
    series as values by time. What is not given has no series. `errors` fail the queries for a figure.
    `labels`: of the series behind a number.
    """

    def __init__(
        self,
        figures: Mapping[str, Answer] | None = None,
        *,
        tracks: Mapping[str, Sequence[Points]] | None = None,
        errors: Mapping[str, MetricsError] | None = None,
        max_query_chars: int = 60_000,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        self.figures = dict(figures or {})
        self.tracks = dict(tracks or {})
        self.errors = dict(errors or {})
        self.max_query_chars = max_query_chars
        self.labels = dict(labels or {})
        self.queries: list[str] = []

    def instant(self, query: str, *, at_s: float, deadline: Deadline) -> list[Sample]:  # noqa: ARG002 - it has one answer, at once
        return [
            Sample(labels={**sample.labels, "figure": name}, value=sample.value)
            for name in self._asked(query)
            for sample in self._samples(self.figures.get(name, ()))
        ]

    def range(
        self,
        query: str,
        *,
        start_s: int,
        end_s: int,
        step_s: int,
        deadline: Deadline,  # noqa: ARG002 - a fake is never late
    ) -> list[Track]:
        times = range(start_s, end_s + 1, step_s)
        assert len(times) <= 11_000, f"Prometheus refuses {len(times)} points"
        return [
            Track(
                labels={"figure": name, "instance": str(number)},
                points=tuple((float(at), points[at]) for at in times if at in points),
            )
            for name in self._asked(query)
            for number, points in enumerate(self.tracks.get(name, ()))
        ]

    def _samples(self, answer: Answer) -> Sequence[Sample]:
        return (Sample(labels=self.labels, value=answer),) if isinstance(answer, int | float) else answer

    def _asked(self, query: str) -> list[str]:
        self.queries.append(query)
        names = re.findall(r'"figure","(\w+)"', query)
        for name in names:
            if name in self.errors:
                raise self.errors[name]
        return names


def buckets(values: Mapping[str, float]) -> list[Sample]:
    """Cumulative buckets by their edge's text."""
    return [Sample(labels={"le": edge}, value=value) for edge, value in values.items()]
