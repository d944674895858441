"""Starts the fleet with its servers, and stops all of it together."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from slaplanner_lab.fleet import names
from slaplanner_lab.fleet.graph import FleetError
from slaplanner_lab.fleet.install import ConversionWebhook, install
from slaplanner_lab.fleet.kube import Access, Kube
from slaplanner_lab.fleet.options import Options
from slaplanner_lab.fleet.program import PlayedFleet
from slaplanner_lab.fleet.web import control_app, listening, metrics_app
from slaplanner_lab.fleet.webhook import PATH, webhook_app

BOTH = (names.V1ALPHA1, names.V1BETA1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a server listens; port 0: a free one."""

    host: str = "127.0.0.1"
    port: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """The fleet's servers."""

    metrics: Address
    control: Address
    webhook: Address | None = None
    """None: no conversion; else both versions are installed, with this webhook between them."""
    webhook_host: str | None = None
    """How the API server reaches the webhook; None: where it listens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Urls:
    """Where the fleet answers now."""

    metrics: str
    control: str
    webhook: str | None


@asynccontextmanager
async def _conversion_webhook(listen: Address, reached_as: str) -> AsyncIterator[ConversionWebhook]:
    """Serve conversions inside the block, under a certificate made for it."""
    try:
        from slaplanner_lab.fleet.certificate import make_certificate  # noqa: PLC0415 - an extra that only this needs
    except ModuleNotFoundError as error:
        raise FleetError(f"found no module {error.name}, wanted pip install slaplanner[fleet]") from error
    certificate = make_certificate(reached_as, dt.datetime.now(dt.UTC))
    async with listening(webhook_app(), listen.host, listen.port, tls=certificate.server_context()) as url:
        port = url.rpartition(":")[2]
        yield ConversionWebhook(url=f"https://{reached_as}:{port}{PATH}", ca_pem=certificate.certificate)


async def launch(
    access: Access, options: Options, addresses: Addresses, started: Callable[[Urls], None]
) -> None:
    """Run until cancelled; *started* is called once the servers listen.

    Raises:
        GroupNotServedError: the cluster does not know the graphs.
        FleetError: the definitions are there and are not the fleet's.
        ApiError, aiohttp.ClientError: the API server refused, or is away.
    """
    async with AsyncExitStack() as stack:
        kube = await stack.enter_async_context(Kube(access))
        webhook = None
        if addresses.webhook is not None:
            reached_as = addresses.webhook_host or addresses.webhook.host
            serving = _conversion_webhook(addresses.webhook, reached_as)
            webhook = await stack.enter_async_context(serving)
            await install(kube, BOTH, webhook=webhook)
        await kube.become(names.OPERATOR_USER)
        fleet = PlayedFleet(kube, options)
        metrics, control = addresses.metrics, addresses.control
        urls = Urls(
            metrics=await stack.enter_async_context(
                listening(metrics_app(fleet), metrics.host, metrics.port)
            ),
            control=await stack.enter_async_context(
                listening(control_app(fleet), control.host, control.port)
            ),
            webhook=webhook.url if webhook else None,
        )
        started(urls)
        await fleet.run()
