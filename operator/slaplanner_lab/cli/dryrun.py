"""`slaplanner dryrun`: what a policy would have decided on a trace, before it touches a GPU."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import click

from slaplanner.adapters.traces.times import TimeUnit
from slaplanner.adapters.traces.trace import Trace
from slaplanner.core.correction import HIGHEST, LOWEST
from slaplanner.core.model import Pause, Policy, Role, Sizing
from slaplanner_lab.cli.dryrun_document import document, write_csv
from slaplanner_lab.cli.dryrun_table import print_table
from slaplanner_lab.cli.inputs import (
    PAUSED,
    check_drawable,
    failing_clearly,
    policy_option,
    read_policy,
    read_profile,
    read_requests,
    target_option,
    time_unit,
    tp_option,
    trace_option,
    with_gpus,
)
from slaplanner_lab.cli.numbers import INTERVAL, REPLICAS, FiniteRange
from slaplanner_lab.cli.terminal import Bar
from slaplanner_lab.dryrun import Assumptions, DryRun, dry_run

_FORMATS = (".png", ".svg")


@click.command(
    name="dryrun",
    epilog="""\b
Examples:
  slaplanner dryrun -f policy.yaml --profile profiles/llama-70b --trace day.jsonl.gz
  slaplanner dryrun -f policy.yaml --trace tuesday.jsonl.gz --warmup-trace monday.jsonl.gz --plot day.png
  slaplanner dryrun -f policy.yaml --trace day.jsonl.gz --output json | jq .gpuHours
""",
)
@policy_option
@click.option("--profile", metavar="DIR", help="Instead of the policy's profile.path.")
@tp_option
@target_option
@trace_option
@time_unit
@click.option(
    "--warmup-trace",
    "warmup_file",
    type=click.Path(path_type=Path),
    help="An earlier trace that the predictor learns first.",
)
@click.option(
    "--amplify",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Copies of each request, of the warm-up too; with sizing Attainment jittered by up to 5 s.",
)
@click.option(
    "--interval",
    type=INTERVAL,
    help="Planning interval in seconds; else the policy's.",
)
@click.option(
    "--start-prefill",
    type=REPLICAS,
    default=1,
    show_default=True,
    help="Prefill replicas in the first interval.",
)
@click.option(
    "--start-decode",
    type=REPLICAS,
    default=1,
    show_default=True,
    help="Decode replicas in the first interval; in mode agg, its workers.",
)
@click.option("--behavior", is_flag=True, help="Damp the plan by the policy's behavior.")
@click.option(
    "--correction",
    nargs=2,
    type=FiniteRange(LOWEST, HIGHEST),
    metavar="PREFILL DECODE",
    help="Plan with these correction factors: latency of the fleet over the profile's, as in the policy's status.",
)
@click.option("--plot", "plot_file", type=click.Path(path_type=Path), help="Draw four panels: PNG or SVG.")
@click.option("--output", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True)
def dryrun(
    *,
    policy_file: str,
    profile: str | None,
    tp: int | None,
    target: str | None,
    trace_file: Path,
    unit: TimeUnit | None,
    warmup_file: Path | None,
    amplify: int,
    interval: float | None,
    start_prefill: int,
    start_decode: int,
    behavior: bool,
    correction: tuple[float, float] | None,
    plot_file: Path | None,
    output: str,
) -> None:
    """Decide along a trace, interval by interval: predict, decide, observe.

    The first interval runs at the start replicas. No fleet answers, so nothing damps or corrects the plan
    unless asked for; `slaplanner simulate` closes the loop. Intervals without requests count as zero.
    Loads and throughputs are in tokens/s; safe throughput is what the replicas carry within the targets.

    Results go to stdout, progress to stderr. Exit code 0: well; 1: the input is bad; 2: usage.
    """
    if plot_file is not None:
        check_drawable(plot_file, option="--plot", formats=_FORMATS)
    with failing_clearly():
        written = read_policy(policy_file)
        loaded = read_profile(profile, written, tp=tp)
        policy = with_gpus(written, target)
        if interval is not None:
            policy = replace(policy, interval_s=interval)
        trace = _amplified(read_requests(trace_file, unit), amplify, policy)
        warm_up = (
            None if warmup_file is None else _amplified(read_requests(warmup_file, unit), amplify, policy)
        )
    if policy.pause is not Pause.NONE:
        click.echo(PAUSED, err=True)
    assumptions = Assumptions(
        start={Role.PREFILL: start_prefill, Role.DECODE: start_decode, Role.AGG: start_decode},
        behavior=behavior,
        factors=dict(zip((Role.PREFILL, Role.DECODE), correction, strict=True)) if correction else {},
    )
    with failing_clearly(), Bar("planning") as bar:
        run = dry_run(
            policy,
            loaded.profile,
            trace,
            assumptions=assumptions,
            warm_up=warm_up,
            progress=lambda done, of: bar.to(done / of),
        )
    title = f"{written.metadata.name} on {trace_file.name}"
    if plot_file is not None:
        _draw(run, plot_file, title=title)
    if output == "json":
        click.echo(json.dumps(document(run), indent=2))
    elif output == "csv":
        write_csv(run, sys.stdout)
    else:
        print_table(run, title=title)


def _amplified(trace: Trace, copies: int, policy: Policy) -> Trace:
    """Copies at their originals' own time, as Dynamo has them; jittered where arrivals teach burstiness."""
    if policy.sizing is Sizing.ATTAINMENT:
        return trace.amplified(copies, seed=0)
    return trace.repeated(copies)


def _draw(run: DryRun, path: Path, *, title: str) -> None:
    from slaplanner_lab.drawing.dryrun_plot import plot  # noqa: PLC0415 - an extra

    try:
        plot(run, title=title, path=path)
    except OSError as error:
        raise click.ClickException(f"{path}: cannot be written: {error.strerror or error}") from error
    click.echo(f"plot written to {path}", err=True)
