"""A zero needs proof, on a real Prometheus: load that exists is never read as none.

Each test plays what real frontends and routers expose, with the labels and names that differ in the field.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from slaplanner.adapters.prometheus import (
    LabelMatcher,
    MatchOperator,
    MetricsSource,
    Scope,
    observe,
    read_attainment,
    read_history,
)
from slaplanner.core.readings import Known, Observation, Reading, Unknown
from slaplanner.core.reasons import Reason
from tests.stories import (
    CARD,
    CHAT,
    SUCCESS,
    WINDOW_S,
    Story,
    about,
    deadline,
    known,
    reason,
    rising,
)

NAME = "Acme/Big-7B"
PREFIX = "dynamo_frontend"
ROUTER = "dynamo_component_router"


@dataclass(kw_only=True)
class Process:
    """One frontend, with the labels that all of its series bear."""

    story: Story
    pod: str = "a"
    model: str = NAME
    namespace: str | None = ""
    """Of its series; None: they bear none; empty: the deployment's."""
    prefix: str = PREFIX

    @property
    def labels(self) -> dict[str, str]:
        namespace = self.story.scope.dynamo_namespace if self.namespace == "" else self.namespace
        found = {"model": self.model, "pod": self.pod}
        return found if namespace is None else {**found, "dynamo_namespace": namespace}

    def register(self, value: Callable[[int], float | None] = lambda _back: 8192) -> None:
        self.story.timeline.add(f"{self.prefix}_model_context_length", self.labels, value)

    def start(self, value: Callable[[int], float | None]) -> None:
        self.story.timeline.add(f"{self.prefix}_requests_started_total", {**self.labels, **CHAT}, value)

    def complete(self, value: Callable[[int], float | None]) -> None:
        labels = {**self.labels, **CHAT, **SUCCESS}
        self.story.timeline.add(f"{self.prefix}_requests_total", labels, value)

    def hold(self, value: float, gauge: str = "inflight_requests") -> None:
        self.story.timeline.add(f"{self.prefix}_{gauge}", self.labels, lambda _back: value)

    def generate(self, count: Callable[[int], float]) -> None:
        play = self.story.timeline.histogram
        play(f"{self.prefix}_time_to_first_token_seconds", self.labels, count, each=0.2, edges=(0.22,))
        play(f"{self.prefix}_inter_token_latency_seconds", self.labels, count, each=0.02)
        play(f"{self.prefix}_input_sequence_tokens", self.labels, count, each=3000)
        play(f"{self.prefix}_output_sequence_tokens", self.labels, count, each=150)


@pytest.fixture
def big(story: Story) -> Story:
    """A story whose model only this page's tests name."""
    story.scope = replace(story.scope, model=f"{NAME}-{story.scope.dynamo_namespace}")
    return story


def frontend(story: Story, pod: str = "a", **fields: str | None) -> Process:
    return Process(story=story, pod=pod, **{"model": story.scope.model, **fields})  # type: ignore[arg-type]


def about_each(value: float, all_of_them: tuple[float, ...]) -> object:
    return pytest.approx([value] * len(all_of_them))


def message(reading: Reading) -> str:
    assert isinstance(reading, Unknown), reading
    return reading.message


def test_a_new_frontend_keeps_the_models_case(big: Story) -> None:
    """Finding F1: since 1.2 the label has the case in which the model was registered."""
    new = frontend(big)
    new.register()
    new.start(rising(300))
    new.generate(rising(300))
    big.scope = replace(big.scope, model=(big.scope.model or "").lower())
    seen = big.observed()
    assert known(seen.requests) == about(3600)
    assert known(seen.isl_tokens) == about(3000)


@pytest.mark.parametrize("spelling", [str, str.lower, str.upper], ids=["as-it-is", "lower", "upper"])
def test_a_matcher_on_the_model_in_any_spelling_changes_nothing(
    big: Story, spelling: Callable[[str], str]
) -> None:
    """Finding F1b: such a matcher is what users try first."""
    new = frontend(big)
    new.register()
    new.start(rising(300))
    model = spelling(big.scope.model or "")
    big.scope = replace(big.scope, matchers=(LabelMatcher(label="model", value=model),))
    assert known(big.observed().requests) == about(3600)


