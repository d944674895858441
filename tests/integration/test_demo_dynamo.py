"""A short form of `make demo-dynamo`: the main job, with Dynamo's own frontend and workers on the serving side."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.testbed import find_control_plane, find_prometheus
from tests.testbed.dynamo_wheels import WORKERS_VERSION, find_dynamo
from tests.testbed.missing import or_skip

ROOT = Path(__file__).parents[2]
SECONDS = 110
ROW = re.compile(r"(\d+) requests/s, prefill (\d+) of (\d+), decode (\d+) of (\d+), (\d+) GPUs")


@pytest.fixture(scope="module")
def shown() -> str:
    """What the demo printed."""
    for part in (find_control_plane, find_prometheus, partial(find_dynamo, WORKERS_VERSION)):
        or_skip(part)
    done = subprocess.run(
        [sys.executable, "-m", "examples.demo.run", "--dynamo", "--seconds", str(SECONDS)],
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_load_that_clients_bring_over_http_starts_workers_and_stops_them(shown: str) -> None:
    rows = [[int(figure) for figure in row] for row in ROW.findall(shown)]
    served = [prefill for _, prefill, _, _, _, _ in rows]
    gpus = [row[-1] for row in rows]
    assert max(served) >= 2, shown
    assert gpus[0] == 4
    assert gpus[-1] < max(gpus) <= 12, shown


def test_the_policy_says_what_it_read_and_why_it_scaled(shown: str) -> None:
    described = shown[shown.index("kubectl describe slap") :]
    assert re.search(r"Model: +Qwen/Qwen3-32B", described, flags=re.IGNORECASE), described
    for reason in ("ScaleUp", "ScaleDown"):
        assert re.search(rf"Reason: +{reason}\b", described), described
    assert re.search(r"Requests Per Second: +0\.[1-9]", described), described
