"""Lengths of the requests of past windows: their histograms, as Prometheus remembers them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from slaplanner.adapters.prometheus import batch, series
from slaplanner.adapters.prometheus.answers import Sample
from slaplanner.adapters.prometheus.client import Prometheus
from slaplanner.adapters.prometheus.deadline import Deadline
from slaplanner.adapters.prometheus.histograms import bucket_figures, read_histogram
from slaplanner.adapters.prometheus.selectors import Scope
from slaplanner.adapters.prometheus.series import Expressions, duration
from slaplanner.core.readings import Histogram


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Of one kind, within one window."""

    histogram: Histogram | None
    """Of tokens; None: no request showed a length."""
    mean_tokens: float
    """NaN where that is so."""


def read_lengths(
    prometheus: Prometheus, scope: Scope, *, end_s: int, window_s: int, deadline: Deadline
) -> tuple[Lengths, Lengths]:
    """Input and output lengths of the requests in the *window_s* seconds up to the Unix time *end_s*.

    Raises:
        MetricsError: they could not be had.
    """
    expressions, window = Expressions(scope), duration(window_s)
    figures: dict[str, str] = {}
    for name, metric in (("isl", series.ISL), ("osl", series.OSL)):
        figures |= bucket_figures(name, metric, window, expressions)
        for part in ("sum", "count"):
            figures[f"{name}_{part}"] = expressions.growth(f"{metric}_{part}", window, by="")
    answers = batch.ask(prometheus, figures, at_s=end_s, deadline=deadline)
    isl, osl = (
        Lengths(
            histogram=read_histogram(name, answers),
            mean_tokens=_ratio(_only(answers[f"{name}_sum"]), _only(answers[f"{name}_count"])),
        )
        for name in ("isl", "osl")
    )
    return isl, osl


def _only(samples: list[Sample]) -> float:
    return samples[0].value if samples else math.nan


def _ratio(total: float, count: float) -> float:
    return total / count if count > 0 and 0 <= total < math.inf else math.nan
