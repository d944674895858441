"""The readings of a real Prometheus: what PromQL makes of what frontends do."""

import math
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from slaplanner.adapters.prometheus import (
    Client,
    LabelMatcher,
    MatchOperator,
    MetricsSource,
    Scope,
    discover_model,
    observe,
    read_attainment,
    read_history,
)
from slaplanner.core.attainment import Attainment, Share
from slaplanner.core.readings import Known, Observation, Reading, Unknown
from slaplanner.core.reasons import Reason
from slaplanner.settings import HttpMethod, PrometheusConnection
from tests.stories import (
    CARD,
    CHAT,
    COMPLETED,
    MODEL,
    STARTED,
    WINDOW_S,
    Story,
    about,
    deadline,
    known,
    reason,
    rising,
)
from tests.testbed import PrometheusServer, Target, find_prometheus, free_port, wait_until
from tests.timelines import Page, Timeline

STAGE = "stage"


def test_busy_frontends_are_pooled(story: Story) -> None:
    """Two pods of unlike load: the mean is that of the requests, not of the pods."""
    story.register()
    for pod, per_scrape, ttft_s in (("a", 30, 0.2), ("b", 10, 0.4)):
        story.start(rising(per_scrape), pod=pod)
        story.served(rising(per_scrape), ttft_s=ttft_s, pod=pod)
    seen = story.observed()
    assert known(seen.requests) == about(480)
    assert known(seen.ttft_ms) == about(250)
    assert known(seen.itl_ms) == about(20)
    assert known(seen.isl_tokens) == about(3000)
    assert known(seen.osl_tokens) == about(150)
    assert known(seen.request_duration_s) == about(2.5)
    assert reason(seen.cached_tokens) is Reason.NOT_REPORTED
    assert seen.arrivals == (40.0,) * len(seen.arrivals)
    assert seen.arrivals_step_s * len(seen.arrivals) >= 0.9 * WINDOW_S
    assert seen.ttft_histogram is not None
    assert seen.ttft_histogram.edges == (100, 220, 470, math.inf)
    assert seen.ttft_histogram.counts == pytest.approx((0, 360, 120, 0))


@pytest.mark.parametrize("label", ["prometheus_replica", "scraped_by"], ids=["a-pair", "two-jobs"])
def test_copies_of_a_series_count_as_often_as_they_are_there_until_one_is_chosen(
    story: Story, label: str
) -> None:
    """Removing them is for whoever brings two servers together; means do not suffer."""
    story.register()
    for copy in ("0", "1"):
        story.start(rising(40), pod="a", **{label: copy})
        story.timeline.histogram(
            "dynamo_frontend_input_sequence_tokens",
            {**story.labels, "pod": "a", label: copy},
            rising(40),
            each=3000,
        )
    seen = story.observed()
    assert known(seen.requests) == about(2 * 480)
    assert known(seen.isl_tokens) == about(3000)
    story.scope = replace(story.scope, matchers=(LabelMatcher(label=label, value="1"),))
    assert known(story.observed().requests) == about(480)


def test_a_gateway_that_allows_only_get_has_the_same_answers(
    story: Story, prometheus_server: PrometheusServer
) -> None:
    story.register()
    story.start(rising(30))
    story.served(rising(30))
    posted = story.observed()
    story.client = Client(
        "default", PrometheusConnection(url=prometheus_server.url, http_method=HttpMethod.GET)
    )
    story.tell = lambda _story: None
    assert story.observed() == posted


def test_an_idle_frontend_is_a_true_zero(story: Story) -> None:
    story.register()
    story.start(lambda _back: 621)
    story.served(lambda _back: 621)
    seen = story.observed()
    assert known(seen.requests) == 0
    assert reason(seen.isl_tokens) is Reason.IDLE


def test_a_new_frontend_that_nobody_asked_yet_is_a_true_zero(story: Story) -> None:
    story.register(lambda back: back < 4)
    assert known(story.observed().requests) == 0


