"""Writes docs/reference/metrics.md: `python -m slaplanner.controller.metrics_reference [--check]`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from slaplanner.controller.metrics import instruments

PATH = Path("docs/reference/metrics.md")

UNITS: Final = {
    "seconds": "seconds",
    "ratio": "share, 0 to 1",
    "per_second": "per second",
    "tokens": "tokens",
    "requests": "requests",
}
"""Unit of a metric by the end of its name, without `_total`."""

WITHOUT_UNIT: Final = {
    "slaplanner_gpu_budget": "GPUs",
    "slaplanner_gpus_current": "GPUs",
    "slaplanner_gpus_desired": "GPUs",
    "slaplanner_replicas_current": "replicas",
    "slaplanner_replicas_ready": "replicas",
    "slaplanner_replicas_desired": "replicas",
    "slaplanner_replicas_needed": "replicas",
    "slaplanner_correction_ratio": "ratio, 1 is as profiled",
    "slaplanner_expected_utilisation_ratio": "ratio, 1 is full",
}
"""Units that the name does not end with."""

EXAMPLES: Final = {
    "slaplanner_build_info": "count by (version) (slaplanner_build_info)",
    "slaplanner_sla_target_seconds": (
        'slaplanner_observed_ttft_seconds / on (namespace, policy) slaplanner_sla_target_seconds{latency="ttft"}'
    ),
    "slaplanner_sla_attainment_target_ratio": "1 - slaplanner_sla_attainment_target_ratio",
    "slaplanner_sla_requests_total": (
        'sum by (namespace, policy) (rate(slaplanner_sla_requests_total{outcome="missed"}[1h]))'
        " / sum by (namespace, policy) (rate(slaplanner_sla_requests_total[1h]))"
    ),
    "slaplanner_sla_tokens_total": (
        'sum by (namespace, policy) (rate(slaplanner_sla_tokens_total{outcome="missed"}[1h]))'
        " / sum by (namespace, policy) (rate(slaplanner_sla_tokens_total[1h]))"
    ),
    "slaplanner_plan_interval_seconds": (
        "(time() - slaplanner_last_plan_timestamp_seconds) / slaplanner_plan_interval_seconds > 3"
    ),
    "slaplanner_last_plan_timestamp_seconds": "time() - slaplanner_last_plan_timestamp_seconds",
    "slaplanner_plan_duration_seconds": (
        "histogram_quantile(0.99, sum by (le) (rate(slaplanner_plan_duration_seconds_bucket[15m])))"
    ),
    "slaplanner_plans_failed_total": "sum by (reason) (increase(slaplanner_plans_failed_total[1h]))",
    "slaplanner_decisions_total": "sum by (reason) (increase(slaplanner_decisions_total[1h]))",
    "slaplanner_replicas_current": "slaplanner_replicas_current - slaplanner_replicas_ready > 0",
    "slaplanner_replicas_ready": "slaplanner_replicas_desired - slaplanner_replicas_ready",
    "slaplanner_replicas_desired": "max_over_time(slaplanner_replicas_desired[1d])",
    "slaplanner_replicas_needed": "slaplanner_replicas_needed - slaplanner_replicas_desired",
    "slaplanner_role_limited": "count by (limit) (slaplanner_role_limited == 1)",
    "slaplanner_startup_seconds": "slaplanner_startup_seconds > 300",
    "slaplanner_gpus_current": "sum(avg_over_time(slaplanner_gpus_current[1d])) * 24",
    "slaplanner_gpus_desired": "sum by (namespace) (slaplanner_gpus_desired)",
    "slaplanner_gpu_budget": "slaplanner_gpus_desired / slaplanner_gpu_budget",
    "slaplanner_observed_requests_per_second": "sum(slaplanner_observed_requests_per_second)",
    "slaplanner_observed_isl_tokens": "avg_over_time(slaplanner_observed_isl_tokens[1h])",
    "slaplanner_observed_osl_tokens": "avg_over_time(slaplanner_observed_osl_tokens[1h])",
    "slaplanner_observed_ttft_seconds": "max_over_time(slaplanner_observed_ttft_seconds[1h])",
    "slaplanner_observed_itl_seconds": "max_over_time(slaplanner_observed_itl_seconds[1h])",
    "slaplanner_queued_requests": "slaplanner_queued_requests > 0",
    "slaplanner_inflight_requests": "slaplanner_inflight_requests",
    "slaplanner_forecast_requests_per_second": (
        "slaplanner_forecast_requests_per_second - slaplanner_observed_requests_per_second"
    ),
    "slaplanner_forecast_tokens_per_second": "slaplanner_forecast_tokens_per_second",
    "slaplanner_forecast_upper_tokens_per_second": (
        "slaplanner_forecast_upper_tokens_per_second / slaplanner_forecast_tokens_per_second"
    ),
    "slaplanner_forecast_horizon_seconds": "slaplanner_forecast_horizon_seconds",
    "slaplanner_expected_latency_seconds": 'slaplanner_expected_latency_seconds{role="prefill"}',
    "slaplanner_expected_utilisation_ratio": "slaplanner_expected_utilisation_ratio > 0.9",
    "slaplanner_correction_ratio": 'slaplanner_correction_ratio{kind="raw"} > 2',
    "slaplanner_attainment_ratio": (
        'slaplanner_attainment_ratio{latency="ttft", window="1h", bound="lower"}'
        " < on (namespace, policy) group_left () slaplanner_sla_attainment_target_ratio"
    ),
    "slaplanner_condition": 'slaplanner_condition{type="Ready", status="True"} == 0',
    "slaplanner_condition_reason": 'count by (reason) (slaplanner_condition_reason{type="Ready"})',
    "slaplanner_scales_total": "sum by (direction) (increase(slaplanner_scales_total[1h]))",
    "slaplanner_outside_request_duration_seconds": (
        "histogram_quantile(0.99, sum by (le, system) (rate(slaplanner_outside_request_duration_seconds_bucket[15m])))"
    ),
    "slaplanner_outside_errors_total": "sum by (system, reason) (increase(slaplanner_outside_errors_total[1h]))",
    "slaplanner_status_writes_total": "sum by (outcome) (increase(slaplanner_status_writes_total[1h]))",
    "slaplanner_events_total": "sum by (outcome) (increase(slaplanner_events_total[1h]))",
    "slaplanner_leader": "sum(slaplanner_leader)",
    "slaplanner_watches": "sum(slaplanner_watches)",
    "slaplanner_watch_failures_total": "sum by (kind) (increase(slaplanner_watch_failures_total[15m]))",
    "slaplanner_event_loop_lag_seconds": "slaplanner_event_loop_lag_seconds > 1",
    "slaplanner_policies": "sum(slaplanner_policies)",
}
"""A query to begin with, for each metric."""

HEAD: Final = """# Metrics

