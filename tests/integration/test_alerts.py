"""Every alert fires for the fault that it is meant for and for no other: played by `promtool test rules`."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import generate_latest

from slaplanner.controller import metrics
from slaplanner.controller.metrics_reference import EXAMPLES
from slaplanner.core.reasons import ConditionType
from tests.testbed.binaries import find_promtool
from tests.testbed.missing import or_skip

ROOT = Path(__file__).parents[2]
RULES = yaml.safe_load((ROOT / "manifests/monitoring/prometheusrule.yaml").read_text())["spec"]
ALERTS = {rule["alert"]: rule for group in RULES["groups"] for rule in group["rules"] if "alert" in rule}
OF = 'namespace="serving", policy="llama"'
PLAYED = 120
"""Minutes that are played; a rate over six hours is that of the two hours that there are."""

Series = Mapping[str, str]
"""Values by series, in promtool's notation of one value a minute."""


def condition(kind: ConditionType, *, true: bool) -> dict[str, str]:
    return {
        f'slaplanner_condition{{{OF}, type="{kind}", status="{status}"}}': f"{int(holds)}x{PLAYED}"
        for status, holds in (("True", true), ("False", not true), ("Unknown", False))
    }


def served(missed_percent: int) -> dict[str, str]:
    """6,000 requests and 600,000 tokens a minute; so many percent of the requests are late."""
    good, late = 60 * (100 - missed_percent), 60 * missed_percent
    return {
        f'slaplanner_sla_requests_total{{{OF}, outcome="good"}}': f"0+{good}x{PLAYED}",
        f'slaplanner_sla_requests_total{{{OF}, outcome="missed"}}': f"0+{late}x{PLAYED}",
        f'slaplanner_sla_requests_total{{{OF}, outcome="undecided"}}': f"0x{PLAYED}",
        f'slaplanner_sla_tokens_total{{{OF}, outcome="good"}}': f"0+600000x{PLAYED}",
        f'slaplanner_sla_tokens_total{{{OF}, outcome="missed"}}': f"0x{PLAYED}",
    }


HEALTHY: Series = {
    "slaplanner_build_info": f"1x{PLAYED}",
    f"slaplanner_sla_attainment_target_ratio{{{OF}}}": f"0.99x{PLAYED}",
    f"slaplanner_plan_interval_seconds{{{OF}}}": f"60x{PLAYED}",
    f"slaplanner_last_plan_timestamp_seconds{{{OF}}}": f"0+60x{PLAYED}",
    f'slaplanner_replicas_current{{{OF}, role="prefill"}}': f"4x{PLAYED}",
    f'slaplanner_replicas_ready{{{OF}, role="prefill"}}': f"4x{PLAYED}",
    f'slaplanner_correction_ratio{{{OF}, role="prefill", kind="raw"}}': f"1.2x{PLAYED}",
    f'slaplanner_correction_ratio{{{OF}, role="prefill", kind="applied"}}': f"1.1x{PLAYED}",
    'slaplanner_status_writes_total{outcome="refused"}': f"0x{PLAYED}",
    'slaplanner_status_writes_total{outcome="written"}': f"0+1x{PLAYED}",
    **condition(ConditionType.READY, true=True),
    **condition(ConditionType.FORECAST_AVAILABLE, true=True),
    **condition(ConditionType.BUDGET_LIMITED, true=False),
    **condition(ConditionType.TARGET_CONFLICT, true=False),
    **condition(ConditionType.FALLBACK, true=False),
    **served(missed_percent=0),
}

