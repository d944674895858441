"""Many figures in one round trip: each is a branch of one query, told apart by a label of ours.

They are evaluated at the same instant over the same samples, so that a mean and its count agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, TypeVar

from slaplanner.adapters.prometheus.answers import Sample, Track
from slaplanner.adapters.prometheus.client import Prometheus
from slaplanner.adapters.prometheus.deadline import Deadline
from slaplanner.core.errors import MetricsError

FIGURE: Final = "figure"
"""Label that carries the name of a branch."""

MAX_POINTS: Final = 11_000
"""Of one series in one answer to a range query; Prometheus refuses more."""

ItemT = TypeVar("ItemT")


def ask(
    prometheus: Prometheus, figures: Mapping[str, str], *, at_s: float, deadline: Deadline
) -> dict[str, list[Sample]]:
    """Evaluate *figures*, expressions by name, at *at_s*; a name without series has an empty list.

    Raises:
        MetricsError: one of them could not be had.
    """
    answers: dict[str, list[Sample]] = {name: [] for name in figures}
    for query in _queries(figures, prometheus.max_query_chars):
        for sample in prometheus.instant(query, at_s=at_s, deadline=deadline):
            _of(answers, sample.labels).append(sample)
    return answers


def ask_range(
    prometheus: Prometheus,
    figures: Mapping[str, str],
    *,
    start_s: int,
    end_s: int,
    step_s: int,
    deadline: Deadline,
) -> dict[str, list[Track]]:
    """Evaluate *figures* at *start_s* and each *step_s* after it up to *end_s*, in as many chunks as needed.

    A series that lies in two chunks comes as two tracks.

    Raises:
        MetricsError: one of them could not be had.
    """
    answers: dict[str, list[Track]] = {name: [] for name in figures}
    for first in range(start_s, end_s + 1, step_s * MAX_POINTS):
        last = min(first + step_s * (MAX_POINTS - 1), end_s)
        for query in _queries(figures, prometheus.max_query_chars):
            for track in prometheus.range(query, start_s=first, end_s=last, step_s=step_s, deadline=deadline):
                _of(answers, track.labels).append(track)
    return answers


def _queries(figures: Mapping[str, str], max_chars: int) -> Iterator[str]:
    """The branches joined into as few queries as *max_chars* allows; one branch is never cut."""
    query = ""
    for name, expression in figures.items():
        branch = f'label_replace({expression},"{FIGURE}","{name}","","")'
        joined = f"{query} or {branch}" if query else branch
        if query and len(joined) > max_chars:
            yield query
            joined = branch
        query = joined
    if query:
        yield query


def _of(answers: dict[str, list[ItemT]], labels: Mapping[str, str]) -> list[ItemT]:
    name = labels.get(FIGURE)
    if name not in answers:
        raise MetricsError(f"the answer cannot be read: found figure {name!r}, wanted {', '.join(answers)}")
    return answers[name]
