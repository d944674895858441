"""A fleet as a running program, beside a test: on a real API server, in a loop of its own thread."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import numpy as np

from slaplanner_lab.engine import EngineTables
from slaplanner_lab.fleet.kube import Kube, load_access
from slaplanner_lab.fleet.options import Options
from slaplanner_lab.fleet.program import PlayedFleet
from slaplanner_lab.fleet.web import control_app, listening, metrics_app
from slaplanner_lab.simulation.traffic import Traffic
from tests.testbed import wait_until

TABLES = EngineTables.constant(ttft_ms=50.0, itl_ms=5.0)


def steady(rate_per_s: float, seconds: float = 3600.0) -> Traffic:
    """Requests of 400 input and 20 output tokens, evenly spaced."""
    count = int(rate_per_s * seconds)
    return Traffic(
        arrival_s=np.arange(count) / rate_per_s,
        isl_tokens=np.full(count, 400.0),
        osl_tokens=np.full(count, 20.0),
    )


class FleetProgram:
    """What a test sees of a running fleet: its two addresses."""

    def __init__(self, metrics_url: str, control_url: str) -> None:
        self.metrics_url = metrics_url
        self.control_url = control_url

    @property
    def target(self) -> str:
        """What Prometheus scrapes."""
        return self.metrics_url.removeprefix("http://")

    def metrics(self) -> str:
        with urlopen(f"{self.metrics_url}/metrics") as answer:
            text: str = answer.read().decode()
            return text

    def graphs(self) -> dict[str, Any]:
        with urlopen(f"{self.control_url}/graphs") as answer:
            reports: dict[str, Any] = json.load(answer)
            return reports

    def post(self, path: str, body: Any) -> Any:
        request = Request(f"{self.control_url}{path}", data=json.dumps(body).encode(), method="POST")
        with urlopen(request) as answer:
            return json.load(answer)


@contextlib.contextmanager
def running_fleet(kubeconfig: Path, options: Options) -> Iterator[FleetProgram]:
    """Play until the block ends; an error of the fleet fails the test."""
    started: list[tuple[FleetProgram, Callable[[], object]]] = []
    failures: list[BaseException] = []

    async def play() -> None:
        async with Kube(load_access(str(kubeconfig), None)) as kube:
            fleet = PlayedFleet(kube, options)
            async with (
                listening(metrics_app(fleet), "127.0.0.1", 0) as metrics_url,
                listening(control_app(fleet), "127.0.0.1", 0) as control_url,
            ):
                task = asyncio.create_task(fleet.run())
                stop = partial(asyncio.get_running_loop().call_soon_threadsafe, task.cancel)
                started.append((FleetProgram(metrics_url, control_url), stop))
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    def body() -> None:
        try:
            asyncio.run(play())
        except BaseException as error:  # noqa: BLE001 - carried over to the test's thread
            failures.append(error)

    thread = threading.Thread(target=body, name="fleet")
    thread.start()
    try:
        wait_until(lambda: bool(started or failures), what="the fleet to listen")
        if started:
            yield started[0][0]
    finally:
        if started and thread.is_alive():
            started[0][1]()
        thread.join()
    if failures:
        raise failures[0]
