"""What a component's pod says: its command lines, its environment, its GPUs.

v1alpha1 keeps them in `resources`, `envs` and `extraPodSpec.mainContainer`, v1beta1 in a pod
template whose main container is called `main`. Both become a list of containers, main first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slaplanner.adapters.deployment.args import command_words
from slaplanner.adapters.deployment.untrusted import items, mapping, text, whole

MAIN_CONTAINER = "main"
_GPU_RESOURCE = re.compile(r"^(nvidia\.com/(gpu|mig-.*)|amd\.com/gpu|gpu\.intel\.com/.*|habana\.ai/gaudi)$")


def alpha_containers(service: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The containers of a v1alpha1 service, main first."""
    pod = alpha_pod(service)
    main = dict(mapping(pod.get("mainContainer")))
    main["resources"] = {
        **mapping(main.get("resources")),
        "claims": [
            *items(mapping(service.get("resources")).get("claims")),
            *items(mapping(main.get("resources")).get("claims")),
        ],
    }
    main["env"] = [*items(service.get("envs")), *items(main.get("env"))]
    return [main, *_pod_containers(pod)]


def alpha_pod(service: Mapping[str, Any]) -> Mapping[str, Any]:
    """The pod of a v1alpha1 service, as far as it is written."""
    return mapping(service.get("extraPodSpec"))


def beta_pod(component: Mapping[str, Any]) -> Mapping[str, Any]:
    """The pod of a v1beta1 component, as far as it is written."""
    return mapping(mapping(component.get("podTemplate")).get("spec"))


def beta_containers(component: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The containers of a v1beta1 component, main first, restartable init containers last."""
    containers = _pod_containers(beta_pod(component))
    return sorted(containers, key=lambda container: container.get("name") != MAIN_CONTAINER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """How a container is started: its command line in words, and its literal environment."""

    words: tuple[str, ...]
    env: Mapping[str, str]


def started(container: Mapping[str, Any], shared_env: Sequence[Any] = ()) -> Started:
    """How the container is started; *shared_env* holds for all of the graph."""
    argv = [*items(container.get("command")), *items(container.get("args"))]
    env = {
        str(entry["name"]): str(entry["value"])
        for entry in (*shared_env, *items(container.get("env")))
        if isinstance(entry, Mapping) and entry.get("name") and entry.get("value") is not None
    }
    return Started(words=command_words([str(element) for element in argv], env), env=env)


def device_gpus(component: Mapping[str, Any]) -> int | None:
    """GPUs of one node under `device.resources` (GPUs that a scheduler slices); None when nothing says."""
    return _gpu_sum(mapping(mapping(component.get("device")).get("resources")))


def claim_templates(pod: Mapping[str, Any], containers: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """ResourceClaimTemplates behind the claims that the containers use, in the pod's order.

    A claim that a pod shares with others (`resourceClaimName`) says nothing of GPUs per replica.
    """
    used = {
        text(mapping(claim).get("name"))
        for container in containers
        for claim in items(mapping(container.get("resources")).get("claims"))
    }
    return tuple(
        text(claim.get("resourceClaimTemplateName"))
        for claim in map(mapping, items(pod.get("resourceClaims")))
        if text(claim.get("name")) in used and text(claim.get("resourceClaimTemplateName"))
    )


def alpha_gpus(service: Mapping[str, Any], kind: str) -> int | None:
    """GPUs of one node under `limits` or `requests` (*kind*); None when nothing says."""
    item = mapping(mapping(service.get("resources")).get(kind))
    named = whole(item.get("gpu"))
    custom = _gpu_sum(mapping(item.get("custom")))
    if named is not None or custom is not None:
        return (named or 0) + (custom or 0)
    return pod_gpus(alpha_containers(service), kind)


def pod_gpus(containers: Sequence[Mapping[str, Any]], kind: str) -> int | None:
    """GPUs of all containers of a pod under `limits` or `requests`; None when nothing says."""
    counts = [_gpu_sum(mapping(mapping(container.get("resources")).get(kind))) for container in containers]
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _gpu_sum(resources: Mapping[str, Any]) -> int | None:
    counts = [whole(value) for name, value in resources.items() if _GPU_RESOURCE.match(str(name))]
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


MOST_CONTAINERS = 32
"""Of a pod that are looked at; real ones have a handful."""


def _pod_containers(pod: Mapping[str, Any]) -> list[dict[str, Any]]:
    sidecars = [
        container
        for container in items(pod.get("initContainers"))
        if isinstance(container, Mapping) and container.get("restartPolicy") == "Always"
    ]
    return [
        dict(container)
        for container in (*items(pod.get("containers")), *sidecars)[:MOST_CONTAINERS]
        if isinstance(container, Mapping)
    ]
