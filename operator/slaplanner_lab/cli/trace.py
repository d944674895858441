"""`slaplanner trace`: make a trace of what a deployment served."""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path
from typing import IO, Final

import click

from slaplanner.adapters.prometheus import Client, Scope
from slaplanner.adapters.prometheus.deadline import Deadline
from slaplanner.adapters.prometheus.history import read_history
from slaplanner.adapters.prometheus.lengths import read_lengths
from slaplanner.adapters.prometheus.selectors import FRONTEND_PREFIX
from slaplanner.core.errors import MetricsError
from slaplanner.core.readings import Series
from slaplanner.settings import PrometheusConnection, SettingsError
from slaplanner_lab.cli.inputs import check_writable
from slaplanner_lab.cli.terminal import Bar
from slaplanner_lab.drawn_trace import DrawError, DrawnTrace, LengthWindow, draw

WINDOW_S: Final = 3600
"""Of lengths: they change with the hour of the day."""
HISTORY_PATIENCE_S: Final = 300.0
WINDOW_PATIENCE_S: Final = 60.0
DAY_S: Final = 86_400
MOST_UNKNOWN: Final = 0.5
"""Share of the intervals that may be unknown: of less than half, a week is not told by what is left."""


@click.group()
def trace() -> None:
    """Make a trace of what a deployment served, for `forecast`, `dryrun` and `simulate`."""


@trace.command(
    name="import",
    epilog="""\\b
Examples:
  slaplanner trace import --prometheus http://localhost:9090 --dynamo-namespace serving-llama-70b week.jsonl.gz
  slaplanner trace import --prometheus http://localhost:9090 --model meta/llama-70b --days 1 day.jsonl.gz
""",
)
@click.argument("output", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--prometheus", required=True, metavar="URL", help="The Prometheus that scrapes the frontends.")
@click.option("--dynamo-namespace", metavar="NAME", help="Of the deployment: NAMESPACE-DEPLOYMENT as a rule.")
@click.option("--model", metavar="NAME", help="The served model, in any case.")
@click.option(
    "--prefix",
    default=FRONTEND_PREFIX,
    show_default=True,
    metavar="NAME",
    help="Of the frontend's metrics, where DYN_METRICS_PREFIX is set.",
)
@click.option("--days", type=click.FloatRange(min=0, min_open=True, max=92), default=7.0, show_default=True)
@click.option(
    "--interval",
    type=click.IntRange(10, 3600),
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="Counts are kept by interval; at least two scrapes long.",
)
@click.option("--end", type=float, metavar="UNIX", help="When the time ends; default: now.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the drawn requests.")
@click.option(
    "--bearer-token-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Sent with each query.",
)
def import_trace(
    *,
    output: Path,
    prometheus: str,
    dynamo_namespace: str | None,
    model: str | None,
    prefix: str,
    days: float,
    interval: int,
    end: float | None,
    seed: int,
    bearer_token_file: Path | None,
) -> None:
    """Draw requests from the counts and length histograms of a Prometheus, and write them to OUTPUT (.gz packs them).

    The count of each interval is kept, and the lengths of each hour. Which request had which length, and when inside its
    interval it came, is drawn at random: bursts shorter than the interval are lost.
    """
    check_writable(output)
    end_s = int(end if end is not None else time.time()) // interval * interval
    points = max(1, round(days * DAY_S / interval))
    try:
        connection = PrometheusConnection(
            url=prometheus, bearer_token_file=bearer_token_file, read_timeout_s=60.0
        )
        scope = Scope(dynamo_namespace=dynamo_namespace, model=model, prefix=prefix)
        client = Client("prometheus", connection)
        history = read_history(
            client,
            scope,
            end_s=end_s,
            interval_s=interval,
            points=points,
            deadline=Deadline.after(HISTORY_PATIENCE_S),
        )
        drawn = draw(history, _windows(client, scope, history), window_s=WINDOW_S, seed=seed)
    except (MetricsError, SettingsError, DrawError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    missing = points - len(history) + drawn.unknown_intervals
    if missing > MOST_UNKNOWN * points:
        click.echo(
            f"{missing:,} of {points:,} intervals are unknown: the trace begins later, or has holes", err=True
        )
    with _opened(output) as file:
        _write(file, drawn)
    click.echo(
        f"{output}: {len(drawn.arrivals_ms):,} requests in {drawn.known_intervals:,} intervals of {interval} s,"
        f" mean {drawn.isl_tokens.mean():,.0f} tokens in and {drawn.osl_tokens.mean():,.0f} out;"
        f" {missing:,} intervals unknown; seed {seed}"
    )


def _windows(client: Client, scope: Scope, history: Series) -> dict[int, LengthWindow]:
    """Lengths by hour, for the hours in which requests came."""
    start_s = history.end_s - len(history) * history.step_s
    hours = sorted(
        {
            int((start_s + index * history.step_s) // WINDOW_S)
            for index, requests in enumerate(history.requests)
            if requests > 0
        }
    )
    found = {}
    with Bar("reading lengths", total=max(1, len(hours))) as bar:
        for hour in hours:
            isl, osl = read_lengths(
                client,
                scope,
                end_s=(hour + 1) * WINDOW_S,
                window_s=WINDOW_S,
                deadline=Deadline.after(WINDOW_PATIENCE_S),
            )
            found[hour] = LengthWindow(
                isl=isl.histogram,
                osl=osl.histogram,
                isl_mean_tokens=isl.mean_tokens,
                osl_mean_tokens=osl.mean_tokens,
            )
            bar.step()
    return found


def _opened(output: Path) -> IO[str]:
    if output.suffix == ".gz":
        return gzip.open(output, "wt", encoding="utf-8")
    return output.open("w", encoding="utf-8")


def _write(file: IO[str], drawn: DrawnTrace) -> None:
    """Mooncake's JSON lines: milliseconds and tokens."""
    for at_ms, isl, osl in zip(
        drawn.arrivals_ms.tolist(), drawn.isl_tokens.tolist(), drawn.osl_tokens.tolist(), strict=True
    ):
        file.write(json.dumps({"timestamp": at_ms, "input_length": isl, "output_length": osl}) + "\n")
