"""The operator's own metrics: every instrument, with its unit in its name and its help.

`docs/reference/metrics.md` is generated from it (`reference`). Labels are bounded: a policy's name,
a role, a reason of `core.reasons`, an outside system; never a message.
"""

from __future__ import annotations

import math
import platform
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge, GCCollector, Histogram, ProcessCollector

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
GCCollector(registry=REGISTRY)

_POLICY = ("namespace", "policy")
_ROLE = (*_POLICY, "role")

BUILD_INFO = Gauge(
    "slaplanner_build_info",
    "Always 1; its labels say which version runs on which Python.",
    ("version", "python_version"),
    registry=REGISTRY,
)
BUILD_INFO.labels(version("slaplanner"), platform.python_version()).set(1)
SLA_TARGET = Gauge(
    "slaplanner_sla_target_seconds",
    "Promised latency: latency=ttft is the time to first token, latency=itl the inter-token latency.",
    (*_POLICY, "latency"),
    registry=REGISTRY,
)
SLA_ATTAINMENT_TARGET = Gauge(
    "slaplanner_sla_attainment_target_ratio",
    "Promised share of the requests inside the targets.",
    _POLICY,
    registry=REGISTRY,
)
SLA_REQUESTS = Counter(
    "slaplanner_sla_requests_total",
    "Served requests by how their TTFT compares with its target: good, missed, or undecided where the target "
    "lies inside a bucket of the frontend's histogram. Counted from each plan's observation window.",
    (*_POLICY, "outcome"),
    registry=REGISTRY,
)
SLA_TOKENS = Counter(
    "slaplanner_sla_tokens_total",
    "Output tokens by how their ITL compares with its target: good, missed or undecided, as for requests.",
    (*_POLICY, "outcome"),
    registry=REGISTRY,
)
PLAN_INTERVAL = Gauge(
    "slaplanner_plan_interval_seconds", "Time between two plans of the policy.", _POLICY, registry=REGISTRY
)
LEADER = Gauge(
    "slaplanner_leader",
    "1 while this operator plans and writes, 0 while it stands by for another; 1 without leader election.",
    registry=REGISTRY,
)
LEADER.set(1)
PLAN_TIMESTAMP = Gauge(
    "slaplanner_last_plan_timestamp_seconds",
    "Unix time of the policy's last finished plan; its age is time() minus this.",
    _POLICY,
    registry=REGISTRY,
)
PLAN_DURATION = Histogram(
    "slaplanner_plan_duration_seconds",
    "How long a plan took, from the first query to the last write.",
    _POLICY,
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
    registry=REGISTRY,
)
PLANS_FAILED = Counter(
    "slaplanner_plans_failed_total",
    "Plans that did not go through all of their steps, by reason.",
    (*_POLICY, "reason"),
    registry=REGISTRY,
)
DECISIONS = Counter(
    "slaplanner_decisions_total",
    "Decisions taken, by reason; the same words as in conditions and events.",
    (*_POLICY, "reason"),
    registry=REGISTRY,
)
REPLICAS_CURRENT = Gauge(
    "slaplanner_replicas_current", "Replicas that the target asks for now.", _ROLE, registry=REGISTRY
)
REPLICAS_READY = Gauge(
    "slaplanner_replicas_ready", "Replicas that serve; NaN where not reported.", _ROLE, registry=REGISTRY
)
REPLICAS_DESIRED = Gauge(
    "slaplanner_replicas_desired", "Replicas that the last decision asks for.", _ROLE, registry=REGISTRY
)
REPLICAS_NEEDED = Gauge(
    "slaplanner_replicas_needed",
    "Replicas that the load needs before rounding, bounds, damping and budget.",
    _ROLE,
    registry=REGISTRY,
)
ROLE_LIMITED = Gauge(
    "slaplanner_role_limited",
    "1 for each limit that changed the last decision about the role; the words of status.roles[].limitedBy.",
    (*_ROLE, "limit"),
    registry=REGISTRY,
)
STARTUP = Gauge(
    "slaplanner_startup_seconds",
    "Time from the creation of a replica until it serves, as the last plan assumed it.",
    _POLICY,
    registry=REGISTRY,
)
GPUS_CURRENT = Gauge(
    "slaplanner_gpus_current",
    "GPUs of the replicas that the target asks for now.",
    _POLICY,
    registry=REGISTRY,
)
GPUS_DESIRED = Gauge(
    "slaplanner_gpus_desired", "GPUs of the size that the last decision asks for.", _POLICY, registry=REGISTRY
)
GPU_BUDGET = Gauge(
    "slaplanner_gpu_budget",
    "GPUs that the policy may use; +Inf without a budget.",
    _POLICY,
    registry=REGISTRY,
)
OBSERVED_REQUESTS = Gauge(
    "slaplanner_observed_requests_per_second",
    "Arriving requests in the observation window; NaN while unknown.",
    _POLICY,
    registry=REGISTRY,
)
OBSERVED_ISL = Gauge(
    "slaplanner_observed_isl_tokens", "Mean input length; NaN while unknown.", _POLICY, registry=REGISTRY
)
OBSERVED_OSL = Gauge(
    "slaplanner_observed_osl_tokens", "Mean output length; NaN while unknown.", _POLICY, registry=REGISTRY
)
OBSERVED_TTFT = Gauge(
    "slaplanner_observed_ttft_seconds",
    "Mean time to first token; NaN while unknown.",
    _POLICY,
    registry=REGISTRY,
)
OBSERVED_ITL = Gauge(
    "slaplanner_observed_itl_seconds",
    "Mean inter-token latency; NaN while unknown.",
    _POLICY,
    registry=REGISTRY,
)
QUEUED_REQUESTS = Gauge(
    "slaplanner_queued_requests",
    "Requests that wait at the frontend; NaN while unknown.",
    _POLICY,
    registry=REGISTRY,
)
INFLIGHT_REQUESTS = Gauge(
    "slaplanner_inflight_requests",
    "Requests that the frontend has accepted and not finished; NaN while unknown.",
    _POLICY,
    registry=REGISTRY,
)
FORECAST_REQUESTS = Gauge(
    "slaplanner_forecast_requests_per_second",
    "Arriving requests expected in the coming interval.",
    _POLICY,
    registry=REGISTRY,
)
FORECAST_TOKENS = Gauge(
    "slaplanner_forecast_tokens_per_second",
    "Tokens expected in the coming interval: input for prefill, output for decode.",
    _ROLE,
    registry=REGISTRY,
)
FORECAST_UPPER_TOKENS = Gauge(
    "slaplanner_forecast_upper_tokens_per_second",
    "Tokens per second that the load stays below with the promised probability when new replicas serve.",
    _ROLE,
    registry=REGISTRY,
)
FORECAST_HORIZON = Gauge(
    "slaplanner_forecast_horizon_seconds",
    "How far the forecast looks: as far as a new replica needs to start and serve.",
    _POLICY,
    registry=REGISTRY,
)
EXPECTED_LATENCY = Gauge(
    "slaplanner_expected_latency_seconds",
    "Mean TTFT (prefill) or ITL (decode) expected at the decided size; NaN when it cannot carry the load.",
    _ROLE,
    registry=REGISTRY,
)
EXPECTED_UTILISATION = Gauge(
    "slaplanner_expected_utilisation_ratio",
    "Load over what the decided size can carry inside the SLA.",
    _ROLE,
    registry=REGISTRY,
)
CORRECTION = Gauge(
    "slaplanner_correction_ratio",
    "Observed over profiled latency: raw as measured, applied as smoothed and bounded.",
    (*_ROLE, "kind"),
    registry=REGISTRY,
)
ATTAINMENT = Gauge(
    "slaplanner_attainment_ratio",
    "Share inside the target (TTFT of requests, ITL of tokens) over a window, from bucket edges: "
    "at least bound=lower, at most bound=upper.",
    (*_POLICY, "latency", "window", "bound"),
    registry=REGISTRY,
)
CONDITION = Gauge(
    "slaplanner_condition",
    "Conditions of the policy: 1 for the status that the condition has, 0 for the other two.",
    (*_POLICY, "type", "status"),
    registry=REGISTRY,
)
CONDITION_REASON = Gauge(
    "slaplanner_condition_reason",
    "1 for the reason that each condition of the policy gives.",
    (*_POLICY, "type", "reason"),
    registry=REGISTRY,
)
SCALES = Counter(
    "slaplanner_scales_total",
    "Writes of replicas that the API server accepted, by role and direction.",
    (*_ROLE, "direction"),
    registry=REGISTRY,
)
OUTSIDE_REQUESTS = Histogram(
    "slaplanner_outside_request_duration_seconds",
    "Round trips to outside systems.",
    ("system",),
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 4),
    registry=REGISTRY,
)
OUTSIDE_ERRORS = Counter(
    "slaplanner_outside_errors_total",
    "Requests to outside systems that failed, by reason.",
    ("system", "reason"),
    registry=REGISTRY,
)
STATUS_WRITES = Counter(
    "slaplanner_status_writes_total",
    "Writes of policies' status, by outcome.",
    ("outcome",),
    registry=REGISTRY,
)
EVENTS = Counter(
    "slaplanner_events_total",
    "Kubernetes events, by outcome: posted, refused by the API server, or dropped from a full queue.",
    ("outcome",),
    registry=REGISTRY,
)
WATCHES = Gauge(
    "slaplanner_watches",
    "Watches that are held: one per kind and namespace in which a policy names an object.",
    registry=REGISTRY,
)
WATCH_FAILURES = Counter(
    "slaplanner_watch_failures_total",
    "Watches that failed and start over; while one is down, changes wait for the next planned time.",
    ("kind",),
    registry=REGISTRY,
)
LOOP_LAG = Gauge(
    "slaplanner_event_loop_lag_seconds",
    "How late the event loop woke up, at its worst in the last ten seconds.",
    registry=REGISTRY,
)
POLICIES = Gauge("slaplanner_policies", "Policies that this operator plans for.", registry=REGISTRY)


def forget(namespace: str, policy: str) -> None:
    """Drop every series of a policy that went."""
    for instrument in instruments():
        if instrument._labelnames[:2] == _POLICY:  # noqa: SLF001 - the library has no public way to ask
            instrument.remove_by_labels({"namespace": namespace, "policy": policy})


def instruments() -> list[Gauge | Counter | Histogram]:
    """Every instrument, in the order in which it is defined here."""
    return [value for value in globals().values() if isinstance(value, Gauge | Counter | Histogram)]


def number(value: float | None) -> float:
    """A gauge's value: NaN says unknown."""
    return math.nan if value is None else value
