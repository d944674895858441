"""Real frontends of Dynamo under a known load: what the operator reads of it, beside what the clients saw.

Frontends of three versions serve with the same two simulated workers, side by side, each scraped as its own
deployment. Clients write down each request; the readings of the same seconds must say the same, within:

- arrivals: 20 %. Prometheus reads a counter's growth from samples that are a second apart, in a window of
  twelve and a little more, and extrapolates it to the window's ends.
- lengths: 10 %. Prometheus extrapolates no counter below zero, so the sum of lengths, which was small before,
  gains less than their count. With more requests before the window both gain the same.
- latencies: a frontend's clock starts and ends inside of the client's, so what it reports may be lower, on
  a busy machine by half, and hardly higher.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from slaplanner.adapters.prometheus import Client, Deadline, Scope, observe
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
HELD = 5
"""Long requests that run while one looks."""


@dataclass(slots=True)
class Account:
    """Of one frontend: the readings of each act, and what its clients wrote down."""

    seen: dict[str, Observation] = field(default_factory=dict)
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
            account.seen[act] = observe(
                self._client,
                Scope(model=model, dynamo_namespace=_namespace(version)),
                at_s=at_s,
                window_s=window_s,
                interval_s=window_s,
                deadline=Deadline.after(10.0),
            )

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
    stage.play("first", mixed(4, isl_tokens=100, osl_tokens=5), pace_s=0.1)
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
    assert _known(seen.requests) == pytest.approx(len(answers), rel=0.2)
    assert not _lower_bound(seen.requests)
    assert _known(seen.isl_tokens) == pytest.approx(_mean([a.isl_tokens for a in answers]), rel=0.1)
    assert _known(seen.osl_tokens) == pytest.approx(OSL_TOKENS, rel=0.1)


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
    assert _known(seen.requests) == pytest.approx(len(answers), rel=0.2)
    assert _known(seen.osl_tokens) == pytest.approx(5, rel=0.1)
    grows = stored(version)["metrics"]["dynamo_frontend_input_sequence_tokens"]["grows"]
    counted = {f"silent {answer.request.endpoint.value} stream" for answer in answers} & grows.keys()
    if counted:
        assert _known(seen.isl_tokens) == pytest.approx(_mean([a.isl_tokens for a in answers]), rel=0.1)
    else:
        for unseen in (seen.isl_tokens, seen.ttft_ms, seen.itl_ms):
            assert isinstance(unseen, Unknown)
            assert unseen.reason is Reason.LENGTHS_UNKNOWN


def _known(reading: Reading) -> float:
    assert isinstance(reading, Known), reading
    return reading.value


def _lower_bound(reading: Reading) -> bool:
    return isinstance(reading, Known) and reading.lower_bound


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