def test_a_matcher_that_fits_the_registration_and_not_the_counter_is_no_zero(big: Story) -> None:
    """An older frontend: the card keeps the case, the counter lowers it."""
    model = big.scope.model or ""
    frontend(big).register()
    frontend(big, model=model.lower()).start(rising(300))
    only_capitals = LabelMatcher(label="model", operator=MatchOperator.MATCHES, value="Acme/.*")
    big.scope = replace(big.scope, matchers=(only_capitals,))
    seen = big.observed().requests
    assert isinstance(seen, Known)
    assert seen.lower_bound
    assert f"model={model.lower()!r}, which a matcher leaves out" in seen.because


def test_frontends_of_two_versions_are_pooled(big: Story) -> None:
    """In the middle of an upgrade: the older one lowers the name, the newer one keeps it."""
    old, new = frontend(big, "old", model=(big.scope.model or "").lower()), frontend(big, "new")
    for process in (old, new):
        process.register()
        process.generate(rising(30))
    old.complete(rising(10))
    new.start(rising(30))
    new.complete(rising(30))
    assert known(big.observed().requests) == about(480)


def test_another_prefix_is_no_zero_and_is_named(big: Story) -> None:
    """Finding F2: `DYN_METRICS_PREFIX` gives every series another name."""
    other = frontend(big, prefix="nv_llm_http_service")
    other.register()
    other.start(rising(300))
    seen = big.observed()
    assert reason(seen.requests) is Reason.SERIES_UNDER_OTHER_LABELS
    assert "named dynamo_frontend_*" in message(seen.requests)
    assert "nv_llm_http_service_requests_started_total" in message(seen.requests)


def test_another_prefix_can_be_asked_for(big: Story) -> None:
    other = frontend(big, prefix="nv_llm_http_service")
    other.register()
    other.start(rising(300))
    other.generate(rising(300))
    big.scope = replace(big.scope, prefix="nv_llm_http_service")
    seen = big.observed()
    assert known(seen.requests) == about(3600)
    assert known(seen.osl_tokens) == about(150)


def test_a_frontend_beside_ours_under_another_prefix_makes_a_lower_bound(big: Story) -> None:
    idle, other = frontend(big), frontend(big, "other", prefix="shop")
    idle.register()
    idle.start(lambda _back: 621)
    other.start(rising(300))
    seen = big.observed()
    assert known(seen.requests, lower_bound=True) == 0
    assert isinstance(seen.requests, Known)
    assert "other counts in shop_requests_started_total" in seen.requests.because


def route(story: Story, namespace: str, count: Callable[[int], float], pod: str = "a") -> None:
    """A router's counters and lengths; those of 1.4 have no count of arrivals."""
    labels = {"dynamo_namespace": namespace, "dynamo_component": "router", "pod": pod}
    story.timeline.add(f"{ROUTER}_requests_total", labels, count)
    story.timeline.histogram(f"{ROUTER}_input_sequence_tokens", labels, count, each=3000)
    story.timeline.histogram(f"{ROUTER}_output_sequence_tokens", labels, count, each=150)


def routed(story: Story) -> Story:
    story.scope = replace(story.scope, source=MetricsSource.ROUTER)
    return story


def underscored(story: Story) -> str:
    return (story.scope.dynamo_namespace or "").replace("-", "_")


def test_a_routers_eager_zeros_beside_a_busy_frontend_are_no_zero(big: Story) -> None:
    """Finding F4: registered at 0, and never counted unless the frontend routes by KV cache."""
    busy = frontend(big)
    busy.register()
    busy.start(rising(300))
    route(big, underscored(big), lambda _back: 0)
    seen = routed(big).observed()
    assert reason(seen.requests) is Reason.COUNTER_SILENT
    assert "metrics.source Frontend" in message(seen.requests)


def test_a_routers_eager_zeros_alone_are_no_zero(big: Story) -> None:
    route(big, underscored(big), lambda _back: 0)
    assert reason(routed(big).observed().requests) is Reason.COUNTER_SILENT


