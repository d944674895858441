"""One operator for many tests: it serves the whole cluster, each test has a namespace of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.operator_program import OperatorProgram, install_operator, running_operator
from tests.played_load import Load, PlayedLoads
from tests.scene import Scene, graph
from tests.testbed import Cluster, PrometheusServer, Served, Target, install_dynamo


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
            # A policy that plans rarely would else find nothing, and not look again for long.
            prometheus_server.wait_for(
                f'{{__name__=~".*requests_started_total",dynamo_namespace="{scene.dynamo_namespace}"}}'
            )
        return scene

    return serve
