"""`kubectl slap` as kubectl calls it, on a real API server beside a running operator: in a pipe and in a terminal."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.operator_program import OperatorProgram
from tests.played_load import Load
from tests.scene import NAME, PATIENCE_S, Scene, policy
from tests.testbed import wait_until

BUSY = Load(requests_s=60.0, isl=1000.0, osl=200.0, ttft_s=0.12, itl_s=0.012)
"""Needs 4 prefill replicas and 2 for decode."""
COLUMNS = 80

Slap = Callable[..., str]


@pytest.fixture
def busy(served_scene: Callable[..., Scene], operator: OperatorProgram) -> Scene:
    scene = served_scene(BUSY)
    scene.apply(policy())
    scene.wait_replicas(prefill=4, decode=2)
    scene.settle()
    scene.wait_condition("Ready", "True")
    return scene


@pytest.fixture
def environment(busy: Scene, tmp_path: Path) -> dict[str, str]:
    """kubectl, and the plugin beside it, on PATH."""
    (tmp_path / "kubectl").symlink_to(busy.cluster.kubectl_binary)
    plugin = tmp_path / "kubectl-slap"
    plugin.write_text(f"#!{sys.executable}\nfrom slaplanner.cli.kubectl_slap import main\nmain()\n")
    plugin.chmod(0o755)
    return os.environ | {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "KUBECONFIG": str(busy.cluster.kubeconfig),
        "COLUMNS": str(COLUMNS),
    }


@pytest.fixture
def slap(busy: Scene, environment: dict[str, str]) -> Slap:
    """Runs `kubectl slap ...` in the scene's namespace; returns what a pipe gets."""

    def run(*words: str | Path) -> str:
        answer = subprocess.run(
            ["kubectl", "slap", *words, "-n", busy.namespace],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert answer.returncode == 0, answer.stderr
        return answer.stdout

    return run


def in_a_terminal(environment: dict[str, str], *words: str) -> str:
    """What a terminal shows."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(["kubectl", "slap", *words], env=environment, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:
            break
        if not part:
            break
        shown += part
    os.close(ours)
    assert process.wait() == 0, shown
    return shown.decode().replace("\r\n", "\n")


def test_a_night_with_the_plugin(busy: Scene, slap: Slap, environment: dict[str, str]) -> None:
    """One scene for all commands: it takes longer than they do."""
    wait_until(lambda: "4/4" in slap("status"), what="the fleet to serve what was asked for")
    told = {word: slap(word, *([] if word == "status" else [NAME])) for word in ("status", "why", "history")}
    assert f"{busy.namespace}/{NAME}" in told["status"]
    assert "4/4" in told["status"]
    assert "ready (Planned)" in told["why"]
    assert "prefill 1 -> 4, decode 1 -> 2" in told["history"]
    for word, text in told.items():
        assert max(map(len, text.splitlines())) <= COLUMNS, word
        shown = in_a_terminal(environment, word, *([] if word == "status" else [NAME]), "-n", busy.namespace)
        assert max(map(len, shown.splitlines())) <= COLUMNS, word
        assert "\x1b" not in shown

    assert slap("pause", NAME, "--scale-in") == f"{NAME} is paused (scale-in)\n"
    busy.wait_condition("Paused", "True", "PausedScaleIn")
    assert "resume" in slap("why", NAME)
    assert slap("resume", NAME) == f"{NAME} is resumed\n"
    busy.wait_condition("Paused", "False")

    before = busy.decisions()
    slap("plan", NAME)
    wait_until(lambda: busy.decisions() > before, what="the plan that was asked for", timeout_s=PATIENCE_S)


def test_a_trace_through_the_policy_of_the_cluster(busy: Scene, slap: Slap, tmp_path: Path) -> None:
    trace = tmp_path / "seven-minutes.jsonl"
    requests = (
        {"timestamp": 1000 * number, "input_length": 500, "output_length": 50} for number in range(420)
    )
    trace.write_text("".join(f"{json.dumps(one)}\n" for one in requests))
    stored = busy.get("slapolicy")
    played = slap("simulate", NAME, "--trace", trace, "--output", "json")
    assert '"attainment' in played
    assert busy.get("slapolicy")["spec"] == stored["spec"]
    assert busy.replicas() == {"prefill": 4, "decode": 2}
