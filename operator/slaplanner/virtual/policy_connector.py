"""Policies of the connector Virtual: their part of the controller, made from spec and settings."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from kubernetes.client import ApiClient

from slaplanner.api.enums import VirtualBackend
from slaplanner.api.parts.target import VirtualSpec
from slaplanner.api.policy import SLAPolicy
from slaplanner.core.errors import TargetError
from slaplanner.core.reasons import Reason
from slaplanner.settings import DEFAULT_CONNECTION, EtcdConnection, Settings
from slaplanner.virtual.etcd_backend import open_etcd_channel
from slaplanner.virtual.policy_document import ACKNOWLEDGED_ANNOTATION
from slaplanner.virtual.policy_store import PolicyStore
from slaplanner.virtual.publisher import PublishingConnector, VirtualTarget


def virtual_connector(
    policy: SLAPolicy,
    virtual: VirtualSpec,
    *,
    settings: Settings,
    api_client: ApiClient,
    now_s: Callable[[], float],
) -> PublishingConnector:
    """The connector of *policy*, whose spec says *virtual*.

    Raises:
        TargetError: the policy names an etcd connection that nobody configured, or a fleet that its namespace
            may not size.
    """
    roles = policy.to_core().roles
    metrics = policy.spec.metrics
    return PublishingConnector(
        PolicyStore(
            api_client,
            namespace=policy.metadata.namespace,
            name=policy.metadata.name,
            roles=tuple(role.role for role in roles),
        ),
        VirtualTarget(
            dynamo_namespace=metrics.dynamo_namespace or virtual.dynamo_namespace,
            model=metrics.model or virtual.model,
            roles=roles,
            max_wait_s=float(virtual.max_wait_seconds or settings.scaling_max_wait_s),
        ),
        now_s=now_s,
        open_channel=(
            partial(open_etcd_channel, _etcd(policy, virtual, settings), virtual.dynamo_namespace)
            if virtual.backend is VirtualBackend.ETCD
            else None
        ),
    )


def virtual_version(policy: SLAPolicy, *, settings: Settings, now_s: float) -> str | None:
    """Moves when the fleet is to be looked at again: at an acknowledgement, and every check interval.

    None for policies of another connector.
    """
    virtual = policy.spec.connector.virtual
    if virtual is None:
        return None
    interval_s = virtual.check_interval_seconds or settings.scaling_check_interval_s
    return f"{policy.metadata.annotations.get(ACKNOWLEDGED_ANNOTATION, '')} {now_s // interval_s:.0f}"


def published_place(policy: SLAPolicy, virtual: VirtualSpec, *, settings: Settings) -> str | None:
    """Where a policy publishes, if other policies could publish there too; None also where it may not."""
    if virtual.backend is not VirtualBackend.ETCD or not _may_write(policy, virtual, settings):
        return None
    return f"etcd {_connection(virtual)} {virtual.dynamo_namespace}"


def _connection(virtual: VirtualSpec) -> str:
    return virtual.etcd.connection if virtual.etcd is not None else DEFAULT_CONNECTION


def _etcd(policy: SLAPolicy, virtual: VirtualSpec, settings: Settings) -> EtcdConnection:
    name, namespace, fleet = _connection(virtual), policy.metadata.namespace, virtual.dynamo_namespace
    connection = settings.etcd.get(name)
    if connection is None:
        # Names of connections tell of tenants, so only those are listed that this fleet may use.
        usable = (each for each, etcd in settings.etcd.items() if etcd.allows(namespace, fleet=fleet))
        raise TargetError(
            f"found etcd connection {name!r} in the policy, wanted one that the administrator configured: "
            f"{', '.join(sorted(usable)) or 'none'}",
            reason=Reason.CONNECTION_UNKNOWN,
        )
    if not _may_write(policy, virtual, settings):
        raise TargetError(
            f"policies of namespace {namespace!r} may not size fleet {fleet!r} through the etcd connection {name!r}, "
            f"wanted `{namespace}: [{fleet}]` in its allowedNamespaces in the operator's settings",
            reason=Reason.CONNECTION_NOT_ALLOWED,
        )
    return connection


def _may_write(policy: SLAPolicy, virtual: VirtualSpec, settings: Settings) -> bool:
    connection = settings.etcd.get(_connection(virtual))
    return connection is not None and connection.allows(
        policy.metadata.namespace, fleet=virtual.dynamo_namespace
    )
