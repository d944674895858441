"""The main job on this machine: a real API server and Prometheus, a played fleet, the operator.

Replays eight minutes of a real trace against engines that follow a measured profile, and shows how
load, replicas and latencies follow each other. With `--dynamo` nothing of the serving side is played:
replicas are processes of NVIDIA's own simulated workers, and clients come in over HTTP through Dynamo's
frontend. Everything that it starts ends with it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import yaml
from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table

from tests.dynamo.client import Request
from tests.dynamo.serving import clients, monitored, real_serving, slowed
from tests.testbed import Bed, Cluster, MachineLacksError, PrometheusServer, Target, TestBedError, free_port
from tests.testbed.dynamo import Served, dynamo_kubeconfig, install_dynamo
from tests.testbed.dynamo_wheels import WORKERS_VERSION

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PROFILE = ROOT / "examples/profiles/h100_vllm_Qwen3-32B_bf16_tp2"
TRACE = ROOT / "examples/traces/azure2023_conv.jsonl.gz"
NAMESPACE = "serving"
NAME = "qwen3-32b"
MODEL = "Qwen/Qwen3-32B"

FROM_S, TO_S = 1770.0, 2250.0
"""Eight minutes of the trace: its busiest, then half as many input tokens."""

AMPLIFY = 14
LONGEST_S = 480.0
"""The demo's own end, however slow the machine is."""

SLOWER = 8.0
"""So many times slower are the engines of the demo with real parts than the profile measured: what three of
them carry is then no more than two cores can send and read."""

QUIET_S, BUSY_S = 0.15, 0.5
"""Of the demo with real parts, the share before the load rises, and that while it is high."""

REQUESTS_S = {"quiet": 0.5, "busy": 4.5}
ISL_TOKENS, OSL_TOKENS = 1000, 150

LOOK_EVERY_S = 10.0

POLICIES = {False: "policy.yaml", True: "policy-dynamo.yaml"}
"""Whether the parts are real -> what is promised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What the live table shows of one look."""

    second: int
    requests_s: float | None
    replicas: dict[str, str]
    gpus: str
    ttft: str
    itl: str
    reason: str


def main() -> int:
    """Run the demo; the exit code is 0 when it ran to its end or was interrupted."""
    arguments = _arguments()
    console = Console(soft_wrap=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with Bed(say=lambda line: console.print(f"[dim]{line}[/dim]")) as bed:
            play(bed, console, seconds=min(arguments.seconds, LONGEST_S), real=arguments.dynamo)
    except KeyboardInterrupt:
        console.print("\nstopped; all that was started has ended")
    except MachineLacksError as error:
        console.print(f"[red]this machine lacks something:[/red] {error}")
        return 1
    except TestBedError as error:
        console.print(f"[red]{error}[/red]")
        return 1
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make demo", description="Show the operator at work on this machine, without GPUs."
    )
    parser.add_argument(
        "--seconds", type=float, default=LONGEST_S, help="How long to watch, at most %(default).0f s."
    )
    parser.add_argument(
        "--dynamo",
        action="store_true",
        help="Serve with NVIDIA's own frontend and simulated workers, from PyPI, instead of a played fleet.",
    )
    return parser.parse_args()


def play(bed: Bed, console: Console, *, seconds: float, real: bool) -> None:
    """Show the main job on the parts of *bed*; *real*: served by Dynamo's own processes."""
    cluster, prometheus = bed.control_plane, bed.prometheus
    console.print("[dim]installing Dynamo's definitions and the operator's manifests[/dim]")
    install_dynamo(cluster, Served.V1BETA1)
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-k", str(ROOT / "manifests"))
    cluster.kubectl("wait", "--for=condition=Established", "crd/slapolicies.slaplanner.io", "--timeout=30s")
    cluster.kubectl("create", "namespace", NAMESPACE)
    with ExitStack() as programs:
        if real:
            load = _real_parts(bed, cluster, prometheus, console, programs, seconds=seconds)
        else:
            load = _played_parts(bed, cluster, prometheus, programs)
        programs.enter_context(_operator(bed, cluster, prometheus))
        cluster.kubectl("apply", f"--namespace={NAMESPACE}", f"--filename={HERE / POLICIES[real]}")
        console.print(f"{load}, for at most {seconds:.0f} s; Ctrl-C ends it\n")
        _watch(cluster, prometheus, console, seconds=seconds)
        for command in (("get", "slap"), ("describe", "slap", NAME)):
            console.rule(f"kubectl {' '.join(command)}")
            console.print(cluster.kubectl(*command, "-n", NAMESPACE).stdout, markup=False, highlight=False)


