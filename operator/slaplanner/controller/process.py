"""The operator's process: credentials, logging, kopf, signals."""

from __future__ import annotations

import asyncio
import signal
import socket
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import kopf
import kubernetes
from kubernetes import aio

from slaplanner.adapters.deployment import bounded_client
from slaplanner.adapters.kubeconfig import UNREADABLE, aio_credentials, credentials
from slaplanner.adapters.leases import Leases
from slaplanner.controller import handlers
from slaplanner.controller.edited_settings import edited
from slaplanner.controller.leadership import Leadership, request_timeout_s
from slaplanner.controller.logs import set_up_logging
from slaplanner.controller.runtime import Operator
from slaplanner.settings import LeaderElection, Settings

POD_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
"""Where a pod finds the name of its namespace."""


class NoClusterError(Exception):
    """Neither a kubeconfig nor a pod's account leads to an API server."""


class LeadershipLostError(Exception):
    """Another operator may lead now, so this process ends."""


def run_operator(
    settings: Settings,
    *,
    reload: Callable[[], Settings],
    kubeconfig: Path | None = None,
    context: str | None = None,
    namespaces: Sequence[str] = (),
    verbose: bool = False,
    json_logs: bool = True,
) -> bool:
    """Run until a signal, or until the settings are edited; returns when everything has ended.

    Args:
        settings: those to run with.
        reload: reads the settings again.
        kubeconfig: the way to the API server; None: the pod's account, else `KUBECONFIG`.
        context: of the kubeconfig; None: its current one.
        namespaces: whose policies are served; empty: all.
        verbose: log details of kopf and of the watches too.
        json_logs: one JSON object per line; False: plain text.

    Returns:
        Whether the settings were edited, so that the caller should start anew.

    Raises:
        NoClusterError: there is no way to an API server.
        LeadershipLostError: another operator may lead now.
    """
    set_up_logging(verbose=verbose, json=json_logs)

    def credentials() -> kubernetes.client.Configuration:
        return _credentials(kubeconfig=kubeconfig, context=context)

    election = settings.leader_election
    leadership = _leadership(election, credentials) if election is not None else None
    operator = Operator(
        settings=settings,
        api_client=bounded_client(credentials(), may_write=leadership.may_write if leadership else None),
        watching_client=_watching(kubeconfig=kubeconfig, context=context),
    )
    registry = kopf.OperatorRegistry()
    handlers.register(registry, operator, namespaced=bool(namespaces))

    @kopf.on.login(registry=registry, retries=3)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        # Asked again whenever the server refuses a token, so a rotated one is read afresh.
        return _connection(await asyncio.to_thread(credentials))

    async def operate(stop: asyncio.Event | None = None) -> None:
        await kopf.operator(
            registry=registry,
            clusterwide=not namespaces,
            namespaces=list(namespaces),
            standalone=True,
            stop_flag=stop,
        )

    async def stop_when_edited() -> None:
        await edited(settings, reload)
        # As the kubelet would: the Lease is released, plans end, and a standby stops waiting.
        signal.raise_signal(signal.SIGTERM)

    async def main() -> bool:
        operator.serve_probes()
        looking = asyncio.create_task(stop_when_edited(), name="edited settings")
        try:
            if leadership is None:
                await operate()
            else:
                await lead(leadership, operator, operate)
            return looking.done()
        finally:
            looking.cancel()
            operator.stop_probes()

    return asyncio.run(main())


async def lead(
    leadership: Leadership, operator: Operator, operate: Callable[[asyncio.Event], Coroutine[Any, Any, None]]
) -> None:
    """Stand by until this operator is the leader, then operate until a signal or until it is not any more.

    Raises:
        LeadershipLostError: another operator may lead now; the process must end, and a new one stands by.
    """
    operator.liveness.standing_by = True
    if not await _won_before_signal(leadership):
        return
    operator.liveness.standing_by = False
    if leadership.term:
        # The Lease had another holder, and that one writes no more: there is less to wait for than at a first start.
        operator.take_over()
    stop = asyncio.Event()
    operating = asyncio.create_task(operate(stop), name="operating")
    losing = asyncio.create_task(leadership.lost(), name="losing the lease")
    try:
        await asyncio.wait({operating, losing}, return_when=asyncio.FIRST_COMPLETED)
        lost = losing.done() and not operating.done()
        stop.set()
        await operating
    finally:
        losing.cancel()
    if lost:
        raise LeadershipLostError("the lease could not be renewed in time, or another operator holds it")
    await leadership.released()


async def _won_before_signal(leadership: Leadership) -> bool:
    """Wait for leadership; False when a signal came first. kopf has handlers of its own once it runs."""
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    winning = asyncio.create_task(leadership.won(), name="winning the lease")
    stopping = asyncio.create_task(stopped.wait(), name="signal")
    try:
        await asyncio.wait({winning, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if winning.done() and stopped.is_set():
            await leadership.released()
        return winning.done() and not stopped.is_set()
    finally:
        for task in (winning, stopping):
            task.cancel()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def _leadership(
    election: LeaderElection, credentials: Callable[[], kubernetes.client.Configuration]
) -> Leadership:
    """This process's part in the election that the settings name.

    Raises:
        NoClusterError: nobody said in which namespace the Lease lies.
    """
    namespace = election.namespace
    if namespace is None:
        try:
            namespace = POD_NAMESPACE_FILE.read_text().strip()
        except OSError as error:
            raise NoClusterError(
                f"found no namespace for the Lease ({POD_NAMESPACE_FILE} cannot be read: {error.strerror}); "
                "wanted leaderElection.namespace in the settings, or a pod"
            ) from error
    return Leadership(
        Leases(
            bounded_client(credentials()),
            namespace=namespace,
            name=election.name,
            timeout_s=request_timeout_s(election.lease_s),
        ),
        identity=f"{socket.gethostname()}_{uuid.uuid4()}",
        lease_s=election.lease_s,
    )


def _credentials(*, kubeconfig: Path | None, context: str | None) -> kubernetes.client.Configuration:
    try:
        return credentials(kubeconfig=kubeconfig, context=context)
    except UNREADABLE as error:
        where = f"{kubeconfig}: " if kubeconfig is not None else ""
        raise NoClusterError(
            f"{where}found no way to an API server ({error}); wanted a pod's service account, --kubeconfig or "
            "KUBECONFIG"
        ) from error


def _watching(
    *, kubeconfig: Path | None, context: str | None
) -> Callable[[], Awaitable[aio.client.ApiClient]]:
    async def make() -> aio.client.ApiClient:
        return aio.client.ApiClient(await aio_credentials(kubeconfig=kubeconfig, context=context))

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
