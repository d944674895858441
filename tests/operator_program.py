"""The operator as its users run it: a process of its own, with exactly the rights of the manifests."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import yaml

from tests.testbed import Cluster, free_port, wait_until

MANIFESTS = Path(__file__).parents[1] / "manifests"
NAMESPACE = "slaplanner-system"
SERVICE_ACCOUNT = "slaplanner"
STOP_TIMEOUT_S = 60.0
"""For a busy machine; what must not be waited for takes longer in tests."""
START_TIMEOUT_S = 120.0
ROLE = "slaplanner"


def install_operator(cluster: Cluster) -> None:
    """The CRD and the rights, as `kubectl apply -k manifests` gives them."""
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-k", str(MANIFESTS))
    cluster.kubectl("wait", "--for=condition=Established", "crd/slapolicies.slaplanner.io", "--timeout=60s")


@dataclass(slots=True, kw_only=True)
class OperatorProgram:
    """A running operator."""

    process: subprocess.Popen[bytes]
    port: int
    log_file: Path

    def answer(self, path: str) -> str:
        """What its HTTP server says: `/healthz`, `/readyz`, `/metrics`."""
        with urlopen(f"http://127.0.0.1:{self.port}{path}") as answer:
            text: str = answer.read().decode()
            return text

    def metrics(self) -> str:
        return self.answer("/metrics")

    def log(self) -> list[dict[str, Any]]:
        """The lines so far."""
        return [json.loads(line) for line in self.log_file.read_text().splitlines() if line.startswith("{")]

    def kill(self) -> None:
        """SIGKILL: no chance to tidy up."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """SIGTERM; the exit code must be 0."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=STOP_TIMEOUT_S)
        assert code == 0, f"the operator ended with {code}:\n{self.log_file.read_text()[-4000:]}"


@contextlib.contextmanager
def running_operator(
    cluster: Cluster,
    scratch: Path,
    *,
    prometheus: str | None,
    settings: Mapping[str, Any] | None = None,
    namespace: str | None = None,
    kubeconfig: Path | None = None,
) -> Iterator[OperatorProgram]:
    """Run `slaplanner run` until the block ends.

    Args:
        cluster: whose API server it serves.
        scratch: for its settings and logs.
        prometheus: the default connection's url; None: *settings* say all.
        settings: of the administrator, beside those that make it quick.
        namespace: the only one that it serves; None: all.
        kubeconfig: another way to the API server than that of its service account.
    """
    port = free_port()
    document = {"settleSeconds": 0, "heartbeatSeconds": 0.5, "port": port} | dict(settings or {})
    if prometheus is not None:
        document.setdefault("prometheus", {"default": {"url": prometheus}})
    number = len(list(scratch.glob("settings-*.yaml")))
    file = scratch / f"settings-{number}.yaml"
    file.write_text(yaml.safe_dump(document))
    log_file = scratch / f"operator-{number}.log"
    account = kubeconfig or cluster.service_account_kubeconfig(namespace=NAMESPACE, name=SERVICE_ACCOUNT)
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1"}
    command = [
        *(sys.executable, "-W", "error::DeprecationWarning:slaplanner", "-c"),
        "from slaplanner.cli import main; main()",
        *("run", "--settings", str(file), "--kubeconfig", str(account)),
    ]
    if namespace is not None:
        command += ["--namespace", namespace]
    with log_file.open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
    program = OperatorProgram(process=process, port=port, log_file=log_file)
    try:
        wait_until(lambda: _ready(program), what="the operator to be ready", timeout_s=START_TIMEOUT_S)
        yield program
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(timeout=STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _ready(program: OperatorProgram) -> bool:
    if program.process.poll() is not None:
        raise AssertionError(f"the operator ended at once:\n{program.log_file.read_text()[-4000:]}")
    try:
        with urlopen(f"http://127.0.0.1:{program.port}/readyz") as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@contextlib.contextmanager
def without_right(cluster: Cluster, verb: str, resource: str) -> Iterator[None]:
    """Take one right from the operator, that of *verb* on *resource*, until the block ends."""
    role = json.loads(cluster.kubectl("get", "clusterrole", ROLE, "-o", "json").stdout)
    (rule,) = [rule for rule in role["rules"] if resource in rule["resources"]]
    # A rule without a verb is refused, so one that had no other goes altogether.
    less = [_less(one, verb) if one is rule else one for one in role["rules"]]
    patch = json.dumps({"rules": [one for one in less if one["verbs"]]})
    cluster.kubectl("patch", "clusterrole", ROLE, "--type=merge", f"--patch={patch}")
    what = f"{resource.partition('/')[0]}.{rule['apiGroups'][0]}".removesuffix(".")
    _, _, subresource = resource.partition("/")
    question = [verb, what, *([f"--subresource={subresource}"] if subresource else [])]

    def allowed() -> bool:
        account = f"--as=system:serviceaccount:{NAMESPACE}:{SERVICE_ACCOUNT}"
        answer = cluster.kubectl("auth", "can-i", *question, account, "--all-namespaces", check=False)
        return answer.stdout.startswith("yes")

    wait_until(lambda: not allowed(), what=f"the right to {verb} {resource} to go")
    try:
        yield
    finally:
        restored = json.dumps({"rules": role["rules"]})
        cluster.kubectl("patch", "clusterrole", ROLE, "--type=merge", f"--patch={restored}")
        wait_until(allowed, what=f"the right to {verb} {resource} to come back")


def _less(rule: Mapping[str, Any], verb: str) -> dict[str, Any]:
    verbs = [one for one in rule["verbs"] if one != verb]
    return {**rule, "verbs": verbs}
