"""`slaplanner fleet`: a serving fleet without GPUs, to try the operator on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import signal
import sys
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import click
from kubernetes import config

from slaplanner.adapters.profiles import load_directory
from slaplanner.adapters.traces.errors import TraceError
from slaplanner.adapters.traces.times import TimeUnit
from slaplanner.core.errors import PlanningError
from slaplanner.core.model import Interpolation
from slaplanner_lab.cli.inputs import read_requests, time_unit, tp_option
from slaplanner_lab.engine import EngineTables
from slaplanner_lab.fleet import names
from slaplanner_lab.fleet.frontend import Dialect
from slaplanner_lab.fleet.graph import FleetError
from slaplanner_lab.fleet.ground_truth import LatencyTargets
from slaplanner_lab.fleet.guard import check_laptop, is_loopback
from slaplanner_lab.fleet.install import install
from slaplanner_lab.fleet.kube import Access, ApiError, Kube, load_access
from slaplanner_lab.fleet.launch import Address, Addresses, Urls, launch
from slaplanner_lab.fleet.options import Options
from slaplanner_lab.fleet.program import GroupNotServedError
from slaplanner_lab.simulation.traffic import Traffic

EXIT_FAILED = 1


def _address(_ctx: click.Context, _param: click.Parameter, value: str) -> Address:
    """`HOST:PORT`; port 0 is a free one."""
    host, _, port = value.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise click.BadParameter(f"found {value!r}, wanted HOST:PORT")
    return Address(host=host.strip("[]"), port=int(port))


def _own_address(ctx: click.Context, param: click.Parameter, value: str) -> Address:
    """An address that only this machine reaches: whoever reaches it may break the fleet."""
    address = _address(ctx, param, value)
    if not is_loopback(address.host):
        raise click.BadParameter(f"found {address.host}, wanted an address on loopback")
    return address


_kubeconfig = click.option(
    "--kubeconfig", type=click.Path(exists=True, dir_okay=False), help="Kubeconfig file."
)
_context = click.option("--context", help="Context of the kubeconfig.")
_yes_really = click.option(
    "--yes-really", is_flag=True, help="Also on a cluster that is not on this machine. Mind whose it is."
)


@click.group()
def fleet() -> None:
    """Play Dynamo and its engines, for tests and for laptops without GPUs.

    The fleet serves a trace through every DynamoGraphDeployment that carries the label
    slaplanner.io/simulated=true, with latencies from a profile, and moves its status as Dynamo's
    operator does. It refuses clusters that are not on this machine (loopback, kind, k3d, minikube).
    """


@fleet.command(
    "install-crds",
    epilog="""\b
Examples:
  slaplanner fleet install-crds                      # v1beta1 alone
  slaplanner fleet install-crds --version v1alpha1   # as older releases
  slaplanner fleet run --convert ...                 # both, with conversion while the fleet runs
""",
)
@click.option(
    "--version",
    type=click.Choice([names.V1ALPHA1, names.V1BETA1]),
    default=names.V1BETA1,
    show_default=True,
    help="API version of the DynamoGraphDeployment to serve.",
)
@_kubeconfig
@_context
@_yes_really
def install_crds(*, version: str, kubeconfig: str | None, context: str | None, yes_really: bool) -> None:
    """Install the definitions of Dynamo's objects and its admission of scaling adapters.

    They have the fields that a planner reads and writes. Definitions of another owner are left
    alone. Exit code 0: installed; 1: refused; 2: usage.
    """

    async def apply(access: Access) -> None:
        async with Kube(access) as kube:
            await install(kube, (version,))
        click.echo(f"installed {names.GROUP}/{version}")

    with _failing_clearly():
        asyncio.run(apply(_access(kubeconfig, context, really=yes_really)))


@fleet.command(
    epilog="""\b
Examples:
  slaplanner fleet run --profile examples/profiles/h100_vllm_Qwen3-32B_bf16_tp2 --trace trace.jsonl.gz
  slaplanner fleet run --profile DIR --trace T --from 600 --to 1800 --amplify 8 --loop
  slaplanner fleet run --profile DIR --trace T --metrics 0.0.0.0:9464   # a Prometheus inside kind
  curl localhost:9465/graphs                                            # what really happened
  curl localhost:9465/graphs/serving/llama/controls -d '{"stall": true}'

\b
Annotations of a graph (fleet.slaplanner.io/...):
  kind=PodClique             what carries its replicas, or per component: decode=PodClique
  startup-seconds=40         from a replica's creation to its readiness
  crash-looping=decode=1     so many replicas never become ready
  capacity-gpus=16           more replicas than fit stay unscheduled
  amplify=4                  its own share of the traffic; 0: none