def test_a_routers_eager_zeros_beside_an_idle_frontend_are_a_zero(big: Story) -> None:
    idle = frontend(big)
    idle.register()
    idle.hold(0)
    route(big, underscored(big), lambda _back: 0)
    assert known(routed(big).observed().requests) == 0


def test_a_router_that_has_counted_and_rests_is_a_zero(big: Story) -> None:
    route(big, underscored(big), lambda _back: 621)
    assert known(routed(big).observed().requests) == 0


def test_no_router_at_all_is_no_zero_and_the_frontend_is_named(big: Story) -> None:
    busy = frontend(big)
    busy.register()
    busy.start(rising(300))
    seen = routed(big).observed()
    assert reason(seen.requests) is Reason.SERIES_UNDER_OTHER_LABELS
    assert "dynamo_frontend_requests_started_total" in message(seen.requests)


@dataclass(frozen=True, kw_only=True)
class Routed:
    """What one router with separate prefill and decode workers counts, as 1.4.2 and 1.6.1 do."""

    story: Story
    per_scrape: float = 30.0
    osl_tokens: float = 150.0
    pod: str = "a"

    def count(self, *, legs: float = 2.0, transfers: bool = True, started: bool = True) -> None:
        """*legs*: how often a request is counted in the mean; the legs of prefill end after one token."""
        labels = {"dynamo_namespace": f"{underscored(self.story)}_5f3a9c21", "pod": self.pod}
        timeline, second = self.story.timeline, legs - 1.0
        once, both = rising(self.per_scrape), rising(self.per_scrape * legs)
        prefill = rising(self.per_scrape * second)
        timeline.add(f"{ROUTER}_requests_total", labels, both)
        if started:
            timeline.add(f"{ROUTER}_requests_started_total", labels, both)
        if transfers:
            timeline.histogram(f"{ROUTER}_kv_transfer_estimated_latency_seconds", labels, prefill, each=0.02)
        timeline.histogram(f"{ROUTER}_input_sequence_tokens", labels, both, each=3000)
        output = f"{ROUTER}_output_sequence_tokens"
        timeline.add(f"{output}_count", labels, both)
        timeline.add(f"{output}_sum", labels, lambda back: self.osl_tokens * once(back) + prefill(back))
        for edge, reached in (("100", prefill), ("210", both), ("+Inf", both)):
            timeline.add(f"{output}_bucket", {**labels, "le": edge}, reached)
        first = f"{ROUTER}_time_to_first_token_seconds"
        timeline.histogram(first, labels, both, each=0.0, edges=(0.0022,))


@pytest.mark.parametrize("shown", ["transfers", "frontend", "both"])
def test_a_router_that_counts_both_legs_of_a_request_is_read_as_one_request(big: Story, shown: str) -> None:
    """Since 1.4. Its transfers from prefill to decode tell how many; else the frontend of the same process."""
    Routed(story=big).count(transfers=shown != "frontend")
    if shown != "transfers":
        busy = frontend(big)
        busy.register()
        busy.start(rising(30))
    seen = routed(big).observed()
    assert known(seen.requests) == about(360)
    assert known(seen.isl_tokens) == about(3000)
    assert known(seen.osl_tokens) == pytest.approx(150, rel=0.01)
    assert seen.osl_histogram is not None
    assert seen.osl_histogram.counts[0] == pytest.approx(0, abs=1)
    assert seen.osl_histogram.total == about(360)
    assert reason(seen.ttft_ms) is Reason.NOT_REPORTED
    assert seen.ttft_histogram is None
    assert sum(seen.arrivals) == about(30 * len(seen.arrivals))
    found = read_history(
        big.client, big.scope, end_s=big.timeline.end_s, interval_s=60, points=10, deadline=deadline()
    )
    assert found.requests == pytest.approx((120,) * 10)
    assert found.osl_tokens == pytest.approx((150,) * 10)
    attained = read_attainment(
        big.client, big.scope, at_s=big.timeline.end_s, ttft_ms=500, itl_ms=50, deadline=deadline()
    )
    assert attained[3600].ttft is None


