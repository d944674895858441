"""`slaplanner virtual`: published decisions from a shell, in etcd or at the API server.

What a fleet of scripts needs: `wait` for a decision, carry it out, `complete` it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from slaplanner.settings import BasicAuth, ClientCertificate
from slaplanner.virtual import (
    ABSENT,
    Channel,
    ChannelError,
    Role,
    ScalingDecision,
    VirtualConnectorClient,
    etcd_channel,
    kubernetes_channel,
)

EXIT_FAILED = 1
EXIT_TIMEOUT = 3
EXIT_INTERRUPTED = 130
"""128 + SIGINT, as shells count."""

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Where:
    """Which backend, and how to reach it."""

    policy: str | None
    namespace: str | None
    kubeconfig: Path | None
    context: str | None
    dynamo_namespace: str | None
    endpoints: str | None
    ca_file: Path | None
    cert_file: Path | None
    key_file: Path | None
    username_file: Path | None
    password_file: Path | None

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[Channel]:
        if self.policy is not None:
            async with kubernetes_channel(
                self.policy, namespace=self.namespace, kubeconfig=self.kubeconfig, context=self.context
            ) as channel:
                yield channel
            return
        assert self.dynamo_namespace is not None
        certificate = login = None
        if self.cert_file is not None and self.key_file is not None:
            certificate = ClientCertificate(cert_file=self.cert_file, key_file=self.key_file)
        if self.username_file is not None and self.password_file is not None:
            login = BasicAuth(username_file=self.username_file, password_file=self.password_file)
        endpoints = self.endpoints or os.environ.get("ETCD_ENDPOINTS") or "http://localhost:2379"
        async with etcd_channel(
            [endpoint.strip() for endpoint in endpoints.split(",")],
            self.dynamo_namespace,
            ca_file=self.ca_file,
            client_certificate=certificate,
            basic_auth=login,
        ) as channel:
            yield channel


@click.group()
@click.option("--policy", help="Follow this SLAPolicy at the API server (backend Kubernetes).")
@click.option("-n", "--namespace", help="Namespace of the policy; without it, the kubeconfig context's.")
@click.option("--kubeconfig", type=_FILE, help="Kubeconfig file. Default: KUBECONFIG, or the pod's account.")
@click.option("--context", help="Context of the kubeconfig.")
@click.option("--dynamo-namespace", help="Follow this Dynamo namespace in etcd (backend Etcd).")
@click.option(
    "--etcd", "endpoints", help="Endpoints of etcd, with commas. Default: ETCD_ENDPOINTS, else localhost."
)
@click.option("--etcd-ca", "ca_file", type=_FILE, help="PEM file with the authorities to trust.")
@click.option("--etcd-cert", "cert_file", type=_FILE, help="PEM file with a client certificate.")
@click.option("--etcd-key", "key_file", type=_FILE, help="PEM file with its key.")
@click.option("--etcd-username-file", "username_file", type=_FILE, help="File with a user name.")
@click.option("--etcd-password-file", "password_file", type=_FILE, help="File with the password.")
@click.pass_context
def virtual(
    ctx: click.Context,
    *,
    policy: str | None,
    namespace: str | None,
    kubeconfig: Path | None,
    context: str | None,
    dynamo_namespace: str | None,
    endpoints: str | None,
    ca_file: Path | None,
    cert_file: Path | None,
    key_file: Path | None,
    username_file: Path | None,
    password_file: Path | None,
) -> None:
    """Follow published decisions and acknowledge them, in etcd or at the API server.

    A decision is printed as one line of JSON: {"id": 3, "prefill": 4, "decode": 2}; -1 is what nobody
    has decided. Exit code 0: done; 1: the backend refuses or does not answer, or the decision is not the last one;
    2: usage; 3: nothing came in time; 130: interrupted.

    \b
    Examples:
      slaplanner virtual --policy llama -n serving get
      decision=$(slaplanner virtual --dynamo-namespace fleet wait --timeout 60)
      slaplanner virtual --dynamo-namespace fleet complete 3
      slaplanner virtual --dynamo-namespace fleet --etcd http://localhost:2379 watch
    """  # noqa: D301 - click wants the character
    if (policy is None) == (dynamo_namespace is None):
        raise click.UsageError("give either --policy (API server) or --dynamo-namespace (etcd)")
    if (cert_file is None) != (key_file is None):
        raise click.UsageError("--etcd-cert and --etcd-key belong together")
    if (username_file is None) != (password_file is None):
        raise click.UsageError("--etcd-username-file and --etcd-password-file belong together")
    ctx.obj = _Where(
        policy=policy,
        namespace=namespace,
        kubeconfig=kubeconfig,
        context=context,
        dynamo_namespace=dynamo_namespace,
        endpoints=endpoints,
        ca_file=ca_file,
        cert_file=cert_file,
        key_file=key_file,
        username_file=username_file,
        password_file=password_file,
    )


@virtual.command()
@click.pass_obj
def get(where: _Where) -> None:
    """Print the last published decision, acknowledged or not."""

    async def ask(client: VirtualConnectorClient) -> None:
        _print(await client.get())

    _run(where, ask)


@virtual.command()
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0), help="Seconds; without it, for ever.")
@click.pass_obj
def wait(where: _Where, *, timeout_s: float | None) -> None:
    """Wait for a decision that nobody has acknowledged, and print it."""

    async def ask(client: VirtualConnectorClient) -> None:
        async with asyncio.timeout(timeout_s):
            _print(await client.wait())

    _run(where, ask)


@virtual.command()
@click.argument("decision_id", type=click.IntRange(min=0), metavar="ID")
@click.pass_obj
def complete(where: _Where, *, decision_id: int) -> None:
    """Acknowledge the decision ID, which must be the last one."""

    async def ask(client: VirtualConnectorClient) -> None:
        decision = await client.get()
        if decision.id != decision_id or not await client.complete(decision):
            last = (await client.get()).id
            raise ChannelError(
                f"found decision {decision_id}, wanted the last one: "
                f"{'there is none' if last == ABSENT else last}"
            )

    _run(where, ask)


@virtual.command()
@click.pass_obj
def watch(where: _Where) -> None:
    """Print every decision that is found, one line each, until interrupted. Acknowledges nothing."""

    async def ask(client: VirtualConnectorClient) -> None:
        async for decision in client.watch():
            _print(decision)

    _run(where, ask)


def _print(decision: ScalingDecision) -> None:
    document = {
        "id": decision.id,
        "prefill": decision.count(Role.PREFILL),
        "decode": decision.count(Role.DECODE),
    }
    click.echo(json.dumps(document))
    sys.stdout.flush()


def _run(where: _Where, ask: Callable[[VirtualConnectorClient], Awaitable[None]]) -> None:
    async def connected() -> None:
        async with where.channel() as channel:
            await ask(VirtualConnectorClient(channel))

    try:
        asyncio.run(connected())
    except (ChannelError, ValueError) as error:
        click.echo(str(error), err=True)
        sys.exit(EXIT_FAILED)
    except TimeoutError:
        click.echo("nothing came in time", err=True)
        sys.exit(EXIT_TIMEOUT)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
