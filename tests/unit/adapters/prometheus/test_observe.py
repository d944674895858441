"""What Prometheus' answers mean for an observation: a value, a true zero, or unknown."""

import math
from typing import Any

import pytest

from slaplanner.adapters.prometheus import Deadline, MetricsSource, Scope, observe
from slaplanner.adapters.prometheus.answers import Sample
from slaplanner.core.errors import MetricsError
from slaplanner.core.readings import Histogram, Known, Observation, Reading, Unknown
from slaplanner.core.reasons import Reason
from tests.fakes import Answer, FakePrometheus, buckets

AT_S = 1_700_000_000.0
FRONTEND = Scope(model="Llama-70B", dynamo_namespace="serving-llama-70b")
ROUTER = Scope(source=MetricsSource.ROUTER, dynamo_namespace="serving-llama-70b")

MEANS: dict[str, Answer] = {
    "isl_sum": 1_080_000.0,
    "isl_count": 360.0,
    "osl_sum": 54_000.0,
    "osl_count": 360.0,
    "ttft_sum": 72.0,
    "ttft_count": 360.0,
    "itl_sum": 1080.0,
    "itl_count": 54_000.0,
    "duration_sum": 720.0,
    "duration_count": 360.0,
}
OURS = {"dynamo_namespace": "serving-llama-70b", "model": "Llama-70B", "pod": "a"}
SCRAPED: dict[str, Answer] = {"frontend_past": 240.0, "frontend_fresh": 1.0, "frontend_registered": 1.0}


def counted(grown: float, *, kind: str = "frontend") -> dict[str, Answer]:
    """A counter of arrivals that was sampled through the window."""
    return {
        f"{kind}_past": 240.0,
        f"{kind}_fresh": 1.0,
        f"{kind}_started_grown": grown,
        f"{kind}_started_total": 1000.0,
        f"{kind}_started_samples": 12.0,
    }


BUSY: dict[str, Answer] = {
    **SCRAPED,
    **counted(400.0),
    **MEANS,
    "frontend_moved": 1.0,
    "cached_sum": 3600.0,
    "cached_count": 360.0,
}
AROUND = [
    Sample(
        labels={
            "series": "dynamo_frontend_requests_total",
            "model": "other",
            "dynamo_namespace": "serving-other",
        },
        value=4,
    )
]


def fake(figures: dict[str, Answer] | None = None, **options: Any) -> FakePrometheus:
    return FakePrometheus(figures, labels=OURS, **options)


def observed(prometheus: FakePrometheus, scope: Scope = FRONTEND, window_s: float = 180) -> Observation:
    return observe(
        prometheus,
        scope,
        at_s=AT_S,
        window_s=window_s,
        interval_s=180,
        deadline=Deadline.after(60),
    )


def unknown(reading: Reading) -> Reason | None:
    return reading.reason if isinstance(reading, Unknown) else None


def test_a_busy_window_has_every_figure_in_the_planners_units() -> None:
    seen = observed(fake({**BUSY, "queued_requests": 3.0, "inflight_requests": 20.0}))
    assert seen.requests == Known(400.0)
    assert seen.isl_tokens == Known(3000.0)
    assert seen.osl_tokens == Known(150.0)
    assert seen.ttft_ms == Known(200.0)
    assert seen.itl_ms == Known(20.0)
    assert seen.request_duration_s == Known(2.0)
    assert seen.cached_tokens == Known(10.0)
    assert (seen.queued, seen.inflight) == (Known(3.0), Known(20.0))


def test_requests_are_per_planning_interval_whatever_the_window() -> None:
    assert observed(fake(BUSY), window_s=60).requests == Known(1200.0)


