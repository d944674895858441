"""The played frontend looks as running ones of Dynamo were seen to look."""

from __future__ import annotations

import math
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from slaplanner_lab.fleet.exposition import HistogramMetric, render
from slaplanner_lab.fleet.frontend import Dialect, Frontend, gap_edges_s
from tests.dynamo.facts import stored
from tests.testbed.dynamo_wheels import NEWEST

READY = "dynamo_frontend_model_ready"
METRICS = stored("1.4.2")["metrics"] | {READY: stored(NEWEST)["metrics"][READY]}
"""The played one is of a version in the middle, with the gauge that newer ones have."""
OF_THE_TARGET = {"dynamo_namespace"}
"""One page shows the frontends of all graphs, so what elsewhere is a target's label is on their series."""


def frontend(dialect: Dialect | None = None) -> Frontend:
    return Frontend(
        model="Acme/Big-7B",
        dynamo_namespace="serving-spoken",
        worker_set="5f3a",
        dialect=dialect or Dialect(),
    )


def played() -> Frontend:
    """One that has served a request."""
    one = frontend()
    one.register(ready=True)
    one.arrive()
    one.first_token(ttft_s=0.1, isl_tokens=200)
    one.gaps([1.0] * len(gap_edges_s()), 0.5)
    one.last_token(osl_tokens=14, duration_s=0.6)
    return one


def families(one: Frontend) -> dict[str, Any]:
    """By the name that is exposed."""
    text = render(one.families)
    shown = {line.split()[2]: line.split()[3] for line in text.splitlines() if line.startswith("# TYPE")}
    found = {family.name: family for family in text_string_to_metric_families(text)}
    return {
        name: (kind, found.get(name) or found[name.removesuffix("_total")]) for name, kind in shown.items()
    }


def test_every_metric_has_the_recorded_type_and_labels() -> None:
    for name, (kind, family) in families(played()).items():
        assert METRICS[name]["type"] == kind, name
        for sample in family.samples:
            of_frontend = OF_THE_TARGET if name.startswith("dynamo_frontend") else set()
            assert set(sample.labels) - {"le"} - of_frontend <= set(METRICS[name]["labels"]), name


def test_histograms_have_the_recorded_edges() -> None:
    for family in played().families:
        if isinstance(family, HistogramMetric):
            assert list(family.edges) == METRICS[family.name]["edges"], family.name
    assert gap_edges_s()[-1] == math.inf


def test_what_is_there_before_the_first_request_is_what_was_recorded() -> None:
    one = frontend()
    one.register(ready=True)
    shown = set(families(one))
    assert shown
    assert {METRICS[name]["since"] for name in shown} == {"idle"}
    later = set(families(played())) - shown
    assert not {name for name in later if METRICS[name]["since"] == "idle"}


PER_REQUEST = (
    "requests_started_total",
    "requests_total",
    "time_to_first_token_seconds",
    "inter_token_latency_seconds",
    "input_sequence_tokens",
    "output_sequence_tokens",
    "request_duration_seconds",
    "kv_transfer_estimated_latency_seconds",
)


def values(one: Frontend) -> dict[tuple[str, str], float]:
    """Counters, and counts and sums of histograms, by metric and part."""
    found: dict[tuple[str, str], float] = {}
    for name, (kind, family) in families(one).items():
        for sample in family.samples:
            part = sample.name.removeprefix(name).removeprefix("_") if kind == "histogram" else "value"
            if kind != "gauge" and part != "bucket" and name.endswith(PER_REQUEST):
                found[name, part] = found.get((name, part), 0.0) + sample.value
    return found


def test_a_request_grows_what_it_was_seen_to_grow_by_frontend_and_router() -> None:
    one = frontend()
    one.register(ready=True)
    before = values(one)
    one.arrive()
    one.first_token(ttft_s=0.1, isl_tokens=200)
    gaps = [0.0] * len(gap_edges_s())
    gaps[3] = 19.0
    one.gaps(gaps, 0.4)
    one.last_token(osl_tokens=20, duration_s=0.6)
    grown = {key: value - before.get(key, 0.0) for key, value in values(one).items()}
    for name, metric in METRICS.items():
        if name.endswith(PER_REQUEST) and not name.endswith("cached_tokens"):
            recorded = metric.get("grows", {}).get("completions stream", {})
            for part in ("value", "count", *(["sum"] if name.endswith("_tokens") else [])):
                assert grown.get((name, part), 0.0) == recorded.get(part, 0), (name, part)


def test_routers_of_aggregated_workers_and_older_ones_count_a_request_once() -> None:
    for one in (
        Frontend(model="m", dynamo_namespace="n", worker_set="w", dialect=Dialect(), disaggregated=False),
        frontend(Dialect(started_total=False)),
    ):
        one.register(ready=True)
        one.arrive()
        one.first_token(ttft_s=0.1, isl_tokens=200)
        one.last_token(osl_tokens=14, duration_s=0.6)
        found = values(one)
        assert found["dynamo_component_router_requests_total", "value"] == 1
        assert found["dynamo_component_router_output_sequence_tokens", "sum"] == 14


def test_names_keep_their_case_and_the_router_bears_the_worker_sets() -> None:
    text = render(played().families)
    assert 'dynamo_frontend_requests_started_total{dynamo_namespace="serving-spoken",' in text
    assert 'model="Acme/Big-7B"' in text
    recorded = METRICS["dynamo_component_router_requests_total"]["labels"]["dynamo_namespace"]
    assert recorded == ["serving_spoken_5f3a"]
    assert (
        'dynamo_component_router_requests_total{dynamo_component="backend",dynamo_namespace="serving_spoken_5f3a"}'
        in text
    )


def test_frontends_before_1_2_wrote_models_in_lower_case() -> None:
    one = frontend(Dialect(keeps_case=False))
    one.arrive()
    assert 'model="acme/big-7b"' in render(one.families)
