"""What the operator shows of one policy: counters that burn rates work on, and words that end with their cause."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest

from slaplanner.controller import metrics, metrics_reference, plan_metrics
from slaplanner.controller.records import Record, Records
from slaplanner.core.model import Policy, Sla
from slaplanner.core.readings import Histogram, Known, Observation
from tests.reconciling import document

POLICY = Policy(sla=Sla(ttft_ms=200.0, itl_ms=20.0), interval_s=60.0, window_s=60.0)
TTFT = Histogram(edges=(100.0, 220.0, 470.0, math.inf), counts=(60.0, 30.0, 8.0, 2.0))


def record(name: str) -> Record:
    shown = document()
    shown["metadata"] |= {"uid": name, "name": name}
    return Records().seen(shown)


def seen(ttft: Histogram | None, *, window_s: float = 60.0, itl: Histogram | None = None) -> Observation:
    known = Known(1.0)
    return Observation(
        window_s=window_s,
        requests=known,
        isl_tokens=known,
        osl_tokens=known,
        ttft_ms=known,
        itl_ms=known,
        request_duration_s=known,
        ttft_histogram=ttft,
        itl_histogram=itl,
    )


def counted(policy: str, counter: str = "slaplanner_sla_requests_total") -> dict[str, float]:
    outcomes = ("good", "undecided", "missed")
    labels = [{"namespace": "serving", "policy": policy, "outcome": outcome} for outcome in outcomes]
    return {
        one["outcome"]: value
        for one in labels
        if (value := metrics.REGISTRY.get_sample_value(counter, one)) is not None
    }


def test_what_the_buckets_cannot_tell_is_neither_good_nor_missed() -> None:
    plan_metrics.count_requests(record("edges"), POLICY, seen(TTFT), now_s=1000.0)
    assert counted("edges") == pytest.approx({"good": 60.0, "undecided": 30.0, "missed": 10.0})


def test_windows_that_overlap_count_each_request_once() -> None:
    """A plan every 15 s that looks back 60 s sees each request four times."""
    one = record("overlap")
    plan_metrics.count_requests(one, POLICY, seen(TTFT), now_s=1000.0)
    for step in range(1, 5):
        plan_metrics.count_requests(one, POLICY, seen(TTFT), now_s=1000.0 + 15.0 * step)
    assert sum(counted("overlap").values()) == pytest.approx(200.0)


def test_requests_that_no_window_showed_are_not_made_up() -> None:
    one = record("gap")
    plan_metrics.count_requests(one, POLICY, seen(TTFT), now_s=1000.0)
    plan_metrics.count_requests(one, POLICY, seen(TTFT), now_s=1600.0)
    assert sum(counted("gap").values()) == pytest.approx(200.0)


def test_tokens_are_counted_by_their_own_target() -> None:
    itl = Histogram(edges=(10.0, 20.0, math.inf), counts=(500.0, 300.0, 200.0))
    plan_metrics.count_requests(record("tokens"), POLICY, seen(None, itl=itl), now_s=1000.0)
    assert counted("tokens") == {}
    assert counted("tokens", "slaplanner_sla_tokens_total") == pytest.approx(
        {"good": 800.0, "undecided": 0.0, "missed": 200.0}
    )


@given(
    counts=st.lists(st.floats(min_value=0, max_value=1e9), min_size=4, max_size=4),
    target_ms=st.floats(min_value=1.0, max_value=1000.0),
    steps=st.lists(st.floats(min_value=-10.0, max_value=500.0), max_size=5),
)
def test_counters_never_fall_and_never_exceed_what_was_seen(
    counts: list[float], target_ms: float, steps: list[float]
) -> None:
    metrics.forget("serving", "any")
    one, policy = record("any"), Policy(sla=Sla(ttft_ms=target_ms), interval_s=60.0)
    now_s, shown, before = 1000.0, 0.0, 0.0
    for step_s in (0.0, *steps):
        now_s += step_s
        histogram = Histogram(edges=TTFT.edges, counts=tuple(counts))
        plan_metrics.count_requests(one, policy, seen(histogram), now_s=now_s)
        shown += histogram.total
        total = sum(counted("any").values())
        assert before <= total <= shown * (1 + 1e-9)
        before = total


def test_every_metric_has_a_unit_a_query_and_a_text() -> None:
    names = set(re.findall(r"^\| `(slaplanner_\w+)`", metrics_reference.page(), re.MULTILINE))
    assert names == set(metrics_reference.EXAMPLES)
    for name, query in metrics_reference.EXAMPLES.items():
        assert name in query


def test_the_operator_tells_its_version_and_its_own_use_of_the_machine() -> None:
    text = generate_latest(metrics.REGISTRY).decode()
    assert re.search(
        r'^slaplanner_build_info\{python_version="3[^"]*",version="[^"]+"\} 1.0$', text, re.MULTILINE
    )
    assert "process_resident_memory_bytes" in text
