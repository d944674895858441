"""Dynamo's definitions, as the fleet brings them: one version alone, or both with conversion.

For tests and laptops. A cluster where Dynamo is installed has the real ones; installing these over
them would lose fields, so definitions of another owner are refused.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from slaplanner_lab.fleet import names
from slaplanner_lab.fleet.graph import FleetError
from slaplanner_lab.fleet.kube import ApiError, Kube
from slaplanner_lab.fleet.names import Json

CRDS: Final = Path(__file__).parent / "crds"
OWNED: Final = "slaplanner.io/fleet-definition"
"""On the definitions that the fleet installed; others are not its to change."""
_KINDS: Final = (names.GRAPHS, names.ADAPTERS)
_SERVED_WITHIN_S: Final = 30.0
_POLL_S: Final = 0.1
_APPLY: Final = "application/apply-patch+yaml"
_PLACES: Final = {
    "Namespace": "/api/v1/namespaces",
    "ServiceAccount": "/api/v1/namespaces/dynamo-system/serviceaccounts",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "ValidatingAdmissionPolicy": "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
    "ValidatingAdmissionPolicyBinding": "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings",
    "CustomResourceDefinition": "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionWebhook:
    """Where the API server has objects converted: an https url, and the authority behind it (PEM)."""

    url: str
    ca_pem: bytes


def definitions(versions: Sequence[str], *, webhook: ConversionWebhook | None = None) -> list[Json]:
    """The two definitions with *versions*, the last of which is stored.

    Two versions without a *webhook* fall back to the strategy None, which empties what it converts.
    """
    return [_definition(kind, versions, webhook) for kind in _KINDS]


def _definition(kind: str, versions: Sequence[str], webhook: ConversionWebhook | None) -> Json:
    parts: list[Json] = [
        yaml.safe_load((CRDS / version / f"{kind}.yaml").read_text()) for version in versions
    ]
    whole = parts[-1]
    whole["spec"]["versions"] = [version for part in parts for version in part["spec"]["versions"]]
    for version in whole["spec"]["versions"]:
        version["storage"] = version["name"] == versions[-1]
    if webhook is not None:
        whole["spec"]["conversion"] = {
            "strategy": "Webhook",
            "webhook": {
                "conversionReviewVersions": ["v1"],
                "clientConfig": {
                    "url": webhook.url,
                    "caBundle": base64.b64encode(webhook.ca_pem).decode(),
                },
            },
        }
    return whole


async def install(kube: Kube, versions: Sequence[str], *, webhook: ConversionWebhook | None = None) -> None:
    """Apply the definitions, the identity of Dynamo's operator, and its admission of scaling adapters.

    Raises:
        FleetError: the definitions are there already and are not the fleet's.
        ApiError: the API server refused.
    """
    objects = definitions(versions, webhook=webhook)
    for one in objects:
        await _check_owner(kube, one["metadata"]["name"])
        one["metadata"]["annotations"] = {OWNED: "true"}
    objects += yaml.safe_load_all((CRDS / "dynamo-operator.yaml").read_text())
    for one in objects:
        path = f"{_PLACES[one['kind']]}/{one['metadata']['name']}"
        query = {"fieldManager": names.FIELD_MANAGER, "force": "true"}
        await kube.request("PATCH", path, one, content_type=_APPLY, **query)
    for kind in _KINDS:
        await _wait_served(kube, f"{kind}.{names.GROUP}")


async def _wait_served(kube: Kube, name: str) -> None:
    """A definition is served a moment after it was stored."""
    async with asyncio.timeout(_SERVED_WITHIN_S):
        while True:
            found = await kube.request("GET", f"{_PLACES['CustomResourceDefinition']}/{name}")
            conditions = found.get("status", {}).get("conditions") or []
            if any(one["type"] == "Established" and one["status"] == "True" for one in conditions):
                return
            await asyncio.sleep(_POLL_S)


async def _check_owner(kube: Kube, name: str) -> None:
    try:
        found = await kube.request("GET", f"{_PLACES['CustomResourceDefinition']}/{name}")
    except ApiError as error:
        if error.status == 404:
            return
        raise
    annotations: dict[str, Any] = found["metadata"].get("annotations") or {}
    if annotations.get(OWNED) != "true":
        raise FleetError(
            f"found a definition {name} of another owner, wanted none or the fleet's"
            f" (annotation {OWNED}: {json.dumps('true')}): Dynamo seems to be installed here"
        )
