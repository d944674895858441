"""Dynamo's planner configuration, in every spelling of its generations, as fields of an SLAPolicy.

Flags of the first generations (`--adjustment-interval 60`), the JSON or YAML of `--config` and the block
`features.planner` of a deployment request share their words, apart from dashes, case and suffixes. Sources:
docs.nvidia.com/dynamo, Planner Configuration; the planner's argument parser of releases before 1.0.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from slaplanner.adapters.deployment.untrusted import mapping
from slaplanner.adapters.migration.draft import Draft, MigrationError

MODES: Final = {
    "disagg": ("prefill", "decode"),
    "prefill": ("prefill",),
    "decode": ("decode",),
    "agg": ("agg",),
}
_PREDICTORS: Final = {"constant": "Constant", "arima": "ARIMA", "kalman": "Kalman", "prophet": "Prophet"}
_DEFAULT_BUDGET: Final = 8
"""GPUs that Dynamo's planner allows where its configuration says nothing."""
_DEFAULT_INTERVAL_S: Final = 180
_LEAST_INTERVAL_S: Final = 5

_KNOWN_BY: Final = (
    *("ttft", "itl", "throughput_adjustment_interval", "adjustment_interval", "load_adjustment_interval"),
    *("max_gpu_budget", "min_endpoint", "optimization_target", "load_predictor", "enable_throughput_scaling"),
    *("enable_load_scaling", "profile_results_dir", "prefill_engine_num_gpu", "decode_engine_num_gpu"),
)
"""Any two of these are no accident."""

Values = Mapping[str, Any]


def normalized(config: Values) -> dict[str, Any]:
    """The configuration under one spelling: snake case, without dashes, units and the prefix of old requests.

    >>> normalized({"--max-gpu-budget": 4, "plannerMinEndpoint": 2, "ttft_ms": 300, "throughput_adjustment_interval": 9})
    {'max_gpu_budget': 4, 'min_endpoint': 2, 'ttft': 300, 'throughput_adjustment_interval': 9}
    """
    result = {}
    for key, value in config.items():
        name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", str(key).lstrip("-")).lower().replace("-", "_")
        name = name.removeprefix("planner_")
        for unit in ("_ms", "_seconds"):
            name = name.removesuffix(unit)
        result[name] = value
    return result


def is_planner_config(config: object) -> bool:
    """Whether it is a configuration of Dynamo's planner, by its words."""
    names = normalized(mapping(config)).keys()
    return len(names & set(_KNOWN_BY)) >= 2


def from_words(words: tuple[str, ...]) -> dict[str, Any]:
    """The flags of a command line; one without a value is true.

    >>> from_words(("python", "-m", "dynamo.planner", "--ttft=200", "--itl", "20", "--no-correction"))
    {'ttft': '200', 'itl': '20', 'no_correction': True}
    """
    flags: dict[str, Any] = {}
    for at, word in enumerate(words):
        if word.startswith("--"):
            name, joined, value = word.partition("=")
            following = words[at + 1] if at + 1 < len(words) else "--"
            flags[name] = value if joined else True if following.startswith("--") else following
    return normalized(flags)


def apply_config(config: Values, draft: Draft) -> None:
    """Put what the configuration says into *draft*, and a note for each field that has no equal.

    Raises:
        MigrationError: a value cannot be read.
    """
    given = {name: value for name, value in normalized(config).items() if value is not None}
    mode = str(given.get("mode", draft.spec.get("mode", "disagg")))
    if mode not in MODES:
        raise MigrationError(
            f"mode: found {mode!r}, wanted one of {', '.join(MODES)}: slaplanner sizes no other role"
        )
    draft.put("mode", mode)
    for name, value in given.items():
        if name in _FIELDS:
            try:
                _FIELDS[name](value, given, draft)
            except (TypeError, ValueError) as error:
                raise MigrationError(f"{name}: found {value!r}, which cannot be read ({error})") from error
        elif name in _NO_EQUAL:
            draft.note(f"{name}: {_NO_EQUAL[name]}")
        else:
            draft.note(f"{name}: not known here, and not carried over")
    _defaults(given, draft)


def _defaults(given: Values, draft: Draft) -> None:
    if "max_gpu_budget" not in given:
        draft.put("gpuBudget.max", _DEFAULT_BUDGET)
        draft.note(
            f"max_gpu_budget is not said: gpuBudget.max is Dynamo's default of {_DEFAULT_BUDGET} GPUs; raise it"
        )
    target = given.get("optimization_target")
    if target != "sla" and not ("ttft" in given and "itl" in given):
        draft.note(
            f"optimization_target: {target or 'not said, which is throughput or latency in newer releases'}: "
            "slaplanner always keeps sla.ttft and sla.itl, so say what you promise (defaults: 500 and 50 ms)"
        )


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError("wanted a number")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError("wanted a finite number")
    return number


