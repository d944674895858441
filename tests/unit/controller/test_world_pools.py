"""A volume or a Prometheus that hangs costs plans of the policies that need it, and nobody else anything."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes.client import ApiClient, V1ConfigMap, V1ObjectMeta

from slaplanner.api.policy import SLAPolicy
from slaplanner.controller.outside import files, traffic
from slaplanner.controller.outside.ports import World
from slaplanner.controller.outside.traffic import PrometheusMetrics
from slaplanner.controller.world import open_world
from slaplanner.core.errors import ProfileError, WarmUpError
from slaplanner.core.reasons import Reason
from slaplanner.settings import PrometheusConnection, Settings
from tests.profile_data import MODELLED_32B, PROFILES
from tests.reconciling import document, target


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every read waits, until the test ends."""
    over = threading.Event()

    def read(*_: Any, **__: Any) -> None:
        over.wait()

    monkeypatch.setattr(files, "FILE_TIMEOUT_S", 0.05)
    monkeypatch.setattr(files, "load_directory", read)
    monkeypatch.setattr(files, "file_bytes", read)
    yield
    over.set()


@pytest.fixture
def asked(tmp_path: Path) -> World:
    connections = {name: PrometheusConnection(url=f"http://{name}:9090") for name in ("default", "hanging")}
    with ApiClient() as api_client:
        made, _ = open_world(
            settings=Settings(profile_directories=(tmp_path,), prometheus=connections),
            api_client=api_client,
        )
        return made


def policy(**spec: Any) -> SLAPolicy:
    return SLAPolicy.parse(document(**spec))


@pytest.mark.usefixtures("hanging")
def test_the_profile_is_said_to_hang_and_numerics_go_on(asked: World) -> None:
    async def ask() -> int:
        for _ in range(files.FILE_THREADS + 1):
            with pytest.raises(ProfileError, match=r"/profiles was not read within .* volume") as caught:
                await asked.documents.profile(policy(profile={"path": "/profiles"}))
            assert caught.value.reason is Reason.PROFILE_INVALID
        return await asked.numerics.run(sum, (1, 2))

    assert asyncio.run(ask()) == 3


@pytest.mark.usefixtures("hanging")
def test_the_warm_up_trace_is_said_to_hang(asked: World) -> None:
    predictor = {"type": "Constant", "warmupTrace": {"path": "/traces/day.jsonl"}}
    with pytest.raises(WarmUpError, match=r"/traces/day\.jsonl was not read within"):
        asyncio.run(asked.documents.warm_up(policy(planning={"intervalSeconds": 60, "predictor": predictor})))


class TestTwoConnections:
    @pytest.fixture
    def answers(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Semaphore]:
        """`hanging` takes every question and answers none; counts the questions that it took."""
        over, taken = threading.Event(), threading.Semaphore(0)

        def answer(_: PrometheusMetrics, asking: SLAPolicy, *__: object, **___: object) -> str:
            name = asking.spec.metrics.connection
            if name == "hanging":
                taken.release()
                over.wait()
            return name

        monkeypatch.setattr(PrometheusMetrics, "_traffic", answer)
        yield taken
        over.set()

    def test_one_that_hangs_keeps_nobody_from_asking_the_other(
        self, asked: World, answers: threading.Semaphore
    ) -> None:
        async def ask(name: str) -> object:
            asking = policy(metrics={"connection": name})
            return await asked.metrics.traffic(asking, target(), "llama", at_s=0.0, end_s=0.0, kept=None)

        async def all_at_once() -> list[object]:
            waiting = [asyncio.create_task(ask("hanging")) for _ in range(2 * traffic.PROMETHEUS_THREADS)]
            for _ in range(traffic.PROMETHEUS_THREADS):
                assert await asyncio.to_thread(answers.acquire, timeout=60)
            told = [await ask("default"), await ask("nobodys")]
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            return told

        assert asyncio.run(all_at_once()) == ["default", "nobodys"]


class StoredConfigMap:
    """An API server with one profile, which counts how often it is read."""

    def __init__(self) -> None:
        self.version = "1"
        self.reads = 0

    def read_namespaced_config_map(self, *_: object, **__: object) -> V1ConfigMap:
        self.reads += 1
        tables = ("prefill_raw_data.json", "decode_raw_data.json")
        data = {name: (PROFILES / MODELLED_32B / name).read_text() for name in tables}
        return V1ConfigMap(data=data, metadata=V1ObjectMeta(resource_version=self.version))


def test_a_config_map_is_read_again_only_when_its_watch_told_another_version(asked: World) -> None:
    stored = StoredConfigMap()
    asked.documents._core = stored  # type: ignore[attr-defined]

    async def ask(version: str | None) -> object:
        return await asked.documents.profile(policy(), version=version)

    async def ask_all() -> None:
        first = await ask("1")
        assert await ask("1") is first
        assert stored.reads == 1
        stored.version = "2"
        for _ in range(3):
            await ask("2")
        assert stored.reads == 2
        for unknown in (None, ""):
            await ask(unknown)
        assert stored.reads == 4

    asyncio.run(ask_all())