FAULTS: dict[str, tuple[Series, set[str]]] = {
    "nothing": ({}, set()),
    "late-by-less-than-promised": (served(missed_percent=1), set()),
    "late-ten-times-the-promise": (served(missed_percent=10), {"SLAPlannerPromiseBurnsSlowly"}),
    "late-thirty-times-the-promise": (
        served(missed_percent=30),
        {"SLAPlannerPromiseBurnsSlowly", "SLAPlannerPromiseBurnsFast"},
    ),
    "a-promise-of-half": (
        served(missed_percent=60) | {f"slaplanner_sla_attainment_target_ratio{{{OF}}}": f"0.5x{PLAYED}"},
        set(),
    ),
    "a-promise-of-half-far-missed": (
        served(missed_percent=80) | {f"slaplanner_sla_attainment_target_ratio{{{OF}}}": f"0.5x{PLAYED}"},
        {"SLAPlannerPromiseBurnsSlowly", "SLAPlannerPromiseBurnsFast"},
    ),
    "not-ready": (condition(ConditionType.READY, true=False), {"SLAPlannerNotReady"}),
    "fallback": (condition(ConditionType.FALLBACK, true=True), {"SLAPlannerFallback"}),
    "budget": (condition(ConditionType.BUDGET_LIMITED, true=True), {"SLAPlannerBudgetLimited"}),
    "conflict": (condition(ConditionType.TARGET_CONFLICT, true=True), {"SLAPlannerConflict"}),
    "no-forecast": (condition(ConditionType.FORECAST_AVAILABLE, true=False), {"SLAPlannerForecastMissing"}),
    "no-plans": (
        {f"slaplanner_last_plan_timestamp_seconds{{{OF}}}": f"600x{PLAYED}"},
        {"SLAPlannerPlanStale"},
    ),
    "not-placed": (
        {f'slaplanner_replicas_ready{{{OF}, role="prefill"}}': f"3x{PLAYED}"},
        {"SLAPlannerScaleStuck"},
    ),
    "slower-than-profiled": (
        {f'slaplanner_correction_ratio{{{OF}, role="prefill", kind="raw"}}': f"2.5x{PLAYED}"},
        {"SLAPlannerCorrectionOff"},
    ),
    "faster-than-profiled": (
        {f'slaplanner_correction_ratio{{{OF}, role="prefill", kind="raw"}}': f"0.3x{PLAYED}"},
        {"SLAPlannerCorrectionOff"},
    ),
    "writes-refused": (
        {'slaplanner_status_writes_total{outcome="refused"}': f"0+1x{PLAYED}"},
        {"SLAPlannerWritesFailing"},
    ),
    "not-scraped": ({"slaplanner_build_info": "_x10"}, {"SLAPlannerDown"}),
}


@pytest.fixture(scope="module")
def promtool() -> Path:
    return or_skip(find_promtool)


def run(promtool: Path, *words: str | Path, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [promtool, *words], input=stdin, capture_output=True, text=True, check=False, timeout=300
    )


def test_each_alert_fires_for_its_fault_and_for_no_other(promtool: Path, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(RULES))
    cases: list[dict[str, Any]] = []
    for name, (changes, fires) in FAULTS.items():
        played = {**HEALTHY, **changes}
        cases.append(
            {
                "name": name,
                "interval": "1m",
                "input_series": [{"series": series, "values": values} for series, values in played.items()],
                # Which alerts fire, not with which labels: their values are in the texts.
                "promql_expr_test": [
                    {
                        "expr": f'count by (alertname) (ALERTS{{alertname="{alert}", alertstate="firing"}})',
                        "eval_time": f"{PLAYED - 10}m",
                        "exp_samples": (
                            [{"labels": f'{{alertname="{alert}"}}', "value": 1}] if alert in fires else []
                        ),
                    }
                    for alert in ALERTS
                ],
            }
        )
    document = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": cases}
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(document))
    answer = run(promtool, "test", "rules", tmp_path / "tests.yaml")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert {alert for _, fires in FAULTS.values() for alert in fires} == set(ALERTS)


def test_the_operators_exposition_and_the_rules_are_by_the_book(promtool: Path, tmp_path: Path) -> None:
    exposition = run(promtool, "check", "metrics", stdin=generate_latest(metrics.REGISTRY).decode())
    assert (exposition.returncode, exposition.stdout + exposition.stderr) == (0, "")
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(RULES))
    answer = run(promtool, "check", "rules", tmp_path / "rules.yaml")
    assert answer.returncode == 0, answer.stderr


def test_rules_name_only_metrics_that_exist() -> None:
    recorded = {rule["record"] for group in RULES["groups"] for rule in group["rules"] if "record" in rule}
    for group in RULES["groups"]:
        for rule in group["rules"]:
            used = set(re.findall(r"\bslaplanner[_:][a-z0-9_:]+", rule["expr"]))
            assert used <= set(EXAMPLES) | recorded, rule


@pytest.mark.parametrize("alert", ALERTS.values(), ids=ALERTS)
def test_each_alert_has_a_runbook(alert: Mapping[str, Any]) -> None:
    page = ROOT / alert["annotations"]["runbook"]
    assert f"`{alert['alert']}`" in page.read_text()
