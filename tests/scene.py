"""One policy, its deployment and its load in a namespace of their own, seen as a user sees them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from slaplanner.api.policy import API_VERSION, KIND
from tests.played_load import Load, PlayedLoads
from tests.testbed import Cluster, PrometheusServer, wait_until

PROFILE = Path(__file__).parents[1] / "examples/profiles/h100_vllm_Qwen3-32B_bf16_tp2"
"""Carries about 17,000 input tokens/s per prefill replica at ISL 1,000 and 7,500 output tokens/s per
decode replica within 30 ms."""

NAME = "llama"
MODEL = "Meta/Llama-70B"
PATIENCE_S = 90.0
A_DAY_S = 86400

RARELY: dict[str, Any] = {
    "intervalSeconds": A_DAY_S,
    "sizing": "Throughput",
    "predictor": {"type": "Constant"},
}
"""For policies that nothing but an event may make plan.

A day, and not an hour: plans lie on a grid that depends on the policy's uid. Where a grid point falls into the
first minute of a load, the interval that ends there is known, and nearly idle: one test in sixty met that.
"""


def policy(name: str = NAME, **spec: Any) -> dict[str, Any]:
    """A policy that plans every five seconds; *spec* replaces whole fields of the spec."""
    base: dict[str, Any] = {
        "targetRef": {"name": NAME},
        "sla": {"ttft": 500, "itl": 30},
        "profile": {"configMapRef": {"name": "profile"}},
        "metrics": {"windowSeconds": 5},
        "planning": {"intervalSeconds": 5, "sizing": "Throughput", "predictor": {"type": "Constant"}},
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
    }
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": name},
        "spec": {key: value for key, value in (base | spec).items() if value is not None},
    }


def graph(
    *,
    version: str = "v1beta1",
    replicas: Mapping[str, int] | None = None,
    adapters: frozenset[str] = frozenset(),
    gpus: int | None = 2,
    model: str | Mapping[str, str] = MODEL,
) -> dict[str, Any]:
    """A deployment with prefill and decode workers, in either version of its API."""
    counts = {"prefill": 1, "decode": 1} | dict(replicas or {})
    models = model if isinstance(model, Mapping) else dict.fromkeys(counts, model)
    head = {
        "apiVersion": f"nvidia.com/{version}",
        "kind": "DynamoGraphDeployment",
        "metadata": {"name": NAME},
    }
    if version == "v1alpha1":
        services: dict[str, Any] = {"Frontend": {"componentType": "frontend", "replicas": 1}}
        for role, count in counts.items():
            services[role] = {
                "componentType": "worker",
                "subComponentType": role,
                "replicas": count,
                "extraPodSpec": {"mainContainer": {"image": "vllm", "args": ["--model", models[role]]}},
                **({"resources": {"limits": {"gpu": str(gpus)}}} if gpus is not None else {}),
                **({"scalingAdapter": {"enabled": True}} if role in adapters else {}),
            }
        return head | {"spec": {"services": services}}
    components: list[dict[str, Any]] = [{"name": "Frontend", "type": "frontend", "replicas": 1}]
    for role, count in counts.items():
        main: dict[str, Any] = {"name": "main", "image": "vllm", "args": ["--model", models[role]]}
        if gpus is not None:
            main["resources"] = {"limits": {"nvidia.com/gpu": str(gpus)}}
        components.append(
            {
                "name": role,
                "type": role,
                "replicas": count,
                "podTemplate": {"spec": {"containers": [main]}},
                **({"scalingAdapter": {}} if role in adapters else {}),
            }
        )
    return head | {"spec": {"components": components}}


def small_profile() -> dict[str, Any]:
    """With it 10 requests/s of 400 input and 20 output tokens need 2 prefill and 4 decode replicas of 2 GPUs."""
    isl = [100, 400, 1000, 4000]
    points = [(usage, context) for usage in (0.2, 0.6, 1.0) for context in (100, 1000, 4000)]
    prefill = {"prefill_isl": isl, "prefill_ttft": [50] * 4, "prefill_thpt_per_gpu": [1200] * 4}
    decode = {
        "x_kv_usage": [usage for usage, _ in points],
        "y_context_length": [context for _, context in points],
        "z_itl": [5] * len(points),
        "z_thpt_per_gpu": [30] * len(points),
        "max_kv_tokens": 100_000,
    }
    data = {
        "prefill_raw_data.json": json.dumps(prefill),
        "decode_raw_data.json": json.dumps(decode),
    }
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "small"}, "data": data}


@dataclass(slots=True, kw_only=True)
class Scene:
    """Everything of one test."""

    cluster: Cluster
    namespace: str
    loads: PlayedLoads
    version: str = "v1beta1"

    # What a user does.

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        where = f"--namespace={self.namespace}"
        return str(self.cluster.kubectl(*arguments, where, stdin=stdin, check=check).stdout)

    def apply(self, *objects: Mapping[str, Any], manager: str | None = None) -> None:
        """`kubectl apply`; server-side with force when a field *manager* is named."""
        flags = ["--server-side", "--force-conflicts", f"--field-manager={manager}"] if manager else []
        for one in objects:
            self.kubectl("apply", *flags, "-f", "-", stdin=yaml.safe_dump(deepcopy(dict(one))))

    def apply_profile(self, directory: Path = PROFILE, name: str = "profile") -> None:
        data = {
            key: (directory / key).read_text() for key in ("prefill_raw_data.json", "decode_raw_data.json")
        }
        self.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})

    def annotate(self, *annotations: str, name: str = NAME) -> None:
        self.kubectl("annotate", "--overwrite", "slapolicy", name, *annotations)

    def patch(self, kind: str, name: str, document: Mapping[str, Any], *, subresource: str = "") -> None:
        flags = [f"--subresource={subresource}"] if subresource else []
        self.kubectl("patch", kind, name, "--type=merge", *flags, f"--patch={json.dumps(document)}")

    def patch_json(self, kind: str, name: str, operations: Sequence[Mapping[str, Any]]) -> None:
        self.kubectl("patch", kind, name, "--type=json", f"--patch={json.dumps(list(operations))}")

    def play(self, load: Load) -> None:
        self.loads.play(self.dynamo_namespace, load)

    @property
    def dynamo_namespace(self) -> str:
        return f"{self.namespace}-{NAME}"

    # What a user sees.

    @property
    def graph_kind(self) -> str:
        """With its version: kubectl remembers the versions that an earlier test served."""
        return f"dynamographdeployments.{self.version}.nvidia.com"

    def get(self, kind: str, name: str = NAME, *, show_managed_fields: bool = False) -> dict[str, Any]:
        flags = ["--show-managed-fields"] if show_managed_fields else []
        found: dict[str, Any] = json.loads(self.kubectl("get", kind, name, "-o", "json", *flags))
        return found

    def status(self, name: str = NAME) -> dict[str, Any]:
        status: dict[str, Any] = self.get("slapolicy", name).get("status", {})
        return status

    def condition(self, kind: str, name: str = NAME) -> dict[str, Any]:
        """The condition; one that is absent reads as an empty object."""
        conditions = self.status(name).get("conditions", [])
        return next((entry for entry in conditions if entry["type"] == kind), {})

    def replicas(self) -> dict[str, int]:
        """What the deployment asks for, per worker."""
        spec = self.get(self.graph_kind)["spec"]
        listed = spec.get("components") or [
            {"name": name} | entry for name, entry in spec["services"].items()
        ]
        return {entry["name"]: entry.get("replicas", 1) for entry in listed if entry["name"] != "Frontend"}

    def graph_conditions(self) -> dict[str, dict[str, Any]]:
        """The deployment's own conditions, by type."""
        conditions = self.get(self.graph_kind).get("status", {}).get("conditions", [])
        return {entry["type"]: entry for entry in conditions}

    def wait_graph_condition(self, kind: str, status: str | None, *, message: str = "") -> None:
        """Wait until the deployment's condition says so; None: until it is gone."""

        def said() -> bool:
            found = self.graph_conditions().get(kind)
            if found is None or status is None:
                return found is None and status is None
            return found["status"] == status and message in found["message"]

        wait_until(said, what=f"{kind}={status} {message} on the deployment", timeout_s=PATIENCE_S)

    def wait_gone(self, kind: str = "slapolicy", name: str = NAME, *, timeout_s: float = PATIENCE_S) -> None:
        """Wait until the object does not exist any more."""
        wait_until(
            lambda: not self.kubectl("get", kind, name, "--ignore-not-found", "-o", "name"),
            what=f"{kind} {name} to be gone",
            timeout_s=timeout_s,
        )

    def events(self, reason: str) -> list[dict[str, Any]]:
        found = json.loads(self.kubectl("get", "events", "-o", "json"))
        return [event for event in found["items"] if event["reason"] == reason]

    def wait_condition(
        self, kind: str, status: str, reason: str | None = None, *, name: str = NAME, message: str = ""
    ) -> dict[str, Any]:
        """Wait until the condition says so; returns it."""

        def said() -> bool:
            found = self.condition(kind, name)
            return (
                found.get("status") == status
                and (reason is None or found.get("reason") == reason)
                and message in found.get("message", "")
            )

        with self.described(name):
            wait_until(said, what=f"{kind}={status} {reason or ''} {message}", timeout_s=PATIENCE_S)
        return self.condition(kind, name)

    def wait_replicas(self, *, timeout_s: float = PATIENCE_S, **counts: int) -> None:
        """Wait until the deployment asks for exactly these."""
        with self.described():
            wait_until(lambda: self.replicas() == counts, what=f"replicas {counts}", timeout_s=timeout_s)

    def wait_plans(self, count: int = 1, name: str = NAME) -> None:
        """Wait until that many more plans were made on the grid or on request."""
        for number in range(count):
            asked = f"slaplanner.io/plan-requested-at={self.decisions(name)}-{number}"
            before = self.decisions(name)
            self.annotate(asked, name=name)
            wait_until(lambda: self.decisions(name) > before, what="one more plan", timeout_s=PATIENCE_S)  # noqa: B023

    def decisions(self, name: str = NAME) -> int:
        return int(self.status(name).get("lastDecision", {}).get("id", 0))

    @contextlib.contextmanager
    def described(self, name: str = NAME) -> Iterator[None]:
        """Who waits in vain reads what the policy told meanwhile."""
        try:
            yield
        except Exception as error:
            error.add_note(self.kubectl("describe", "slapolicy", name, check=False))
            raise

    # What Dynamo's operator would do.

    def settle(self, **counts: int) -> None:
        """Report that every replica serves, as Dynamo's operator does when nothing moves."""
        wanted = self.replicas() | counts
        key = "services" if self.version == "v1alpha1" else "components"
        numbers = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
        counts_by_role = {
            role: {
                "componentKind": "Deployment",
                "componentName": f"{NAME}-{role}",
                "componentNames": [f"{NAME}-{role}"],
                **dict.fromkeys(numbers, count),
            }
            for role, count in wanted.items()
        }
        self.report({key: counts_by_role}, ready=True)

    def report(self, status: Mapping[str, Any], *, ready: bool, reason: str = "") -> None:
        """Write the deployment's status; its other conditions stay."""
        conditions = self.get(self.graph_kind).get("status", {}).get("conditions", [])
        ours = {
            "type": "Ready",
            "status": "True" if ready else "False",
            "reason": reason or ("all_resources_are_ready" if ready else "pods_not_ready"),
            "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
        others = [entry for entry in conditions if entry["type"] != "Ready"]
        self.patch(
            self.graph_kind,
            NAME,
            {"status": {**status, "conditions": [ours, *others]}},
            subresource="status",
        )


def wait_scraped(scene: Scene, prometheus: PrometheusServer) -> None:
    """Wait until Prometheus knows a whole window of the load.

    A policy that plans rarely would else find half of one, or nothing, and not look again for long.
    """
    started = f'{{__name__=~".*requests_started_total",dynamo_namespace="{scene.dynamo_namespace}"}}'
    prometheus.wait_for(f"count_over_time({started}[6s]) >= 5")
