"""Every predictor on real load, walk-forward, beside the libraries that Dynamo's planner uses.

Each forecast is made from the past alone; the first tenth of a series is warm-up. Prophet is asked at
300 evenly spaced points at most, and compared with Auto on those points. Times are CPU time of one
thread; refits, which run outside of a plan, are apart.

    python -m benchmarks.forecast [--only NAME ...] [--jobs N]
"""

from __future__ import annotations

import os

# One core is what is promised; a thread pool of BLAS would only spin on matrices this small.
os.environ.update(dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import argparse
import platform
import time
import warnings
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pmdarima
from benchmarks.forecast_claims import BANDS, Comparison, Rival, Verdict, comparisons, tolerance, verdicts
from rich.console import Console
from rich.table import Table

from slaplanner.adapters.prophet_logs import hush_prophet
from slaplanner.adapters.traces.series import read_series
from slaplanner.core.forecast import horizon_steps
from slaplanner.core.model import PredictorType
from slaplanner_lab.backtest import TARGETS, Backtest, Method, backtest, wape

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
STARTUP_S = 120.0
RIVAL_POINTS = 500
"""The newest ones, for which pmdarima is asked: it takes a minute for so many."""
LIBRARIES = ("numpy", "statsmodels", "pmdarima", "prophet")


@dataclass(frozen=True, slots=True)
class Load:
    name: str
    file: str
    interval_s: float
    with_pmdarima: bool = False


LOADS = (
    Load("deepseek_r1, 1 min", "series/deepseek_r1_1min.csv", 60, with_pmdarima=True),
    Load("deepseek_r1, 3 min", "series/deepseek_r1_1min.csv", 180, with_pmdarima=True),
    Load("azure2023_conv, 30 s", "traces/azure2023_conv.jsonl.gz", 30, with_pmdarima=True),
    Load("azure2023_conv, 1 min", "traces/azure2023_conv.jsonl.gz", 60),
    Load("azure2023_code, 30 s", "traces/azure2023_code.jsonl.gz", 30),
    Load("azure2023_code, 1 min", "traces/azure2023_code.jsonl.gz", 60),
    Load("m_mid, 10 min", "series/m_mid_10min.csv", 600),
)


def run(load: Load) -> tuple[Load, Backtest, Rival | None]:
    warnings.simplefilter("ignore")
    hush_prophet()
    series = read_series(EXAMPLES / load.file, interval_s=load.interval_s).series
    steps = horizon_steps(interval_s=load.interval_s, startup_s=STARTUP_S)
    result = backtest(series, [Method.builtin(kind) for kind in PredictorType], horizon_steps=steps)
    return load, result, pmdarima_run(result) if load.with_pmdarima else None


def pmdarima_run(result: Backtest) -> Rival:
    """One step ahead on requests, ISL and OSL; error of the requests, time of all three."""
    series = result.series
    seconds = np.zeros(len(series))
    ahead = np.full(len(series), np.nan)
    first = max(5, result.first_scored, len(series) - RIVAL_POINTS)
    for column in (series.requests, series.isl_tokens, series.osl_tokens):
        values = np.array(column)
        model = None
        for length in range(first, len(values)):
            started = time.thread_time()
            if model is None:
                model = pmdarima.auto_arima(values[:length], suppress_warnings=True, error_action="ignore")
            else:
                model.update(values[length - 1 : length])
            told = float(model.predict(n_periods=1)[0])
            seconds[length] += time.thread_time() - started
            if column is series.requests:
                ahead[length] = max(0.0, told)
    spent_ms = 1000 * seconds[first + 1 :]
    return Rival(
        first=first,
        wape=wape(result.truth["requests"], ahead, first),
        ms_median=float(np.median(spent_ms)),
        ms_first=1000 * float(seconds[first]),
    )


def show(load: Load, result: Backtest, compared: list[Comparison], rival: Rival | None) -> Table:
    """All figures of one load."""
    allowed = tolerance(len(result.series))
    table = Table(
        title=f"{load.name}: {len(result.series)} points, horizon {result.horizon_steps}, "
        + (f"tolerance {allowed - 1:.0%}" if allowed else "printed only"),
        title_justify="left",
    )
    table.add_column("what")
    for outcome in result.outcomes:
        table.add_column(outcome.method.name + (" *" if outcome.sampled else ""), justify="right")
    table.add_column("Auto / best", justify="right")
    for one in compared:
        table.add_row(one.what, *(f"{value:.4f}" for value in one.values.values()), f"{one.ratio:.3f}")
    for target in TARGETS[1:]:
        for level in BANDS:
            covered = (outcome.scores[target].coverage[level] for outcome in result.outcomes)
            table.add_row(f"coverage {target}, {level:.0%}", *(f"{share:.1%}" for share in covered), "")
    for what, figures in (
        ("ms per forecast, median", [outcome.ms_median for outcome in result.outcomes]),
        ("ms per forecast, p99", [outcome.ms_p99 for outcome in result.outcomes]),
        ("ms per refit, mean", [float(np.mean(outcome.refit_ms or [0.0])) for outcome in result.outcomes]),
        ("refits", [float(len(outcome.refit_ms)) for outcome in result.outcomes]),
    ):
        table.add_row(what, *(f"{figure:.2f}" if figure else "-" for figure in figures), "")
    if rival is not None:
        table.caption = (
            f"pmdarima on the three series: {rival.ms_median:.1f} ms per forecast, {rival.ms_first:.0f} ms at "
            f"first, WAPE of requests {rival.wape:.5f} from point {rival.first} on"
        )
        table.caption_justify = "left"
    return table


def conclude(told: list[Verdict]) -> Table:
    """Every claim, with what was found."""
    words = {True: "held", False: "[red]MISSED[/red]", None: "printed only"}
    table = Table(title="What is claimed", title_justify="left")
    for heading in ("load", "claim", "found", ""):
        table.add_column(heading)
    for verdict in told:
        table.add_row(verdict.load, verdict.claim, verdict.found, words[verdict.holds])
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=[""], help="loads whose name has one of these in it")
    parser.add_argument("--jobs", type=int, default=max(1, (os.cpu_count() or 1) - 1))
    chosen = parser.parse_args()
    console = Console(width=150)
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    console.print(f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, {libraries}")
    loads = [load for load in LOADS if any(part in load.name for part in chosen.only)]
    told: list[Verdict] = []
    with ProcessPoolExecutor(max_workers=chosen.jobs) as pool:
        for load, result, rival in pool.map(run, loads):
            compared = list(comparisons(result))
            console.print(show(load, result, compared, rival))
            told += verdicts(load.name, result, compared, rival)
    console.print(conclude(told))
    counts = Counter(verdict.holds for verdict in told)
    console.print(
        f"{counts[True]} claims held, {counts[False]} missed, {counts[None]} of short series printed only"
    )


if __name__ == "__main__":
    main()
