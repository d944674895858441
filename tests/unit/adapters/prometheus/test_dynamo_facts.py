"""What the operator reads of frontends is what frontends of each recorded version expose."""

from __future__ import annotations

import pytest

from slaplanner.adapters.prometheus import series
from tests.dynamo.facts import stored
from tests.testbed.dynamo_wheels import FRONTEND_VERSIONS, NEWEST

PREFIX = "dynamo_frontend_"
LENGTHS_AND_LATENCIES = (series.TTFT, series.ITL, series.ISL, series.OSL, series.DURATION)
NEWER = {series.STARTED, series.CACHED}
"""What 1.2 does not have."""


@pytest.mark.parametrize("version", FRONTEND_VERSIONS)
def test_lengths_and_latencies_are_histograms_by_model(version: str) -> None:
    for name in LENGTHS_AND_LATENCIES:
        metric = stored(version)["metrics"][PREFIX + name]
        assert metric["type"] == "histogram"
        assert set(metric["labels"]) == {"model"}


@pytest.mark.parametrize("version", FRONTEND_VERSIONS)
def test_completions_say_what_is_generation_and_what_no_replica_could_serve(version: str) -> None:
    metric = stored(version)["metrics"][PREFIX + series.COMPLETED]
    assert metric["type"] == "counter"
    assert {"model", "endpoint", "request_type", "status", "error_type"} <= set(metric["labels"])


@pytest.mark.parametrize("version", FRONTEND_VERSIONS)
def test_each_request_is_counted_once_by_the_frontend(version: str) -> None:
    metrics = stored(version)["metrics"]
    counters = [name for name in (series.STARTED, series.COMPLETED) if PREFIX + name in metrics]
    assert counters
    for name in counters:
        assert all(grown == {"value": 1} for grown in metrics[PREFIX + name]["grows"].values())


@pytest.mark.parametrize("version", FRONTEND_VERSIONS)
def test_no_request_series_is_there_before_the_first_request(version: str) -> None:
    """So absence says nothing, and a series that is born has missed its first request."""
    metrics = stored(version)["metrics"]
    for name in (series.STARTED, series.COMPLETED, *LENGTHS_AND_LATENCIES):
        if PREFIX + name in metrics:
            assert metrics[PREFIX + name]["since"] not in {"no worker", "idle"}


@pytest.mark.parametrize("version", FRONTEND_VERSIONS)
def test_the_model_keeps_the_case_in_which_it_was_registered(version: str) -> None:
    assert "Acme/Big-7B" in stored(version)["metrics"][PREFIX + series.COMPLETED]["labels"]["model"]


@pytest.mark.parametrize("version", FRONTEND_VERSIONS)
def test_the_routers_counters_stand_at_zero_before_anything_was_routed(version: str) -> None:
    assert stored(version)["metrics"]["dynamo_component_router_requests_total"]["since"] == "idle"


def test_arrivals_and_cached_tokens_are_counted_by_newer_versions_only() -> None:
    for name in NEWER:
        assert PREFIX + name not in stored("1.2.1")["metrics"]
        assert PREFIX + name in stored(NEWEST)["metrics"]


def test_a_request_that_comes_while_a_role_is_gone_may_be_counted_nowhere() -> None:
    """Why a flat counter proves no idleness while a role has no worker."""
    assert stored("1.4.2")["refusals"]["no decode worker"] == {"status": 503, "counted": []}


@pytest.mark.parametrize("version", FRONTEND_VERSIONS)
@pytest.mark.parametrize("gone", ["no decode worker", "no worker"])
def test_what_shows_of_a_refused_request_is_read_where_anything_shows(version: str, gone: str) -> None:
    """Else only the deployment's own status tells that a role has no worker."""
    refusal, metrics = stored(version)["refusals"][gone], stored(version)["metrics"]
    counted = PREFIX + series.COMPLETED in refusal["counted"]
    models = set(metrics[PREFIX + series.COMPLETED]["labels"]["model"])
    not_found = "not_found" in metrics[PREFIX + series.COMPLETED]["labels"]["error_type"]
    assert not counted or (not_found and (version == "1.2.1" or series.UNKNOWN_MODEL in models))
    shown = counted or refusal.get(series.READY) == 0
    assert shown is not (version == "1.4.2" and gone == "no decode worker")


@pytest.mark.parametrize("version", FRONTEND_VERSIONS)
def test_a_router_that_counts_a_request_twice_tells_its_transfers(version: str) -> None:
    metrics = stored(version)["metrics"]
    router = "dynamo_component_router_"
    kinds = [kind for kind in metrics[router + series.COMPLETED]["grows"] if "silent" not in kind]
    for kind in kinds:
        twice = metrics[router + series.COMPLETED]["grows"][kind] == {"value": 2}
        transfers = metrics[router + series.TRANSFERS].get("grows", {}).get(kind)
        assert transfers == ({"count": 1} if twice else None)
        assert twice is (router + series.STARTED in metrics)


@pytest.mark.parametrize("version", FRONTEND_VERSIONS)
def test_a_frontend_registers_its_models_and_says_what_it_holds_of_each(version: str) -> None:
    metrics = stored(version)["metrics"]
    assert any(PREFIX + name in metrics for name in series.REGISTRATIONS)
    for name in (*series.INFLIGHT, series.QUEUED):
        assert metrics[PREFIX + name]["type"] == "gauge"
        assert set(metrics[PREFIX + name]["labels"]) == {"model"}


@pytest.mark.parametrize("version", FRONTEND_VERSIONS)
def test_stages_have_no_model_and_the_routers_queue_has_one_in_newer_versions(version: str) -> None:
    metrics = stored(version)["metrics"]
    assert set(metrics[PREFIX + series.STAGES]["labels"]) == {"stage", "phase"}
    assert ("model" in metrics[PREFIX + series.PENDING]["labels"]) is (version != "1.2.1")
