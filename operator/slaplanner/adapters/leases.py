"""The Lease object that operators share (`coordination.k8s.io/v1`): read it, write it, never over a newer one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from kubernetes.client import ApiClient, CustomObjectsApi
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from slaplanner.adapters.deployment.failures import ApiRefusal, failure_of
from slaplanner.adapters.deployment.untrusted import mapping, text
from slaplanner.core.leadership import Lease

_KIND = ("coordination.k8s.io", "v1")
_PLURAL = "leases"


class Leases:
    """One Lease by name. Every call is one request with a time-out."""

    def __init__(self, api_client: ApiClient, *, namespace: str, name: str, timeout_s: float) -> None:
        self._objects = CustomObjectsApi(api_client)
        self._namespace = namespace
        self._name = name
        self._timeout_s = timeout_s
        self._document: Mapping[str, Any] = {}

    def read(self) -> Lease | None:
        """The Lease as it is; None: there is none.

        Raises:
            ApiRefusal: it could not be read.
        """
        try:
            document = self._send(
                self._objects.get_namespaced_custom_object, *_KIND, self._namespace, _PLURAL, self._name
            )
        except ApiRefusal as refusal:
            if refusal.failure.not_found:
                self._document = {}
                return None
            raise
        self._document = document
        return _lease(document)

    def write(self, *, holder: str, duration_s: float, transitions: int) -> Lease:
        """Write the Lease over the version that was read last, or make it where there was none.

        Raises:
            ApiRefusal: somebody else wrote meanwhile (reason Conflict), or the request failed.
        """
        now = datetime.now(tz=UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        before = mapping(self._document.get("spec"))
        spec = {
            "holderIdentity": holder,
            "leaseDurationSeconds": max(1, round(duration_s)),
            "leaseTransitions": transitions,
            "acquireTime": before.get("acquireTime") if before.get("holderIdentity") == holder else now,
            "renewTime": now,
        }
        document = {
            "apiVersion": "/".join(_KIND),
            "kind": "Lease",
            "metadata": {"name": self._name, "namespace": self._namespace},
        } | dict(self._document)
        document["spec"] = spec
        if self._document:
            written = self._send(
                self._objects.replace_namespaced_custom_object,
                *(*_KIND, self._namespace, _PLURAL, self._name),
                document,
            )
        else:
            written = self._send(
                self._objects.create_namespaced_custom_object, *_KIND, self._namespace, _PLURAL, document
            )
        self._document = written
        return _lease(written)

    def _send(self, call: Any, *arguments: Any) -> Mapping[str, Any]:
        try:
            answer: Mapping[str, Any] = call(*arguments, _request_timeout=self._timeout_s)
        except (ApiException, HTTPError, OSError) as error:
            raise ApiRefusal(failure_of(error)) from error
        return answer


def _lease(document: Mapping[str, Any]) -> Lease:
    """What a Lease says; a figure that is missing or odd is read as the one that waits longest."""
    spec = mapping(document.get("spec"))
    duration = spec.get("leaseDurationSeconds")
    transitions = spec.get("leaseTransitions")
    return Lease(
        holder=text(spec.get("holderIdentity")) or "",
        duration_s=float(min(duration, _MOST_S))
        if isinstance(duration, int) and duration > 0
        else _LONGEST_S,
        transitions=transitions if isinstance(transitions, int) and transitions >= 0 else 0,
        version=text(mapping(document.get("metadata")).get("resourceVersion")) or "",
    )


_MOST_S = 2**31 - 1
"""The API server's own bound."""

_LONGEST_S = 60.0
"""For a Lease without a duration: nobody of ours wrote it."""
