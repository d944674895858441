"""The one door to the API server for targets: plain objects in and out, refusals as `ApiRefusal`.

Every request is bounded, and none is repeated behind the caller's back: the process has 5 seconds
left after SIGTERM, and a retry that nobody asked for would double that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kubernetes.client import ApiClient, Configuration, CoreV1Api, CustomObjectsApi
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from slaplanner.adapters.deployment.connector import FIELD_MANAGER
from slaplanner.adapters.deployment.failures import ApiRefusal, failure_of
from slaplanner.adapters.deployment.graph import GROUP, VERSIONS
from slaplanner.adapters.deployment.untrusted import items, mapping

REQUEST_TIMEOUT_S = 4.0
"""For a whole request; below the 5 s that remain after SIGTERM."""


def bounded_client(configuration: Configuration, *, may_write: Callable[[], bool] | None = None) -> ApiClient:
    """A client whose connections fail at once instead of retrying three times each.

    Args:
        configuration: how to reach the API server.
        may_write: asked before each request that is no GET; where it says no, nothing is sent. None: always yes.
    """
    configuration.retries = False
    return ApiClient(configuration) if may_write is None else _FencedClient(configuration, may_write)


class NotLeaderError(HTTPError):
    """Nothing was sent, because another operator may be the leader by now."""


class _FencedClient(ApiClient):
    """The one door of all requests: writes pass only while this operator is the leader."""

    def __init__(self, configuration: Configuration, may_write: Callable[[], bool]) -> None:
        super().__init__(configuration)
        self._may_write = may_write

    def call_api(self, method: str, *arguments: Any, **options: Any) -> Any:
        if method != "GET" and not self._may_write():
            raise NotLeaderError("this operator is not the leader any more, so it writes nothing")
        return super().call_api(method, *arguments, **options)


class KubernetesApi:
    """Objects of any kind, by group, version, namespace and plural."""

    def __init__(self, api_client: ApiClient, *, timeout_s: float = REQUEST_TIMEOUT_S) -> None:
        self._objects = CustomObjectsApi(api_client)
        self._core = CoreV1Api(api_client)
        self._timeout_s = timeout_s

    def get(
        self, version: str, namespace: str, plural: str, name: str, *, group: str = GROUP
    ) -> Mapping[str, Any]:
        """Read one object.

        Raises:
            ApiRefusal: it could not be read.
        """
        return self._send(self._objects.get_namespaced_custom_object, group, version, namespace, plural, name)

    def get_served(self, namespace: str, plural: str, name: str) -> Mapping[str, Any]:
        """Read one object of Dynamo's group in the first version that the server serves.

        Raises:
            ApiRefusal: no known version is served, or the object could not be read.
        """
        for version in VERSIONS[:-1]:
            try:
                return self.get(version, namespace, plural, name)
            except ApiRefusal as refusal:
                if not refusal.failure.not_served:
                    raise
        return self.get(VERSIONS[-1], namespace, plural, name)

    def config_map(self, namespace: str, name: str) -> Mapping[str, str]:
        """The text of a ConfigMap, by key.

        Raises:
            ApiRefusal: it could not be read.
        """
        try:
            found = self._core.read_namespaced_config_map(name, namespace, _request_timeout=self._timeout_s)
        except (ApiException, HTTPError, OSError) as error:
            raise ApiRefusal(failure_of(error)) from error
        return dict(found.data or {})

    def list(self, group: str, version: str, namespace: str, plural: str) -> list[Mapping[str, Any]]:
        """Read all objects of a kind in a namespace.

        Raises:
            ApiRefusal: they could not be read.
        """
        answer = self._send(self._objects.list_namespaced_custom_object, group, version, namespace, plural)
        return [mapping(item) for item in items(answer.get("items"))]

    def patch(
        self,
        version: str,
        namespace: str,
        plural: str,
        name: str,
        body: object,
        *,
        content_type: str,
        subresource: str = "",
        force: bool | None = None,
    ) -> Mapping[str, Any]:
        """Patch an object of Dynamo's group as `slaplanner`.

        Raises:
            ApiRefusal: the server refused it, or did not answer.
        """
        method = {
            "": self._objects.patch_namespaced_custom_object,
            "scale": self._objects.patch_namespaced_custom_object_scale,
            "status": self._objects.patch_namespaced_custom_object_status,
        }[subresource]
        options: dict[str, Any] = {"field_manager": FIELD_MANAGER, "_content_type": content_type}
        if force is not None:
            options["force"] = force
        return self._send(method, GROUP, version, namespace, plural, name, body, **options)

    def _send(
        self, method: Callable[..., object], *arguments: object, **options: object
    ) -> Mapping[str, Any]:
        try:
            return mapping(method(*arguments, _request_timeout=self._timeout_s, **options))
        except (ApiException, HTTPError, OSError) as error:
            raise ApiRefusal(failure_of(error)) from error
