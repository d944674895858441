"""What Prometheus' answers mean for an observation: a value, a true zero, or unknown."""

import math

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
SEEN: dict[str, Answer] = {"samples": 12.0, "recent": 3.0, "registered": 1.0}
BUSY: dict[str, Answer] = {"requests": 400.0, **SEEN, **MEANS, "cached_sum": 3600.0, "cached_count": 360.0}
ELSEWHERE = [Sample(labels={"model": "other", "dynamo_namespace": "serving-other"}, value=4)]


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
    seen = observed(FakePrometheus({**BUSY, "queued": 3.0, "inflight": 20.0}))
    assert seen.requests == Known(400.0)
    assert seen.isl_tokens == Known(3000.0)
    assert seen.osl_tokens == Known(150.0)
    assert seen.ttft_ms == Known(200.0)
    assert seen.itl_ms == Known(20.0)
    assert seen.request_duration_s == Known(2.0)
    assert seen.cached_tokens == Known(10.0)
    assert (seen.queued, seen.inflight) == (Known(3.0), Known(20.0))


def test_requests_are_per_planning_interval_whatever_the_window() -> None:
    assert observed(FakePrometheus(BUSY), window_s=60).requests == Known(1200.0)


@pytest.mark.parametrize(
    ("figures", "requests", "lengths"),
    [
        pytest.param(
            {"requests": 0.0, **SEEN, "isl_sum": 0.0, "isl_count": 0.0},
            Known(0.0),
            Reason.IDLE,
            id="a-count-of-0-beats-the-nan-of-its-means",
        ),
        pytest.param(
            {"registered": 1.0}, Known(0.0), Reason.IDLE, id="registered-and-never-asked-is-a-true-zero"
        ),
        pytest.param(
            {"registered": 1.0, "down": 1.0},
            Known(0.0, lower_bound=True),
            Reason.LENGTHS_UNKNOWN,
            id="zero-while-another-frontend-is-not-scraped-is-a-lower-bound",
        ),
        pytest.param(
            {"registered": 1.0, "samples": 1.0, "recent": 1.0},
            Known(0.0, lower_bound=True),
            Reason.LENGTHS_UNKNOWN,
            id="one-sample-of-a-young-series-is-no-zero",
        ),
        pytest.param(
            {"requests": 40.0, "born": 1.0, **SEEN},
            Known(40.0, lower_bound=True),
            Reason.LENGTHS_UNKNOWN,
            id="a-series-born-in-the-window-is-a-lower-bound",
        ),
        pytest.param(
            {"requests": 40.0, "down": 1.0, **SEEN, **MEANS},
            Known(40.0, lower_bound=True),
            None,
            id="a-frontend-that-is-down-makes-it-a-lower-bound",
        ),
        pytest.param(
            {"requests": 500.0, **SEEN},
            Known(500.0),
            Reason.LENGTHS_UNKNOWN,
            id="arrivals-without-lengths-are-a-stall",
        ),
        pytest.param(
            {"requests": 500.0, **SEEN, "isl_sum": math.nan, "isl_count": 0.0},
            Known(500.0),
            Reason.LENGTHS_UNKNOWN,
            id="a-stall-of-old-series",
        ),
        pytest.param(
            {"requests": 0.0, **SEEN, **MEANS}, Known(0.0), None, id="the-last-requests-finish-without-new"
        ),
        pytest.param(
            {"requests": 500.0, "samples": 12.0},
            Reason.STALE,
            Reason.STALE,
            id="no-recent-sample-is-stale",
        ),
        pytest.param(
            {"requests": 500.0, "samples": 12.0, "registered": 1.0, **MEANS},
            Known(500.0),
            None,
            id="restarted-and-idle-since-is-not-stale",
        ),
        pytest.param(
            {"requests": math.nan, **SEEN, **MEANS}, Reason.NOT_A_NUMBER, Reason.NOT_A_NUMBER, id="nan"
        ),
        pytest.param(
            {"requests": math.inf, **SEEN, **MEANS}, Reason.NOT_A_NUMBER, Reason.NOT_A_NUMBER, id="infinite"
        ),
        pytest.param(
            {"requests": -1.0, **SEEN, **MEANS}, Reason.NOT_A_NUMBER, Reason.NOT_A_NUMBER, id="negative"
        ),
        pytest.param(
            {"requests": [Sample(labels={"a": "1"}, value=1), Sample(labels={"a": "2"}, value=2)], **SEEN},
            Reason.NOT_A_NUMBER,
            Reason.NOT_A_NUMBER,
            id="two-counts",
        ),
        pytest.param(
            {"elsewhere": ELSEWHERE, "up": 1.0},
            Reason.SERIES_UNDER_OTHER_LABELS,
            Reason.SERIES_UNDER_OTHER_LABELS,
            id="series-under-other-labels-are-never-a-zero",
        ),
        pytest.param({"up": 2.0}, Known(0.0), Reason.IDLE, id="up-and-no-series-anywhere-is-a-zero"),
        pytest.param({}, Reason.NO_SERIES, Reason.NO_SERIES, id="nothing-at-all"),
    ],
)
def test_requests_and_lengths(
    figures: dict[str, Answer], requests: Reading | Reason, lengths: Reason | None
) -> None:
    seen = observed(FakePrometheus(figures))
    assert (unknown(seen.requests) or seen.requests) == requests
    assert unknown(seen.isl_tokens) == lengths


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
    seen = observed(FakePrometheus({**BUSY, "ttft_sum": total, "ttft_count": count}))
    assert unknown(seen.ttft_ms) is Reason.NOT_A_NUMBER
    assert seen.itl_ms == Known(20.0)
    assert seen.requests == Known(400.0)


