"""Every panel of every dashboard, and every example of the metrics page, asks for something that exists.

A real operator plans for a real load, and a real Prometheus scrapes it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from slaplanner.controller.metrics_reference import EXAMPLES
from tests.operator_program import OperatorProgram
from tests.played_load import Load
from tests.scene import NAME, Scene, policy
from tests.testbed import PrometheusServer, Target

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "manifests/monitoring/dashboards"
DASHBOARDS = {file.stem: json.loads(file.read_text()) for file in sorted(FOLDER.glob("*.json"))}
QUERIES = [
    pytest.param(target["expr"], id=f"{name}-{panel['title']}-{target['refId']}")
    for name, document in DASHBOARDS.items()
    for panel in document["panels"]
    for target in panel["targets"]
]

HOW_TOS = [
    query.replace('namespace="serving"', 'namespace="$namespace"').replace(
        'policy="llama-70b"', 'policy="$policy"'
    )
    for page in ("keda", "rollouts")
    for block in re.findall(
        r"^```yaml\n(.*?)^```", (ROOT / f"docs/how-to/{page}.md").read_text(), re.MULTILINE | re.DOTALL
    )
    for document in yaml.safe_load_all(block)
    for query in (
        *(one["metadata"]["query"] for one in document["spec"].get("triggers", ())),
        *(
            one["provider"]["prometheus"]["query"]
            for one in document["spec"].get("metrics", ())
            if isinstance(one, dict) and "provider" in one
        ),
    )
]
"""What KEDA and Argo Rollouts would ask for one policy."""

OF_FAULTS = re.compile(r"_(errors|failed|failures)_total$")
"""Counters that have no series before the first fault."""


@dataclass(frozen=True, slots=True)
class Scraped:
    """A Prometheus with the operator's series of one policy."""

    prometheus: PrometheusServer
    namespace: str

    def ask(self, query: str) -> list[dict[str, Any]]:
        chosen = {"$namespace": self.namespace, "$policy": NAME, "$__rate_interval": "1m"}
        for variable, value in chosen.items():
            query = query.replace(variable, value)
        return self.prometheus.query(query)


@pytest.fixture
def scraped(
    served_scene: Callable[..., Scene], operator: OperatorProgram, prometheus_server: PrometheusServer
) -> Iterator[Scraped]:
    scene = served_scene(Load(requests_s=60.0, isl=1000.0, osl=200.0, ttft_s=0.12, itl_s=0.012))
    scene.apply(policy(gpuBudget={"max": 64}, planning={"intervalSeconds": 5}))
    target = Target(job="slaplanner", address=f"127.0.0.1:{operator.port}")
    prometheus_server.add_target(target)
    found = Scraped(prometheus_server, scene.namespace)
    of_this = f'namespace="{scene.namespace}"'
    # Two decisions with a scrape in between: a counter that begins inside a window has no increase yet.
    prometheus_server.wait_for(f"slaplanner_observed_ttft_seconds{{{of_this}}} > 0", timeout_s=60)
    prometheus_server.wait_for(f"rate(slaplanner_sla_requests_total{{{of_this}}}[1m]) > 0", timeout_s=60)
    yield found
    prometheus_server.remove_target(target)


def test_every_panel_and_every_example_returns_data(scraped: Scraped) -> None:
    """One test for all: the scene takes longer than all queries together."""
    silent = {}
    for parameters in QUERIES:
        (query,) = parameters.values
        if not scraped.ask(str(query)):
            silent[parameters.id] = query
    assert silent == {}
    assert len(HOW_TOS) == 3
    assert [query for query in HOW_TOS if len(scraped.ask(query)) != 1] == []
    # An example that looks for trouble finds none here; without its comparison it must find something.
    for name, query in EXAMPLES.items():
        scraped.ask(query)
        if not OF_FAULTS.search(name):
            series = name if not name.endswith("_seconds") else f"{{__name__=~'{name}(_count)?'}}"
            assert scraped.ask(series) or name == "slaplanner_role_limited", name


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_is_whole(name: str) -> None:
    """No two panels overlap, every row ends at the right edge, every variable is one that queries use."""
    document: Mapping[str, Any] = DASHBOARDS[name]
    cells = [
        (x, y)
        for panel in document["panels"]
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    height = max(y for _, y in cells) + 1
    assert len(cells) == 24 * height, "an empty place"
    titles = [panel["title"] for panel in document["panels"]]
    assert len(titles) == len(set(titles))
    variables = {one["name"] for one in document["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]+)", json.dumps(document["panels"])))
    assert used == variables


def test_every_metric_is_on_a_dashboard() -> None:
    shown = " ".join(str(parameters.values[0]) for parameters in QUERIES)
    hidden = {name for name in EXAMPLES if name not in shown}
    assert hidden <= {
        "slaplanner_observed_isl_tokens",
        "slaplanner_observed_osl_tokens",
        "slaplanner_condition_reason",
        "slaplanner_forecast_horizon_seconds",
    }
