"""The policy's own status, as the planner's memory of what it has published. Synchronous, guarded.

The rest of the status has another writer, which leaves these two fields alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kubernetes.client import ApiClient, CustomObjectsApi
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from slaplanner.adapters.deployment.api_client import REQUEST_TIMEOUT_S
from slaplanner.adapters.deployment.connector import FIELD_MANAGER, Identity
from slaplanner.adapters.deployment.failures import ApiRefusal, failure_of
from slaplanner.adapters.deployment.untrusted import mapping, text
from slaplanner.core.model import Role
from slaplanner.virtual.decisions import Head
from slaplanner.virtual.policy_document import head_of, memory_of, status_patch
from slaplanner.virtual.rules import PublisherMemory

POLICY_GROUP = "slaplanner.io"
POLICY_VERSION = "v1alpha1"
POLICY_PLURAL = "slapolicies"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPolicy:
    """One look at the policy."""

    identity: Identity
    memory: PublisherMemory
    head: Head


class PolicyStore:
    """One policy's memory."""

    def __init__(
        self,
        api_client: ApiClient,
        *,
        namespace: str,
        name: str,
        roles: Sequence[Role],
        timeout_s: float = REQUEST_TIMEOUT_S,
    ) -> None:
        self._objects = CustomObjectsApi(api_client)
        self._namespace = namespace
        self._name = name
        self._roles = tuple(roles)
        self._timeout_s = timeout_s

    def read(self) -> StoredPolicy:
        """What stands in the policy now.

        Raises:
            ApiRefusal: it could not be read.
        """
        document = self._send(self._objects.get_namespaced_custom_object)
        metadata = mapping(document.get("metadata"))
        return StoredPolicy(
            identity=Identity(
                namespace=self._namespace,
                name=self._name,
                uid=text(metadata.get("uid")),
                generation=metadata.get("generation"),
                resource_version=text(metadata.get("resourceVersion")),
                api_version=text(document.get("apiVersion")),
            ),
            memory=memory_of(document, roles=self._roles),
            head=head_of(document),
        )

    def write(self, memory: PublisherMemory, *, over: StoredPolicy) -> None:
        """Keep *memory*, if nobody has changed the policy since *over* was read.

        Raises:
            ApiRefusal: somebody has (reason Conflict), or the server refused or did not answer.
        """
        identity = over.identity
        patch = {
            "metadata": {"uid": identity.uid, "resourceVersion": identity.resource_version},
            "status": status_patch(memory),
        }
        self._send(
            self._objects.patch_namespaced_custom_object_status,
            patch,
            field_manager=FIELD_MANAGER,
            _content_type="application/merge-patch+json",
        )

    def _send(
        self, method: Callable[..., object], *arguments: object, **options: object
    ) -> Mapping[str, Any]:
        try:
            answer = method(
                POLICY_GROUP,
                POLICY_VERSION,
                self._namespace,
                POLICY_PLURAL,
                self._name,
                *arguments,
                _request_timeout=self._timeout_s,
                **options,
            )
        except (ApiException, HTTPError, OSError) as error:
            raise ApiRefusal(failure_of(error)) from error
        return mapping(answer)