@pytest.mark.parametrize(
    ("shown", "started"),
    [
        pytest.param((), True, id="nothing-tells"),
        pytest.param(("frontend",), True, id="a-frontend-that-counts-as-many"),
        pytest.param(("transfers",), False, id="an-older-router"),
        pytest.param(("transfers", "frontend"), True, id="transfers-and-a-frontend-that-counts-as-many"),
    ],
)
def test_a_router_that_counts_each_request_once_is_not_halved(
    big: Story, shown: tuple[str, ...], *, started: bool
) -> None:
    """1.2 counts once; aggregated workers have one leg."""
    once = Routed(story=big)
    once.count(legs=1.0, transfers=False, started=started)
    labels = {"dynamo_namespace": f"{underscored(big)}_5f3a9c21", "pod": "a"}
    if "transfers" in shown:
        big.timeline.histogram(
            f"{ROUTER}_kv_transfer_estimated_latency_seconds", labels, rising(30), each=0.02
        )
    if "frontend" in shown:
        busy = frontend(big)
        busy.register()
        busy.start(rising(30))
    seen = routed(big).observed()
    assert known(seen.requests) == about(360)
    assert known(seen.osl_tokens) == about(150)
    found = read_history(
        big.client, big.scope, end_s=big.timeline.end_s, interval_s=60, points=5, deadline=deadline()
    )
    assert found.requests == pytest.approx((120,) * 5)
    assert found.osl_tokens == pytest.approx((150,) * 5)


def test_some_requests_need_no_second_leg(big: Story) -> None:
    """Short prompts that decode workers read themselves, and frontends of two versions side by side."""
    Routed(story=big).count(legs=1.4)
    Routed(story=big, pod="b", osl_tokens=300).count(legs=1.0, transfers=False, started=False)
    seen = routed(big).observed()
    assert known(seen.requests) == about(720)
    assert known(seen.osl_tokens) == pytest.approx(225, rel=0.01)
    found = read_history(
        big.client, big.scope, end_s=big.timeline.end_s, interval_s=60, points=5, deadline=deadline()
    )
    assert found.requests == pytest.approx((240,) * 5)
    assert found.osl_tokens == pytest.approx((225,) * 5)


@pytest.mark.parametrize("joined", ["-5f3a9c21", "_5f3a9c21"], ids=["dashes", "underscores"])
def test_a_router_under_its_worker_sets_namespace_is_found(big: Story, joined: str) -> None:
    """Finding F5: an embedded router bears the hash only, and each rollout brings another."""
    base = underscored(big) if joined[0] == "_" else big.scope.dynamo_namespace or ""
    route(big, base + joined, rising(30))
    route(big, base + joined[0] + "0badcafe", rising(10), pod="b")
    seen = routed(big).observed()
    assert known(seen.requests) == about(480)
    assert known(seen.isl_tokens) == about(3000)


def test_a_namespace_of_another_form_is_found_where_the_target_tells_it(big: Story) -> None:
    route(big, "elsewhere-v2", rising(30))
    big.scope = replace(big.scope, worker_namespaces=("elsewhere-v2",))
    assert known(routed(big).observed().requests) == about(360)


@pytest.mark.parametrize("neighbour", ["x", "-canary", "-v2-5f3a9c21", "-5f3a"])
def test_a_neighbour_whose_name_begins_alike_is_not_counted(big: Story, neighbour: str) -> None:
    own = frontend(big)
    own.register()
    own.start(rising(30))
    other = frontend(big, "other", namespace=f"{big.scope.dynamo_namespace}{neighbour}")
    other.register()
    other.start(rising(700))
    assert known(big.observed().requests) == about(360)


def test_families_under_different_namespaces_are_each_found(big: Story) -> None:
    """Dynamo #13143: lengths and latencies bear the worker set's name, counters and gauges none."""
    base = big.scope.dynamo_namespace
    counts, lengths = frontend(big, namespace=None), frontend(big, namespace=f"{base}-5f3a9c21")
    counts.start(rising(30))
    counts.complete(rising(30))
    counts.hold(17)
    lengths.register()
    lengths.generate(rising(30))
    seen = big.observed()
    assert known(seen.requests) == about(360)
    assert known(seen.isl_tokens) == about(3000)
    assert known(seen.inflight) == 17
    assert seen.ttft_histogram is not None
    assert sum(seen.arrivals) == about(30 * len(seen.arrivals))
    found = read_history(
        big.client, big.scope, end_s=big.timeline.end_s, interval_s=60, points=10, deadline=deadline()
    )
    assert found.requests == pytest.approx((120,) * 10)


