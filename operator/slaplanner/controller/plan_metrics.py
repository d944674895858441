"""Sets the operator's metrics from one plan."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from prometheus_client import Gauge

from slaplanner.adapters.deployment import ScalingOutcome
from slaplanner.adapters.prometheus.attainment import DAY_S, HOUR_S
from slaplanner.controller import metrics
from slaplanner.controller.metrics import number
from slaplanner.controller.planning import PlanResult
from slaplanner.controller.records import Record
from slaplanner.core.attainment import share_within
from slaplanner.core.decision import Decision
from slaplanner.core.expected_latency import Expectation
from slaplanner.core.model import Policy, Role, Sla
from slaplanner.core.plan import startup_seconds
from slaplanner.core.readings import Known, Observation, Reading
from slaplanner.core.reasons import ConditionStatus

_WINDOWS = {HOUR_S: "1h", DAY_S: "24h"}


def show(
    record: Record,
    policy: Policy,
    plan: PlanResult,
    conditions: Sequence[Mapping[str, Any]],
    *,
    now_s: float,
    took_s: float,
) -> None:
    """Everything that a plan came to."""
    labels = (record.namespace, record.name)
    metrics.PLAN_TIMESTAMP.labels(*labels).set(now_s)
    metrics.PLAN_DURATION.labels(*labels).observe(took_s)
    metrics.PLAN_INTERVAL.labels(*labels).set(policy.interval_s)
    _promise(labels, policy.sla)
    show_conditions(record, conditions)
    if plan.failure is not None:
        metrics.PLANS_FAILED.labels(*labels, plan.failure.reason).inc()
    if plan.target is not None:
        for role in plan.target.fleet.roles:
            metrics.REPLICAS_READY.labels(*labels, role.role).set(number(role.serving))
        metrics.STARTUP.labels(*labels).set(startup_seconds(policy, plan.target.fleet))
    if plan.traffic is not None:
        _traffic(labels, policy, plan)
        count_requests(record, policy, plan.traffic.observation, now_s=now_s)
    if plan.decision is not None:
        _decision(labels, policy, plan.decision)
        _expected(labels, plan.expected)
    if plan.outcome is not None:
        count_moves(record, plan.outcome)


def show_conditions(record: Record, conditions: Iterable[Mapping[str, Any]]) -> None:
    """As the status tells them, also between plans. A policy that went has no series any more."""
    if record.manifest.deleted:
        return
    for condition in conditions:
        labels = (record.namespace, record.name, condition["type"])
        for status in ConditionStatus:
            metrics.CONDITION.labels(*labels, status).set(condition["status"] == status)
        _drop(metrics.CONDITION_REASON, labels)
        metrics.CONDITION_REASON.labels(*labels, condition["reason"]).set(1)


def count_moves(record: Record, outcome: ScalingOutcome) -> None:
    """Writes that were accepted."""
    for write in outcome.written:
        direction = "down" if write.shrinks else "up"
        metrics.SCALES.labels(record.namespace, record.name, write.role, direction).inc()


def count_requests(record: Record, policy: Policy, seen: Observation, *, now_s: float) -> None:
    """Add what was served since the last plan to the counters of the promise.

    A window that reaches back before the last plan counts by its share of new time. A window that is shorter
    than the time since then counts once: what was served unseen is not made up.
    """
    counted_at_s = record.report.counted_at_s
    elapsed_s = policy.interval_s if counted_at_s is None else max(0.0, now_s - counted_at_s)
    share = min(1.0, elapsed_s / seen.window_s)
    for counter, histogram, target_ms in (
        (metrics.SLA_REQUESTS, seen.ttft_histogram, policy.sla.ttft_ms),
        (metrics.SLA_TOKENS, seen.itl_histogram, policy.sla.itl_ms),
    ):
        within = None if histogram is None else share_within(histogram, target_ms)
        if histogram is None or within is None:
            continue
        total = histogram.total * share
        good, reached = total * within.lower_percent / 100, total * within.upper_percent / 100
        for outcome, count in (("good", good), ("undecided", reached - good), ("missed", total - reached)):
            counter.labels(record.namespace, record.name, outcome).inc(max(0.0, count))
    record.report = replace(record.report, counted_at_s=now_s)


def _promise(labels: tuple[str, str], sla: Sla) -> None:
    metrics.SLA_TARGET.labels(*labels, "ttft").set(sla.ttft_ms / 1000)
    metrics.SLA_TARGET.labels(*labels, "itl").set(sla.itl_ms / 1000)
    metrics.SLA_ATTAINMENT_TARGET.labels(*labels).set(sla.attainment_percent / 100)


def _drop(gauge: Gauge, first_labels: tuple[str, ...]) -> None:
    """Remove the series that begin with these labels, because the last one of them ended."""
    names = gauge._labelnames[: len(first_labels)]  # noqa: SLF001 - the library has no public way to ask
    gauge.remove_by_labels(dict(zip(names, first_labels, strict=True)))


def _traffic(labels: tuple[str, str], policy: Policy, plan: PlanResult) -> None:
    assert plan.traffic is not None
    seen = plan.traffic.observation
    metrics.OBSERVED_REQUESTS.labels(*labels).set(_value(seen.requests) / policy.interval_s)
    metrics.OBSERVED_ISL.labels(*labels).set(_value(seen.isl_tokens))
    metrics.OBSERVED_OSL.labels(*labels).set(_value(seen.osl_tokens))
    metrics.OBSERVED_TTFT.labels(*labels).set(_value(seen.ttft_ms) / 1000)
    metrics.OBSERVED_ITL.labels(*labels).set(_value(seen.itl_ms) / 1000)
    metrics.QUEUED_REQUESTS.labels(*labels).set(_value(seen.queued))
    metrics.INFLIGHT_REQUESTS.labels(*labels).set(_value(seen.inflight))
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
        _drop(metrics.ROLE_LIMITED, (*labels, role.role))
        for limit in role.limits:
            metrics.ROLE_LIMITED.labels(*labels, role.role, limit).set(1)
    forecast = decision.forecast
    if forecast is not None:
        metrics.FORECAST_REQUESTS.labels(*labels).set(forecast.requests[0] / policy.interval_s)
        for stage, demand in ((Role.PREFILL, forecast.prefill), (Role.DECODE, forecast.decode)):
            metrics.FORECAST_TOKENS.labels(*labels, stage).set(demand.mean_tokens[0] / policy.interval_s)
            upper = demand.upper(policy.sla.attainment_percent / 100) / policy.interval_s
            metrics.FORECAST_UPPER_TOKENS.labels(*labels, stage).set(upper)
        metrics.FORECAST_HORIZON.labels(*labels).set(forecast.horizon_steps * policy.interval_s)
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
