"""Writes the Grafana dashboards: `python manifests/monitoring/dashboards.py [--check]`.

A panel is a title, queries with their legends, and a unit of Grafana's. A test runs every query on a real
Prometheus that scrapes a real operator, and wants data back.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).parent / "dashboards"
COLUMNS: Final = 24
HEIGHT: Final = 8
SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
P: Final = '{namespace="$namespace", policy="$policy"}'
"""Selects the policy that the reader chose."""


def of_policy(**labels: str) -> str:
    """A selector of the chosen policy with more labels."""
    more = "".join(f', {name}="{value}"' for name, value in labels.items())
    return f'{{namespace="$namespace", policy="$policy"{more}}}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One picture. `queries`: legend by PromQL expression."""

    title: str
    queries: dict[str, str]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 12
    text: str = ""
    """What the reader should know, behind the panel's (i)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """One page. `variables`: what the reader chooses, by name, with the query that lists the choices."""

    uid: str
    title: str
    panels: tuple[Panel, ...]
    variables: dict[str, str]


def late(metric: str, selector: str, *, by: str = "namespace, policy") -> str:
    """The share of requests or tokens that were surely late; *selector* without braces."""
    some = f", {selector}" if selector else ""
    return (
        f'sum by ({by}) (rate({metric}{{outcome="missed"{some}}}[$__rate_interval]))'
        f" / (sum by ({by}) (rate({metric}{{{selector}}}[$__rate_interval])) > 0)"
    )


def _stat(title: str, query: str, legend: str, **more: str) -> Panel:
    """A single figure, six of which fill a row."""
    return Panel(title=title, kind="stat", width=4, queries={query: legend}, **more)


POLICY = Dashboard(
    uid="slaplanner-policy",
    title="slaplanner / Policy",
    variables={
        "namespace": "label_values(slaplanner_sla_target_seconds, namespace)",
        "policy": 'label_values(slaplanner_sla_target_seconds{namespace="$namespace"}, policy)',
    },
    panels=(
        _stat(
            "Ready",
            f"slaplanner_condition{of_policy(type='Ready', status='True')}",
            "ready",
            text="1: the last plan ran on known figures.",
        ),
        _stat(
            "TTFT in time, last hour",
            f"slaplanner_attainment_ratio{of_policy(latency='ttft', window='1h', bound='lower')}",
            "at least",
            unit="percentunit",
        ),
        _stat("Promised", f"slaplanner_sla_attainment_target_ratio{P}", "promised", unit="percentunit"),
        _stat("GPUs in use", f"slaplanner_gpus_current{P}", "in use"),
        _stat("Since the last plan", f"time() - slaplanner_last_plan_timestamp_seconds{P}", "age", unit="s"),
        _stat("Start-up of a replica", f"slaplanner_startup_seconds{P}", "start-up", unit="s"),
        Panel(
            title="Requests",
            unit="reqps",
            queries={
                f"slaplanner_observed_requests_per_second{P}": "arrived",
                f"slaplanner_forecast_requests_per_second{P}": "forecast",
            },
        ),
        Panel(
            title="Load against its bound",
            text="Tokens per second. The size is chosen for the upper bound, not for the mean.",
            queries={
                f"slaplanner_forecast_tokens_per_second{P}": "{{role}}: forecast",
                f"slaplanner_forecast_upper_tokens_per_second{P}": "{{role}}: upper bound",
            },
        ),
        Panel(
            title="Time to first token",
            unit="s",
            queries={
                f"slaplanner_observed_ttft_seconds{P}": "observed mean",
                f"slaplanner_expected_latency_seconds{of_policy(role='prefill')}": "expected mean",
                f"slaplanner_sla_target_seconds{of_policy(latency='ttft')}": "target",
            },
        ),
        Panel(
            title="Inter-token latency",
            unit="s",
            queries={
                f"slaplanner_observed_itl_seconds{P}": "observed mean",
                f"slaplanner_expected_latency_seconds{of_policy(role='decode')}": "expected mean",
                f"slaplanner_sla_target_seconds{of_policy(latency='itl')}": "target",
            },
        ),
        Panel(
            title="Late requests and tokens",
            unit="percentunit",
            queries={
                late("slaplanner_sla_requests_total", P[1:-1]): "requests later than the TTFT target",
                late("slaplanner_sla_tokens_total", P[1:-1]): "tokens later than the ITL target",
                f"1 - slaplanner_sla_attainment_target_ratio{P}": "allowed",
            },
        ),
        Panel(
            title="Replicas",
            text="Desired follows needed after bounds, damping, gates and budget.",
            queries={
                f"slaplanner_replicas_needed{P}": "{{role}}: needed",
                f"slaplanner_replicas_desired{P}": "{{role}}: desired",
                f"slaplanner_replicas_current{P}": "{{role}}: asked for",
                f"slaplanner_replicas_ready{P}": "{{role}}: ready",
            },
        ),
        Panel(
            title="GPUs",
            queries={
                f"slaplanner_gpus_current{P}": "current",
                f"slaplanner_gpus_desired{P}": "desired",
                f"slaplanner_gpu_budget{P} < +Inf": "budget",
            },
        ),
        Panel(
            title="Utilisation expected at the decided size",
            unit="percentunit",
            queries={f"slaplanner_expected_utilisation_ratio{P}": "{{role}}"},
        ),
        Panel(
            title="Correction of the profile",
            text="Observed over profiled latency. 1: engines run as profiled.",
            queries={f"slaplanner_correction_ratio{P}": "{{role}}: {{kind}}"},
        ),
        Panel(
            title="Requests inside the frontend",
            queries={
                f"slaplanner_queued_requests{P}": "queued",
                f"slaplanner_inflight_requests{P}": "in flight",
            },
        ),
        Panel(
            title="Limits that decided",
            text="Each limit that changed the last decision.",
            queries={f"slaplanner_role_limited{P} or on () vector(0)": "{{role}}: {{limit}}"},
        ),
        Panel(
            title="Decisions by reason",
            queries={
                f"sum by (reason) (increase(slaplanner_decisions_total{P}[$__rate_interval]))": "{{reason}}"
            },
        ),
    ),
)

FLEET = Dashboard(
    uid="slaplanner-fleet",
    title="slaplanner / Fleet",
    variables={},
    panels=(
        Panel(title="Policies", kind="stat", width=6, queries={"sum(slaplanner_policies)": "policies"}),
        Panel(
            title="Not ready",
            kind="stat",
            width=6,
            queries={
                'count(slaplanner_condition{type="Ready", status="True"} == 0) or on () vector(0)': "not ready"
            },
        ),
        Panel(title="GPUs in use", kind="stat", width=6, queries={"sum(slaplanner_gpus_current)": "GPUs"}),
        Panel(
            title="GPU-hours of the last day",
            kind="stat",
            width=6,
            queries={"sum(avg_over_time(slaplanner_gpus_current[1d])) * 24": "GPU-hours"},
            text="While the operator ran: an hour that it did not see counts as the average hour.",
        ),
        Panel(
            title="GPUs by policy",
            queries={"sum by (namespace, policy) (slaplanner_gpus_current)": "{{namespace}}/{{policy}}"},
        ),
        Panel(
            title="Late requests by policy",
            unit="percentunit",
            queries={late("slaplanner_sla_requests_total", ""): "{{namespace}}/{{policy}}"},
        ),
        Panel(
            title="TTFT over its target",
            text="Above 1 the mean is later than promised.",
            queries={
                "slaplanner_observed_ttft_seconds / on (namespace, policy)"
                ' slaplanner_sla_target_seconds{latency="ttft"}': "{{namespace}}/{{policy}}"
            },
        ),
        Panel(
            title="ITL over its target",
            text="Above 1 the mean is later than promised.",
            queries={
                "slaplanner_observed_itl_seconds / on (namespace, policy)"
                ' slaplanner_sla_target_seconds{latency="itl"}': "{{namespace}}/{{policy}}"
            },
        ),
        Panel(
            title="Requests by policy",
            unit="reqps",
            queries={"slaplanner_observed_requests_per_second": "{{namespace}}/{{policy}}"},
        ),
        Panel(
            title="GPUs desired over budget",
            unit="percentunit",
            queries={"slaplanner_gpus_desired / slaplanner_gpu_budget": "{{namespace}}/{{policy}}"},
        ),
        Panel(
            title="Conditions that need somebody",
            text="Policies by condition: limited by the budget, in conflict, in fallback, paused.",
            queries={
                'sum by (type) (slaplanner_condition{type=~"BudgetLimited|TargetConflict|Fallback|Paused", status="True"})': "{{type}}"
            },
        ),
        Panel(
            title="Limits that decided",
            queries={"count by (limit) (slaplanner_role_limited) or on () vector(0)": "{{limit}}"},
        ),
    ),
)

OPERATOR = Dashboard(
    uid="slaplanner-operator",
    title="slaplanner / Operator",
    variables={},
    panels=(
        Panel(
            title="Version",
            kind="stat",
            width=6,
            queries={"count by (version) (slaplanner_build_info)": "{{version}}"},
        ),
        Panel(
            title="Oldest plan, in intervals",
            kind="stat",
            width=6,
            queries={
                "max((time() - slaplanner_last_plan_timestamp_seconds) / slaplanner_plan_interval_seconds)": "oldest"
            },
            text="Above 3 the operator does not keep up.",
        ),
        Panel(
            title="Event loop lag",
            kind="stat",
            unit="s",
            width=6,
            queries={"max(slaplanner_event_loop_lag_seconds)": "lag"},
        ),
        Panel(
            title="Memory",
            kind="stat",
            unit="bytes",
            width=6,
            queries={"process_resident_memory_bytes and on (instance) slaplanner_build_info": "{{instance}}"},
        ),
        Panel(
            title="Duration of plans",
            unit="s",
            queries={
                f"histogram_quantile({quantile}, sum by (le) (rate(slaplanner_plan_duration_seconds_bucket[$__rate_interval])))": name
                for quantile, name in ((0.5, "median"), (0.99, "99 %"))
            },
        ),
        Panel(
            title="Round trips to outside systems, 99 %",
            unit="s",
            queries={
                "histogram_quantile(0.99, sum by (le, system)"
                " (rate(slaplanner_outside_request_duration_seconds_bucket[$__rate_interval])))": "{{system}}"
            },
        ),
        Panel(
            title="Errors of outside systems",
            queries={
                "sum by (system, reason) (increase(slaplanner_outside_errors_total[$__rate_interval]))"
                " or on () vector(0)": "{{system}} {{reason}}"
            },
        ),
        Panel(
            title="Plans without a decision",
            queries={
                "sum by (reason) (increase(slaplanner_plans_failed_total[$__rate_interval]))"
                " or on () vector(0)": "{{reason}}"
            },
        ),
        Panel(
            title="Decisions by reason",
            queries={
                "sum by (reason) (increase(slaplanner_decisions_total[$__rate_interval]))": "{{reason}}"
            },
        ),
        Panel(
            title="Writes of replicas",
            queries={
                "sum by (direction) (increase(slaplanner_scales_total[$__rate_interval]))"
                " or on () vector(0)": "{{direction}}"
            },
        ),
        Panel(
            title="Writes of status",
            queries={
                "sum by (outcome) (increase(slaplanner_status_writes_total[$__rate_interval]))": "{{outcome}}"
            },
        ),
        Panel(
            title="Events posted",
            queries={"sum by (outcome) (increase(slaplanner_events_total[$__rate_interval]))": "{{outcome}}"},
        ),
        Panel(
            title="Leaders",
            text="Must be 1: with leader election one operator plans and the others stand by.",
            queries={"sum(slaplanner_leader)": "leaders", "count(slaplanner_build_info)": "operators"},
        ),
        Panel(
            title="Watches of the API server",
            queries={
                "sum(slaplanner_watches)": "open",
                "sum by (kind) (increase(slaplanner_watch_failures_total[$__rate_interval]))"
                " or on () vector(0)": "failed: {{kind}}",
            },
        ),
        Panel(
            title="CPU",
            width=24,
            queries={
                "rate(process_cpu_seconds_total[$__rate_interval])"
                " and on (instance) slaplanner_build_info": "{{instance}}"
            },
        ),
    ),
)

DASHBOARDS: Final = (POLICY, FLEET, OPERATOR)


def document(dashboard: Dashboard) -> dict[str, Any]:
    """What Grafana imports."""
    variables: list[dict[str, Any]] = [
        {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    ]
    variables += [
        {
            "name": name,
            "type": "query",
            "datasource": SOURCE,
            "definition": query,
            "query": {"query": query, "refId": name},
            "refresh": 2,
            "sort": 1,
        }
        for name, query in dashboard.variables.items()
    ]
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "tags": ["slaplanner"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": variables},
        "links": [
            {
                "title": "slaplanner",
                "type": "dashboards",
                "tags": ["slaplanner"],
                "asDropdown": True,
                "includeVars": True,
                "keepTime": True,
            }
        ],
        "panels": list(_placed(dashboard.panels)),
    }


def _placed(panels: tuple[Panel, ...]) -> list[dict[str, Any]]:
    """Left to right, then the next row."""
    x = y = row = 0
    placed = []
    for number, panel in enumerate(panels, start=1):
        height = HEIGHT // 2 if panel.kind == "stat" else HEIGHT
        if x + panel.width > COLUMNS:
            x, y, row = 0, y + row, 0
        where = {"x": x, "y": y, "w": panel.width, "h": height}
        placed.append(_panel(panel, number) | {"gridPos": where})
        x, row = x + panel.width, max(row, height)
    return placed


def _panel(panel: Panel, number: int) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0}
    options: dict[str, Any] = {"legend": {"displayMode": "list", "placement": "bottom"}}
    if panel.kind == "stat":
        options = {"reduceOptions": {"calcs": ["lastNotNull"]}, "textMode": "auto"}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.text,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": SOURCE, "expr": query, "legendFormat": legend}
            for index, (query, legend) in enumerate(panel.queries.items())
        ],
    }


def main(arguments: list[str]) -> int:
    """Write or check; returns the exit code."""
    stale = []
    for dashboard in DASHBOARDS:
        file = FOLDER / f"{dashboard.uid}.json"
        wanted = json.dumps(document(dashboard), indent=1) + "\n"
        if "--check" not in arguments:
            file.parent.mkdir(exist_ok=True)
            file.write_text(wanted, encoding="utf-8")
        elif not file.exists() or file.read_text(encoding="utf-8") != wanted:
            stale.append(file)
    for file in stale:
        sys.stderr.write(f"{file} is out of date: run make docs\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