Served on `/metrics` of port 8080, beside `/healthz` and `/readyz`. Generated by `make docs`; do not edit.
`process_*` and `python_gc_*` are those of Prometheus' own client library. A gauge is NaN while its figure is unknown.

Scrape them with [manifests/monitoring](../../manifests/monitoring): without `honorLabels: true` Prometheus renames the
label `namespace` to `exported_namespace`, and the queries below find nothing.
"""


def page() -> str:
    """The reference page, in Markdown."""
    lines = [HEAD, "| name | type | unit | labels | meaning |", "|---|---|---|---|---|"]
    names = []
    for instrument in instruments():
        (family,) = instrument.describe()
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = ", ".join(instrument._labelnames)  # noqa: SLF001 - the library has no public way to ask
        lines.append(f"| `{name}` | {family.type} | {unit(name)} | {labels} | {family.documentation} |")
        names.append(name)
    lines += ["", "## A query for each", ""]
    for name in names:
        lines += [f"`{name}`", "", "```promql", EXAMPLES[name], "```", ""]
    return "\n".join(lines)


def unit(name: str) -> str:
    """What one of *name* is; empty for numbers of things that the name itself says."""
    if name in WITHOUT_UNIT:
        return WITHOUT_UNIT[name]
    stem = name.removesuffix("_total")
    return next((text for end, text in UNITS.items() if stem.endswith(f"_{end}")), "count")


def main(arguments: list[str]) -> int:
    """Write or check; returns the exit code."""
    if "--check" not in arguments:
        PATH.write_text(page(), encoding="utf-8")
        return 0
    if PATH.exists() and PATH.read_text(encoding="utf-8") == page():
        return 0
    sys.stderr.write(f"{PATH} is out of date: run make docs\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
