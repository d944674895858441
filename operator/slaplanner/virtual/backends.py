"""Ways to the two backends, for programs that are not the operator."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from slaplanner.adapters.tls_closing import tls_closed
from slaplanner.core.reasons import Reason
from slaplanner.settings import BasicAuth, ClientCertificate, EtcdConnection
from slaplanner.virtual.channel import Channel, ChannelError
from slaplanner.virtual.etcd_backend import open_etcd_channel


@asynccontextmanager
async def etcd_channel(
    endpoints: Sequence[str],
    dynamo_namespace: str,
    *,
    ca_file: Path | None = None,
    client_certificate: ClientCertificate | None = None,
    basic_auth: BasicAuth | None = None,
) -> AsyncIterator[Channel]:
    """The decisions of one Dynamo namespace in etcd, for as long as the block lasts.

    Args:
        endpoints: `http://` or `https://` addresses of etcd's members; the next one is asked when one
            does not answer.
        dynamo_namespace: as the policy's `connector.virtual.dynamoNamespace` says it.
        ca_file: PEM file with the authorities to trust; None: the system's.
        client_certificate: certificate to show to etcd.
        basic_auth: files with the user's name and password, read again at every login.

    Raises:
        ValueError: an endpoint is no such address.
        ChannelError: a certificate cannot be read.
    """
    connection = EtcdConnection(
        endpoints=tuple(endpoints),
        ca_file=ca_file,
        client_certificate=client_certificate,
        basic_auth=basic_auth,
    )
    async with open_etcd_channel(connection, dynamo_namespace) as channel:
        yield channel


@asynccontextmanager
async def kubernetes_channel(
    policy: str,
    *,
    namespace: str | None = None,
    kubeconfig: Path | None = None,
    context: str | None = None,
) -> AsyncIterator[Channel]:
    """The decisions of one SLAPolicy at the API server, for as long as the block lasts.

    Args:
        policy: name of the SLAPolicy.
        namespace: its namespace; None: the kubeconfig context's, or the pod's own.
        kubeconfig: None: the pod's service account inside of a cluster, else `KUBECONFIG`.
        context: context of the kubeconfig; None: its current one.

    Raises:
        ChannelError: there is no way to an API server.
    """
    # Kubernetes' client takes a second to import, which programs on etcd need not pay.
    from kubernetes import aio  # noqa: PLC0415

    from slaplanner.adapters.kubeconfig import UNREADABLE, aio_credentials, namespace_of  # noqa: PLC0415
    from slaplanner.virtual.kubernetes_backend import KubernetesChannel  # noqa: PLC0415

    try:
        configuration = await aio_credentials(kubeconfig=kubeconfig, context=context)
        own = _pods_namespace() if kubeconfig is None and context is None else None
        found = namespace or own or namespace_of(kubeconfig=kubeconfig, context=context)
    except UNREADABLE as error:
        raise ChannelError(
            f"there is no way to an API server: {error}", reason=Reason.API_UNAVAILABLE
        ) from error
    try:
        async with aio.client.ApiClient(configuration) as api:
            yield KubernetesChannel(api, namespace=found, name=policy)
    finally:
        await tls_closed()


def _pods_namespace() -> str | None:
    """The namespace of the pod that this runs in; None outside of a cluster."""
    return _POD_NAMESPACE.read_text().strip() if _POD_NAMESPACE.exists() else None


_POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