def test_the_first_sample_of_a_young_series_is_never_a_zero(story: Story) -> None:
    """621 requests came before the first scrape that saw them: `increase()` will never count them."""
    story.register()
    story.start(lambda back: 621 if back == 0 else None)
    assert known(story.observed().requests, lower_bound=True) == 0


def test_a_series_born_in_the_window_is_a_lower_bound(story: Story) -> None:
    story.register()
    story.start(lambda back: 621 + 30 * (4 - back) if back <= 4 else None)
    assert 120 <= known(story.observed().requests, lower_bound=True) < 621


def test_a_pod_born_in_the_window_makes_the_sum_a_lower_bound(story: Story) -> None:
    story.register()
    story.start(rising(30), pod="old")
    story.start(lambda back: 100 if back <= 4 else None, pod="new")
    assert known(story.observed().requests, lower_bound=True) == about(360)


def test_a_completion_of_a_new_kind_does_not_blur_the_arrivals(story: Story) -> None:
    story.register()
    story.start(rising(30))
    story.complete(lambda back: 1 if back <= 2 else None, status="error", error_type="cancelled")
    assert known(story.observed().requests) == about(360)


def test_series_under_other_labels_are_listed_and_never_a_zero(story: Story) -> None:
    story.start(rising(30))
    namespace = f"{story.scope.dynamo_namespace}-v2"
    wrong = replace(story.scope, dynamo_namespace=namespace)
    story.tell(story)
    seen = observe(
        story.client,
        wrong,
        at_s=story.timeline.end_s,
        window_s=WINDOW_S,
        interval_s=WINDOW_S,
        deadline=deadline(),
    )
    assert isinstance(seen.requests, Unknown)
    assert seen.requests.reason is Reason.SERIES_UNDER_OTHER_LABELS
    assert f"dynamo_namespace='{story.scope.dynamo_namespace}'" in seen.requests.message


def test_a_counter_reset_loses_nothing_that_was_counted_and_makes_a_lower_bound(story: Story) -> None:
    """Another process under the same name: its counter is scraped at 0 first. What came between is lost."""
    story.register()
    story.start(lambda back: 30 * (6 - back) if back <= 6 else 5000 - 30 * (back - 6))
    seen = story.observed()
    assert known(seen.requests, lower_bound=True) == pytest.approx(360, rel=0.1)
    assert "began anew" in seen.requests.because
    assert seen.arrivals
    assert min(seen.arrivals) >= 0
    assert sum(seen.arrivals) <= 360


def test_a_frontend_restarted_and_idle_since_keeps_what_came_before(story: Story) -> None:
    story.register()
    story.start(lambda back: 5000 - 30 * back if back >= 7 else None)
    assert 0 < known(story.observed().requests) < 360


def test_arrivals_without_a_first_token_are_a_stall(story: Story) -> None:
    story.register()
    story.start(rising(30))
    story.served(lambda _back: 621)
    seen = story.observed()
    assert known(seen.requests) == about(360)
    for reading in (seen.isl_tokens, seen.osl_tokens, seen.ttft_ms, seen.itl_ms, seen.request_duration_s):
        assert reason(reading) is Reason.LENGTHS_UNKNOWN


def test_a_stall_from_the_start_has_no_series_of_lengths_at_all(story: Story) -> None:
    story.register()
    story.start(rising(30))
    assert reason(story.observed().isl_tokens) is Reason.LENGTHS_UNKNOWN


def test_a_frontend_that_is_gone_is_stale(story: Story) -> None:
    story.register(lambda back: back >= 8)
    story.start(lambda back: 5000 - 30 * back if back >= 8 else None)
    assert reason(story.observed().requests) is Reason.STALE


def test_only_generation_counts(story: Story) -> None:
    story.register()
    story.start(rising(30))
    story.start(rising(20), endpoint="responses", request_type="unary")
    story.start(rising(500), endpoint="embeddings", request_type="unary")
    assert known(story.observed().requests) == about(600)


