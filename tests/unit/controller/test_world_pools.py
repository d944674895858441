"""A volume or a Prometheus that hangs costs plans of the policies that need it, and nobody else anything."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes.client import ApiClient

from slaplanner.api.policy import SLAPolicy
from slaplanner.controller import world
from slaplanner.controller.world import World
from slaplanner.core.errors import ProfileError, WarmUpError
from slaplanner.core.reasons import Reason
from slaplanner.settings import PrometheusConnection, Settings
from tests.reconciling import document, target


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every read waits, until the test ends."""
    over = threading.Event()

    def read(*_: Any, **__: Any) -> None:
        over.wait()

    monkeypatch.setattr(world, "FILE_TIMEOUT_S", 0.05)
    monkeypatch.setattr(world, "load_directory", read)
    monkeypatch.setattr(world, "file_bytes", read)
    yield
    over.set()


@pytest.fixture
def asked(tmp_path: Path) -> World:
    connections = {name: PrometheusConnection(url=f"http://{name}:9090") for name in ("default", "hanging")}
    with ApiClient() as api_client:
        return World(
            settings=Settings(profile_directories=(tmp_path,), prometheus=connections),
            api_client=api_client,
        )


def policy(**spec: Any) -> SLAPolicy:
    return SLAPolicy.parse(document(**spec))


@pytest.mark.usefixtures("hanging")
def test_the_profile_is_said_to_hang_and_numerics_go_on(asked: World) -> None:
    async def ask() -> int:
        for _ in range(world.FILE_THREADS + 1):
            with pytest.raises(ProfileError, match=r"/profiles was not read within .* volume") as caught:
                await asked.profile(policy(profile={"path": "/profiles"}))
            assert caught.value.reason is Reason.PROFILE_INVALID
        return await asked.numerics.run(sum, (1, 2))

    assert asyncio.run(ask()) == 3


@pytest.mark.usefixtures("hanging")
def test_the_warm_up_trace_is_said_to_hang(asked: World) -> None:
    predictor = {"type": "Constant", "warmupTrace": {"path": "/traces/day.jsonl"}}
    with pytest.raises(WarmUpError, match=r"/traces/day\.jsonl was not read within"):
        asyncio.run(asked.warm_up(policy(planning={"intervalSeconds": 60, "predictor": predictor})))


class TestTwoConnections:
    @pytest.fixture
    def answers(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Semaphore]:
        """`hanging` takes every question and answers none; counts the questions that it took."""
        over, taken = threading.Event(), threading.Semaphore(0)

        def traffic(_: World, asking: SLAPolicy, *__: object, **___: object) -> str:
            name = asking.spec.metrics.connection
            if name == "hanging":
                taken.release()
                over.wait()
            return name

        monkeypatch.setattr(World, "_traffic", traffic)
        yield taken
        over.set()

    def test_one_that_hangs_keeps_nobody_from_asking_the_other(
        self, asked: World, answers: threading.Semaphore
    ) -> None:
        async def ask(name: str) -> object:
            asking = policy(metrics={"connection": name})
            return await asked.traffic(asking, target(), "llama", at_s=0.0, end_s=0.0, kept=None)

        async def all_at_once() -> list[object]:
            waiting = [asyncio.create_task(ask("hanging")) for _ in range(2 * world.PROMETHEUS_THREADS)]
            for _ in range(world.PROMETHEUS_THREADS):
                assert await asyncio.to_thread(answers.acquire, timeout=30)
            told = [await ask("default"), await ask("nobodys")]
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            return told

        assert asyncio.run(all_at_once()) == ["default", "nobodys"]
