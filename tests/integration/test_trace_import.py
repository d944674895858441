"""`slaplanner trace import` from a real Prometheus: what comes out is what was served."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from slaplanner.adapters.traces.trace import read_trace
from slaplanner_lab.cli.trace import trace
from tests.played_load import Load, PlayedLoads
from tests.testbed import PrometheusServer

SERVED = Load(requests_s=20.0, isl=900.0, osl=150.0, edges_tokens=(100.0, 500.0, 1000.0, 4000.0))


@pytest.fixture
def namespace(played_loads: PlayedLoads, prometheus_server: PrometheusServer) -> str:
    name = f"import-{os.getpid()}"
    played_loads.play(name, SERVED)
    started = f'{{__name__=~".*requests_started_total",dynamo_namespace="{name}"}}'
    # Two whole intervals of ten seconds after the page's own past of a minute.
    prometheus_server.wait_for(f"count_over_time({started}[25s]) >= 20", timeout_s=90)
    return name


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz"])
def test_counts_and_lengths_are_those_that_were_served(
    namespace: str, prometheus_server: PrometheusServer, tmp_path: Path, ending: str
) -> None:
    file = tmp_path / f"week{ending}"
    options = ["--prometheus", prometheus_server.url, "--dynamo-namespace", namespace]
    span = ["--days", f"{30 / 86400}", "--interval", "10", "--seed", "3"]
    answer = CliRunner().invoke(trace, ["import", *options, *span, str(file)])
    assert answer.exit_code == 0, answer.output
    assert "seed 3" in answer.output
    found = read_trace(file)
    intervals = re.search(r"requests in (\d+) intervals", answer.output)
    assert intervals is not None
    assert int(intervals[1]) >= 1
    assert len(found) == pytest.approx(SERVED.requests_s * 10 * int(intervals[1]), rel=0.15)
    assert found.isl_tokens.mean() == pytest.approx(SERVED.isl, rel=0.1)
    assert found.osl_tokens.mean() == pytest.approx(SERVED.osl, rel=0.35)


def test_nobody_by_that_name_is_said(prometheus_server: PrometheusServer, tmp_path: Path) -> None:
    options = ["--prometheus", prometheus_server.url, "--dynamo-namespace", "nobody", "--days", "0.01"]
    answer = CliRunner().invoke(trace, ["import", *options, str(tmp_path / "none.jsonl")])
    assert answer.exit_code == 1
    assert "found no interval" in answer.output
    assert not (tmp_path / "none.jsonl").exists()


def test_a_scope_must_be_named(prometheus_server: PrometheusServer, tmp_path: Path) -> None:
    answer = CliRunner().invoke(
        trace, ["import", "--prometheus", prometheus_server.url, str(tmp_path / "t.jsonl")]
    )
    assert answer.exit_code == 1
    assert "nothing tells whose" in answer.output
