"""The README's Install blocks, line by line, on a fresh API server.

There is no kubelet and no container engine here: building, pushing and pulling the image are only checked
for what they would run.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.testbed import Bed, Cluster
from tests.testbed.binaries import find_helm
from tests.testbed.missing import or_skip

ROOT = Path(__file__).parents[2]
INSTALL = re.search(r"^## Install\n(.*?)^## ", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
assert INSTALL is not None
BY_KUBECTL, BY_HELM = re.findall(r"^```sh\n(.*?)^```", INSTALL[1], re.MULTILINE | re.DOTALL)[:2]
(TUTORIAL,) = re.findall(
    r"^```sh\n(.*?)^```", (ROOT / "docs/tutorial.md").read_text(), re.MULTILINE | re.DOTALL
)
NEEDS_A_CONTAINER_ENGINE = {"image", "push", "kind-up"}
PROMETHEUS = "http://my-prometheus.example.com:9090"

Shell = Callable[[str], str]


def lines(block: str) -> list[str]:
    """The commands of a block."""
    return block.replace("\\\n", " ").strip().splitlines()


@pytest.fixture(scope="module")
def fresh(bed: Bed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, Shell]]:
    """A cluster that nobody installed anything in, and a shell that reaches it."""
    cluster = or_skip(lambda: bed.another_control_plane("readme"))
    tools = tmp_path_factory.mktemp("bin")
    (tools / "kubectl").symlink_to(cluster.kubectl_binary)
    (tools / "helm").symlink_to(or_skip(find_helm))
    environment = os.environ | {
        "PATH": f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "KUBECONFIG": str(cluster.kubeconfig),
        # What a person would type into the editor.
        "KUBE_EDITOR": f"sed -i 's|url: http://.*|url: {PROMETHEUS}|'",
    }

    def run(command: str) -> str:
        answer = subprocess.run(
            ["bash", "-euc", command],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert answer.returncode == 0, f"{command}\n{answer.stdout}{answer.stderr}"
        return answer.stdout

    yield cluster, run
    cluster.stop()


def without_an_engine(line: str) -> str:
    """The line with those targets of `make` left out that need a container engine."""
    words = line.partition("#")[0].split()
    if words[0] != "make":
        return line
    return " ".join(word for word in words if word not in NEEDS_A_CONTAINER_ENGINE)


def test_each_line_by_kubectl(fresh: tuple[Cluster, Shell]) -> None:
    cluster, run = fresh
    answers = [run(without_an_engine(line)) for line in lines(BY_KUBECTL)]
    # The last line shows the policy, complete with its defaults.
    assert "Sla Policy" in answers[-1] or "SLAPolicy" in answers[-1]
    settings = cluster.kubectl(
        "get", "configmap", "slaplanner-settings", "--namespace=slaplanner-system", "-o", "json"
    )
    assert PROMETHEUS in json.loads(settings.stdout)["data"]["settings.yaml"]
    image = cluster.kubectl(
        *("get", "deployment", "slaplanner", "--namespace=slaplanner-system"),
        *("-o", "jsonpath={.spec.template.spec.containers[0].image}"),
    )
    assert f"IMAGE={image.stdout}" in BY_KUBECTL

    # A second apply does not undo the edit.
    again = subprocess.run(
        [
            cluster.kubectl_binary,
            f"--kubeconfig={cluster.kubeconfig}",
            "apply",
            "--server-side",
            "-k",
            "manifests",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "kubectl-edit" in again.stderr
    kept = cluster.kubectl(
        "get", "configmap", "slaplanner-settings", "--namespace=slaplanner-system", "-o", "json"
    )
    assert PROMETHEUS in json.loads(kept.stdout)["data"]["settings.yaml"]


def test_the_tutorial_has_ten_commands_and_each_is_tried(fresh: tuple[Cluster, Shell]) -> None:
    cluster, run = fresh
    # Of the test before, whose edit would stand in the way.
    cluster.kubectl(
        "delete", "configmap", "slaplanner-settings", "-n", "slaplanner-system", "--ignore-not-found"
    )
    commands = lines(TUTORIAL)
    assert len(commands) <= 10
    answers = {}
    for command in commands:
        if command.startswith(("python3 -m venv", "export PATH")):
            # The virtual environment of the tests has the same package.
            continue
        # The rest of the line needs an engine, or would not end.
        tried = re.sub(r"\$\(docker network .*?}}'\)", "172.18.0.1", command)
        tried = re.sub(r" --watch$", "", without_an_engine(tried))
        tried = re.sub(r"^(slaplanner fleet run .*) &$", r"\1 --help", tried)
        answers[command] = run(tried)
    assert "qwen3-32b" in answers[commands[-1]]
    assert "--amplify" in answers[commands[-2]]
    stored = cluster.kubectl("get", "configmap", "prometheus", "-n", "monitoring", "-o", "yaml").stdout
    assert "172.18.0.1:9464" in stored
    service = cluster.kubectl("get", "service", "-n", "monitoring", "-o", "name").stdout
    settings = (ROOT / "manifests/base/settings.yaml").read_text()
    assert service.strip().removeprefix("service/") + ".monitoring.svc:9090" in settings


def test_the_lines_that_need_a_container_engine_name_real_commands() -> None:
    (line,) = [one.partition("#")[0] for one in lines(BY_KUBECTL) if one.startswith("make ")]
    for engine in ("docker", "podman", "buildah"):
        planned = subprocess.run(
            ["bash", "-euc", f"{line.replace('make', 'make -n', 1)} kind-up ENGINE={engine}"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert re.search(
            rf"^{engine} build --tag registry.example.com/slaplanner:\S+ ", planned, re.MULTILINE
        )
        assert re.search(rf"^{engine} push registry.example.com/slaplanner:\S+$", planned, re.MULTILINE)
        assert "kind load image-archive" in planned


def test_by_helm_install_upgrade_and_uninstall(bed: Bed, fresh: tuple[Cluster, Shell]) -> None:
    """After the objects of the first test are gone, because Helm takes over nothing that it did not make."""
    cluster, run = fresh
    run("kubectl delete -f examples/01-minimal.yaml --ignore-not-found --wait=false")
    run("kubectl delete --ignore-not-found -k manifests")
    (install,) = lines(BY_HELM)
    run(install)
    assert "deployed" in run("helm status slaplanner --namespace slaplanner-system")
    run("kubectl wait --for=condition=Established crd/slapolicies.slaplanner.io --timeout=60s")
    run("kubectl apply -f examples/01-minimal.yaml")
    run(install.replace("helm install", "helm upgrade"))
    run("helm uninstall slaplanner --namespace slaplanner-system")
    assert "llama-70b" in cluster.kubectl("get", "slap", "--namespace=serving", "-o", "name").stdout
