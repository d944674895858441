"""Real frontends of Dynamo under a known load: what the operator reads of it, beside what the clients saw.

Frontends of three versions serve with the same two simulated workers, side by side, each scraped as its own
deployment. Clients write down each request; the readings of the same seconds must say the same, within:

- arrivals: from the true number to what Prometheus' extrapolation makes of it, plus 1 %. All requests of a
  window come and end between its first and its last sample; `increase()` stretches that growth to the window's
  ends, by a factor that follows from the samples' times.
- lengths: 1 %. Sum and count are stretched alike, because the requests before the window were of the same
  lengths.
- latencies: a frontend's clock starts and ends inside of the client's, so what it reports may be lower, on
  a busy machine by half, and hardly higher.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from slaplanner.adapters.prometheus import Client, Deadline, LabelMatcher, MetricsSource, Scope, observe
from slaplanner.core.readings import Known, Observation, Reading, Unknown
from slaplanner.core.reasons import Reason
from slaplanner.settings import PrometheusConnection
from tests.dynamo.client import Answer, Endpoint, Request, mixed, play
from tests.dynamo.facts import stored
from tests.dynamo.parts import Frontend, Model, Site, Worker, make_model, make_speeds
from tests.testbed import PrometheusServer, Target
from tests.testbed.dynamo_wheels import FRONTEND_VERSIONS
from tests.testbed.missing import or_skip

PROFILE = Path(__file__).parents[2] / "examples/profiles/h100_vllm_Qwen3-32B_bf16_tp2"
SPOKEN, SILENT = "Qwen/Qwen3-32B", "Acme/Silent-7B"
WINDOW_S = 12.0
REQUESTS, PACE_S = 20, 0.35
ISL_TOKENS, OSL_TOKENS = 2000, 30
WORKER_SETS = ("truth_spoken_5f3a", "truth_silent_77b0")
"""A router's series bear the name of the worker set that it saw first."""
HELD = 5
"""Long requests that run while one looks."""


@dataclass(slots=True)
class Account:
    """Of one frontend: the readings of each act, and what its clients wrote down."""

    seen: dict[str, Observation] = field(default_factory=dict)
    routed: dict[str, Observation] = field(default_factory=dict)
    """The same by the frontend's embedded KV router, for all models together."""
    stretch: dict[str, float] = field(default_factory=dict)
    """By how much Prometheus stretches what grew between the samples of the window."""
    answers: dict[str, list[Answer]] = field(default_factory=dict)


class Stage:
    """All frontends before the same workers, and a Prometheus that scrapes them."""

    def __init__(self, frontends: dict[str, Frontend], prometheus: PrometheusServer) -> None:
        self.frontends = frontends
        self.prometheus = prometheus
        self.accounts = {version: Account() for version in frontends}
        self._client = Client("default", PrometheusConnection(url=prometheus.url))

    def target(self, version: str) -> Target:
        """As Dynamo's PodMonitor relabels: the deployment's namespace is the target's, series keep their own."""
        labels = {"dynamo_namespace": _namespace(version), "pod": f"frontend-{version}"}
        return Target(
            job="frontends", address=self.frontends[version].address, labels=labels, honor_labels=True
        )

    def look(self, act: str, *, model: str = SPOKEN, since_s: float | None = None) -> None:
        """Read what lies between *since_s* (or WINDOW_S ago) and now, for each frontend."""
        at_s = time.time()
        window_s = WINDOW_S if since_s is None else at_s - since_s
        for version, account in self.accounts.items():
            pod = f"frontend-{version}"
            frontend = Scope(model=model, dynamo_namespace=_namespace(version))
            router = Scope(
                source=MetricsSource.ROUTER,
                dynamo_namespace="truth",
                worker_namespaces=WORKER_SETS,
                matchers=(LabelMatcher(label="pod", value=pod),),
            )
            for scope, seen in ((frontend, account.seen), (router, account.routed)):
                seen[act] = observe(
                    self._client,
                    scope,
                    at_s=at_s,
                    window_s=window_s,
                    interval_s=window_s,
                    deadline=Deadline.after(60.0),
                )
            samples = self.prometheus.samples(f'up{{pod="{pod}"}}', until_s=at_s, window_s=window_s)
            account.stretch[act] = window_s / (samples[-1] - samples[0])

    def play(self, act: str, requests: list[Request], *, model: str = SPOKEN, pace_s: float = PACE_S) -> None:
        """The same requests to every frontend at the same time."""

        async def everywhere() -> list[list[Answer]]:
            plays = (play(one.url, model, requests, pace_s=pace_s) for one in self.frontends.values())
            return await asyncio.gather(*plays)

        for account, answers in zip(self.accounts.values(), asyncio.run(everywhere()), strict=True):
            account.answers[act] = answers

    def scraped_until(self, moment_s: float) -> None:
        """Wait until Prometheus has samples of every frontend from after *moment_s*."""
        fresh = f'count(timestamp(up{{job="frontends"}}) > {moment_s:.3f}) >= {len(self.frontends)}'
        self.prometheus.wait_for(fresh, timeout_s=60)