def test_a_family_that_is_absent_is_said_and_not_read_as_idleness(big: Story) -> None:
    busy = frontend(big)
    busy.register()
    busy.start(rising(30))
    seen = big.observed()
    assert reason(seen.isl_tokens) is Reason.LENGTHS_UNKNOWN
    assert "exposes dynamo_frontend_input_sequence_tokens" in message(seen.isl_tokens)


def test_series_without_a_namespace_are_no_zero(big: Story) -> None:
    """A scrape without the relabelling of Dynamo's PodMonitor."""
    bare = frontend(big, namespace=None)
    bare.register()
    bare.start(rising(300))
    seen = big.observed()
    assert reason(seen.requests) is Reason.SERIES_UNDER_OTHER_LABELS
    assert "dynamo_namespace=''" in message(seen.requests)
    assert "a bear no dynamo_namespace" in message(seen.requests)


@pytest.mark.parametrize(
    "gauge", ["inflight_requests", "active_requests", "queued_requests"],
)  # fmt: skip
def test_a_registered_frontend_that_holds_requests_is_no_zero(big: Story, gauge: str) -> None:
    odd = frontend(big)
    odd.register()
    odd.hold(7, gauge)
    seen = big.observed()
    assert reason(seen.requests) is Reason.COUNTER_SILENT
    assert "holds 7 requests" in message(seen.requests)


@pytest.mark.parametrize(
    ("gauge", "labels"),
    [
        pytest.param("stage_requests", {"stage": "dispatch", "phase": "prefill"}, id="stage"),
        pytest.param("router_queue_pending_requests", {"worker_type": "prefill"}, id="router"),
    ],
)
def test_gauges_without_a_model_speak_of_work_too(big: Story, gauge: str, labels: dict[str, str]) -> None:
    odd = frontend(big)
    odd.register()
    without_model = {name: value for name, value in odd.labels.items() if name != "model"}
    big.timeline.add(f"{PREFIX}_{gauge}", {**without_model, **labels}, lambda _back: 7)
    assert reason(big.observed().requests) is Reason.COUNTER_SILENT


def test_new_gauges_are_read_beside_the_deprecated_ones(big: Story) -> None:
    """Finding F22."""
    busy = frontend(big)
    busy.register()
    busy.start(rising(30))
    busy.hold(40, "active_requests")
    without_model = {name: value for name, value in busy.labels.items() if name != "model"}
    for stage, held in (("preprocess", 1), ("route", 2), ("dispatch", 4)):
        labels = {**without_model, "stage": stage, "phase": "prefill"}
        big.timeline.add(f"{PREFIX}_stage_requests", labels, lambda _back, held=held: held)
    big.timeline.add(
        f"{PREFIX}_router_queue_pending_requests", {**without_model, "worker_type": "decode"}, lambda _b: 3
    )
    seen = big.observed()
    assert known(seen.inflight) == 40
    assert known(seen.queued) == 7
    assert known(seen.router_pending) == 3


def test_a_gauge_that_is_no_longer_sampled_is_not_read(big: Story) -> None:
    busy = frontend(big)
    busy.register()
    busy.start(rising(30))
    big.timeline.add(f"{PREFIX}_inflight_requests", busy.labels, lambda back: 400 if back > 8 else None)
    assert reason(big.observed().inflight) is Reason.NOT_REPORTED


@pytest.mark.parametrize("gone_since", [3, 20, 60], ids=["45-s", "5-min", "15-min"])
def test_a_frontend_that_was_scraped_within_the_hour_and_is_not_now_makes_a_lower_bound(
    big: Story, gone_since: int
) -> None:
    here, gone = frontend(big, "here"), frontend(big, "gone")
    here.register()
    here.start(rising(30))
    gone.register(lambda back: 8192 if back >= gone_since + 6 else None)
    gone.start(lambda back: 5000 - 30 * back if back >= gone_since + 6 else None)
    seen = big.observed()
    assert isinstance(seen.requests, Known)
    assert seen.requests.lower_bound
    assert "gone was scraped within the past hour and is not now" in seen.requests.because


