"""One question for many policies: every row goes to its own policy, and to no other."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaplanner.adapters.prometheus import Deadline, LabelMatcher, Scope, look
from slaplanner.adapters.prometheus.answers import Sample
from slaplanner.core.errors import MetricsError
from slaplanner.core.glance import SPAN_S, Sight
from slaplanner.core.model import MatchOperator, MetricsSource
from tests.fakes import FakePrometheus

SOON = Deadline.after(3600.0)


def row(value: float, *, model: str = "m", namespace: str = "a-b", pod: str = "f-0") -> Sample:
    return Sample(labels={"model": model, "dynamo_namespace": namespace, "pod": pod}, value=value)


def seen(scope: Scope, **figures: list[Sample]) -> Sight:
    return look(FakePrometheus(figures), {"uid": scope}, at_s=5.0, deadline=SOON)["uid"]


def test_all_policies_of_one_prometheus_share_one_question():
    prometheus = FakePrometheus()
    scopes = {f"uid-{n}": Scope(model=f"model-{n}", dynamo_namespace=f"ns-{n}") for n in range(1000)}
    assert set(look(prometheus, scopes, at_s=5.0, deadline=SOON)) == set(scopes)
    assert len(prometheus.queries) == 1


def test_other_matchers_are_another_question():
    prometheus = FakePrometheus()
    scopes = {
        str(n): Scope(model="m", matchers=(LabelMatcher(label="cluster", value=str(n % 2)),))
        for n in range(6)
    }
    look(prometheus, scopes, at_s=5.0, deadline=SOON)
    assert len(prometheus.queries) == 2
    assert all('cluster="' in query for query in prometheus.queries)


def test_a_router_is_not_glanced_at():
    scope = Scope(source=MetricsSource.ROUTER, dynamo_namespace="a-b")
    assert look(FakePrometheus(), {"uid": scope}, at_s=5.0, deadline=SOON) == {}


def test_the_figures_of_all_processes_are_added():
    found = seen(
        Scope(model="M", dynamo_namespace="a-b"),
        started=[row(60.0), row(30.0, pod="f-1", namespace="a_b-0123abcd")],
        samples=[row(6.0)],
        queued=[row(3.0), row(1.0, pod="f-1")],
        active_requests=[row(7.0)],
        inflight_requests=[row(8.0)],
        ttft_sum=[row(4.0)],
        ttft_count=[row(10.0)],
        itl_sum=[row(0.0)],
        itl_count=[row(0.0)],
    )
    assert found == Sight(
        at_s=5.0,
        span_s=SPAN_S * 5 / 6,
        requests=90.0 * 5 / 6,
        queued=4.0,
        inflight=8.0,
        ttft_ms=400.0,
        itl_ms=None,
    )


def test_rows_without_a_namespace_belong_to_the_process_that_has_one():
    found = seen(
        Scope(model="m", dynamo_namespace="a-b"),
        started=[row(60.0, namespace=""), row(50.0, namespace="", pod="of-others")],
        samples=[row(3.0, namespace="")],
        queued=[row(2.0)],
    )
    assert found.requests == pytest.approx(60.0 * 2 / 3)


@pytest.mark.parametrize("samples", [None, 0.0, 1.0])
def test_a_counter_with_one_sample_has_not_grown(samples: float | None):
    told = {} if samples is None else {"samples": [row(samples)]}
    assert seen(Scope(model="m", dynamo_namespace="a-b"), started=[row(60.0)], **told).requests is None


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), -float("inf"), -1.0])
def test_odd_figures_are_not_known(odd: float):
    figures = ("started", "completed", "queued", "active_requests", "ttft_sum", "ttft_count", "itl_sum")
    found = seen(
        Scope(model="m", dynamo_namespace="a-b"),
        **{name: [row(odd)] for name in figures},
        itl_count=[row(1.0)],
        samples=[row(odd)],
    )
    assert found == Sight(at_s=5.0)


def test_a_failed_question_is_told():
    prometheus = FakePrometheus(errors={"started": MetricsError("away")})
    with pytest.raises(MetricsError):
        look(prometheus, {"uid": Scope(model="m")}, at_s=5.0, deadline=SOON)


names = st.from_regex(r"[a-z]{1,3}([-_][a-z]{1,3}){0,2}([-_](0123abcd|legacy|deadbeef99))?", fullmatch=True)


@given(mine=names, worker_set=st.none() | names, theirs=st.lists(names, max_size=6))
def test_namespaces_are_told_apart_as_the_plans_queries_do_it(
    mine: str, worker_set: str | None, theirs: list[str]
):
    """The selector of a plan is a regular expression that Prometheus evaluates; here the rows are looked up."""
    scope = Scope(model="m", dynamo_namespace=mine, worker_namespaces=(worker_set,) if worker_set else ())
    matcher = next(each for each in scope._own(model=False) if each.operator is MatchOperator.MATCHES)
    every = list(dict.fromkeys([mine, *theirs]))
    found = seen(
        scope,
        queued=[row(2.0**index, namespace=name, pod=f"p-{index}") for index, name in enumerate(every)],
    )
    wanted = sum(2.0**index for index, name in enumerate(every) if re.fullmatch(matcher.value, name))
    assert found.queued == wanted
