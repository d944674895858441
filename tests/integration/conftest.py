"""One operator for many tests: it serves the whole cluster, each test has a namespace of its own."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from slaplanner.adapters.prometheus import Client, Scope
from slaplanner.settings import PrometheusConnection
from tests.operator_program import OperatorProgram, install_operator, running_operator
from tests.played_load import Load, PlayedLoads
from tests.scene import Scene, graph, wait_scraped
from tests.stored_graph import StoredGraph
from tests.stories import MODEL, Story
from tests.testbed import Cluster, EtcdFactory, PrometheusServer, Served, Target, install_dynamo
from tests.timelines import Page, Timeline
from tests.virtual_scene import BUSY, EtcdScene, virtual


@pytest.fixture(scope="session")
def played_loads(prometheus_server: PrometheusServer) -> Iterator[PlayedLoads]:
    """Frontends whose loads the tests set, scraped once a second."""
    loads = PlayedLoads()
    with loads.page as page:
        target = Target(job="loads", address=page.address)
        prometheus_server.add_target(target)
        yield loads
        prometheus_server.remove_target(target)


@pytest.fixture(scope="module")
def operator(
    cluster: Cluster, prometheus_server: PrometheusServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OperatorProgram]:
    """An operator with the rights of the manifests, for all namespaces."""
    install_dynamo(cluster, Served.V1BETA1)
    install_operator(cluster)
    scratch = tmp_path_factory.mktemp("operator")
    with running_operator(cluster, scratch, prometheus=prometheus_server.url) as program:
        yield program


@pytest.fixture
def scene(cluster: Cluster, namespace: str, played_loads: PlayedLoads) -> Scene:
    """An empty scene in a fresh namespace; its profile is there."""
    scene = Scene(cluster=cluster, namespace=namespace, loads=played_loads)
    scene.apply_profile()
    return scene


@pytest.fixture
def served_scene(
    scene: Scene, operator: OperatorProgram, prometheus_server: PrometheusServer
) -> Callable[..., Scene]:
    """A function that sets a deployment and its load up: `served_scene(Load(...), replicas={...})`."""

    def serve(load: Load | None = None, **options: object) -> Scene:
        scene.apply(graph(version=scene.version, **options))  # type: ignore[arg-type]
        scene.settle()
        if load is not None:
            scene.play(load)
            wait_scraped(scene, prometheus_server)
        return scene

    return serve


@pytest.fixture(params=[Served.V1ALPHA1, Served.V1BETA1], ids=lambda served: served.value[-1], scope="module")
def served(cluster: Cluster, request: pytest.FixtureRequest) -> Served:
    """One version of Dynamo's definitions alone, then the other."""
    version: Served = request.param
    install_dynamo(cluster, version)
    return version


@pytest.fixture(name="graph")
def stored_graph(cluster: Cluster, namespace: str, served: Served) -> StoredGraph:
    return StoredGraph(cluster, namespace, served)


@pytest.fixture
def etcd_scene(
    scene: Scene,
    installed: Cluster,
    prometheus_server: PrometheusServer,
    etcd_server: EtcdFactory,
    tmp_path: Path,
) -> Iterator[Callable[..., EtcdScene]]:
    """A function that starts operators on one etcd, with TLS, and applies the policy: `etcd_scene(BUSY)`."""
    etcd = etcd_server(tls=True)
    assert etcd.tls is not None
    connection = {
        "endpoints": [etcd.endpoint],
        "allowedNamespaces": {scene.namespace: [scene.dynamo_namespace]},
        "caFile": str(etcd.tls.ca),
        "clientCertificate": {
            "certFile": str(etcd.tls.client.certificate),
            "keyFile": str(etcd.tls.client.key),
        },
    }
    with contextlib.ExitStack() as running:

        def start(load: Load = BUSY, *, operators: int = 1, **options: Any) -> EtcdScene:
            for _ in range(operators):
                running.enter_context(
                    running_operator(
                        installed,
                        tmp_path,
                        prometheus=prometheus_server.url,
                        settings={"etcd": {"fleet": connection}},
                        namespace=scene.namespace,
                    )
                )
            scene.play(load)
            wait_scraped(scene, prometheus_server)
            scene.apply(virtual(scene, backend="Etcd", etcd={"connection": "fleet"}, **options))
            return EtcdScene(scene, etcd)

        yield start


STAGE = "stage"
_story_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def stage(prometheus_server: PrometheusServer) -> Iterator[Page]:
    """One target for all stories: Prometheus takes up a new one only after 5 s."""
    with Page() as page:
        target = Target(job=STAGE, address=page.address)
        prometheus_server.add_target(target)
        yield page
        prometheus_server.remove_target(target)


@pytest.fixture
def story(prometheus_server: PrometheusServer, stage: Page) -> Story:
    """A fresh deployment; `observed` has Prometheus scrape its timeline first."""
    name = f"readings-{os.getpid()}-{next(_story_numbers)}"

    def tell(told: Story) -> None:
        told.timeline.add("story_told", {"story": name}, lambda back: 1 if back == 0 else None)
        stage.content = told.timeline.page()
        prometheus_server.wait_for(f'story_told{{story="{name}"}}')

    return Story(
        client=Client("default", PrometheusConnection(url=prometheus_server.url)),
        scope=Scope(model=MODEL, dynamo_namespace=name),
        timeline=Timeline(),
        tell=tell,
    )
