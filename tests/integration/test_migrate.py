"""What `slaplanner migrate` prints for each generation of Dynamo's planner, applied to a real API server."""

from __future__ import annotations

import pytest
import yaml
from click.testing import CliRunner

from slaplanner.cli import main
from tests.planner_generations import GENERATIONS
from tests.testbed import Cluster


@pytest.mark.parametrize("name", GENERATIONS)
def test_what_is_printed_is_taken_by_the_server(installed: Cluster, namespace: str, name: str) -> None:
    text = yaml.safe_dump_all(
        [
            {**each, "metadata": {**each["metadata"], "namespace": namespace}} if "kind" in each else each
            for each in GENERATIONS[name]
        ]
    )
    printed = CliRunner().invoke(main, ["migrate", "-", "--target", "llama", "-n", namespace], input=text)
    assert printed.exit_code == 0, printed.output

    said = installed.kubectl(
        "apply", "--server-side", "--validate=strict", "-f", "-", stdin=printed.stdout
    ).stdout

    assert "serverside-applied" in said
    stored = yaml.safe_load(installed.kubectl("get", "slapolicy", "-n", namespace, "-o", "yaml").stdout)
    (policy,) = stored["items"]
    assert policy["spec"]["sla"]["ttft"] == 300
    assert policy["spec"]["actuation"] == "Observe"
