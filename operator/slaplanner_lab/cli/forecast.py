"""`slaplanner forecast`: which predictor would have served this load, before one is chosen."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from slaplanner.adapters.prophet_logs import hush_prophet
from slaplanner.adapters.traces.errors import TraceError
from slaplanner.adapters.traces.series import LoadedSeries, SeriesError, read_series
from slaplanner.adapters.traces.times import TimeUnit
from slaplanner.core.errors import ForecastError
from slaplanner.core.forecast import horizon_steps
from slaplanner.core.forecast.custom_method import Forecaster
from slaplanner.core.model import DEFAULT_STARTUP_S, PredictorType
from slaplanner_lab.backtest import Backtest, Method, backtest
from slaplanner_lab.cli.forecast_report import document, print_table
from slaplanner_lab.cli.inputs import check_drawable, time_unit
from slaplanner_lab.cli.numbers import INTERVAL, SECONDS

_FORMATS = (".png", ".svg", ".pdf")


@click.command(
    epilog="""\b
Examples:
  slaplanner forecast examples/traces/azure2023_conv.jsonl.gz --methods Auto,Constant --plot forecast.png
  slaplanner forecast examples/series/deepseek_r1_1min.csv   # every method on a day of minutes: about two minutes
  slaplanner forecast load.csv --method mymodels:Median --output json
""",
)
@click.argument("source", metavar="SERIES|TRACE", type=click.Path(path_type=Path))
@click.option(
    "--interval",
    type=INTERVAL,
    help="Planning interval in seconds; else the series' own, 60 for traces.",
)
@click.option(
    "--horizon",
    type=click.IntRange(min=1, max=1000),
    help="Steps ahead that bounds and the second WAPE are for; else as far as a new worker needs.",
)
@click.option(
    "--startup",
    type=SECONDS,
    default=DEFAULT_STARTUP_S,
    show_default=True,
    help="Seconds from a worker's creation to ready, when --horizon is not given.",
)
@click.option(
    "--methods", help="Comma-separated, of " + ", ".join(PredictorType) + "; default: all that are installed."
)
@click.option(
    "--method",
    "own",
    multiple=True,
    metavar="MODULE:CLASS",
    help="A forecaster of your own; may be repeated.",
)
@click.option("--log1p", is_flag=True, help="Forecast log(1 + load), as the policy's predictor.log1p does.")
@click.option(
    "--zeros",
    type=click.Choice(["gap", "idle"]),
    default="gap",
    show_default=True,
    help="What a CSV's rows without requests mean.",
)
@time_unit
@click.option(
    "--plot",
    "plot_path",
    type=click.Path(path_type=Path),
    help="Draw truth, forecasts and bounds: PNG, SVG or PDF.",
)
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def forecast(
    *,
    source: Path,
    interval: float | None,
    horizon: int | None,
    startup: float,
    methods: str | None,
    own: tuple[str, ...],
    log1p: bool,
    zeros: str,
    unit: TimeUnit | None,
    plot_path: Path | None,
    output: str,
) -> None:
    """Backtest predictors on a CSV of intervals, or on a trace of requests.

    Every forecast is made from the past alone and met by what arrived; the first tenth is warm-up.
    Results go to stdout, progress to stderr.

    Exit code 0: well; 1: the input is bad; 2: usage.
    """
    if plot_path is not None:
        check_drawable(plot_path, option="--plot", formats=_FORMATS)
    chosen = [*_builtin(methods, log1p=log1p), *(_own(name) for name in own)]
    try:
        loaded = read_series(source, interval_s=interval, zeros_are_idle=zeros == "idle", time_unit=unit)
        for note in loaded.notes:
            click.echo(f"{loaded.name}: {note}", err=True)
        steps = horizon or horizon_steps(interval_s=loaded.series.step_s, startup_s=startup)
        result = _run(loaded, chosen, steps)
    except (SeriesError, TraceError, ForecastError) as error:
        raise click.ClickException(str(error)) from error
    if output == "json":
        click.echo(json.dumps(document(result, name=loaded.name), indent=2))
    else:
        print_table(result, name=loaded.name, has_lengths=loaded.has_lengths)
    if plot_path is not None:
        from slaplanner_lab.drawing.backtest_plot import plot  # noqa: PLC0415 - an extra

        try:
            plot(result, title=loaded.name, path=plot_path, has_lengths=loaded.has_lengths)
        except OSError as error:
            raise click.ClickException(
                f"{plot_path}: cannot be written: {error.strerror or error}"
            ) from error
        click.echo(f"plot written to {plot_path}", err=True)


def _run(loaded: LoadedSeries, chosen: list[Method], steps: int) -> Backtest:
    if len(loaded.series) < steps + 2:
        raise SeriesError(
            f"{loaded.name}: found {len(loaded.series)} points, wanted more than the horizon of {steps} steps"
        )
    hush_prophet()
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        tasks = {method.name: bars.add_task(method.name, total=None) for method in chosen}

        def progress(name: str, done: int, of: int) -> None:
            bars.update(tasks[name], completed=done, total=of)

        return backtest(loaded.series, chosen, horizon_steps=steps, progress=progress)


def _builtin(methods: str | None, *, log1p: bool) -> list[Method]:
    by_name = {kind.value.lower(): kind for kind in PredictorType}
    installed = importlib.util.find_spec("prophet") is not None
    if methods is None:
        kinds = [kind for kind in PredictorType if installed or kind is not PredictorType.PROPHET]
        if not installed:
            click.echo("Prophet is left out: pip install 'slaplanner[prophet]'", err=True)
    else:
        kinds = []
        for name in filter(None, (part.strip() for part in methods.split(","))):
            kind = by_name.get(name.lower())
            if kind is None:
                raise click.BadParameter(
                    f"found {name!r}, wanted any of {', '.join(PredictorType)}", param_hint="--methods"
                )
            if kind not in kinds:
                kinds.append(kind)
        if PredictorType.PROPHET in kinds and not installed:
            raise click.ClickException("Prophet is not installed: pip install 'slaplanner[prophet]'")
    return [Method.builtin(kind, log1p=log1p) for kind in kinds]


def _own(name: str) -> Method:
    """A user's class, looked for in the working directory too."""
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise click.BadParameter(f"found {name!r}, wanted MODULE:CLASS", param_hint="--method")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        factory: Callable[[], object] = getattr(importlib.import_module(module), attribute)
        made = factory()
    except (ImportError, AttributeError, TypeError) as error:
        raise click.ClickException(f"{name}: cannot be made: {error}") from error
    if not isinstance(made, Forecaster):
        raise click.ClickException(f"{name}: has no method forecast(values, horizon)")
    return Method(name=attribute, own=made)