def test_older_frontends_count_completions_and_what_they_refused_for_overload(story: Story) -> None:
    story.register()
    story.complete(rising(30))
    story.complete(rising(5), status="error", error_type="overload")
    story.complete(rising(100), status="error", error_type="validation")
    story.complete(rising(100), endpoint="embeddings")
    assert known(story.observed().requests) == about(420)


def test_completions_of_the_oldest_frontends_have_no_error_type(story: Story) -> None:
    story.register()
    story.timeline.add(COMPLETED, {**story.labels, **CHAT, "status": "success"}, rising(30))
    assert known(story.observed().requests) == about(360)


def test_each_pod_counts_by_the_best_counter_that_it_has(story: Story) -> None:
    """In the middle of an upgrade; the newer pod's completions are not counted on top."""
    story.register()
    story.start(rising(30), pod="newer")
    story.complete(rising(20), pod="newer")
    story.complete(rising(10), pod="older")
    assert known(story.observed().requests) == about(480)


@pytest.mark.parametrize(
    "model",
    ['say "hi"', "back\\slash", "two\nlines", "a.b*c+(d)|[e]{f}^$", "ünïcode/模型", 'x",pool!="y', "{}"],
)
def test_any_name_of_a_model_is_matched_alone(story: Story, model: str) -> None:
    story.scope = replace(story.scope, model=model)
    story.start(rising(30))
    other = replace(story.scope, model=model + "x")
    story.timeline.add(STARTED, {**story.labels, **CHAT, "model": other.model or ""}, rising(7))
    assert known(story.observed().requests) == about(360)


@pytest.mark.parametrize("model", ['Say "Hi"', "A.b*c+(D)|[e]{f}^$\\", "Meta/Llama-3.1"])
def test_any_name_of_a_model_is_found_registered_whatever_its_case(story: Story, model: str) -> None:
    story.scope = replace(story.scope, model=model)
    story.register()
    assert known(story.observed().requests) == 0


def test_matchers_of_the_policy_narrow_the_series(story: Story) -> None:
    story.start(rising(30), pool="a")
    story.start(rising(50), pool="b")
    story.scope = replace(
        story.scope, matchers=(LabelMatcher(label="pool", operator=MatchOperator.MATCHES, value="a|c"),)
    )
    assert known(story.observed().requests) == about(360)


def test_a_matcher_that_prometheus_refuses_is_told_in_its_words(story: Story) -> None:
    story.scope = replace(
        story.scope, matchers=(LabelMatcher(label="pool", operator=MatchOperator.MATCHES, value="(a"),)
    )
    seen = story.observed()
    assert isinstance(seen.requests, Unknown)
    assert seen.requests.reason is Reason.PROMETHEUS_REJECTED
    assert "missing closing )" in seen.requests.message


def test_the_routers_series_have_underscores_and_no_model(story: Story) -> None:
    labels = {"dynamo_namespace": (story.scope.dynamo_namespace or "").replace("-", "_")}
    prefix = "dynamo_component_router_"
    story.timeline.add(prefix + "requests_started_total", labels, rising(30))
    story.timeline.histogram(prefix + "time_to_first_token_seconds", labels, rising(30), each=0.3)
    story.scope = replace(story.scope, source=MetricsSource.ROUTER)
    seen = story.observed()
    assert known(seen.requests) == about(360)
    assert known(seen.ttft_ms) == about(300)
    assert reason(seen.request_duration_s) is Reason.NOT_REPORTED
    assert reason(seen.isl_tokens) is Reason.LENGTHS_UNKNOWN


