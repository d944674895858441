"""An operator whose administrator lets it observe only."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.operator_program import OperatorProgram, install_operator, running_operator
from tests.played_load import Load
from tests.scene import Scene, policy
from tests.testbed import Cluster, PrometheusServer, Served, install_dynamo

BUSY = Load(requests_s=60.0, isl=1000.0, osl=200.0, ttft_s=0.12, itl_s=0.012)
"""Needs 4 prefill replicas and 2 for decode."""


@pytest.fixture(scope="module")
def operator(
    cluster: Cluster, prometheus_server: PrometheusServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OperatorProgram]:
    install_dynamo(cluster, Served.V1BETA1)
    install_operator(cluster)
    scratch = tmp_path_factory.mktemp("operator")
    with running_operator(
        cluster, scratch, prometheus=prometheus_server.url, settings={"observe": True}
    ) as program:
        yield program


def test_no_policy_writes_to_its_target_whatever_it_says(served_scene: Callable[..., Scene]):
    scene = served_scene(BUSY)
    scene.apply(policy(actuation="Enforce"))
    scene.wait_condition("Progressing", "False", message="only reported (Observe)")
    scene.wait_plans()
    status = scene.status()
    assert {role["name"]: role["desired"] for role in status["roles"]} == {"prefill": 4, "decode": 2}
    scene.wait_condition("Ready", "True")
    assert scene.replicas() == {"prefill": 1, "decode": 1}
    assert scene.graph_conditions().keys() == {"Ready"}
    assert scene.events("Scaled") == []
