"""`slaplanner simulate`: what a policy would do to a trace, in a closed loop, without a GPU."""

from __future__ import annotations

import json
import math
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

import click
import yaml

from slaplanner import __version__
from slaplanner.adapters.traces.times import TimeUnit
from slaplanner.core.model import Pause, Policy, PredictorType, Role
from slaplanner.core.profiles import ProfileTables
from slaplanner_lab.cli.engine_options import buckets_of, fleet_error, itl_buckets, ttft_buckets
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
from slaplanner_lab.cli.numbers import REPLICAS, SECONDS
from slaplanner_lab.cli.simulate_document import comparison_document, run_document, sweep_document
from slaplanner_lab.cli.simulate_tables import print_comparison, print_csv, print_score, print_sweep
from slaplanner_lab.cli.sweep_option import Axes, against_option, price_option, sweep_option
from slaplanner_lab.cli.terminal import Bar
from slaplanner_lab.engine import COMPILED, EngineError
from slaplanner_lab.rivals.compare import Comparison, compare, predictors, tasks
from slaplanner_lab.simulation.loop import PrometheusSilent, Run, Scenario, WorkerLost
from slaplanner_lab.simulation.loop import simulate as play
from slaplanner_lab.simulation.planners import PolicyPlanner
from slaplanner_lab.simulation.score import score
from slaplanner_lab.simulation.setup import UNSCORED_S, scenario_of
from slaplanner_lab.simulation.sweep import SweepPoint, Variant, variants
from slaplanner_lab.simulation.sweep import sweep as run_sweep

SLOW_REQUESTS = 20_000
"""Above it, plain Python takes minutes."""


