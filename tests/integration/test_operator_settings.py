"""An edit of the settings acts on a running operator, and a slip of the editor does not stop it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from urllib.request import urlopen

import yaml

from tests.operator_program import running_operator
from tests.scene import PATIENCE_S, Scene, policy
from tests.testbed import Cluster, free_port, wait_until


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), urlopen(f"http://127.0.0.1:{port}/readyz") as answer:
        return bool(answer.status == 200)
    return False


def test_an_edit_acts_and_one_that_cannot_be_read_is_refused(installed: Cluster, tmp_path: Path) -> None:
    with running_operator(installed, tmp_path, prometheus="http://127.0.0.1:9") as program:
        (file,) = tmp_path.glob("settings-*.yaml")
        good = file.read_text()
        file.write_text(good + "prometheusUrl: http://127.0.0.1:9\n")
        wait_until(
            lambda: any("edited settings are refused" in line["message"] for line in program.log()),
            what="the refusal in the log",
            timeout_s=60,
        )
        assert "prometheusUrl" in program.log_file.read_text()
        assert answers(program.port)

        port = free_port()
        file.write_text(yaml.safe_dump(yaml.safe_load(good) | {"port": port}))
        wait_until(lambda: answers(port), what="the operator on its new port", timeout_s=60)
        assert not answers(program.port)
        assert program.process.poll() is None
        program.stop()


def test_an_operator_with_a_selector_serves_the_policies_that_it_selects(
    installed: Cluster, scene: Scene, tmp_path: Path
) -> None:
    """So several operators share many policies. A policy that is given the label is taken up."""
    settings = {"policySelector": "shard in (a, b), !retired"}
    with running_operator(
        installed, tmp_path, prometheus="http://127.0.0.1:9", settings=settings, namespace=scene.namespace
    ):
        scene.apply(policy("other"), policy("ours"))
        scene.kubectl("label", "slapolicy", "ours", "shard=a")
        scene.wait_condition("TargetResolved", "False", name="ours")
        wait_until(
            lambda: scene.kubectl("get", "slapolicy", "ours", "-o", "jsonpath={.metadata.finalizers}"),
            what="the finalizer of who serves it",
            timeout_s=PATIENCE_S,
        )
        assert scene.status("other") == {}
        assert not scene.kubectl("get", "slapolicy", "other", "-o", "jsonpath={.metadata.finalizers}")
        scene.kubectl("label", "slapolicy", "other", "shard=b")
        scene.wait_condition("TargetResolved", "False", name="other")