def test_a_frozen_frontend_makes_a_lower_bound(big: Story) -> None:
    """Its counters stand still while it holds requests: what it serves is not shown."""
    here, frozen = frontend(big, "here"), frontend(big, "frozen")
    for process in (here, frozen):
        process.register()
        process.hold(75)
    here.start(rising(30))
    here.generate(rising(30))
    frozen.start(lambda _back: 5000)
    frozen.generate(lambda _back: 5000)
    seen = big.observed()
    assert known(seen.requests, lower_bound=True) == about(360)


REFUSED = {"status": "error", "error_type": "not_found"}


def ready(process: Process, value: Callable[[int], float | None]) -> None:
    process.story.timeline.add(f"{process.prefix}_model_ready", process.labels, value)


def lost(story: Story, how: str) -> Process:
    """An idle frontend, as far as its counters of the model tell, whose users are refused."""
    idle = frontend(story)
    idle.register()
    strange = replace(idle, model="unknown_model")
    if how == "not-ready":
        idle.start(lambda _back: 621)
        ready(idle, lambda back: 0 if back < 40 else 1)
    elif how == "not-ready-and-never-asked":
        ready(idle, lambda _back: 0)
    elif how == "not-ready-for-a-moment":
        idle.start(lambda _back: 621)
        ready(idle, lambda back: 0 if back == 6 else 1)
    elif how == "unknown-model":
        idle.start(lambda _back: 621)
        strange.start(rising(30))
    elif how == "unknown-model-for-the-first-time":
        idle.start(lambda _back: 621)
        strange.start(lambda back: 1 if back <= 2 else None)
    elif how == "unknown-model-in-completions-alone":
        idle.complete(lambda _back: 621)
        story.timeline.add(f"{PREFIX}_requests_total", {**strange.labels, **CHAT, **REFUSED}, rising(30))
    else:
        assert how == "not-found"
        idle.complete(lambda _back: 621)
        story.timeline.add(f"{PREFIX}_requests_total", {**idle.labels, **CHAT, **REFUSED}, rising(30))
    return idle


LOST = (
    "not-ready",
    "not-ready-and-never-asked",
    "not-ready-for-a-moment",
    "unknown-model",
    "unknown-model-for-the-first-time",
    "unknown-model-in-completions-alone",
    "not-found",
)


@pytest.mark.parametrize("how", LOST)
def test_requests_that_are_refused_while_workers_are_gone_make_a_lower_bound(big: Story, how: str) -> None:
    """How 1.2.1, 1.4.2 and 1.6.1 show it, when they do: as possible demand, and never as a measure of it."""
    lost(big, how)
    seen = big.observed().requests
    assert known(seen, lower_bound=True) == 0
    assert isinstance(seen, Known)
    assert "a " in seen.because


@pytest.mark.parametrize("how", LOST)
def test_the_same_behind_a_router_that_has_counted_and_rests(big: Story, how: str) -> None:
    lost(big, how)
    route(big, underscored(big), lambda _back: 621)
    assert known(routed(big).observed().requests, lower_bound=True) == 0


def test_requests_for_unknown_models_are_no_demand_of_a_model_that_is_served(big: Story) -> None:
    """A client with a wrong model name must not keep an idle fleet large, where the frontend can tell."""
    idle = frontend(big)
    idle.register()
    idle.start(lambda _back: 621)
    ready(idle, lambda _back: 1)
    replace(idle, model="unknown_model").start(rising(30))
    assert known(big.observed().requests) == 0


def test_a_few_requests_for_unknown_models_change_nothing(big: Story) -> None:
    busy = frontend(big)
    busy.register()
    busy.start(rising(300))
    replace(busy, model="unknown_model").start(rising(3))
    assert known(big.observed().requests) == about(3600)


def test_unknown_models_of_another_deployment_are_not_ours(big: Story) -> None:
    idle = frontend(big)
    idle.register()
    idle.start(lambda _back: 621)
    other = frontend(big, "other", model="unknown_model", namespace="elsewhere-x")
    other.start(rising(30))
    assert known(big.observed().requests) == 0