@pytest.mark.parametrize(
    ("figures", "requests", "lengths"),
    [
        pytest.param(
            {**SCRAPED, **counted(0.0), "isl_sum": 0.0, "isl_count": 0.0},
            Known(0.0),
            Reason.IDLE,
            id="a-count-of-0-beats-the-nan-of-its-means",
        ),
        pytest.param(SCRAPED, Known(0.0), Reason.IDLE, id="registered-and-never-asked-is-a-true-zero"),
        pytest.param(
            {**SCRAPED, "unscraped": 1.0},
            Known(0.0, lower_bound=True),
            Reason.LENGTHS_UNKNOWN,
            id="zero-while-another-frontend-is-not-scraped-is-a-lower-bound",
        ),
        pytest.param(
            {**SCRAPED, **counted(500.0)},
            Known(500.0),
            Reason.LENGTHS_UNKNOWN,
            id="arrivals-without-lengths-are-a-stall",
        ),
        pytest.param(
            {**SCRAPED, **counted(500.0), "isl_sum": math.nan, "isl_count": 0.0},
            Known(500.0),
            Reason.LENGTHS_UNKNOWN,
            id="a-stall-of-old-series",
        ),
        pytest.param(
            {**SCRAPED, **counted(0.0), **MEANS}, Known(0.0), None, id="the-last-requests-finish-without-new"
        ),
        pytest.param(
            {"frontend_past": 9.0, "frontend_started_grown": 500.0, "frontend_started_samples": 9.0},
            Reason.STALE,
            Reason.STALE,
            id="no-recent-sample-is-stale",
        ),
        pytest.param(
            {**SCRAPED, **counted(math.nan), **MEANS}, Reason.NOT_A_NUMBER, Reason.NOT_A_NUMBER, id="nan"
        ),
        pytest.param(
            {**SCRAPED, **counted(1e308), **MEANS}, Reason.NOT_A_NUMBER, Reason.NOT_A_NUMBER, id="too-many"
        ),
        pytest.param(
            {**SCRAPED, **counted(-1.0), **MEANS}, Reason.NOT_A_NUMBER, Reason.NOT_A_NUMBER, id="negative"
        ),
        pytest.param(
            {"model_counters": AROUND, "up": 1.0},
            Reason.SERIES_UNDER_OTHER_LABELS,
            Reason.SERIES_UNDER_OTHER_LABELS,
            id="series-under-other-labels-are-never-a-zero",
        ),
        pytest.param({"up": 2.0}, Reason.NO_SERIES, Reason.NO_SERIES, id="up-alone-proves-nothing"),
        pytest.param({}, Reason.NO_SERIES, Reason.NO_SERIES, id="nothing-at-all"),
    ],
)
def test_requests_and_lengths(
    figures: dict[str, Answer], requests: Reading | Reason, lengths: Reason | None
) -> None:
    seen = observed(fake(figures))
    assert (unknown(seen.requests) or seen.requests) == requests
    assert unknown(seen.isl_tokens) == lengths


def test_series_of_a_process_that_bears_our_namespace_on_none_are_not_ours() -> None:
    bare = [Sample(labels={"pod": "b"}, value=value) for value in (400.0,)]
    seen = observed(fake({**SCRAPED, **counted(10.0), "frontend_fresh": [*bare, ours(1.0)]}))
    assert isinstance(seen.requests, Known)
    assert seen.requests == Known(10.0, lower_bound=True)
    assert seen.requests.because == "series of b bear no dynamo_namespace"


@pytest.mark.parametrize(("namespace", "lower_bound"), [("serving", True), ("other", False), ("", True)])
def test_series_without_our_label_that_name_another_place_are_somebody_elses(
    namespace: str, *, lower_bound: bool
) -> None:
    bare = Sample(labels={"pod": "b", "namespace": namespace}, value=1.0)
    seen = observed(fake({**SCRAPED, **counted(10.0), "frontend_fresh": [bare, ours(1.0)]}))
    assert seen.requests == Known(10.0, lower_bound=lower_bound)


def ours(value: float) -> Sample:
    return Sample(labels=OURS, value=value)


@pytest.mark.parametrize(
    ("total", "count"),
    [
        pytest.param(math.nan, 5.0, id="nan-sum"),
        pytest.param(math.inf, 5.0, id="infinite-sum"),
        pytest.param(5.0, math.nan, id="nan-count"),
        pytest.param(-5.0, 5.0, id="negative-sum"),
        pytest.param(-5.0, -5.0, id="negative-both"),
    ],
)
def test_a_mean_that_is_no_number_is_unknown_alone(total: float, count: float) -> None:
    seen = observed(fake({**BUSY, "ttft_sum": total, "ttft_count": count}))
    assert unknown(seen.ttft_ms) is Reason.NOT_A_NUMBER
    assert seen.itl_ms == Known(20.0)
    assert seen.requests == Known(400.0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -5.0, 1e308])
@pytest.mark.parametrize("gauge", ["queued_requests", "inflight_requests", "router_queue_pending_requests"])
def test_a_gauge_that_is_no_count_is_unknown_alone(gauge: str, value: float) -> None:
    seen = observed(fake({**BUSY, gauge: value}))
    readings = {unknown(seen.queued), unknown(seen.inflight), unknown(seen.router_pending)}
    assert readings == {Reason.NOT_A_NUMBER, Reason.NOT_REPORTED}
    assert seen.requests == Known(400.0)


def test_the_newer_gauges_stand_in_for_the_deprecated_ones() -> None:
    seen = observed(fake({**BUSY, "active_requests": 20.0, "stage_requests": 3.0}))
    assert (seen.inflight, seen.queued) == (Known(20.0), Known(3.0))
    both = observed(
        fake({**BUSY, "active_requests": 20.0, "inflight_requests": 19.0, "queued_requests": 2.0})
    )
    assert (both.inflight, both.queued) == (Known(20.0), Known(2.0))


