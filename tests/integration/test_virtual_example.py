"""The example fleet and the commands, as a user runs them: with both backends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from slaplanner.cli import main
from slaplanner.virtual import Channel, VirtualConnectorCoordinator, etcd_channel, kubernetes_channel
from tests.testbed import Cluster, EtcdFactory, wait_until
from tests.virtual_policy import POLICY

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
HOW_TO = ROOT / "docs/how-to/virtual.md"


@contextmanager
def running_example(tmp_path: Path, *arguments: str, **environment: str) -> Iterator[Path]:
    """Run the example until the block ends; SIGTERM must end it well."""
    output = tmp_path / "output"
    with output.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, EXAMPLES / "virtual" / "fleet.py", *arguments],
            stdout=sink,
            stderr=subprocess.STDOUT,
            env=os.environ | environment,
        )
    try:
        yield output
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0, output.read_text()
    finally:
        process.kill()
        process.wait()


async def publish_and_see(channel: Channel, output: Path) -> None:
    coordinator = VirtualConnectorCoordinator(channel, check_interval_s=0.05, max_wait_s=30)
    for number, (prefill, decode) in enumerate([(3, 2), (1, 4)]):
        assert await coordinator.update_scaling_decision(prefill, decode)
        assert await coordinator.wait_for_scaling_completion(strict=True)
        line = f"decision {number}: prefill {prefill}, decode {decode}\n"
        wait_until(lambda: line in output.read_text(), what=line)  # noqa: B023


async def test_the_example_fleet_follows_etcd(etcd_server: EtcdFactory, tmp_path: Path) -> None:
    etcd = etcd_server()
    with running_example(tmp_path, "--etcd", etcd.endpoint, "--dynamo-namespace", "fleet") as output:
        async with etcd_channel([etcd.endpoint], "fleet") as channel:
            await publish_and_see(channel, output)


@pytest.fixture
def policy_namespace(installed: Cluster, namespace: str) -> str:
    """A namespace with the example's policy, which no operator serves."""
    text = (EXAMPLES / "07-virtual.yaml").read_text().replace("namespace: serving", f"namespace: {namespace}")
    installed.kubectl("apply", "-f", "-", stdin=text)
    return namespace


async def test_the_example_fleet_follows_a_policy(
    installed: Cluster, policy_namespace: str, tmp_path: Path
) -> None:
    where = ("--policy", "fleet", "--namespace", policy_namespace)
    with running_example(tmp_path, *where, KUBECONFIG=str(installed.kubeconfig)) as output:
        async with kubernetes_channel(
            "fleet", namespace=policy_namespace, kubeconfig=installed.kubeconfig
        ) as channel:
            await publish_and_see(channel, output)


def commands(*where: str) -> None:
    """The life of the first decision, from a shell."""
    decision = {"id": 0, "prefill": 3, "decode": 2}

    def run(*words: str, code: int = 0) -> str:
        result = CliRunner().invoke(main, ["virtual", *where, *words])
        assert result.exit_code == code, result.output
        return result.output

    assert json.loads(run("get")) == decision
    assert json.loads(run("wait")) == decision
    assert "wanted the last one: 0" in run("complete", "5", code=1)
    run("complete", "0")
    run("wait", "--timeout", "0.2", code=3)


def test_commands_on_etcd(etcd_server: EtcdFactory) -> None:
    etcd = etcd_server()
    prefix = "v1/fleet/planner/"
    for name, value in (("num_prefill_workers", "3"), ("num_decode_workers", "2"), ("decision_id", "0")):
        etcd.put(f"{prefix}{name}", value)
    commands("--dynamo-namespace", "fleet", "--etcd", etcd.endpoint)
    assert etcd.get(f"{prefix}scaled_decision_id") == "0"


def test_commands_at_the_api_server(installed: Cluster, policy_namespace: str) -> None:
    patch = {"status": {"lastPublished": {"id": 0, "prefill": 3, "decode": 2}}}
    installed.kubectl(
        *("patch", "slapolicy", "fleet", f"--namespace={policy_namespace}", "--subresource=status"),
        *("--type=merge", f"--patch={json.dumps(patch)}"),
    )
    commands("--policy", "fleet", "-n", policy_namespace, "--kubeconfig", str(installed.kubeconfig))


def written_commands() -> list[str]:
    """Every command line of the help and of the how-to, without its comment."""
    texts = [CliRunner().invoke(main, ["virtual", "--help"]).output, HOW_TO.read_text()]
    lines = (line.strip().partition("  #")[0].strip() for text in texts for line in text.splitlines())
    return [line for line in lines if re.match(r"(decision=\$\()?slaplanner virtual ", line)]


def test_every_command_that_is_written_down_works(
    etcd_server: EtcdFactory, installed: Cluster, namespace: str
) -> None:
    """With decision 3 waiting in etcd and in the policies."""
    etcd = etcd_server()
    for name, value in (("num_prefill_workers", "3"), ("num_decode_workers", "2"), ("decision_id", "3")):
        etcd.put(f"v1/fleet/planner/{name}", value)
    for policy in ("fleet", "llama"):
        text = POLICY.replace("name: fleet}", f"name: {policy}}}")
        installed.kubectl("apply", f"--namespace={namespace}", "-f", "-", stdin=text)
        patch = {"status": {"lastPublished": {"id": 3, "prefill": 3, "decode": 2}}}
        installed.kubectl(
            *("patch", "slapolicy", policy, f"--namespace={namespace}", "--subresource=status"),
            *("--type=merge", f"--patch={json.dumps(patch)}"),
        )
    environment = os.environ | {
        "ETCD_ENDPOINTS": etcd.endpoint,
        "KUBECONFIG": str(installed.kubeconfig),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    lines = [
        re.sub(r"http://\w+:2379", etcd.endpoint, line).replace("-n serving", f"-n {namespace}")
        for line in written_commands()
    ]
    assert len(lines) == 7
    # What waits comes before what answers it.
    for line in sorted(lines, key=lambda line: "complete" in line):
        with subprocess.Popen(
            ["bash", "-c", f"exec {line}" if line.endswith("watch") else line],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                assert process.stdout is not None
                if line.endswith("watch"):
                    assert json.loads(process.stdout.readline())["id"] == 3
                    process.send_signal(signal.SIGINT)
                    assert process.wait(timeout=60) == 130
                else:
                    assert process.wait(timeout=60) == 0, line
            finally:
                process.kill()  # else the block waits for one that never ends
    assert etcd.get("v1/fleet/planner/scaled_decision_id") == "3"
    annotations = json.loads(
        installed.kubectl(
            "get", "slapolicy", "fleet", f"--namespace={namespace}", "-o=jsonpath={.metadata.annotations}"
        ).stdout
    )
    assert annotations["slaplanner.io/scaled-decision-id"] == "3"
