"""What share of the traffic met its targets over an hour and a day."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from slaplanner.adapters.prometheus import batch, series
from slaplanner.adapters.prometheus.client import Prometheus
from slaplanner.adapters.prometheus.deadline import Deadline
from slaplanner.adapters.prometheus.histograms import bucket_figures, read_histogram
from slaplanner.adapters.prometheus.selectors import Scope
from slaplanner.adapters.prometheus.series import Expressions, duration
from slaplanner.core.attainment import Attainment, Share, share_within
from slaplanner.core.model import MetricsSource

HOUR_S: Final = 3600
DAY_S: Final = 86400
WINDOWS_S: Final = (HOUR_S, DAY_S)


def read_attainment(
    prometheus: Prometheus,
    scope: Scope,
    *,
    at_s: float,
    ttft_ms: float,
    itl_ms: float,
    deadline: Deadline,
) -> Mapping[int, Attainment]:
    """Attainment of the targets *ttft_ms* and *itl_ms* by length of window in seconds (`WINDOWS_S`).

    Raises:
        MetricsError: the buckets could not be had.
    """
    expressions = Expressions(scope)
    figures: dict[str, str] = {}
    for window_s in WINDOWS_S:
        window = duration(window_s)
        figures |= bucket_figures(f"ttft_{window_s}", series.TTFT, window, expressions)
        figures |= bucket_figures(f"itl_{window_s}", series.ITL, window, expressions)
        if scope.source is MetricsSource.ROUTER:
            figures[f"legs_{window_s}"] = f"{expressions.second_legs(window)} > 0"
    answers = batch.ask(prometheus, figures, at_s=at_s, deadline=deadline)

    def share(name: str, target_ms: float) -> Share | None:
        histogram = read_histogram(name, answers, scale=series.MS_PER_S)
        return None if histogram is None else share_within(histogram, target_ms)

    def ttft(window_s: int) -> Share | None:
        # A router that counts two legs of a request apart does not tell its time to first token.
        return None if answers.get(f"legs_{window_s}") else share(f"ttft_{window_s}", ttft_ms)

    return {
        window_s: Attainment(ttft=ttft(window_s), itl=share(f"itl_{window_s}", itl_ms))
        for window_s in WINDOWS_S
    }