def _count(value: object) -> int:
    number = _number(value)
    if not number.is_integer():
        raise ValueError("wanted a whole number")
    return int(number)


def _true(value: object) -> bool:
    return str(value).lower() in ("true", "1", "yes")


Put = Callable[[Any, Values, Draft], None]


def _to(path: str, read: Callable[[object], object]) -> Put:
    return lambda value, _given, draft: draft.put(path, read(value))


def _roles(draft: Draft) -> tuple[str, ...]:
    return MODES[draft.spec["mode"]]


def _interval(value: object, _given: Values, draft: Draft) -> None:
    interval_s = round(_number(value))
    draft.put("planning.intervalSeconds", max(_LEAST_INTERVAL_S, interval_s))


def _budget(value: object, _given: Values, draft: Draft) -> None:
    budget = _count(value)
    if budget > 0:
        draft.put("gpuBudget.max", budget)


def _floor(only: str | None) -> Put:
    def put(value: object, given: Values, draft: Draft) -> None:
        floor = _count(value)
        if floor < 1:
            draft.note("min_endpoint 0: slaplanner never goes below 1; to park a model, pause the policy")
        for role in _roles(draft):
            if only in (None, role) and (only or f"{role}_min_endpoint" not in given):
                draft.put_role(role, "minReplicas", max(1, floor))

    return put


def _gpus(role: str) -> Put:
    def put(value: object, _given: Values, draft: Draft) -> None:
        for each in _roles(draft):
            if role == each or (role == "decode" and each == "agg"):
                draft.put_role(each, "gpusPerReplica", _count(value))

    return put


def _predictor(value: object, _given: Values, draft: Draft) -> None:
    kind = _PREDICTORS.get(str(value).lower())
    if kind is None:
        draft.note(f"load_predictor {value}: no such predictor here; Auto, the default, chooses by the load")
    else:
        draft.put("planning.predictor.type", kind)


def _off(path: str, when_off: str) -> Put:
    return lambda value, _given, draft: draft.put(path, when_off) if _true(value) else None


def _scaling_mode(value: object, _given: Values, draft: Draft) -> None:
    if str(value).lower() in ("advisory", "noop"):
        draft.put("actuation", "Observe")


def _source(value: object, _given: Values, draft: Draft) -> None:
    if str(value).lower() == "router":
        draft.put("metrics.source", "Router")


def _most_change(value: object, given: Values, draft: Draft) -> None:
    interval_s = max(1, round(_number(given.get("throughput_adjustment_interval", _DEFAULT_INTERVAL_S))))
    limit = {"type": "Replicas", "value": _count(value), "periodSeconds": interval_s}
    for direction in ("scaleUp", "scaleDown"):
        draft.put(f"behavior.{direction}.policies", [dict(limit)])


def _profile(value: object, _given: Values, draft: Draft) -> None:
    where = str(value)
    if where.startswith("/"):
        draft.put("profile.path", where)
        draft.note(
            f"profile_results_dir: {where} must be mounted into slaplanner's pod, below an allowed directory"
        )
    else:
        draft.note(
            f"profile_results_dir: {where} is inside Dynamo's image; copy its prefill.npz and decode.npz out "
            '(with {"tp": N} in meta.json), or measure a profile'
        )


def _environment(value: object, given: Values, draft: Draft) -> None:
    if value == "virtual":
        draft.put("connector.type", "Virtual")
        draft.put(
            "connector.virtual",
            {
                "backend": "Etcd",
                "dynamoNamespace": str(given.get("namespace", "dynamo")),
                "model": str(given.get("model_name", "unknown")),
            },
        )
    elif value == "global-planner":
        draft.note(
            "environment global-planner: slaplanner writes to its own deployment; a budget over several is per policy"
        )


def _model(value: object, given: Values, draft: Draft) -> None:
    if given.get("environment") != "virtual":
        draft.put("metrics.model", str(value))


def _ignored(_value: object, _given: Values, _draft: Draft) -> None:
    """Means the same to slaplanner without a field."""


