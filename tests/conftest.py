"""Fixtures of the test bed: real servers, started when a test first asks for them.

Locally a part that the machine lacks skips the tests that need it and says what to install. With
`CI=true` it fails them.
"""

import itertools
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import settings
from kubernetes import client

from tests.testbed import (
    ArgoCD,
    Bed,
    Cluster,
    ControlPlane,
    EtcdFactory,
    EtcdServer,
    LuaEngine,
    PrometheusServer,
    install_dynamo,
)
from tests.testbed.binaries import find_helm
from tests.testbed.missing import or_skip

ROOT = Path(__file__).parents[1]
# Every run tries a few examples of each property, so that unit tests stay quick; for a long look:
# pytest --hypothesis-profile=thorough
settings.register_profile("quick", max_examples=25, deadline=None)
settings.register_profile("thorough", max_examples=1000, deadline=None)
settings.load_profile("quick")

collect_ignore = ["dynamo_side.py", "dynamo/model_files.py"]
"""Run by another Python, which has Dynamo's wheels."""

# A shell starts what it runs in the background with Ctrl-C ignored, and so would be everything that
# tests start, and end by it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

Kubectl = Callable[..., subprocess.CompletedProcess[str]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The folder is the marker: what lies in tests/integration and tests/e2e needs real parts."""
    for item in items:
        if item.path.name == "test_argocd_sync.py":
            item.add_marker("argocd")
        for marker in {"integration", "e2e"}.intersection(item.path.relative_to(ROOT).parts):
            item.add_marker(marker)


@pytest.fixture(scope="session")
def bed(request: pytest.FixtureRequest) -> Iterator[Bed]:
    """Shows its progress past pytest's capture: a first compile takes minutes."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    reporter = request.config.pluginmanager.getplugin("terminalreporter")

    def say(line: str) -> None:
        with capture.global_and_fixture_disabled():
            reporter.write_line(f"test bed: {line}")

    with Bed(say=say) as bed:
        yield bed


@pytest.fixture(scope="session")
def control_plane(bed: Bed) -> ControlPlane:
    """Our own control plane; for tests that stop its parts or need it untouched by others' objects."""
    return or_skip(lambda: bed.control_plane)


@pytest.fixture(scope="session")
def cluster(bed: Bed) -> Cluster:
    """The user's cluster if they named one, else our own control plane."""
    return or_skip(lambda: bed.cluster)


@pytest.fixture(scope="session")
def kubectl(cluster: Cluster) -> Kubectl:
    return cluster.kubectl


@pytest.fixture(scope="session")
def api_client(cluster: Cluster) -> Iterator[client.ApiClient]:
    with cluster.api_client() as api:
        yield api


@pytest.fixture(scope="session")
def prometheus_server(bed: Bed) -> PrometheusServer:
    return or_skip(lambda: bed.prometheus)


@pytest.fixture(scope="session")
def argocd(bed: Bed) -> ArgoCD:
    """An Argo CD on a control plane of its own: it prunes and heals, and nobody else shall be near."""
    return or_skip(lambda: bed.argocd(bed.another_control_plane("gitops")))


@pytest.fixture(scope="session")
def lua_engine(bed: Bed) -> LuaEngine:
    """Argo CD's Lua engine, without an Argo CD."""
    return or_skip(lambda: LuaEngine(bed.directory / "lua"))


@pytest.fixture(scope="session")
def helm() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs Helm: `helm("template", ...)`; with `check=False` an error is for the test to judge."""
    binary = or_skip(find_helm)

    def run(*words: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run([binary, *words], check=check, capture_output=True, text=True, timeout=60)

    return run


@pytest.fixture(scope="session")
def _numbers() -> Iterator[int]:
    return itertools.count(1)


@pytest.fixture
def namespace(request: pytest.FixtureRequest, _numbers: Iterator[int]) -> Iterator[str]:
    """A namespace of this test's own, on our control plane where the test asks for that."""
    own = "control_plane" in request.fixturenames
    cluster: Cluster = request.getfixturevalue("control_plane" if own else "cluster")
    name = cluster.create_namespace(f"test-{os.getpid()}-{next(_numbers)}")
    yield name
    cluster.delete_namespace(name)


@pytest.fixture(scope="session")
def installed(cluster: Cluster) -> Cluster:
    """The cluster with `manifests/` applied: definitions, the operator's account and its rights."""
    cluster.kubectl("apply", "--kustomize", ROOT / "manifests")
    cluster.kubectl("wait", "--for=condition=Established", "crd/slapolicies.slaplanner.io")
    return cluster


@pytest.fixture(scope="session")
def operator_kubeconfig(installed: Cluster) -> Path:
    """The operator's own identity, with exactly the rights that the manifests give it."""
    return installed.service_account_kubeconfig(namespace="slaplanner-system", name="slaplanner")


@pytest.fixture
def dynamo(cluster: Cluster) -> Callable[..., None]:
    """Serves Dynamo's definitions as a test wants them: `dynamo(Served.BOTH, webhook=...)`."""
    return partial(install_dynamo, cluster)


@pytest.fixture
def etcd_server(bed: Bed, _numbers: Iterator[int]) -> Iterator[EtcdFactory]:
    """Makes etcds that live as long as the test."""
    made: list[EtcdServer] = []

    def make(*, tls: bool = False, root_password: str | None = None) -> EtcdServer:
        name = f"etcd-{next(_numbers)}"
        made.append(or_skip(partial(bed.etcd, name, tls=tls, root_password=root_password)))
        return made[-1]

    yield make
    for server in made:
        server.stop()