def _loss(
    _context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[WorkerLost, ...]:
    faults = []
    for value in values:
        role, _, at_s = value.partition("@")
        try:
            fault = WorkerLost(at_s=float(at_s), role=Role(role))
            if not math.isfinite(fault.at_s):
                raise ValueError(at_s)  # noqa: TRY301 - told as the others
        except ValueError as error:
            raise click.BadParameter(f"found {value!r}, wanted ROLE@SECONDS as in decode@900") from error
        faults.append(fault)
    return tuple(faults)


@click.command(
    name="simulate",
    epilog="""\b
Examples:
  slaplanner simulate -f policy.yaml --trace day.jsonl.gz --report day.html
  slaplanner simulate -f policy.yaml --trace day.jsonl.gz --compare --output json
  slaplanner simulate -f policy.yaml --trace day.jsonl.gz --lose decode@900 --silence 1800
  slaplanner simulate -f policy.yaml --trace day.jsonl.gz --sweep ttft=500,1000,itl=20,30 --gpu-hour-price 2.5
""",
)
@policy_option
@click.option(
    "--profile", metavar="DIR", help="What the planner believes; default: the policy's profile.path."
)
@click.option("--fleet-profile", metavar="DIR", help="What the fleet can really do; default: the same.")
@fleet_error
@ttft_buckets
@itl_buckets
@tp_option
@target_option
@trace_option
@time_unit
@click.option(
    "--amplify",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Copies of each request, jittered by up to 5 s.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the jitter.")
@click.option(
    "--start-prefill",
    type=REPLICAS,
    help="Replicas at the start; default: what the first minute needs.",
)
@click.option("--start-decode", type=REPLICAS, help="The same for decode; in mode agg, its workers.")
@click.option(
    "--unscored",
    type=SECONDS,
    default=UNSCORED_S,
    show_default=True,
    metavar="SECONDS",
    help="Requests that arrive earlier do not count.",
)
@click.option(
    "--lose",
    multiple=True,
    callback=_loss,
    metavar="ROLE@SECONDS",
    help="A worker crashes then; may be repeated.",
)
@click.option(
    "--silence",
    multiple=True,
    type=SECONDS,
    metavar="SECONDS",
    help="Prometheus is silent from then on for ten minutes; may be repeated.",
)
@click.option(
    "--compare",
    "with_rivals",
    is_flag=True,
    help="Simulate HPAs, llm-d's KEDA rules, constant sizes, a clairvoyant and the formulas too.",
)
@sweep_option
@against_option
@price_option
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.html",
    help="One page with everything, plots included.",
)
@click.option(
    "--output",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
    help="csv: one line per plan.",
)
def simulate(
    *,
    policy_file: str,
    profile: str | None,
    fleet_profile: str | None,
    fleet_error: EngineError,
    ttft_buckets: tuple[float, ...],
    itl_buckets: tuple[float, ...],
    tp: int | None,
    target: str | None,
    trace_file: Path,
    unit: TimeUnit | None,
    amplify: int,
    seed: int,
    start_prefill: int | None,
    start_decode: int | None,
    unscored: float,
    lose: tuple[WorkerLost, ...],
    silence: tuple[float, ...],
    with_rivals: bool,
    sweep: Axes,
    other_files: tuple[str, ...],
    price: float | None,
    report: Path | None,
    output: str,
) -> None:
    """Play a trace through a simulated fleet that the policy's planner scales.

    Request by request: prompts queue for prefill, sequences decode in batches, workers take their time to
    start and drain before they go. Results go to standard output, progress to standard error. Exit code 0:
    simulated; 1: the input is bad; 2: usage.
    """
    if report is not None:
        check_drawable(report, option="--report", formats=(".html",))
    with failing_clearly():
        written = read_policy(policy_file)
        believed = read_profile(profile, written, tp=tp)
        fleet = read_profile(fleet_profile, written, tp=tp) if fleet_profile else believed
        requests = read_requests(trace_file, unit)

        def scenario_for(policy: Policy) -> Scenario:
            return scenario_of(
                policy,
                requests,
                fleet=fleet.profile,
                error=fleet_error,
                buckets=buckets_of(ttft_buckets=ttft_buckets, itl_buckets=itl_buckets),
                start=_given(
                    {Role.PREFILL: start_prefill, Role.DECODE: start_decode, Role.AGG: start_decode}, policy
                ),
                copies=amplify,
                seed=seed,
                unscored_s=unscored,
                faults=(*_of_mode(lose, policy), *(PrometheusSilent(at_s=at_s) for at_s in silence)),
            )

        policy = with_gpus(written, target)
        scenario = scenario_for(policy)
        others = _variants(policy_file, policy, other_files, target, sweep)
    if policy.pause is not Pause.NONE:
        click.echo(PAUSED, err=True)
    if not COMPILED and len(scenario.traffic) > SLOW_REQUESTS:
        click.echo("numba is not installed (extra simulate): this takes minutes instead of seconds", err=True)
    with failing_clearly(), Bar("simulating") as bar:
        run = play(scenario, PolicyPlanner(policy=scenario.policy, profile=believed.profile), progress=bar.to)
    rivals = _compared(scenario, believed.tables) if with_rivals else None
    points: tuple[SweepPoint, ...] = ()
    if others:
        with failing_clearly(), Bar("trying policies", total=len(others)) as bar:
            points = tuple(run_sweep(others, believed.profile, scenario_for, done=bar.step))
    _show(run, rivals, points, price=price, output=output)
    if report is not None:
        from slaplanner_lab.drawing.report import Origin, write_report  # noqa: PLC0415 - plots are an extra

        with failing_clearly():
            write_report(
                report,
                run,
                rivals,
                title=f"{written.metadata.name} on {trace_file.name}",
                points=points,
                price=price,
                origin=Origin(
                    facts=_facts(
                        scenario,
                        trace=str(trace_file),
                        copies=amplify,
                        seed=seed,
                        profiles=(profile or written.spec.profile.path or "", fleet_profile),
                        error=fleet_error,
                    ),
                    policy=yaml.safe_dump(
                        written.model_dump(mode="json", by_alias=True, exclude_none=True), sort_keys=False
                    ),
                ),
            )
        click.echo(f"wrote {report}", err=True)


def _facts(
    scenario: Scenario,
    *,
    trace: str,
    copies: int,
    seed: int,
    profiles: tuple[str, str | None],
    error: EngineError,
) -> dict[str, str]:
    """What made a report."""
    believed, fleet = profiles
    differs = f"TTFT x {error.prefill:g}, ITL x {error.decode:g} x (1 + {error.kv_growth:g} x KV in use)"
    broke = [
        f"{fault.role.value} worker lost at {fault.at_s:g} s"
        if isinstance(fault, WorkerLost)
        else f"Prometheus silent from {fault.at_s:g} s for {fault.for_s:g} s"
        for fault in scenario.faults
    ]
    return {
        "trace": trace,
        "requests": f"{len(scenario.traffic):,}: each {copies} times, seed {seed} of the jitter",
        "profile": believed,
        "fleet": f"{fleet or 'as the profile'}; {differs if error != EngineError() else 'no error'}",
        "start": ", ".join(f"{role.value} {count}" for role, count in scenario.start.items()),
        "faults": ", ".join(broke) or "none",
        "version": f"slaplanner {__version__}",
        "command": shlex.join(["slaplanner", *sys.argv[1:]]),
    }


def _of_mode(losses: tuple[WorkerLost, ...], policy: Policy) -> tuple[WorkerLost, ...]:
    """*losses*, refused where the mode has no such worker."""
    roles = policy.mode.roles
    for loss in losses:
        if loss.role not in roles:
            wanted = " or ".join(role.value for role in roles)
            raise click.BadParameter(
                f"found a worker of {loss.role.value}, wanted one of {wanted}: the policy's mode is {policy.mode.value}",
                param_hint="--lose",
            )
    return losses


def _given(start: Mapping[Role, int | None], policy: Policy) -> dict[Role, int]:
    return {role: count for role in policy.mode.roles if (count := start[role]) is not None}


def _variants(
    file: str, policy: Policy, other_files: tuple[str, ...], target: str | None, axes: Axes
) -> tuple[Variant, ...]:
    """The policies beside the one of `-f`; none where neither `--sweep` nor `--against` is given."""
    if not axes and not other_files:
        return ()
    policies = {file: policy, **{other: with_gpus(read_policy(other), target) for other in other_files}}
    try:
        return variants(policies, axes)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--sweep") from error


def _compared(scenario: Scenario, measured: ProfileTables) -> Comparison:
    if PredictorType.PROPHET not in predictors():
        click.echo("Prophet is left out: pip install 'slaplanner[prophet]'", err=True)
    with Bar("comparing", total=len(tasks())) as bar:
        return compare(scenario, measured, done=lambda _: bar.step())


def _show(
    run: Run,
    rivals: Comparison | None,
    points: tuple[SweepPoint, ...],
    *,
    price: float | None,
    output: str,
) -> None:
    if output == "json":
        document = run_document(run)
        if price is not None:
            document["cost"] = round(price * score(run).total_gpu_hours, 2)
        if points:
            document["sweep"] = sweep_document(points, price=price)
        if rivals is not None:
            document["comparison"] = comparison_document(rivals)
        click.echo(json.dumps(document, indent=2))
    elif output == "csv":
        print_csv(run)
    else:
        print_score(score(run), run.scenario.policy, price=price)
        if points:
            print_sweep(points, price=price)
        if rivals is not None:
            print_comparison(rivals)
