"""Showing one plan in the metrics."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from slaplanner.adapters.prometheus.attainment import DAY_S, HOUR_S
from slaplanner.adapters.target import Outcome
from slaplanner.controller import metrics
from slaplanner.controller.metrics import number
from slaplanner.controller.planning import Plan
from slaplanner.controller.records import Record
from slaplanner.core.decision import Decision
from slaplanner.core.expect import Expectation
from slaplanner.core.model import Policy, Role
from slaplanner.core.readings import Known, Reading

_WINDOWS = {HOUR_S: "1h", DAY_S: "24h"}
_NUMBERS = {"True": 1, "False": 0}


def show(
    record: Record,
    policy: Policy,
    plan: Plan,
    conditions: Sequence[Mapping[str, Any]],
    *,
    now_s: float,
    took_s: float,
) -> None:
    """Everything that a plan came to."""
    labels = (record.namespace, record.name)
    metrics.PLAN_TIMESTAMP.labels(*labels).set(now_s)
    metrics.PLAN_DURATION.labels(*labels).observe(took_s)
    show_conditions(record, conditions)
    if plan.failure is not None:
        metrics.PLANS_FAILED.labels(*labels, plan.failure.reason).inc()
    if plan.target is not None:
        for role in plan.target.fleet.roles:
            metrics.REPLICAS_READY.labels(*labels, role.role).set(number(role.serving))
    if plan.traffic is not None:
        _traffic(labels, policy, plan)
    if plan.decision is not None:
        _decision(labels, policy, plan.decision)
        _expected(labels, plan.expected)
    if plan.outcome is not None:
        count_moves(record, plan.outcome)


def show_conditions(record: Record, conditions: Iterable[Mapping[str, Any]]) -> None:
    """As the status tells them, also between plans. A policy that went has no series any more."""
    if record.deleted:
        return
    for condition in conditions:
        value = _NUMBERS.get(condition["status"], -1)
        metrics.CONDITION.labels(record.namespace, record.name, condition["type"]).set(value)


def count_moves(record: Record, outcome: Outcome) -> None:
    """Writes that were accepted."""
    for write in outcome.written:
        direction = "down" if write.shrinks else "up"
        metrics.SCALES.labels(record.namespace, record.name, write.role, direction).inc()


def _traffic(labels: tuple[str, str], policy: Policy, plan: Plan) -> None:
    assert plan.traffic is not None
    seen = plan.traffic.observation
    metrics.OBSERVED_REQUESTS.labels(*labels).set(_value(seen.requests) / policy.interval_s)
    metrics.OBSERVED_ISL.labels(*labels).set(_value(seen.isl_tokens))
    metrics.OBSERVED_OSL.labels(*labels).set(_value(seen.osl_tokens))
    metrics.OBSERVED_TTFT.labels(*labels).set(_value(seen.ttft_ms) / 1000)
    metrics.OBSERVED_ITL.labels(*labels).set(_value(seen.itl_ms) / 1000)
    for window_s, shares in (plan.traffic.attainment or {}).items():
        for latency, share in (("ttft", shares.ttft), ("itl", shares.itl)):
            if share is not None:
                window = _WINDOWS[window_s]
                metrics.ATTAINMENT.labels(*labels, latency, window, "lower").set(share.lower_percent / 100)
                metrics.ATTAINMENT.labels(*labels, latency, window, "upper").set(share.upper_percent / 100)


def _decision(labels: tuple[str, str], policy: Policy, decision: Decision) -> None:
    metrics.DECISIONS.labels(*labels, decision.reason).inc()
    metrics.GPUS_CURRENT.labels(*labels).set(number(decision.gpus(desired=False)))
    metrics.GPUS_DESIRED.labels(*labels).set(number(decision.gpus(desired=True)))
    metrics.GPU_BUDGET.labels(*labels).set(math.inf if policy.gpu_budget is None else policy.gpu_budget)
    for role in decision.roles:
        metrics.REPLICAS_CURRENT.labels(*labels, role.role).set(role.current)
        metrics.REPLICAS_DESIRED.labels(*labels, role.role).set(role.desired)
        metrics.REPLICAS_NEEDED.labels(*labels, role.role).set(
            role.sized.raw if role.sized is not None else math.nan
        )
    forecast = decision.forecast
    if forecast is not None:
        metrics.FORECAST_REQUESTS.labels(*labels).set(forecast.requests[0] / policy.interval_s)
        for stage, demand in ((Role.PREFILL, forecast.prefill), (Role.DECODE, forecast.decode)):
            metrics.FORECAST_TOKENS.labels(*labels, stage).set(demand.mean_tokens[0] / policy.interval_s)
    if decision.correction is not None:
        for stage, factor in decision.correction.stages.items():
            metrics.CORRECTION.labels(*labels, stage, "applied").set(factor.applied)
            metrics.CORRECTION.labels(*labels, stage, "raw").set(number(factor.raw))


def _expected(labels: tuple[str, str], expectations: Iterable[Expectation]) -> None:
    for expected in expectations:
        latency_ms = expected.ttft_ms if expected.role is Role.PREFILL else expected.itl_ms
        metrics.EXPECTED_LATENCY.labels(*labels, expected.role).set(
            math.nan if latency_ms is None else latency_ms / 1000
        )
        metrics.EXPECTED_UTILISATION.labels(*labels, expected.role).set(number(expected.utilisation))


def _value(reading: Reading) -> float:
    return reading.value if isinstance(reading, Known) else math.nan