"""
)
@click.option(
    "--profile",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="Directory of a profile in Dynamo's format: how fast the engines are.",
)
@tp_option
@click.option(
    "--slowdown", type=click.FloatRange(min=0.01), default=1.0, help="Engines slower by this factor."
)
@click.option(
    "--trace",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Requests, in any format that slaplanner dryrun reads.",
)
@time_unit
@click.option("--from", "from_s", type=click.FloatRange(min=0), default=0.0, help="Begin of the slice, s.")
@click.option("--to", "to_s", type=click.FloatRange(min=0), default=math.inf, help="End of the slice, s.")
@click.option("--amplify", type=click.IntRange(min=1), default=1, help="Requests for each of the trace.")
@click.option("--seed", type=int, default=0, help="Of the jitter between copies of a request.")
@click.option("--loop", is_flag=True, help="Begin the trace anew when it ends.")
@click.option(
    "--startup",
    "startup_s",
    type=click.FloatRange(min=0),
    default=20.0,
    show_default=True,
    help="Start-up, s.",
)
@click.option(
    "--ttft", "ttft_ms", type=float, default=500.0, show_default=True, help="Target of the truth, ms."
)
@click.option("--itl", "itl_ms", type=float, default=50.0, show_default=True, help="Target of the truth, ms.")
@click.option(
    "--metrics", callback=_address, default="127.0.0.1:9464", show_default=True, help="For Prometheus."
)
@click.option(
    "--control", callback=_own_address, default="127.0.0.1:9465", show_default=True, help="Truth and faults."
)
@click.option(
    "--older-frontend",
    is_flag=True,
    help="No requests_started_total and no model_ready, as in older versions.",
)
@click.option("--no-namespace-label", is_flag=True, help="No dynamo_namespace on the frontend's series.")
@click.option("-n", "--namespace", help="Only graphs of this namespace.")
@click.option("--every-graph", is_flag=True, help="Also graphs without the label of simulated ones.")
@click.option("--convert", is_flag=True, help="Install both API versions, with a conversion webhook.")
@click.option("--webhook", callback=_address, default="127.0.0.1:0", show_default=True, help="Its address.")
@click.option("--webhook-host", help="How the API server reaches the webhook.  [default: its address]")
@_kubeconfig
@_context
@_yes_really
def run(
    *,
    profile: Path,
    tp: int | None,
    slowdown: float,
    trace: Path | None,
    unit: TimeUnit | None,
    from_s: float,
    to_s: float,
    amplify: int,
    seed: int,
    loop: bool,
    startup_s: float,
    ttft_ms: float,
    itl_ms: float,
    metrics: Address,
    control: Address,
    older_frontend: bool,
    no_namespace_label: bool,
    namespace: str | None,
    every_graph: bool,
    convert: bool,
    webhook: Address,
    webhook_host: str | None,
    kubeconfig: str | None,
    context: str | None,
    yes_really: bool,
) -> None:
    """Serve until Ctrl-C.

    The trace begins for each graph when its first prefill and decode replicas serve. Exit code 0:
    stopped; 1: the input is bad, or the cluster refused; 2: usage.
    """
    with _failing_clearly():
        access = _access(kubeconfig, context, really=yes_really)
        traffic = None if trace is None else _traffic(trace, unit, from_s, to_s)
        options = Options(
            tables=_tables(profile, slowdown, tp=tp),
            traffic=traffic,
            amplify=amplify,
            seed=seed,
            loop_s=_loop_s(traffic, to_s - from_s) if loop else 0.0,
            startup_s=startup_s,
            dialect=Dialect(
                started_total=not older_frontend,
                model_ready=not older_frontend,
                namespace_label=not no_namespace_label,
            ),
            targets=LatencyTargets(ttft_ms=ttft_ms, itl_ms=itl_ms),
            namespace=namespace,
            every_graph=every_graph,
        )
        addresses = Addresses(
            metrics=metrics,
            control=control,
            webhook=webhook if convert else None,
            webhook_host=webhook_host,
        )
        logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
        asyncio.run(_until_stopped(launch(access, options, addresses, _announce)))


def _announce(urls: Urls) -> None:
    click.echo(f"metrics {urls.metrics}/metrics")
    click.echo(f"control {urls.control}/graphs")
    if urls.webhook:
        click.echo(f"webhook {urls.webhook}")
    sys.stdout.flush()


async def _until_stopped(work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.ensure_future(work)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _access(kubeconfig: str | None, context: str | None, *, really: bool) -> Access:
    access = load_access(kubeconfig, context)
    check_laptop(access, really=really)
    return access


def _tables(profile: Path, slowdown: float, *, tp: int | None) -> EngineTables:
    loaded = load_directory(profile, allowed=None, interpolation=Interpolation.MONOTONE, tp=tp)
    return EngineTables.of(loaded.profile).slowed(slowdown)


def _traffic(trace: Path, unit: TimeUnit | None, from_s: float, to_s: float) -> Traffic:
    part = read_requests(trace, unit).between(from_s, to_s)
    return Traffic(
        arrival_s=part.t_s,
        isl_tokens=part.isl_tokens.astype(float),
        osl_tokens=part.osl_tokens.astype(float),
    )


def _loop_s(traffic: Traffic | None, slice_s: float) -> float:
    """A round of a bounded slice is as long as the slice; of a whole trace, up to its last arrival."""
    if traffic is None:
        raise click.UsageError("--loop needs a --trace")
    return slice_s if math.isfinite(slice_s) else traffic.last_arrival_s + 1.0


@contextlib.contextmanager
def _failing_clearly() -> Iterator[None]:
    """Bad input and a refusing cluster end with one message and exit code 1."""
    try:
        yield
    except config.ConfigException as error:
        raise click.UsageError(f"no cluster is configured: {error}") from error
    except (FleetError, GroupNotServedError, PlanningError, TraceError, ApiError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(EXIT_FAILED)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        click.echo(f"error: the API server or an address cannot be had: {error}", err=True)
        sys.exit(EXIT_FAILED)
