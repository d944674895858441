"""One planner in the configurations of every generation of Dynamo, written for the tests.

300 ms TTFT, 25 ms ITL, at most 48 GPUs, at least 2 replicas of each role, a plan each minute, a Kalman filter.
Sources: docs.nvidia.com/dynamo, Planner Configuration and DynamoGraphDeploymentRequest; the argument parser of
Dynamo's planner before 1.0.
"""

from __future__ import annotations

import json
from typing import Any

FLAGS = [
    *(
        "--environment=kubernetes",
        "--backend=vllm",
        "--adjustment-interval=60",
        "--ttft",
        "300",
        "--itl",
        "25",
    ),
    *("--max-gpu-budget", "48", "--min-endpoint", "2", "--load-predictor=kalman"),
    "--profile-results-dir=use-pre-swept-results:h200:vllm:m:1:1:1:1:1:1",
]
"""Before 1.0: everything on the command line."""

CONFIG: dict[str, Any] = {
    "environment": "kubernetes",
    "backend": "vllm",
    "mode": "disagg",
    "optimization_target": "sla",
    "ttft": 300,
    "itl": 25,
    "max_gpu_budget": 48,
    "min_endpoint": 2,
    "throughput_adjustment_interval": 60,
    "load_predictor": "kalman",
    "kalman_q_level": 1.0,
    "kalman_q_trend": 0.1,
    "kalman_r": 10.0,
}
"""1.0 and later: a file, or `--config` with JSON."""

NEWER = {
    **{
        key: value
        for key, value in CONFIG.items()
        if key not in ("ttft", "itl", "throughput_adjustment_interval")
    },
    "ttft_ms": 300.0,
    "itl_ms": 25.0,
    "throughput_adjustment_interval_seconds": 60,
    "enable_throughput_scaling": True,
}
"""1.5 and later: units in the names."""

CONFIG_MAP: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "planner-config-5f3a9c"},
    "data": {"planner_config.yaml": json.dumps(CONFIG)},
}
PROFILE_MAP: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "planner-profile-data"},
    "data": {"prefill_raw_data.json": "{}", "decode_raw_data.json": "{}"},
}


def alpha_graph(args: list[str]) -> dict[str, Any]:
    """A v1alpha1 deployment with a planner that has these arguments."""
    return {
        "apiVersion": "nvidia.com/v1alpha1",
        "kind": "DynamoGraphDeployment",
        "metadata": {"name": "llama", "namespace": "serving"},
        "spec": {
            "services": {
                "Frontend": {"componentType": "frontend"},
                "Planner": {
                    "componentType": "planner",
                    "extraPodSpec": {
                        "mainContainer": {"command": ["python3", "-m", "planner_sla"], "args": args}
                    },
                },
                "Prefill": {"componentType": "worker", "subComponentType": "prefill"},
                "Decode": {"componentType": "worker", "subComponentType": "decode"},
            }
        },
    }


def beta_graph(planner: list[str] | None) -> dict[str, Any]:
    """A v1beta1 deployment, with a planner that has these arguments, or none."""
    main = {"name": "main", "command": ["python3", "-m", "dynamo.planner"], "args": planner}
    with_planner = [{"name": "planner", "type": "planner", "podTemplate": {"spec": {"containers": [main]}}}]
    return {
        "apiVersion": "nvidia.com/v1beta1",
        "kind": "DynamoGraphDeployment",
        "metadata": {"name": "llama", "namespace": "serving"},
        "spec": {
            "components": [
                {"name": "frontend", "type": "frontend"},
                *(with_planner if planner else []),
                {"name": "prefill", "type": "prefill", "scalingAdapter": {}},
                {"name": "decode", "type": "decode", "scalingAdapter": {}},
            ]
        },
    }


def request_v1alpha1() -> dict[str, Any]:
    """A deployment request whose planner is a part of the profiling's configuration."""
    planner = {
        "planner_min_endpoint": 2,
        "planner_adjustment_interval": 60,
        "planner_load_predictor": "kalman",
        "max_gpu_budget": 48,
    }
    return {
        "apiVersion": "nvidia.com/v1alpha1",
        "kind": "DynamoGraphDeploymentRequest",
        "metadata": {"name": "llama", "namespace": "serving"},
        "spec": {
            "model": "Org/Model-7B",
            "backend": "vllm",
            "autoApply": True,
            "profilingConfig": {
                "config": {"sla": {"isl": 3000, "osl": 150, "ttft": 300.0, "itl": 25.0}, "planner": planner}
            },
        },
    }


def request_v1beta1() -> dict[str, Any]:
    """A deployment request with the planner as a feature."""
    planner = {key: value for key, value in NEWER.items() if key not in ("ttft_ms", "itl_ms")}
    return {
        "apiVersion": "nvidia.com/v1beta1",
        "kind": "DynamoGraphDeploymentRequest",
        "metadata": {"name": "llama", "namespace": "serving"},
        "spec": {
            "model": "Org/Model-7B",
            "backend": "vllm",
            "searchStrategy": "rapid",
            "sla": {"ttft": 300.0, "itl": 25.0},
            "workload": {"isl": 3000, "osl": 150},
            "features": {"planner": planner},
        },
    }


def hpa(role: str, floor: int, ceiling: int, down: dict[str, Any]) -> dict[str, Any]:
    """An HPA on the scaling adapter of a role."""
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": f"llama-{role}", "namespace": "serving"},
        "spec": {
            "scaleTargetRef": {
                "apiVersion": "nvidia.com/v1alpha1",
                "kind": "DynamoGraphDeploymentScalingAdapter",
                "name": f"llama-{role}",
            },
            "minReplicas": floor,
            "maxReplicas": ceiling,
            "metrics": [{"type": "Pods", "pods": {"metric": {"name": "queue"}}}],
            "behavior": {"scaleDown": down},
        },
    }


def scaled_object(role: str, floor: int, ceiling: int) -> dict[str, Any]:
    """KEDA's object on the scaling adapter of a role."""
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": f"llama-{role}", "namespace": "serving"},
        "spec": {
            "scaleTargetRef": {
                "apiVersion": "nvidia.com/v1alpha1",
                "kind": "DynamoGraphDeploymentScalingAdapter",
                "name": f"llama-{role}",
            },
            "minReplicaCount": floor,
            "maxReplicaCount": ceiling,
            "triggers": [{"type": "prometheus", "metadata": {"query": "up"}}],
        },
    }


GENERATIONS: dict[str, list[dict[str, Any]]] = {
    "flags-in-v1alpha1": [alpha_graph(FLAGS)],
    "flags-in-v1beta1": [beta_graph(FLAGS)],
    "config-as-json-argument": [beta_graph(["--config", json.dumps(CONFIG)])],
    "config-as-yaml-file": [CONFIG],
    "config-with-units": [NEWER],
    "config-map-and-profile": [CONFIG_MAP, PROFILE_MAP],
    "config-map-beside-its-graph": [
        CONFIG_MAP,
        beta_graph(["--config", "/workspace/planner_config/planner_config.yaml"]),
    ],
    "request-v1alpha1": [request_v1alpha1()],
    "request-v1beta1": [request_v1beta1()],
}
"""The same planner, told in each way."""