def _played_parts(bed: Bed, cluster: Cluster, prometheus: PrometheusServer, programs: ExitStack) -> str:
    """The deployment, served by the fleet's own engines; what is played, in words."""
    metrics_port = free_port()
    programs.enter_context(_fleet(bed, cluster, metrics_port))
    prometheus.add_target(Target(job="fleet", address=f"127.0.0.1:{metrics_port}"), wait_up=False)
    _deploy(cluster, PROFILE)
    minutes = f"minutes {FROM_S / 60:.0f} to {TO_S / 60:.0f}"
    return f"replaying {TRACE.name}, {minutes}, every request {AMPLIFY} times"


def _real_parts(
    bed: Bed,
    cluster: Cluster,
    prometheus: PrometheusServer,
    console: Console,
    programs: ExitStack,
    *,
    seconds: float,
) -> str:
    """The deployment, served by processes of Dynamo's; what load its clients bring, in words."""
    profile = slowed(PROFILE, bed.directory / "profile", factor=SLOWER)
    serving = programs.enter_context(
        real_serving(
            dynamo_kubeconfig(cluster),
            bed.directory / "dynamo",
            namespace=NAMESPACE,
            model=MODEL,
            profile=profile,
            say=lambda line: console.print(f"[dim]{line}[/dim]"),
        )
    )
    _deploy(cluster, profile)
    console.print("[dim]starting a frontend and the first workers[/dim]")
    frontend = serving.wait_served(f"{NAMESPACE}/{NAME}")
    target = monitored(frontend, namespace=NAMESPACE, name=NAME)
    prometheus.add_target(target)
    programs.callback(prometheus.remove_target, target)
    steps = [
        (seconds * QUIET_S, REQUESTS_S["quiet"]),
        (seconds * BUSY_S, REQUESTS_S["busy"]),
        (seconds, REQUESTS_S["quiet"]),
    ]
    request = Request(isl_tokens=ISL_TOKENS, osl_tokens=OSL_TOKENS)
    programs.enter_context(clients(frontend, MODEL, request, steps=steps))
    return (
        f"{REQUESTS_S['quiet']:g}, then {REQUESTS_S['busy']:g}, then {REQUESTS_S['quiet']:g} requests/s of "
        f"{ISL_TOKENS} and {OSL_TOKENS} tokens through Dynamo {WORKERS_VERSION}"
    )


def _deploy(cluster: Cluster, profile: Path) -> None:
    where = f"--namespace={NAMESPACE}"
    files = [f"--from-file={profile / name}" for name in ("prefill_raw_data.json", "decode_raw_data.json")]
    cluster.kubectl("create", "configmap", f"{NAME}-profile", where, *files)
    cluster.kubectl("apply", where, f"--filename={HERE / 'graph.yaml'}")


@contextmanager
def _fleet(bed: Bed, cluster: Cluster, metrics_port: int) -> Iterator[None]:
    command = [
        *("fleet", "run", "--kubeconfig", str(dynamo_kubeconfig(cluster)), "--namespace", NAMESPACE),
        *("--profile", str(PROFILE), "--trace", str(TRACE), "--from", f"{FROM_S}", "--to", f"{TO_S}"),
        *("--amplify", str(AMPLIFY), "--startup", "20", "--ttft", "1000", "--itl", "20"),
        *("--metrics", f"127.0.0.1:{metrics_port}", "--control", f"127.0.0.1:{free_port()}"),
    ]
    with _program(command, bed.directory / "fleet.log"):
        yield


@contextmanager
def _operator(bed: Bed, cluster: Cluster, prometheus: PrometheusServer) -> Iterator[None]:
    settings = bed.directory / "settings.yaml"
    document = {
        "settleSeconds": 0,
        "heartbeatSeconds": 1,
        "port": free_port(),
        "prometheus": {"default": {"url": prometheus.url}},
    }
    settings.write_text(yaml.safe_dump(document))
    account = cluster.service_account_kubeconfig(namespace="slaplanner-system", name="slaplanner")
    command = ["run", "--settings", str(settings), "--kubeconfig", str(account)]
    with _program(command, bed.directory / "operator.log"):
        yield


