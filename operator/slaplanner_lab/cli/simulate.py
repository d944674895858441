"""`slaplanner simulate`: what a policy would do to a trace, in a closed loop, without a GPU."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import click

from slaplanner.adapters.traces.times import TimeUnit
from slaplanner.core.model import Pause, Policy, PredictorType, Role
from slaplanner.core.profiles import ProfileTables
from slaplanner_lab.cli.engine_options import buckets_of, fleet_error, itl_buckets, ttft_buckets
from slaplanner_lab.cli.inputs import (
    PAUSED,
    check_drawable,
    failing_clearly,
    read_policy,
    read_profile,
    read_requests,
    time_unit,
    with_gpus,
)
from slaplanner_lab.cli.numbers import REPLICAS, SECONDS
from slaplanner_lab.cli.simulate_document import comparison_document, run_document
from slaplanner_lab.cli.simulate_tables import print_comparison, print_csv, print_score
from slaplanner_lab.cli.terminal import Bar
from slaplanner_lab.engine import COMPILED, EngineError
from slaplanner_lab.rivals.compare import Comparison, compare, predictors, tasks
from slaplanner_lab.simulation.loop import PrometheusSilent, Run, Scenario, WorkerLost
from slaplanner_lab.simulation.loop import simulate as play
from slaplanner_lab.simulation.planners import PolicyPlanner
from slaplanner_lab.simulation.score import score
from slaplanner_lab.simulation.setup import UNSCORED_S, scenario_of

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
""",
)
@click.option(
    "-f",
    "--filename",
    "policy_file",
    required=True,
    metavar="POLICY.yaml",
    help="The SLAPolicy; - for standard input.",
)
@click.option(
    "--profile", metavar="DIR", help="What the planner believes; default: the policy's profile.path."
)
@click.option("--fleet-profile", metavar="DIR", help="What the fleet can really do; default: the same.")
@fleet_error
@ttft_buckets
@itl_buckets
@click.option("--target", metavar="DGD.yaml", help="The DynamoGraphDeployment, for GPUs per replica.")
@click.option(
    "--trace",
    required=True,
    type=click.Path(path_type=Path),
    help="Requests: mooncake JSON lines, Dynamo's request trace, AIPerf, vLLM, Azure, BurstGPT; .gz too.",
)
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
    target: str | None,
    trace: Path,
    unit: TimeUnit | None,
    amplify: int,
    seed: int,
    start_prefill: int | None,
    start_decode: int | None,
    unscored: float,
    lose: tuple[WorkerLost, ...],
    silence: tuple[float, ...],
    with_rivals: bool,
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
        believed = read_profile(profile, written)
        fleet = read_profile(fleet_profile, written) if fleet_profile else believed
        policy = with_gpus(written, target)
        scenario = scenario_of(
            policy,
            read_requests(trace, unit),
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
    if policy.pause is not Pause.NONE:
        click.echo(PAUSED, err=True)
    if not COMPILED and len(scenario.traffic) > SLOW_REQUESTS:
        click.echo("numba is not installed (extra simulate): this takes minutes instead of seconds", err=True)
    with failing_clearly(), Bar("simulating") as bar:
        run = play(scenario, PolicyPlanner(policy=scenario.policy, profile=believed.profile), progress=bar.to)
    rivals = _compared(scenario, believed.tables) if with_rivals else None
    _show(run, rivals, output=output)
    if report is not None:
        from slaplanner_lab.drawing.report import write_report  # noqa: PLC0415 - plots are an extra

        with failing_clearly():
            write_report(report, run, rivals, title=f"{written.metadata.name} on {trace.name}")
        click.echo(f"wrote {report}", err=True)


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


def _compared(scenario: Scenario, measured: ProfileTables) -> Comparison:
    if PredictorType.PROPHET not in predictors():
        click.echo("Prophet is left out: pip install 'slaplanner[prophet]'", err=True)
    with Bar("comparing", total=len(tasks())) as bar:
        return compare(scenario, measured, done=lambda _: bar.step())


def _show(run: Run, rivals: Comparison | None, *, output: str) -> None:
    if output == "json":
        document = run_document(run)
        if rivals is not None:
            document["comparison"] = comparison_document(rivals)
        click.echo(json.dumps(document, indent=2))
    elif output == "csv":
        print_csv(run)
    else:
        print_score(score(run), run.scenario.policy)
        if rivals is not None:
            print_comparison(rivals)