def test_a_frontend_that_cannot_be_scraped_makes_the_rest_a_lower_bound(
    story: Story, prometheus_server: PrometheusServer
) -> None:
    """Of two frontends of one job, the one that is down may be the one with the traffic."""
    story.register()
    story.start(rising(30))
    assert known(story.observed().requests) == about(360)
    labels = {"dynamo_namespace": story.labels["dynamo_namespace"]}
    lost = Target(job=STAGE, address=f"127.0.0.1:{free_port()}", labels=labels)
    prometheus_server.add_target(lost, wait_up=False)
    try:
        wait_until(
            lambda: isinstance(found := observed_now(story).requests, Known) and found.lower_bound,
            what="a lower bound",
            timeout_s=60,
            poll_s=0.2,
        )
    finally:
        prometheus_server.remove_target(lost)


def observed_now(story: Story) -> Observation:
    """`up` has no past of ours, so it is asked about now."""
    return observe(
        story.client,
        story.scope,
        at_s=Timeline().end_s + 1,
        window_s=WINDOW_S,
        interval_s=WINDOW_S,
        deadline=deadline(),
    )


def test_a_frontend_from_its_start_through_a_restart(
    prometheus_server: PrometheusServer, stage: Page
) -> None:
    """Scraped live, once a second: registered, first asked 621 times at once, busy, restarted, idle."""
    name = f"live-{os.getpid()}"
    labels = f'model="llama",dynamo_namespace="{name}"'
    card = f'{CARD}{{model="Llama",dynamo_namespace="{name}"}} 131072\n'
    counter = f'{STARTED}{{{labels},endpoint="chat_completions",request_type="stream"}} '
    client = Client("default", PrometheusConnection(url=prometheus_server.url))
    scope = Scope(model="Llama", dynamo_namespace=name)
    seen: list[Reading] = []

    def look() -> Reading:
        seen.append(
            observe(
                client,
                scope,
                at_s=Timeline().end_s + 1,
                window_s=6,
                interval_s=6,
                deadline=deadline(),
            ).requests
        )
        return seen[-1]

    def until(wanted: Reading) -> None:
        wait_until(lambda: look() == wanted, what=f"{wanted}", timeout_s=60, poll_s=0.2)

    stage.content = card
    until(Known(0.0))
    stage.content = card + counter + "621\n"
    until(Known(0.0, lower_bound=True))
    until(Known(0.0))
    stage.content = card + counter + "651\n"
    wait_until(
        lambda: isinstance(found := look(), Known) and found.value >= 30 and not found.lower_bound,
        what="30 requests",
        timeout_s=60,
        poll_s=0.2,
    )
    stage.content = card
    until(Known(0.0))
    assert all(isinstance(reading, Known) for reading in seen[seen.index(Known(0.0)) :])


