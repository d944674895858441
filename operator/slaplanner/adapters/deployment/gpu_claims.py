"""GPUs that a pod asks for by Dynamic Resource Allocation: the devices of its ResourceClaimTemplates."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from slaplanner.adapters.deployment.untrusted import items, mapping, text, whole

CLAIM_GROUP = "resource.k8s.io"
CLAIM_KIND = "ResourceClaimTemplate"
CLAIM_PLURAL = "resourceclaimtemplates"
CLAIM_VERSIONS = ("v1", "v1beta2", "v1beta1")

ClaimReader = Callable[[str], Mapping[str, Any] | None]
"""From a template's name to the template; None: it cannot be read."""

_GPU_CLASS = re.compile(r"(^|[.-])(gpu|mig|vfio\.gpu|gaudi)([.-]|$)")


def claimed_gpus(names: Iterable[str], read: ClaimReader) -> int | None:
    """GPUs of all these templates together; None when one of them does not tell, or there is none."""
    total = 0
    for name in names:
        template = read(name)
        counts = (
            []
            if template is None
            else [_devices(mapping(request)) for request in items(_devices_of(template).get("requests"))]
        )
        if not counts or None in counts:
            return None
        total += sum(count for count in counts if count is not None)
    return total or None


def no_claims(_name: str) -> None:
    """The reader of those who have no templates at hand."""
    return


def _devices_of(template: Mapping[str, Any]) -> Mapping[str, Any]:
    return mapping(mapping(mapping(template.get("spec")).get("spec")).get("devices"))


def _devices(request: Mapping[str, Any]) -> int | None:
    """GPUs of one request; 0 for another class of device; None where the scheduler chooses how many.

    v1 and v1beta2 say it under `exactly`, v1beta1 in the request itself.
    """
    exactly = mapping(request.get("exactly")) or request
    if "firstAvailable" in request or exactly.get("allocationMode", "ExactCount") != "ExactCount":
        return None
    if not _GPU_CLASS.search(text(exactly.get("deviceClassName"))):
        return 0
    count = whole(exactly.get("count", 1))
    return count or None