def test_an_interval_in_which_workers_were_missing_is_a_gap_in_the_history(big: Story) -> None:
    busy = frontend(big)
    busy.register()
    busy.start(lambda back: 100_000 - 30 * (back if back < 12 else max(12, back - 8)))
    ready(busy, lambda back: 0 if 12 <= back < 20 else 1)
    big.tell(big)
    found = read_history(
        big.client, big.scope, end_s=big.timeline.end_s, interval_s=60, points=10, deadline=deadline()
    )
    told = [value for value in found.requests if not math.isnan(value)]
    assert told == pytest.approx([120] * len(told))
    assert 6 <= len(told) < 9


@pytest.mark.parametrize("source", [MetricsSource.FRONTEND, MetricsSource.ROUTER])
def test_missing_workers_of_another_deployment_of_the_model_leave_no_gap(
    big: Story, source: MetricsSource
) -> None:
    """`model_ready` has no namespace, so only its process tells whose it is."""
    busy = frontend(big)
    busy.register()
    busy.start(rising(30))
    ready(replace(busy, namespace=None), lambda _back: 1)
    if source is MetricsSource.ROUTER:
        route(big, underscored(big), rising(30))
        big = routed(big)
    other = frontend(big, "other", namespace="elsewhere-x")
    other.register()
    ready(replace(other, namespace=None), lambda _back: 0)
    big.tell(big)
    found = read_history(
        big.client, big.scope, end_s=big.timeline.end_s, interval_s=60, points=10, deadline=deadline()
    )
    assert [value for value in found.requests if math.isnan(value)] == []
    assert len(found.requests) >= 9


def test_long_generations_without_arrivals_are_a_true_zero_with_work_in_flight(big: Story) -> None:
    busy = frontend(big)
    busy.register()
    busy.hold(364)
    busy.start(lambda _back: 5000)
    busy.generate(rising(30))
    seen = big.observed()
    assert known(seen.requests) == 0
    assert known(seen.inflight) == 364


def test_a_frontend_that_was_never_asked_adds_a_true_zero(big: Story) -> None:
    busy, silent = frontend(big, "busy"), frontend(big, "silent")
    for process in (busy, silent):
        process.register()
    busy.start(rising(30))
    assert known(big.observed().requests) == about(360)


def test_a_frontend_that_restarted_under_another_name_makes_a_lower_bound(big: Story) -> None:
    before, after = frontend(big, "before"), frontend(big, "after")
    before.register(lambda back: 8192 if back > 5 else None)
    before.start(lambda back: 5000 - 30 * back if back > 5 else None)
    after.register(lambda back: 8192 if back <= 5 else None)
    after.start(lambda back: 30 * (5 - back) if back <= 4 else None)
    seen = big.observed()
    assert isinstance(seen.requests, Known)
    assert seen.requests.lower_bound
    assert seen.requests.value > 0


def test_eager_zeros_of_an_idle_frontend_are_a_true_zero(big: Story) -> None:
    idle = frontend(big)
    idle.register()
    idle.start(lambda _back: 0)
    idle.complete(lambda _back: 0)
    idle.hold(0)
    idle.generate(lambda _back: 0)
    assert known(big.observed().requests) == 0


@pytest.mark.parametrize("sign", ["completions", "tokens", "in-flight"])
def test_a_counter_that_never_counted_is_no_zero_beside_work(big: Story, sign: str) -> None:
    odd = frontend(big)
    odd.register()
    odd.start(lambda _back: 0)
    if sign == "completions":
        odd.complete(rising(30))
    elif sign == "tokens":
        odd.generate(rising(30))
    else:
        odd.hold(5)
    seen = big.observed().requests
    assert isinstance(seen, Unknown) or (seen.lower_bound and seen.value == about(360))


def test_a_gap_in_the_samples_is_no_burst(big: Story) -> None:
    """Prometheus was away for a minute and a half: the steps without samples are not steps without requests."""
    steady = frontend(big)
    steady.register()
    steady.start(lambda back: 100_000 - 30 * back if not 4 <= back <= 9 else None)
    seen = big.observed()
    assert len(seen.arrivals) >= 2
    assert [count / seen.arrivals_step_s for count in seen.arrivals] == about_each(2.0, seen.arrivals)