def test_the_message_says_what_was_asked_for_and_what_there_is() -> None:
    seen = observed(fake({"model_counters": AROUND, "up": 2.0}))
    assert isinstance(seen.requests, Unknown)
    assert "found no series of Frontend {" in seen.requests.message
    assert "named dynamo_frontend_*" in seen.requests.message
    assert 'model="Llama-70B"' in seen.requests.message
    assert "2 targets up{" in seen.requests.message
    assert (
        "dynamo_frontend_requests_total{model='other', dynamo_namespace='serving-other'}"
        in seen.requests.message
    )


def test_of_many_other_labels_the_message_has_the_nearest() -> None:
    def stranger(model: str, namespace: str) -> Sample:
        return Sample(labels={"series": "s", "model": model, "dynamo_namespace": namespace}, value=1)

    found = [stranger(f"stranger-{number}", "x") for number in range(9)]
    seen = observed(fake({"model_counters": [*found, stranger("llama-70b", "serving-llama-70b-v2")]}))
    assert isinstance(seen.requests, Unknown)
    assert "There are: s{model='llama-70b', dynamo_namespace='serving-llama-70b-v2'}" in seen.requests.message
    assert seen.requests.message.endswith(" and 5 more")


def test_without_a_target_of_its_own_nothing_is_taken_for_idle() -> None:
    """`up` of somebody else's target would make every wrong Prometheus a zero."""
    prometheus = fake({"up": 1.0})
    seen = observed(prometheus, Scope(model="llama"))
    assert unknown(seen.requests) is Reason.NO_SERIES
    assert "up{" not in prometheus.queries[-1]


@pytest.mark.parametrize("figure", ["frontend_started_grown", "model_counters"])
def test_a_failed_query_makes_everything_unknown_with_its_reason(figure: str) -> None:
    error = MetricsError("connection 'default': no answer", reason=Reason.PROMETHEUS_UNAVAILABLE)
    seen = observed(fake(errors={figure: error}))
    readings = [seen.requests, seen.isl_tokens, seen.osl_tokens, seen.ttft_ms, seen.itl_ms]
    readings += [seen.request_duration_s, seen.cached_tokens, seen.queued, seen.inflight]
    assert readings == [Unknown(Reason.PROMETHEUS_UNAVAILABLE, "connection 'default': no answer")] * 9


def test_a_failure_to_see_bursts_costs_only_that() -> None:
    seen = observed(fake(BUSY, errors={"counter": MetricsError("too slow")}))
    assert seen.requests == Known(400.0)
    assert seen.arrivals == ()


def test_the_router_reports_no_duration_and_the_frontend_beside_it_what_is_in_flight() -> None:
    figures: dict[str, Answer] = {
        **{name: value for name, value in BUSY.items() if not name.startswith("frontend")},
        **counted(400.0, kind="router"),
    }
    prometheus = fake(figures)
    seen = observed(prometheus, ROUTER)
    assert seen.requests == Known(400.0)
    assert seen.ttft_ms == Known(200.0)
    for reading in (seen.request_duration_s, seen.queued, seen.inflight, seen.cached_tokens):
        assert unknown(reading) is Reason.NOT_REPORTED
    assert "dynamo_component_router_requests_started_total{dynamo_namespace=~" in prometheus.queries[0]
    assert observed(fake({**figures, "inflight_requests": 20.0}), ROUTER).inflight == Known(20.0)


def test_all_figures_of_a_busy_window_come_in_one_round_trip_and_bursts_in_another() -> None:
    prometheus = fake(BUSY)
    observed(prometheus)
    assert len(prometheus.queries) == 2


def test_short_urls_take_more_round_trips_and_say_the_same() -> None:
    short = fake(BUSY, max_query_chars=3_000)
    assert observed(short) == observed(fake(BUSY))
    assert len(short.queries) > 2


def test_histograms_hold_the_growth_per_bucket_in_the_planners_units() -> None:
    figures = {
        **BUSY,
        "ttft_bucket": buckets({"0": 0, "0.047": 100, "0.1": 300, "+Inf": 360}),
        "ttft_series": buckets({"0": 2, "0.047": 2, "0.1": 2, "+Inf": 2}),
    }
    assert observed(fake(figures)).ttft_histogram == Histogram(
        edges=(0.0, 47.0, 100.0, math.inf), counts=(0.0, 100.0, 200.0, 60.0)
    )


def test_arrivals_come_in_steps_of_whole_scrapes() -> None:
    """12 samples in 180 s are one each 15 s."""
    counter = {AT_S - 180 + 15 * step: 100.0 + 30 * step for step in range(13)}
    seen = observed(fake(BUSY, tracks={"counter": [counter]}))
    assert seen.arrivals_step_s == 15
    assert seen.arrivals == (30.0,) * 12
