"""One observation of a policy's traffic: a single question, and what its answers mean."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

from slaplanner.adapters.prometheus import batch, series
from slaplanner.adapters.prometheus.arrivals import read_arrivals
from slaplanner.adapters.prometheus.client import Prometheus
from slaplanner.adapters.prometheus.deadline import Deadline
from slaplanner.adapters.prometheus.demand import Answers, Process, RequestQueries, held
from slaplanner.adapters.prometheus.histograms import bucket_figures, read_histogram, without_lowest
from slaplanner.adapters.prometheus.proof import MOST_REQUESTS
from slaplanner.adapters.prometheus.selectors import Scope
from slaplanner.adapters.prometheus.series import ROW, Expressions, duration
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
    demand = RequestQueries(scope, window_s)
    try:
        answers = batch.ask(
            prometheus, {**demand.figures(), **_figures(scope, window_s)}, at_s=at_s, deadline=deadline
        )
        requests = demand.read(answers, prometheus, at_s=at_s, deadline=deadline)
    except MetricsError as error:
        return nothing_known(error, window_s=window_s)
    ours = demand.ours(answers)
    twice = sum(demand.second_legs(answers, ours).values())
    seen = _seen(answers, requests, scope, ours=ours, twice=twice, window_s=window_s, interval_s=interval_s)
    if not (isinstance(requests, Known) and requests.value > 0):
        return seen
    try:
        arrivals = read_arrivals(
            prometheus,
            scope,
            at_s=at_s,
            window_s=window_s,
            scrapes=demand.scrapes(answers),
            counted_once=requests.value / (requests.value + twice),
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
                growth = f"increase({expressions.measure(f'{mean.metric}_{part}')}[{window}])"
                figures[f"{mean.name}_{part}"] = f"sum by ({ROW})({growth})"
            if mean.bucketed:
                figures |= bucket_figures(mean.name, mean.metric, window, expressions)
    return figures


def _seen(
    answers: Answers,
    requests: Reading,
    scope: Scope,
    *,
    ours: set[Process],
    twice: float,
    window_s: float,
    interval_s: float,
) -> Observation:
    means = {mean.name: _mean(mean, answers, requests, scope, ours) for mean in MEANS}
    histograms = {
        mean.name: read_histogram(mean.name, answers, scale=mean.scale)
        for mean in MEANS
        if mean.bucketed and isinstance(requests, Known)
    }
    if twice:
        means["osl"] = _of_one_leg(means["osl"], held(answers, "osl_count", ours) or 0.0, twice)
        means["ttft"] = TTFT_OF_TWO_LEGS
        osl = histograms.get("osl")
        histograms |= {"osl": without_lowest(osl, twice) if osl is not None else None, "ttft": None}
    return Observation(
        window_s=window_s,
        requests=map_reading(requests, lambda count: count * interval_s / window_s),
        isl_tokens=means["isl"],
        osl_tokens=means["osl"],
        ttft_ms=means["ttft"],
        itl_ms=means["itl"],
        request_duration_s=means["duration"],
        cached_tokens=means["cached"],
        queued=_queued(answers, requests, ours),
        inflight=_gauge("in flight", series.INFLIGHT, answers, requests, ours),
        router_pending=_gauge("pending in the router", (series.PENDING,), answers, requests, ours),
        isl_histogram=histograms.get("isl"),
        osl_histogram=histograms.get("osl"),
        ttft_histogram=histograms.get("ttft"),
        itl_histogram=histograms.get("itl"),
    )


def _mean(mean: Mean, answers: Answers, requests: Reading, scope: Scope, ours: set[Process]) -> Reading:
    """The pooled mean: growth of the sum by growth of the count, over all series together."""
    if scope.source not in mean.sources:
        return Unknown(Reason.NOT_REPORTED, f"the {scope.source.value} does not report the {mean.words}")
    if isinstance(requests, Unknown):
        return requests
    total, count = held(answers, f"{mean.name}_sum", ours), held(answers, f"{mean.name}_count", ours)
    if total is None or count is None or count == 0:
        return _unseen(mean, requests, scope, exposed=count is not None)
    value = mean.scale * total / count
    if math.isfinite(value) and value >= 0 and count > 0:
        return Known(value)
    return Unknown(
        Reason.NOT_A_NUMBER, f"found {total:g} / {count:g} as the mean {mean.words}, wanted a number"
    )


TTFT_OF_TWO_LEGS: Final = Unknown(
    Reason.NOT_REPORTED,
    "the router counts the prefill and the decode leg of each request apart, which leaves no time to first token",
)


def _of_one_leg(osl: Reading, count: float, twice: float) -> Reading:
    """The mean output length without the *twice* legs of one token among *count*."""
    if isinstance(osl, Unknown) or not count > twice:
        return osl
    return replace(osl, value=max(1.0, (osl.value * count - twice) / (count - twice)))


def _unseen(mean: Mean, requests: Known, scope: Scope, *, exposed: bool) -> Unknown:
    """Why there is no mean: a count of 0 that was answered beats the NaN of 0/0."""
    if mean.optional:
        return Unknown(Reason.NOT_REPORTED, f"the {scope.source.value} does not report {mean.words}")
    if requests.value == 0 and not requests.lower_bound:
        return Unknown(Reason.IDLE, f"no request came, so there is no {mean.words}")
    came = f"{requests.value:g} requests came and none has shown its {mean.words} yet"
    if not exposed:
        expressions = Expressions(scope)
        came += f": no process of {scope} exposes {expressions.prefix}_{mean.metric}"
    return Unknown(Reason.LENGTHS_UNKNOWN, came)


def _queued(answers: Answers, requests: Reading, ours: set[Process]) -> Reading:
    """Requests before their first token; newer frontends count them by stage."""
    queued = _gauge("queued", (series.QUEUED,), answers, requests, ours)
    if isinstance(queued, Unknown) and queued.reason is Reason.NOT_REPORTED:
        return _gauge("queued", (series.STAGES,), answers, requests, ours)
    return queued


def _gauge(
    words: str, gauges: tuple[str, ...], answers: Answers, requests: Reading, ours: set[Process]
) -> Reading:
    """A gauge's recent value over our processes, the larger where two of them mean the same."""
    if isinstance(requests, Unknown):
        return requests
    values = [value for gauge in gauges if (value := held(answers, gauge, ours)) is not None]
    if not values:
        return Unknown(Reason.NOT_REPORTED, f"the requests {words} are not reported")
    odd = [value for value in values if not 0 <= value <= MOST_REQUESTS]
    if odd:
        return Unknown(Reason.NOT_A_NUMBER, f"found {odd[0]:g} requests {words}, wanted a count")
    return Known(max(values))


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
        router_pending=unknown,
    )