def test_a_gauge_that_is_no_number_is_unknown_alone() -> None:
    seen = observed(FakePrometheus({**BUSY, "queued": math.nan}))
    assert unknown(seen.queued) is Reason.NOT_A_NUMBER
    assert seen.requests == Known(400.0)


def test_the_message_lists_the_labels_that_there_are() -> None:
    seen = observed(FakePrometheus({"elsewhere": ELSEWHERE}))
    assert isinstance(seen.requests, Unknown)
    assert 'model="llama-70b"' in seen.requests.message
    assert "{model='other', dynamo_namespace='serving-other'}" in seen.requests.message


def test_of_many_other_labels_the_message_has_the_nearest() -> None:
    strangers = [
        Sample(labels={"model": f"stranger-{number}", "dynamo_namespace": "x"}, value=1)
        for number in range(9)
    ]
    near = Sample(labels={"model": "llama-70b", "dynamo_namespace": "serving-llama-70b-v2"}, value=1)
    seen = observed(FakePrometheus({"elsewhere": [*strangers, near]}))
    assert isinstance(seen.requests, Unknown)
    assert "there are: {model='llama-70b', dynamo_namespace='serving-llama-70b-v2'}" in seen.requests.message
    assert seen.requests.message.endswith(" and 5 more")


def test_without_a_target_of_its_own_nothing_is_taken_for_idle() -> None:
    """`up` of somebody else's target would make every wrong Prometheus a zero."""
    prometheus = FakePrometheus({"up": 1.0})
    seen = observed(prometheus, Scope(model="llama"))
    assert unknown(seen.requests) is Reason.NO_SERIES
    assert "up{" not in prometheus.queries[-1]


@pytest.mark.parametrize("figure", ["requests", "elsewhere"])
def test_a_failed_query_makes_everything_unknown_with_its_reason(figure: str) -> None:
    error = MetricsError("connection 'default': no answer", reason=Reason.PROMETHEUS_UNAVAILABLE)
    seen = observed(FakePrometheus(errors={figure: error}))
    readings = [seen.requests, seen.isl_tokens, seen.osl_tokens, seen.ttft_ms, seen.itl_ms]
    readings += [seen.request_duration_s, seen.cached_tokens, seen.queued, seen.inflight]
    assert readings == [Unknown(Reason.PROMETHEUS_UNAVAILABLE, "connection 'default': no answer")] * 9


def test_a_failure_to_see_bursts_costs_only_that() -> None:
    seen = observed(FakePrometheus(BUSY, errors={"counter": MetricsError("too slow")}))
    assert seen.requests == Known(400.0)
    assert seen.arrivals == ()


def test_the_router_reports_neither_duration_nor_queue() -> None:
    prometheus = FakePrometheus(BUSY)
    seen = observed(prometheus, ROUTER)
    assert seen.requests == Known(400.0)
    assert seen.ttft_ms == Known(200.0)
    for reading in (seen.request_duration_s, seen.queued, seen.inflight, seen.cached_tokens):
        assert unknown(reading) is Reason.NOT_REPORTED
    assert (
        'dynamo_component_router_requests_started_total{dynamo_namespace="serving_llama_70b"}'
        in (prometheus.queries[0])
    )


def test_all_figures_of_a_busy_window_come_in_one_round_trip_and_bursts_in_another() -> None:
    prometheus = FakePrometheus(BUSY)
    observed(prometheus)
    assert len(prometheus.queries) == 2


def test_short_urls_take_more_round_trips_and_say_the_same() -> None:
    short = FakePrometheus(BUSY, max_query_chars=3_000)
    assert observed(short) == observed(FakePrometheus(BUSY))
    assert len(short.queries) > 2


def test_histograms_hold_the_growth_per_bucket_in_the_planners_units() -> None:
    figures = {
        **BUSY,
        "ttft_bucket": buckets({"0": 0, "0.047": 100, "0.1": 300, "+Inf": 360}),
        "ttft_series": buckets({"0": 2, "0.047": 2, "0.1": 2, "+Inf": 2}),
    }
    assert observed(FakePrometheus(figures)).ttft_histogram == Histogram(
        edges=(0.0, 47.0, 100.0, math.inf), counts=(0.0, 100.0, 200.0, 60.0)
    )


def test_arrivals_come_in_steps_of_whole_scrapes() -> None:
    """12 samples in 180 s are one each 15 s."""
    counter = {AT_S - 180 + 15 * step: 100.0 + 30 * step for step in range(13)}
    seen = observed(FakePrometheus(BUSY, tracks={"counter": [counter]}))
    assert seen.arrivals_step_s == 15
    assert seen.arrivals == (30.0,) * 12