def test_a_window_that_begins_in_a_gap_has_no_steps_without_requests(big: Story) -> None:
    steady = frontend(big)
    steady.register()
    steady.start(lambda back: 100_000 - 30 * back if back < 8 or back > 40 else None)
    seen = big.observed()
    assert len(seen.arrivals) >= 2
    assert [count / seen.arrivals_step_s for count in seen.arrivals] == about_each(2.0, seen.arrivals)


def test_an_interval_that_is_half_covered_is_a_gap_in_the_history(big: Story) -> None:
    """Ten minutes at 2 requests/s, of which Prometheus missed a minute and a half."""
    steady = frontend(big)
    missed = range(9, 15)
    steady.register(lambda back: 8192 if back not in missed else None)
    steady.start(lambda back: 100_000 - 30 * back if back not in missed else None)
    big.tell(big)
    found = read_history(
        big.client, big.scope, end_s=big.timeline.end_s, interval_s=60, points=10, deadline=deadline()
    )
    told = [value for value in found.requests if not math.isnan(value)]
    assert told == pytest.approx([120] * len(told))
    assert math.isnan(found.requests[-3])
    assert 6 <= len(told) <= 8


def played(story: Story, draw: random.Random, index: int) -> Scope:
    """One deployment of random names and labels, whose frontends serve 2 requests/s, whatever shows of it."""
    letters = "abcXYZ019-_./:+ (ünï"
    model = "Mo" + "".join(draw.choice(letters) for _ in range(draw.randint(1, 12))) + str(index)
    base = f"{story.scope.dynamo_namespace}-{draw.choice('abc')}{index}"
    joined = draw.choice("-_")
    spelled = draw.choice((base, base.replace("-", "_")))
    namespace = draw.choice((base, f"{spelled}{joined}{draw.getrandbits(32):08x}", f"{base}-odd", None))
    prefix = draw.choice((PREFIX, PREFIX, "nv_llm_http_service", f"shop{index}"))
    spelling = draw.choice((str, str.lower, str.upper, str.swapcase))(model)
    process = Process(
        story=story, pod=f"pod-{index}", model=spelling, namespace=namespace, prefix=prefix
    )  # fmt: skip
    registered = replace(process, model=model, namespace=draw.choice((namespace, base)))
    if draw.random() < 0.8:
        registered.register()
    begin = draw.choice((100_000, 0))  # a counter that began long ago, or one that never counts
    if begin:
        draw.choice((process.start, process.complete))(rising(30))
    else:
        process.start(lambda _back: 0)
    if not begin or draw.random() < 0.5:
        registered.hold(5, draw.choice(("inflight_requests", "active_requests", "queued_requests")))
    asked = draw.choice((str, str.lower, str.upper))(model)
    matchers = (LabelMatcher(label="model", value=asked),) if draw.random() < 0.2 else ()
    return Scope(model=asked, dynamo_namespace=base, matchers=matchers)


def test_load_that_exists_is_never_read_as_a_zero_whatever_its_labels(big: Story) -> None:
    """Sixty deployments with random labels, names, prefixes and spellings."""
    draw = random.Random(20261130)
    scopes = [played(big, draw, index) for index in range(60)]
    big.tell(big)
    read = 0
    for scope in scopes:
        seen: Observation = observe(
            big.client,
            scope,
            at_s=big.timeline.end_s,
            window_s=WINDOW_S,
            interval_s=WINDOW_S,
            deadline=deadline(),
        )
        if isinstance(seen.requests, Known):
            assert seen.requests.value == about(360) or seen.requests.lower_bound, (scope, seen.requests)
            read += seen.requests.value == about(360)
    assert read > 5, "a reader that knows nothing of anybody keeps the rule, too"


def test_the_card_of_another_model_is_no_proof(big: Story) -> None:
    """A registration under the deployment's namespace, of a model that nobody asked for."""
    other = frontend(big, model="Somebody/Else")
    big.timeline.add(CARD, other.labels, lambda _back: 8192)
    seen = big.observed()
    assert reason(seen.requests) is Reason.SERIES_UNDER_OTHER_LABELS
    assert "Somebody/Else" in message(seen.requests)
