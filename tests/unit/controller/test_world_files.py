"""A mounted volume that hangs costs a plan of the policies that need it, and nobody else anything."""

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
from slaplanner.settings import Settings
from tests.heart import document


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
    with ApiClient() as api_client:
        return World(settings=Settings(profile_directories=(tmp_path,)), api_client=api_client)


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