@contextmanager
def _program(arguments: list[str], log_file: Path) -> Iterator[None]:
    """Run `slaplanner` with *arguments* until the block ends."""
    command = [sys.executable, "-c", "from slaplanner.cli import main; main()", *arguments]
    with log_file.open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own program
            command, stdout=log, stderr=subprocess.STDOUT, env=os.environ, start_new_session=True
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _watch(cluster: Cluster, prometheus: PrometheusServer, console: Console, *, seconds: float) -> None:
    started = time.monotonic()
    rows: list[Row] = []
    if not console.is_terminal:
        # Into a file or a pipe: a line per look, as it comes.
        while (elapsed := time.monotonic() - started) < seconds:
            console.print(_line(_look(cluster, prometheus, second=round(elapsed))), markup=False)
            _pause(started + elapsed)
        return
    with Live(console=console, refresh_per_second=2, transient=False) as live:
        while (elapsed := time.monotonic() - started) < seconds:
            rows.append(_look(cluster, prometheus, second=round(elapsed)))
            live.update(_table(rows))
            _pause(started + elapsed)


def _pause(looked_at: float) -> None:
    time.sleep(max(0.0, LOOK_EVERY_S - (time.monotonic() - looked_at)))


def _line(row: Row) -> str:
    roles = ", ".join(f"{role} {count}" for role, count in row.replicas.items())
    return (
        f"{row.second:4d} s: {_rate(row.requests_s):>4} requests/s, {roles}, {row.gpus} GPUs, "
        f"TTFT {row.ttft} ms, ITL {row.itl} ms, {row.reason}"
    )


def _look(cluster: Cluster, prometheus: PrometheusServer, *, second: int) -> Row:
    found = json.loads(cluster.kubectl("get", "slap", NAME, "-n", NAMESPACE, "-o", "json").stdout)
    status: dict[str, Any] = found.get("status", {})
    graph = json.loads(cluster.kubectl("get", "dgd", NAME, "-n", NAMESPACE, "-o", "json").stdout)
    asked = {one["name"]: one.get("replicas", 1) for one in graph["spec"]["components"]}
    serving = graph.get("status", {}).get("components", {})
    gpus = 2 * (asked["prefill"] + asked["decode"])
    return Row(
        second=second,
        requests_s=_value(prometheus, "sum(rate(dynamo_frontend_requests_started_total[10s]))"),
        replicas={
            role: f"{serving.get(role, {}).get('availableReplicas', 0)} of {asked[role]}"
            for role in ("prefill", "decode")
        },
        gpus=f"{gpus}",
        ttft=_milliseconds(_mean(prometheus, "time_to_first_token_seconds")),
        itl=_milliseconds(_mean(prometheus, "inter_token_latency_seconds")),
        reason=str(status.get("lastDecision", {}).get("reason", "-")),
    )


def _mean(prometheus: PrometheusServer, metric: str) -> float | None:
    name = f"dynamo_frontend_{metric}"
    return _value(prometheus, f"sum(rate({name}_sum[10s])) / sum(rate({name}_count[10s]))")


def _value(prometheus: PrometheusServer, query: str) -> float | None:
    """None without an answer: who stops Prometheus meanwhile sees the operator hold, and the demo goes on."""
    try:
        answer: Any = prometheus.query(query)
    except requests.RequestException:
        return None
    value = float(answer[0]["value"][1]) if answer else float("nan")
    return None if value != value else value  # noqa: PLR0124 - NaN


def _rate(requests_s: float | None) -> str:
    """With a decimal where there are few, so that half a request per second is not shown as 0."""
    if requests_s is None:
        return "-"
    return f"{requests_s:.1f}" if requests_s < 10.0 else f"{requests_s:.0f}"


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{1000 * seconds:.0f}"


def _table(rows: list[Row]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title="load, replicas and latencies", title_justify="left")
    for heading in ("s", "requests/s", "", "prefill", "decode", "GPUs", "TTFT ms", "ITL ms", "decision"):
        table.add_column(heading, justify="left" if heading in ("", "decision") else "right")
    peak = max((row.requests_s or 0.0 for row in rows), default=0.0) or 1.0
    for row in rows[-24:]:
        bar = "█" * round(16 * (row.requests_s or 0.0) / peak)
        table.add_row(
            str(row.second),
            _rate(row.requests_s),
            bar,
            row.replicas["prefill"],
            row.replicas["decode"],
            row.gpus,
            row.ttft,
            row.itl,
            row.reason,
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
