"""One observation of a policy's traffic: a single question, and what its answers mean."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

from slaplanner.adapters.prometheus import batch, series
from slaplanner.adapters.prometheus.arrivals import read_arrivals
from slaplanner.adapters.prometheus.client import Prometheus
from slaplanner.adapters.prometheus.deadline import Deadline
from slaplanner.adapters.prometheus.demand import Answers, Demand
from slaplanner.adapters.prometheus.histograms import bucket_figures, read_histogram
from slaplanner.adapters.prometheus.selectors import Scope
from slaplanner.adapters.prometheus.series import Expressions, duration
from slaplanner.core.errors import MetricsError
from slaplanner.core.model import MetricsSource
from slaplanner.core.readings import Known, Observation, Reading, Unknown, map_reading
from slaplanner.core.reasons import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """One mean of an observation: the histogram behind it, and what it is called."""

    name: str
    metric: str
    words: str
    scale: float = 1.0
    bucketed: bool = True
    sources: tuple[MetricsSource, ...] = (MetricsSource.FRONTEND, MetricsSource.ROUTER)
    optional: bool = False
    """Its absence says nothing about a stall."""


MEANS: Final = (
    Mean(name="isl", metric=series.ISL, words="input length"),
    Mean(name="osl", metric=series.OSL, words="output length"),
    Mean(name="ttft", metric=series.TTFT, words="time to first token", scale=series.MS_PER_S),
    Mean(name="itl", metric=series.ITL, words="inter-token latency", scale=series.MS_PER_S),
    Mean(
        name="duration",
        metric=series.DURATION,
        words="duration",
        bucketed=False,
        sources=(MetricsSource.FRONTEND,),
    ),
    Mean(
        name="cached",
        metric=series.CACHED,
        words="cached tokens",
        bucketed=False,
        sources=(MetricsSource.FRONTEND,),
        optional=True,
    ),
)
GAUGES: Final = {"queued": series.QUEUED, "inflight": series.INFLIGHT}


def observe(
    prometheus: Prometheus,
    scope: Scope,
    *,
    at_s: float,
    window_s: float,
    interval_s: float,
    deadline: Deadline,
) -> Observation:
    """What the *window_s* seconds before *at_s* showed; `history` is left to `read_history`.

    Never raises for want of an answer: a server that fails makes every figure unknown, with its reason.

    Args:
        prometheus: the server.
        scope: whose traffic.
        at_s: Unix time of the end of the window.
        window_s: length of the window; at least 4 scrapes.
        interval_s: planning interval, which `requests` is scaled to.
        deadline: for all round trips together: one, two when nothing matched, two with traffic.
    """
    demand = Demand(scope, window_s)
    try:
        answers = batch.ask(
            prometheus, {**demand.figures(), **_figures(scope, window_s)}, at_s=at_s, deadline=deadline
        )
        requests = demand.read(answers, prometheus, at_s=at_s, deadline=deadline)
    except MetricsError as error:
        return nothing_known(error, window_s=window_s)
    seen = _seen(answers, requests, scope, window_s=window_s, interval_s=interval_s)
    if not (isinstance(requests, Known) and requests.value > 0):
        return seen
    try:
        arrivals = read_arrivals(
            prometheus,
            scope,
            at_s=at_s,
            window_s=window_s,
            scrapes=answers["samples"][0].value if answers["samples"] else 0.0,
            deadline=deadline,
        )
    except MetricsError:
        # How bursty the arrivals are only refines a plan; the hook has counted the error.
        return seen
    return replace(seen, arrivals=arrivals.counts, arrivals_step_s=arrivals.step_s)


def _figures(scope: Scope, window_s: float) -> dict[str, str]:
    expressions, window = Expressions(scope), duration(window_s)
    figures: dict[str, str] = {}
    for mean in MEANS:
        if scope.source in mean.sources:
            for part in ("sum", "count"):
                figures[f"{mean.name}_{part}"] = (
                    f"sum(increase({expressions.metric(f'{mean.metric}_{part}')}[{window}]))"
                )
            if mean.bucketed:
                figures |= bucket_figures(mean.name, mean.metric, window, expressions)
    if scope.source is MetricsSource.FRONTEND:
        figures |= {name: f"sum({expressions.metric(metric)})" for name, metric in GAUGES.items()}
    return figures


def _seen(
    answers: Answers, requests: Reading, scope: Scope, *, window_s: float, interval_s: float
) -> Observation:
    means = {mean.name: _mean(mean, answers, requests, scope.source) for mean in MEANS}
    histograms = {
        mean.name: read_histogram(mean.name, answers, scale=mean.scale)
        for mean in MEANS
        if mean.bucketed and isinstance(requests, Known)
    }
    return Observation(
        window_s=window_s,
        requests=map_reading(requests, lambda count: count * interval_s / window_s),
        isl_tokens=means["isl"],
        osl_tokens=means["osl"],
        ttft_ms=means["ttft"],
        itl_ms=means["itl"],
        request_duration_s=means["duration"],
        cached_tokens=means["cached"],
        queued=_gauge("queued", answers, requests),
        inflight=_gauge("inflight", answers, requests),
        isl_histogram=histograms.get("isl"),
        osl_histogram=histograms.get("osl"),
        ttft_histogram=histograms.get("ttft"),
        itl_histogram=histograms.get("itl"),
    )


def _mean(mean: Mean, answers: Answers, requests: Reading, source: MetricsSource) -> Reading:
    """The pooled mean: growth of the sum by growth of the count, over all series together."""
    if source not in mean.sources:
        return Unknown(Reason.NOT_REPORTED, f"the {source.value} does not report the {mean.words}")
    if isinstance(requests, Unknown):
        return requests
    total, count = _only(answers, f"{mean.name}_sum"), _only(answers, f"{mean.name}_count")
    if total is None or count is None or count == 0:
        return _unseen(mean, requests, source)
    value = mean.scale * total / count
    if math.isfinite(value) and value >= 0 and count > 0:
        return Known(value)
    return Unknown(
        Reason.NOT_A_NUMBER, f"found {total:g} / {count:g} as the mean {mean.words}, wanted a number"
    )


def _unseen(mean: Mean, requests: Known, source: MetricsSource) -> Unknown:
    """Why there is no mean: a count of 0 that was answered beats the NaN of 0/0."""
    if mean.optional:
        return Unknown(Reason.NOT_REPORTED, f"the {source.value} does not report {mean.words}")
    if requests.value == 0 and not requests.lower_bound:
        return Unknown(Reason.IDLE, f"no request came, so there is no {mean.words}")
    return Unknown(
        Reason.LENGTHS_UNKNOWN, f"{requests.value:g} requests came and none has shown its {mean.words} yet"
    )


def _gauge(name: str, answers: Answers, requests: Reading) -> Reading:
    if isinstance(requests, Unknown):
        return requests
    value = _only(answers, name)
    if value is None:
        return Unknown(Reason.NOT_REPORTED, f"{name} requests are not reported")
    if not math.isfinite(value):
        return Unknown(Reason.NOT_A_NUMBER, f"found {value:g} {name} requests, wanted a number")
    return Known(value)


def _only(answers: Answers, name: str) -> float | None:
    """The figure's one value; None without an answer, NaN when there are several."""
    samples = answers.get(name, [])
    if not samples:
        return None
    return samples[0].value if len(samples) == 1 else math.nan


def nothing_known(error: MetricsError, *, window_s: float) -> Observation:
    """The observation that *error* leaves: every figure unknown, for its reason."""
    unknown = Unknown(error.reason, str(error))
    return Observation(
        window_s=window_s,
        requests=unknown,
        isl_tokens=unknown,
        osl_tokens=unknown,
        ttft_ms=unknown,
        itl_ms=unknown,
        request_duration_s=unknown,
        cached_tokens=unknown,
        queued=unknown,
        inflight=unknown,
    )