def _namespace(version: str) -> str:
    return f"truth-{version.replace('.', '-')}"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    directory = tmp_path_factory.mktemp("models")
    speeds = or_skip(partial(make_speeds, directory, profile=PROFILE))
    return {
        name: make_model(directory / str(words), name=name, speeds=speeds, words=words)
        for name, words in ((SPOKEN, 1000), (SILENT, 0))
    }


@pytest.fixture(scope="module")
def stage(
    models: dict[str, Model], prometheus_server: PrometheusServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    """Every act, played once; the tests look at what was written down."""
    directory = tmp_path_factory.mktemp("site")
    spoken = Site(directory=directory, namespace="truth-spoken")
    silent = Site(directory=directory, namespace="truth-silent")
    workers = [Worker(spoken, models[SPOKEN], mode=mode, revision="5f3a") for mode in ("prefill", "decode")]
    workers.append(Worker(silent, models[SILENT], mode="agg", revision="77b0"))
    common = Site(directory=directory, namespace="truth")
    frontends = {
        version: or_skip(partial(Frontend, common, version=version)) for version in FRONTEND_VERSIONS
    }
    with ExitStack() as running:
        for part in (*frontends.values(), *workers):
            running.callback(part.stop, grace_s=0)
            part.start()
        for model in models:
            for frontend in frontends.values():
                frontend.wait_for_model(model)
        stage = Stage(frontends, prometheus_server)
        for version in frontends:
            target = stage.target(version)
            prometheus_server.add_target(target)
            running.callback(prometheus_server.remove_target, target)
        _acts(stage)
        yield stage


def _acts(stage: Stage) -> None:
    stage.scraped_until(time.time() + WINDOW_S)
    stage.look("idle")
    stage.play("first", mixed(4, isl_tokens=ISL_TOKENS, osl_tokens=OSL_TOKENS), pace_s=0.1)
    stage.scraped_until(time.time())
    stage.look("first")
    silent = [Request(endpoint=e, stream=True, isl_tokens=100, osl_tokens=5) for e in Endpoint]
    stage.play("before the silent", silent, model=SILENT, pace_s=0.1)
    stage.scraped_until(time.time() + WINDOW_S)

    begin_s = time.time()
    stage.scraped_until(begin_s)
    stage.play("busy", mixed(REQUESTS, isl_tokens=ISL_TOKENS, osl_tokens=OSL_TOKENS))
    stage.play("silent", silent * 4, model=SILENT, pace_s=0.1)
    stage.scraped_until(max(time.time(), begin_s + WINDOW_S))
    stage.look("busy", since_s=begin_s)
    stage.look("silent", model=SILENT, since_s=begin_s)
    asyncio.run(_hold(stage))


async def _hold(stage: Stage) -> None:
    """Look while long requests run."""
    longer = [Request(isl_tokens=100, osl_tokens=400)] * HELD
    held = [
        asyncio.create_task(play(one.url, SPOKEN, longer, pace_s=0.0)) for one in stage.frontends.values()
    ]
    await asyncio.to_thread(stage.scraped_until, time.time() + 1.0)
    await asyncio.to_thread(stage.look, "held")
    assert not any(task.done() for task in held), "the long requests ended before the look"
    for account, task in zip(stage.accounts.values(), held, strict=True):
        account.answers["held"] = await task


@pytest.fixture(params=FRONTEND_VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def account(stage: Stage, version: str) -> Account:
    """What is known of one version's frontend."""
    return stage.accounts[version]


def test_before_the_first_request_a_registered_model_is_idle(account: Account) -> None:
    assert account.seen["idle"].requests == Known(0.0)


def test_first_requests_are_a_lower_bound(account: Account) -> None:
    """Their series were born with them, so nobody knows where they began to count."""
    requests = account.seen["first"].requests
    assert isinstance(requests, Known)
    assert requests.lower_bound
    assert requests.value <= 1.2 * len(account.answers["first"])


def test_arrivals_and_lengths_of_a_window_are_those_that_clients_sent(account: Account) -> None:
    seen, answers = account.seen["busy"], account.answers["busy"]
    assert {answer.status for answer in answers} == {200}
    assert _stretched(len(answers), account, "busy")(_known(seen.requests))
    assert not _lower_bound(seen.requests)
    assert _known(seen.isl_tokens) == pytest.approx(_mean([a.isl_tokens for a in answers]), rel=0.01)
    assert _known(seen.osl_tokens) == pytest.approx(OSL_TOKENS, rel=0.01)


def test_a_router_is_read_as_many_requests_as_clients_sent_whether_it_counts_legs_or_not(
    account: Account, version: str
) -> None:
    """It counts all models of its process: the spoken one's two legs apart since 1.4, the silent one's single leg."""
    seen = account.routed["busy"]
    answers = account.answers["busy"] + account.answers["silent"]
    assert _stretched(len(answers), account, "busy")(_known(seen.requests))
    assert not _lower_bound(seen.requests)
    assert _known(seen.osl_tokens) == pytest.approx(_mean([a.osl_tokens for a in answers]), rel=0.05)
    grows = stored(version)["metrics"]["dynamo_component_router_requests_total"]["grows"]
    if grows["completions stream"] == {"value": 2}:
        assert seen.ttft_histogram is None
        assert isinstance(seen.ttft_ms, Unknown)


def test_latencies_of_a_window_are_those_that_clients_saw(account: Account) -> None:
    seen = account.seen["busy"]
    streamed = [answer for answer in account.answers["busy"] if answer.request.stream]
    ttft_ms = 1000 * _mean([answer.ttft_s or 0.0 for answer in streamed])
    itl_ms = 1000 * _mean([(a.ended_s - (a.first_s or a.ended_s)) / (a.osl_tokens - 1) for a in streamed])
    assert 0.5 * ttft_ms <= _known(seen.ttft_ms) <= 1.2 * ttft_ms
    assert 0.5 * itl_ms <= _known(seen.itl_ms) <= 1.2 * itl_ms


def test_requests_in_flight_are_those_that_clients_wait_for(account: Account) -> None:
    assert _known(account.seen["held"].inflight) == HELD


def test_streams_without_text_are_demand_whether_their_lengths_are_counted_or_not(
    account: Account, version: str
) -> None:
    """Frontends of some versions take TTFT and input length from the first chunk that they send: here, none."""
    seen, answers = account.seen["silent"], account.answers["silent"]
    assert {answer.texts for answer in answers} == {0}
    assert _stretched(len(answers), account, "silent")(_known(seen.requests))
    assert _known(seen.osl_tokens) == pytest.approx(5, rel=0.01)
    grows = stored(version)["metrics"]["dynamo_frontend_input_sequence_tokens"]["grows"]
    counted = [answer for answer in answers if f"silent {answer.request.endpoint.value} stream" in grows]
    if counted:
        assert _known(seen.isl_tokens) == pytest.approx(_mean([a.isl_tokens for a in counted]), rel=0.01)
    else:
        for unseen in (seen.isl_tokens, seen.ttft_ms, seen.itl_ms):
            assert isinstance(unseen, Unknown)
            assert unseen.reason is Reason.LENGTHS_UNKNOWN


def _stretched(count: int, account: Account, act: str) -> Callable[[float], bool]:
    """Whether a reading is *count*, or what Prometheus makes of it in the window of *act*."""
    return lambda seen: 0.99 * count <= seen <= 1.01 * count * account.stretch[act]


def _known(reading: Reading) -> float:
    assert isinstance(reading, Known), reading
    return reading.value


def _lower_bound(reading: Reading) -> bool:
    return isinstance(reading, Known) and reading.lower_bound


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
