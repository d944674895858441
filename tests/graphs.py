"""Small DynamoGraphDeployments in the shapes that users write, as plain objects."""

from typing import Any

ALPHA = "nvidia.com/v1alpha1"
BETA = "nvidia.com/v1beta1"


def graph(api_version: str, components: dict[str, dict[str, Any]], **parts: Any) -> dict[str, Any]:
    """A deployment; *components* by name, each in the shape of its version. *parts*: spec, status, metadata."""
    if api_version == ALPHA:
        spec: dict[str, Any] = {"services": components}
    else:
        spec = {"components": [{"name": name, **value} for name, value in components.items()]}
    return {
        "apiVersion": api_version,
        "kind": "DynamoGraphDeployment",
        "metadata": {
            "name": "llama",
            "namespace": "serving",
            "uid": "uid-1",
            "resourceVersion": "41",
            "generation": 3,
            **parts.get("metadata", {}),
        },
        "spec": {**spec, **parts.get("spec", {})},
        **({"status": parts["status"]} if "status" in parts else {}),
    }


def alpha_worker(
    role: str | None = None,
    *,
    args: list[str] | None = None,
    command: list[str] | None = None,
    gpu: str | None = "1",
    **more: Any,
) -> dict[str, Any]:
    container = {"args": args or [], **({"command": command} if command else {})}
    return {
        "componentType": "worker",
        **({"subComponentType": role} if role else {}),
        **({"resources": {"limits": {"gpu": gpu}}} if gpu else {}),
        "extraPodSpec": {"mainContainer": container},
        **more,
    }


def beta_worker(
    kind: str = "worker",
    *,
    args: list[str] | None = None,
    command: list[str] | None = None,
    gpu: str | int | None = "1",
    **more: Any,
) -> dict[str, Any]:
    container = {
        "name": "main",
        "args": args or [],
        **({"command": command} if command else {}),
        **({"resources": {"limits": {"nvidia.com/gpu": gpu}}} if gpu else {}),
    }
    return {"type": kind, "podTemplate": {"spec": {"containers": [container]}}, **more}


def disagg(
    api_version: str, *, model: str = "meta/Llama", prefill: int = 1, decode: int = 1, **parts: Any
) -> dict[str, Any]:
    """Frontend, prefill and decode with one GPU each; *adapters* names the components that have one."""
    adapters = parts.pop("adapters", ())
    args = ["--model", model]
    if api_version == ALPHA:
        on = {"scalingAdapter": {"enabled": True}}
        components = {
            "Frontend": {"componentType": "frontend", "replicas": 1},
            "prefill": alpha_worker(
                "prefill", args=args, replicas=prefill, **(on if "prefill" in adapters else {})
            ),
            "decode": alpha_worker(
                "decode", args=args, replicas=decode, **(on if "decode" in adapters else {})
            ),
        }
    else:
        on = {"scalingAdapter": {}}
        components = {
            "Frontend": {"type": "frontend", "replicas": 1},
            "prefill": beta_worker(
                "prefill", args=args, replicas=prefill, **(on if "prefill" in adapters else {})
            ),
            "decode": beta_worker(
                "decode", args=args, replicas=decode, **(on if "decode" in adapters else {})
            ),
        }
    return graph(api_version, components, **parts)
