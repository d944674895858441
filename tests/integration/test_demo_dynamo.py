"""A short form of `make demo-dynamo`: the main job, with Dynamo's own frontend and workers on the serving side."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from functools import partial

import pytest
from examples.demo import run
from rich.console import Console

from tests.testbed import Bed, ControlPlane, PrometheusServer
from tests.testbed.dynamo_wheels import WORKERS_VERSION, find_dynamo
from tests.testbed.missing import or_skip

SECONDS = 110
ROW = re.compile(r"(\d+) requests/s, prefill (\d+) of (\d+), decode (\d+) of (\d+), (\d+) GPUs")


@pytest.fixture(scope="module")
def shown(bed: Bed, control_plane: ControlPlane, prometheus_server: PrometheusServer) -> Iterator[str]:
    """What the demo printed."""
    or_skip(partial(find_dynamo, WORKERS_VERSION))
    console = Console(file=io.StringIO(), width=200, soft_wrap=True)
    try:
        run.play(bed, console, seconds=SECONDS, real=True)
        assert isinstance(console.file, io.StringIO)
        yield console.file.getvalue()
    finally:
        control_plane.delete_namespace(run.NAMESPACE)


def test_load_that_clients_bring_over_http_starts_workers_and_stops_them(shown: str) -> None:
    rows = [[int(figure) for figure in row] for row in ROW.findall(shown)]
    serving = [prefill for _, prefill, *_ in rows]
    gpus = [row[-1] for row in rows]
    assert gpus[0] == 4
    assert max(serving) >= 2, shown
    assert gpus[-1] < max(gpus) <= 20, shown


def test_the_policy_says_what_it_read_and_why_it_scaled(shown: str) -> None:
    described = shown[shown.index("kubectl describe slap") :]
    assert re.search(r"Model: +Qwen/Qwen3-32B", described, flags=re.IGNORECASE), described
    for reason in ("ScaleUp", "ScaleDown"):
        assert re.search(rf"Reason: +{reason}\b", described), described
    assert re.search(r"Requests Per Second: +0\.[1-9]", described), described
