"""Decisions in an SLAPolicy's status, for programs outside of the operator. Asynchronous.

Reading takes `get`, `list` and `watch` on slapolicies, acknowledging takes `patch`; publishing, which is the
operator's part, takes `patch` on slapolicies/status.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any

import aiohttp
from kubernetes.aio.client import ApiClient
from kubernetes.aio.client.exceptions import ApiException

from slaplanner.adapters.deployment.untrusted import mapping
from slaplanner.adapters.object_versions import ObjectVersions, Watched, WatchFailedError
from slaplanner.core.model import Role
from slaplanner.core.reasons import Reason
from slaplanner.virtual.channel import ChannelError, Reading
from slaplanner.virtual.policy_document import (
    ACKNOWLEDGED_ANNOTATION,
    PUBLISHED_FIELD,
    head_of,
)
from slaplanner.virtual.policy_store import POLICY_GROUP, POLICY_PLURAL, POLICY_VERSION

REQUEST_TIMEOUT_S = 10.0

_CONFLICT = 409


class KubernetesChannel:
    """A `Channel` in one policy."""

    def __init__(self, api: ApiClient, *, namespace: str, name: str) -> None:
        self._api = api
        self._watched = Watched(
            group=POLICY_GROUP, version=POLICY_VERSION, plural=POLICY_PLURAL, namespace=namespace, name=name
        )

    async def read(self) -> Reading:
        status, document = await self._request("GET")
        if status != 200:
            raise _refused(status, document)
        return Reading(head=head_of(document), guard=mapping(document.get("metadata")))

    async def publish(self, decision_id: int, workers: Mapping[Role, int], *, over: Reading) -> bool:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        published = {
            "id": decision_id,
            **{role.value: count for role, count in workers.items()},
            "time": now,
            "superseded": None,
            "waitingSince": None,
        }
        return await self._patch({"status": {PUBLISHED_FIELD: published}}, over, subresource="/status")

    async def acknowledge(self, decision_id: int, *, over: Reading) -> bool:
        return await self._patch(
            {"metadata": {"annotations": {ACKNOWLEDGED_ANNOTATION: str(decision_id)}}}, over
        )

    async def changes(self) -> AsyncIterator[None]:
        try:
            async for _ in ObjectVersions(self._api).changes(self._watched):
                yield
        except (
            WatchFailedError,
            ApiException,
            aiohttp.ClientError,
            TimeoutError,
            OSError,
            ValueError,
        ) as error:
            raise ChannelError(
                f"the policy cannot be watched: {str(error) or type(error).__name__}",
                reason=Reason.API_UNAVAILABLE,
            ) from error

    async def _patch(self, patch: dict[str, Any], over: Reading, *, subresource: str = "") -> bool:
        seen = mapping(over.guard)
        guard = {"uid": seen.get("uid"), "resourceVersion": seen.get("resourceVersion")}
        body = {**patch, "metadata": {**patch.get("metadata", {}), **guard}}
        status, document = await self._request("PATCH", body, subresource=subresource)
        if status == _CONFLICT:
            return False
        if status != 200:
            raise _refused(status, document)
        return True

    async def _request(
        self, method: str, body: Mapping[str, Any] | None = None, *, subresource: str = ""
    ) -> tuple[int, Mapping[str, Any]]:
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/merge-patch+json"
        request = await self._api.param_serialize(
            method=method,
            resource_path=f"{self._watched.collection.path}/{self._watched.name}{subresource}",
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                answer = await self._api.call_api(*request, _preload_content=False)
                content = await answer.response.read()
            document = json.loads(content)
        except (ApiException, aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise ChannelError(
                f"the API server does not answer: {str(error) or type(error).__name__}",
                reason=Reason.API_UNAVAILABLE,
            ) from error
        return answer.response.status, mapping(document)


def _refused(status: int, document: Mapping[str, Any]) -> ChannelError:
    message = str(document.get("message") or f"status {status}")
    reasons = {403: Reason.FORBIDDEN, 401: Reason.FORBIDDEN, 404: Reason.TARGET_NOT_FOUND}
    return ChannelError(
        f"the API server refuses: {message}", reason=reasons.get(status, Reason.API_UNAVAILABLE)
    )
