"""A few of the faults of `make chaos`, which plays all and writes docs/reliability.md."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.faults import FAULTS, Fault
from tests.chaos.playing import play
from tests.chaos.stage import Stage
from tests.testbed import ControlPlane, PrometheusServer


@pytest.fixture(scope="module")
def stage(
    control_plane: ControlPlane, prometheus_server: PrometheusServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    scratch: Path = tmp_path_factory.mktemp("chaos")
    with Stage(control_plane, prometheus_server, scratch) as stage:
        yield stage


@pytest.mark.parametrize(
    "fault", [pytest.param(one, id=one.name.replace(" ", "-")) for one in FAULTS if one.short]
)
def test_a_fault_is_seen_harms_nothing_and_is_recovered_from(stage: Stage, fault: Fault) -> None:
    assert play(stage, fault).versions > 0
