"""Policies and their deployments in the API server, as far as the operator tells something there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from kubernetes.client import ApiClient, CustomObjectsApi, EventsV1Api
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from slaplanner.adapters.deployment import (
    FIELD_MANAGER,
    ApiRefusal,
    KubernetesApi,
    combined,
    failure_of,
    report_conditions,
)
from slaplanner.adapters.deployment.own_conditions import DeploymentConditions
from slaplanner.api.policy import GROUP, PLURAL, VERSION
from slaplanner.controller.outside.calls import REQUEST_TIMEOUT_S, Calls


class PolicyObjects:
    """Status, events, conditions, and whether a policy still exists."""

    def __init__(self, api_client: ApiClient, calls: Calls) -> None:
        self._calls = calls
        self._api = KubernetesApi(api_client, timeout_s=REQUEST_TIMEOUT_S)
        self._events = EventsV1Api(api_client)
        self._custom = CustomObjectsApi(api_client)

    async def write_status(self, *, namespace: str, name: str, uid: str, status: Mapping[str, Any]) -> None:
        """Merge *status* into that of the policy. Raises ApiRefusal."""
        # The uid guards against a policy that was recreated under the same name meanwhile.
        patch = {"metadata": {"uid": uid}, "status": status}
        await self._calls.of("kubernetes", self._write_status, namespace, name, patch)

    async def exists(self, namespace: str, name: str, uid: str) -> bool:
        """Whether this very policy still exists; True while the API server does not say."""
        try:
            return await self._calls.of("kubernetes", self._uid, namespace, name) == uid
        except ApiRefusal as refusal:
            return not refusal.failure.not_found

    async def create_event(self, namespace: str, event: Mapping[str, Any]) -> None:
        """Post an event. Raises ApiRefusal."""
        await self._calls.of("kubernetes", self._create_event, namespace, event)

    async def count_event(self, namespace: str, name: str, series: Mapping[str, Any]) -> None:
        """Say that the event of this name happened again. Raises ApiRefusal."""
        await self._calls.of("kubernetes", self._count_event, namespace, name, {"series": series})

    async def report_to_target(
        self, namespace: str, name: str, verdicts: Iterable[DeploymentConditions]
    ) -> None:
        """Keep our two conditions on the deployment. Raises ActuationError."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        await self._calls.of(
            "kubernetes", report_conditions, self._api, namespace, name, combined(verdicts), now=now
        )

    def _write_status(self, namespace: str, name: str, patch: dict[str, Any]) -> None:
        try:
            self._custom.patch_namespaced_custom_object_status(
                GROUP,
                VERSION,
                namespace,
                PLURAL,
                name,
                patch,
                field_manager=FIELD_MANAGER,
                _content_type="application/merge-patch+json",
                _request_timeout=REQUEST_TIMEOUT_S,
            )
        except (ApiException, HTTPError, OSError) as error:
            raise ApiRefusal(failure_of(error)) from error

    def _uid(self, namespace: str, name: str) -> str:
        try:
            found: Any = self._custom.get_namespaced_custom_object(
                GROUP, VERSION, namespace, PLURAL, name, _request_timeout=REQUEST_TIMEOUT_S
            )
        except (ApiException, HTTPError, OSError) as error:
            raise ApiRefusal(failure_of(error)) from error
        return str(found["metadata"]["uid"])

    def _create_event(self, namespace: str, event: Mapping[str, Any]) -> None:
        body: Any = event
        try:
            self._events.create_namespaced_event(namespace, body, _request_timeout=REQUEST_TIMEOUT_S)
        except (ApiException, HTTPError, OSError) as error:
            raise ApiRefusal(failure_of(error)) from error

    def _count_event(self, namespace: str, name: str, patch: Mapping[str, Any]) -> None:
        body: Any = patch
        try:
            self._events.patch_namespaced_event(
                name,
                namespace,
                body,
                _content_type="application/merge-patch+json",
                _request_timeout=REQUEST_TIMEOUT_S,
            )
        except (ApiException, HTTPError, OSError) as error:
            raise ApiRefusal(failure_of(error)) from error
