"""Shares of an hour and a day, and the model of a deployment that does not say."""

import math

import pytest

from slaplanner.adapters.prometheus import (
    Deadline,
    LabelMatcher,
    Scope,
    discover_model,
    read_attainment,
)
from slaplanner.adapters.prometheus.answers import Sample
from slaplanner.adapters.prometheus.histograms import read_histogram
from slaplanner.core.attainment import Attainment, Share
from slaplanner.core.readings import Histogram
from tests.fakes import FakePrometheus, buckets

SCOPE = Scope(model="llama", dynamo_namespace="serving-llama")


def test_attainment_is_a_lower_and_an_upper_figure_for_each_window_and_latency() -> None:
    prometheus = FakePrometheus(
        {
            "ttft_3600_bucket": buckets({"0.22": 60, "0.47": 90, "1": 98, "+Inf": 100}),
            "itl_3600_bucket": buckets({"0.024": 500, "0.045": 1000, "+Inf": 1000}),
            "ttft_86400_bucket": buckets({"0.22": 0, "0.47": 500, "1": 1000, "+Inf": 1000}),
        }
    )
    found = read_attainment(prometheus, SCOPE, at_s=0, ttft_ms=500, itl_ms=24, deadline=Deadline.after(60))
    assert found == {
        3600: Attainment(
            ttft=Share(lower_percent=90, upper_percent=98, between=(470, 1000)),
            itl=Share(lower_percent=50, upper_percent=50),
        ),
        86400: Attainment(ttft=Share(lower_percent=50, upper_percent=100, between=(470, 1000)), itl=None),
    }
    assert len(prometheus.queries) == 1


@pytest.mark.parametrize(
    ("reached", "series", "histogram"),
    [
        pytest.param(
            {"1": 1, "2": 3, "+Inf": 4},
            {},
            Histogram(edges=(1, 2, math.inf), counts=(1, 2, 1)),
            id="growth-per-bucket",
        ),
        pytest.param(
            {"1": 1, "2": 3, "5": 2, "+Inf": 5},
            {"1": 2, "2": 2, "5": 1, "+Inf": 2},
            Histogram(edges=(1, 2, math.inf), counts=(1, 2, 2)),
            id="an-edge-that-not-all-have-is-left-out",
        ),
        pytest.param(
            {"1": 1, "1.0": 2, "2.0": 2, "2": 2, "+Inf": 5},
            {"1": 1, "1.0": 1, "2.0": 1, "2": 1, "+Inf": 1},
            Histogram(edges=(1, 2, math.inf), counts=(3, 1, 1)),
            id="both-spellings-of-an-edge-are-one",
        ),
        pytest.param(
            {"1": 3.02, "2": 3.01, "+Inf": 3.0},
            {},
            Histogram(edges=(1, 2, math.inf), counts=(3, 0, 0)),
            id="extrapolation-never-makes-a-bucket-negative",
        ),
        pytest.param({"1": 0, "+Inf": 0}, {}, None, id="nothing-observed"),
        pytest.param({"1": 1, "2": 2}, {}, None, id="no-infinite-edge"),
        pytest.param({"1": math.nan, "+Inf": 2}, {}, None, id="nan"),
        pytest.param({"wide": 1, "+Inf": 2}, {}, None, id="an-edge-that-is-no-number"),
        pytest.param({}, {}, None, id="absent"),
        pytest.param({"1": 1, "+Inf": math.inf}, {}, None, id="infinite"),
        pytest.param({"1": -1, "+Inf": 2}, {}, None, id="negative"),
        pytest.param(
            {"-5": 1, "1": 1, "+Inf": 2},
            {},
            Histogram(edges=(1, math.inf), counts=(1, 1)),
            id="an-edge-below-0-tells-nothing",
        ),
    ],
)
def test_buckets(reached: dict[str, float], series: dict[str, float], histogram: Histogram | None) -> None:
    answers = {"x_bucket": buckets(reached), "x_series": buckets(series)}
    assert read_histogram("x", answers) == histogram


@pytest.mark.parametrize("edges", [("1e306", "2e306"), ("0.0000000001", "0.0000000002")])
def test_edges_that_become_one_when_scaled_are_one(edges: tuple[str, str]) -> None:
    answers = {"x_bucket": buckets({edges[0]: 1, edges[1]: 3, "+Inf": 4}), "x_series": []}
    histogram = read_histogram("x", answers, scale=1000.0)
    assert histogram is not None
    assert histogram.total == 4


def models(*names: str) -> FakePrometheus:
    return FakePrometheus({"models": [Sample(labels={"model": name}, value=1) for name in names]})


@pytest.mark.parametrize(
    ("names", "model", "found"),
    [
        pytest.param(("Meta/Llama", "meta/llama"), "meta/llama", ("meta/llama",), id="one-in-two-spellings"),
        pytest.param(("a", "b"), None, ("a", "b"), id="several"),
        pytest.param((), None, (), id="none"),
    ],
)
def test_the_only_model_of_a_deployment_is_found(
    names: tuple[str, ...], model: str | None, found: tuple[str, ...]
) -> None:
    prometheus = models(*names)
    discovery = discover_model(
        prometheus,
        "serving-llama",
        at_s=0,
        deadline=Deadline.after(60),
        matchers=[LabelMatcher(label="cluster", value="eu")],
    )
    assert (discovery.model, discovery.found) == (model, found)
    assert '{model!="",dynamo_namespace=~"serving[-_]llama' in prometheus.queries[0]
    assert 'cluster="eu"' in prometheus.queries[0]