_FIELDS: Final[dict[str, Put]] = {
    "ttft": _to("sla.ttft", _number),
    "itl": _to("sla.itl", _number),
    "isl": _to("sla.isl", _number),
    "osl": _to("sla.osl", _number),
    "adjustment_interval": _interval,
    "throughput_adjustment_interval": _interval,
    "max_gpu_budget": _budget,
    "min_endpoint": _floor(None),
    "prefill_min_endpoint": _floor("prefill"),
    "decode_min_endpoint": _floor("decode"),
    "prefill_engine_num_gpu": _gpus("prefill"),
    "decode_engine_num_gpu": _gpus("decode"),
    "load_predictor": _predictor,
    "load_predictor_log1p": _to("planning.predictor.log1p", _true),
    "load_prediction_window_size": _to("planning.predictor.windowSize", _count),
    "prophet_window_size": _to("planning.predictor.windowSize", _count),
    "kalman_q_level": _to("planning.predictor.kalman.qLevel", _number),
    "kalman_q_trend": _to("planning.predictor.kalman.qTrend", _number),
    "kalman_r": _to("planning.predictor.kalman.r", _number),
    "kalman_min_points": _to("planning.predictor.minObservations", _count),
    "no_correction": _off("planning.correction", "Disabled"),
    "no_operation": _off("actuation", "Observe"),
    "advisory": _off("actuation", "Observe"),
    "scaling_mode": _scaling_mode,
    "throughput_metrics_source": _source,
    "max_throughput_scaling_replicas": _most_change,
    "profile_results_dir": _profile,
    "environment": _environment,
    "model_name": _model,
    "optimization_target": _ignored,
    "mode": _ignored,
    "namespace": _ignored,
    "backend": _ignored,
}

_LOAD_LOOP: Final = "slaplanner has one loop, of planning.intervalSeconds, that also counts waiting prompts"
_OPERATOR: Final = "a setting of the operator (docs/reference/settings.md), not of a policy"
_AS_METRICS: Final = "slaplanner's metrics, events and status say this (docs/reference/metrics.md)"
_NO_POWER: Final = "power is not budgeted here; gpuBudget.max limits GPUs"
_SWEEP: Final = "slaplanner reads measured profiles; where the search left none, measure one"
_PLUGINS: Final = "plugins are not taken over; forecasters and planners are offered in Python"

_NO_EQUAL: Final[dict[str, str]] = {
    "enable_throughput_scaling": "planning from the forecast is always on",
    **dict.fromkeys(
        (
            *(
                "enable_load_scaling",
                "load_adjustment_interval",
                "load_scaling_down_sensitivity",
                "load_min_observations",
            ),
            *("load_learning_window", "prefill_scale_up_queue_tokens", "prefill_scale_down_queue_tokens"),
            *("decode_scale_up_kv_rate", "decode_scale_down_kv_rate", "loadbased_router_metrics_url"),
        ),
        _LOAD_LOOP,
    ),
    **dict.fromkeys(("enable_power_awareness", "total_gpu_power_limit"), _NO_POWER),
    **dict.fromkeys(
        (
            *("pre_deployment_sweeping_mode", "aic_interpolation", "aic_perf_model", "max_num_fpm_samples"),
            *("fpm_sample_bucket_size", "profiling_results_dir"),
        ),
        _SWEEP,
    ),
    **dict.fromkeys(
        (
            *(
                "metric_pulling_prometheus_endpoint",
                "prometheus_endpoint",
                "metric_pulling_prometheus_ca_cert",
            ),
            *("metric_pulling_prometheus_token", "metric_pulling_prometheus_token_file", "prometheus_port"),
            *("metric_pulling_prometheus_ssl_verify", "metric_pulling_prometheus_extra_query_params"),
        ),
        _OPERATOR,
    ),
    **dict.fromkeys(
        (
            *(
                "metric_reporting_prometheus_port",
                "report_interval_hours",
                "report_output_dir",
                "report_filename",
            ),
            *("report_write_gzip_log", "live_dashboard_port", "log_dir", "log_level"),
        ),
        _AS_METRICS,
    ),
    **dict.fromkeys(("scheduling", "plugin_registration"), _PLUGINS),
    "min_gpu_budget": "there is no floor of GPUs; roles[].minReplicas are floors of replicas",
    "global_planner_namespace": "slaplanner writes to its own deployment; a budget over several is per policy",
    "control_api_port": "edit the policy instead: kubectl patch slapolicy",
    "speculative_nextn": "the profile and the observed latencies hold what speculation gives",
    "load_predictor_warmup_trace": "put the trace into a ConfigMap and name it in planning.predictor.warmupTrace",
    "encode_engine_num_gpu": "encode workers are not sized",
}


def parsed_config(text: str) -> Mapping[str, Any]:
    """The object in a JSON text; nothing where it is none."""
    try:
        return mapping(json.loads(text))
    except (ValueError, RecursionError):
        return {}
