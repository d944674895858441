"""The CustomResourceDefinition, assembled from the models."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from slaplanner.api.policy import GROUP, KIND, PLURAL, VERSION
from slaplanner.api.schema import spec_schema, status_schema

SHORT_NAME = "slap"


def _column(
    name: str, path: str, description: str, *, kind: str = "string", priority: int = 0
) -> dict[str, Any]:
    column = {"name": name, "type": kind, "jsonPath": path, "description": description}
    return column | ({"priority": priority} if priority else {})


_READY = '.status.conditions[?(@.type=="Ready")]'

COLUMNS = (
    _column("Ready", f"{_READY}.status", "Whether the last plan ran on known figures."),
    _column("Mode", ".spec.mode", "Which roles are sized."),
    _column("TTFT(ms)", ".status.summary.ttft", "Time to first token: observed/target."),
    _column("ITL(ms)", ".status.summary.itl", "Inter-token latency: observed/target."),
    _column("Prefill", ".status.summary.prefill", "Prefill replicas: current/desired."),
    _column("Decode", ".status.summary.decode", "Decode or agg replicas: current/desired."),
    _column("GPUs", ".status.summary.gpus", "GPUs: desired/budget."),
    _column("Attained", ".status.summary.attained", "Percent in time in the last hour/promised."),
    _column("Why", ".status.summary.why", "Reason of the last decision, or the limit that bit."),
    _column("Reason", f"{_READY}.reason", "Why the policy is ready or not.", priority=1),
    _column("Age", ".metadata.creationTimestamp", "Time since the policy was created.", kind="date"),
)


def object_schema() -> dict[str, Any]:
    """The schema of the whole object."""
    return {
        "type": "object",
        "description": (
            "SLAPolicy keeps the latency of one LLM deployment within targets: it forecasts the load and sets "
            "the replicas of the prefill and decode workers to what measured profiles say they carry."
        ),
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec_schema() | {"description": "What is wanted."},
            "status": status_schema() | {"description": "What the operator found, expects and decided."},
        },
    }


@lru_cache(maxsize=1)
def custom_resource_definition() -> dict[str, Any]:
    """The whole CRD, as a plain document."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": [SHORT_NAME],
                "categories": ["slaplanner"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": list(COLUMNS),
                    "schema": {"openAPIV3Schema": object_schema()},
                }
            ],
        },
    }
