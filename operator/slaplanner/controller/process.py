"""The operator's process: credentials, logging, kopf, signals."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import kopf
import kubernetes
from kubernetes import aio
from kubernetes.config.config_exception import ConfigException

from slaplanner.adapters.target import bounded_client
from slaplanner.controller import handlers
from slaplanner.controller.logs import set_up_logging
from slaplanner.controller.runtime import Operator
from slaplanner.settings import Settings


class NoClusterError(Exception):
    """Neither a kubeconfig nor a pod's account leads to an API server."""


def run_operator(
    settings: Settings,
    *,
    kubeconfig: Path | None = None,
    context: str | None = None,
    namespaces: Sequence[str] = (),
    verbose: bool = False,
    json_logs: bool = True,
) -> None:
    """Run until a signal; returns when everything has ended.

    Raises:
        NoClusterError: there is no way to an API server.
    """
    set_up_logging(verbose=verbose, json=json_logs)

    def credentials() -> kubernetes.client.Configuration:
        return _credentials(kubeconfig=kubeconfig, context=context)

    operator = Operator(
        settings=settings,
        api_client=bounded_client(credentials()),
        watching_client=_watching(kubeconfig=kubeconfig, context=context),
    )
    registry = kopf.OperatorRegistry()
    handlers.register(registry, operator, namespaced=bool(namespaces))

    @kopf.on.login(registry=registry, retries=3)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        # Asked again whenever the server refuses a token, so a rotated one is read afresh.
        return _connection(await asyncio.to_thread(credentials))

    asyncio.run(
        kopf.operator(
            registry=registry,
            clusterwide=not namespaces,
            namespaces=list(namespaces),
            standalone=True,
        )
    )


def _credentials(*, kubeconfig: Path | None, context: str | None) -> kubernetes.client.Configuration:
    configuration = kubernetes.client.Configuration()
    try:
        if kubeconfig is None and context is None:
            try:
                kubernetes.config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
            except ConfigException:
                kubernetes.config.load_kube_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            kubernetes.config.load_kube_config(  # type: ignore[no-untyped-call]
                config_file=str(kubeconfig) if kubeconfig else None,
                context=context,
                client_configuration=configuration,
            )
    except ConfigException as error:
        raise NoClusterError(
            f"found no way to an API server ({error}); wanted a pod's service account, --kubeconfig or KUBECONFIG"
        ) from error
    return configuration


def _watching(
    *, kubeconfig: Path | None, context: str | None
) -> Callable[[], Awaitable[aio.client.ApiClient]]:
    async def make() -> aio.client.ApiClient:
        configuration = aio.client.Configuration()
        outside = kubeconfig is not None or context is not None
        if not outside:
            try:
                aio.config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
            except aio.config.ConfigException:
                outside = True
        if outside:
            await aio.config.load_kube_config(  # type: ignore[no-untyped-call]
                config_file=str(kubeconfig) if kubeconfig else None,
                context=context,
                client_configuration=configuration,
            )
        return aio.client.ApiClient(configuration)

    return make


def _connection(configuration: kubernetes.client.Configuration) -> kopf.ConnectionInfo:
    header = configuration.get_api_key_with_prefix("authorization") or configuration.get_api_key_with_prefix(
        "BearerToken"
    )
    scheme, _, token = (header or "").rpartition(" ")
    return kopf.ConnectionInfo(
        server=configuration.host,
        ca_path=configuration.ssl_ca_cert,
        insecure=not configuration.verify_ssl,
        username=configuration.username or None,
        password=configuration.password or None,
        scheme=scheme or None,
        token=token or None,
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
    )