@pytest.fixture
def lonely_prometheus(tmp_path: Path) -> Iterator[PrometheusServer]:
    """One that nothing of Dynamo's was ever scraped by."""
    server = PrometheusServer(find_prometheus(), tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.mark.usefixtures("prometheus_server")
def test_up_alone_is_never_a_zero(lonely_prometheus: PrometheusServer) -> None:
    """A frontend that is up may count under names and labels that nobody thought of."""
    client = Client("default", PrometheusConnection(url=lonely_prometheus.url))
    scope = Scope(model="llama", dynamo_namespace="serving-llama")

    def look() -> Unknown:
        at_s = Timeline().end_s + 1
        seen = observe(client, scope, at_s=at_s, window_s=60, interval_s=60, deadline=deadline()).requests
        assert isinstance(seen, Unknown), seen
        assert seen.reason is Reason.NO_SERIES
        return seen

    assert "No target" in look().message
    with Page() as page:
        lonely_prometheus.add_target(
            Target(job="frontend", address=page.address, labels={"dynamo_namespace": "serving-llama"})
        )
        wait_until(
            lambda: "1 targets up" in look().message and "expose none of it" in look().message,
            what="a target that is up",
            timeout_s=60,
            poll_s=0.2,
        )


def test_history_keeps_gaps_and_zeros_apart_and_does_not_move(story: Story) -> None:
    """Twelve minutes: idle and never asked, busy, restarted and idle, not scraped, busy."""
    per_minute = dict.fromkeys((8, 7, 6), 80) | dict.fromkeys((3, 2, 1, 0), 40)
    not_scraped = 4

    def counted(back: int) -> float | None:
        minute = back // 4
        return 10_000 - per_minute[minute] / 4 * back if minute in per_minute else None

    story.register(lambda back: back // 4 != not_scraped)
    story.start(counted)
    story.served(lambda back: counted(back) or 0)
    story.tell(story)

    def read(end_s: int, points: int) -> tuple[float, ...]:
        found = read_history(
            story.client, story.scope, end_s=end_s, interval_s=60, points=points, deadline=deadline()
        )
        assert (found.end_s, found.step_s) == (end_s, 60)
        return found.requests

    end_s = story.timeline.end_s + 7
    points = read(end_s, 12)
    wanted = (0, 0, 0, 80, 80, 80, 0, math.nan, 40, 40, 40, 40)
    assert points == pytest.approx(wanted, nan_ok=True)
    assert read(end_s - 180, 9) == pytest.approx(wanted[:9], nan_ok=True)


def test_history_has_mean_lengths(story: Story) -> None:
    story.start(rising(30))
    story.served(rising(30))
    story.tell(story)
    found = read_history(
        story.client,
        story.scope,
        end_s=story.timeline.end_s,
        interval_s=60,
        points=10,
        deadline=deadline(),
    )
    assert found.requests == pytest.approx((120,) * 10)
    assert found.isl_tokens == pytest.approx((3000,) * 10)
    assert found.osl_tokens == pytest.approx((150,) * 10)


def test_history_longer_than_one_answer_may_be_is_read_in_parts(story: Story) -> None:
    story.start(rising(15))
    story.tell(story)
    found = read_history(
        story.client,
        story.scope,
        end_s=story.timeline.end_s,
        interval_s=60,
        points=30_000,
        deadline=deadline(),
    )
    assert 18 <= len(found) <= 21


def test_attainment_lies_between_the_edges_around_the_target(story: Story) -> None:
    story.served(rising(30), ttft_s=0.2)
    story.served(rising(10), ttft_s=0.4, pod="b")
    story.tell(story)

    def shares(ttft_ms: float) -> Share | None:
        found = read_attainment(
            story.client,
            story.scope,
            at_s=story.timeline.end_s,
            ttft_ms=ttft_ms,
            itl_ms=20,
            deadline=deadline(),
        )
        assert found[3600] == found[86400]
        assert found[3600] == Attainment(
            ttft=found[3600].ttft, itl=Share(lower_percent=0, upper_percent=100, between=(0, math.inf))
        )
        return found[3600].ttft

    assert shares(220) == Share(lower_percent=75, upper_percent=75)
    assert shares(300) == Share(lower_percent=75, upper_percent=100, between=(220, 470))
    assert shares(470) == Share(lower_percent=100, upper_percent=100)


def test_the_model_of_a_deployment_is_found_before_its_first_request(story: Story) -> None:
    story.register()
    story.tell(story)
    namespace = story.scope.dynamo_namespace or ""
    at_s = story.timeline.end_s
    assert discover_model(story.client, namespace, at_s=at_s, deadline=deadline()).model == MODEL.lower()
    assert discover_model(story.client, "nobody", at_s=at_s, deadline=deadline()).found == ()


def test_several_models_of_a_deployment_are_named(story: Story) -> None:
    story.register()
    story.timeline.add(CARD, {**story.labels, "model": "Other"}, lambda _back: 1)
    story.tell(story)
    discovery = discover_model(
        story.client, story.scope.dynamo_namespace or "", at_s=story.timeline.end_s, deadline=deadline()
    )
    assert discovery.model is None
    assert discovery.found == (MODEL.lower(), "other")
