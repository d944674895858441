"""The pictures can be read: no words over words, none cut off, no empty panel, axes with labels.

Over loads that are easy to draw badly: flat, tiny, huge, with gaps, of seconds and of days.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from slaplanner.adapters.traces.trace import Trace
from slaplanner.core.model import Mode, Policy, PredictorPolicy, PredictorType, Role, RolePolicy, Sla
from slaplanner.core.readings import Series
from slaplanner_lab.backtest import Method, backtest
from slaplanner_lab.drawing import backtest_plot, dryrun_plot
from slaplanner_lab.drawing.report_axes import styled
from slaplanner_lab.drawing.report_plots import (
    histogram_figure,
    latency_figure,
    load_figure,
    miss_figure,
    replica_figure,
    rival_figure,
    waiting_figure,
)
from slaplanner_lab.dryrun import Assumptions, dry_run
from slaplanner_lab.engine import EngineTables
from slaplanner_lab.notebook import load_profile
from slaplanner_lab.rivals.compare import Comparison, Kind, RivalResult
from slaplanner_lab.rivals.planners import Constant
from slaplanner_lab.simulation.loop import PrometheusSilent, Run, Scenario, WorkerLost, simulate
from slaplanner_lab.simulation.score import AttainmentPercent, score
from slaplanner_lab.simulation.traffic import Traffic
from tests.picture import flaws
from tests.profile_data import LLAMA_8B, PROFILES

PROFILE = load_profile(PROFILES / LLAMA_8B).profile
DRAWN = (load_figure, replica_figure, latency_figure, miss_figure, waiting_figure, histogram_figure)

LOADS = {
    "ten-minutes": (600.0, 1500, 1000, 100),
    "tiny": (300.0, 7, 3, 2),
    "a-day": (86_400.0, 4000, 2000, 400),
    "six-days": (6 * 86_400.0, 3000, 8000, 900),
    "huge-prompts": (900.0, 2000, 16_000, 30),
}


def arrivals(length_s: float, count: int) -> np.ndarray:
    """With a busy and a silent stretch."""
    rng = np.random.default_rng(1)
    at_s = np.sort(rng.uniform(0.0, length_s, count))
    return np.sort(np.where((at_s > 0.5 * length_s) & (at_s < 0.6 * length_s), at_s - 0.2 * length_s, at_s))


def trace(name: str) -> Trace:
    length_s, count, isl, osl = LOADS[name]
    return Trace(
        name=name,
        t_s=arrivals(length_s, count),
        isl_tokens=np.full(count, isl, dtype=np.int64),
        osl_tokens=np.full(count, osl, dtype=np.int64),
    )


def policy(**fields: object) -> Policy:
    roles = tuple(RolePolicy(role=role, gpus_per_replica=2) for role in (Role.PREFILL, Role.DECODE))
    base = Policy(
        sla=Sla(ttft_ms=800.0, itl_ms=12.0),
        roles=roles,
        interval_s=60.0,
        window_s=60.0,
        startup_s=60.0,
        predictor=PredictorPolicy(type=PredictorType.CONSTANT),
    )
    return replace(base, **fields)  # type: ignore[arg-type]


def run_of(name: str, *, size: int = 2) -> Run:
    played = trace(name)
    length_s, interval_s = played.span_s, max(60.0, played.span_s / 200)
    sizes = {Role.PREFILL: size, Role.DECODE: size}
    scenario = Scenario(
        traffic=Traffic(
            arrival_s=played.t_s,
            isl_tokens=played.isl_tokens.astype(float),
            osl_tokens=played.osl_tokens.astype(float),
        ),
        policy=policy(interval_s=interval_s, window_s=interval_s),
        tables=EngineTables.of(PROFILE),
        start=sizes,
        unscored_s=0.2 * length_s,
        faults=(
            WorkerLost(at_s=0.3 * length_s, role=Role.DECODE),
            WorkerLost(at_s=0.4 * length_s, role=Role.DECODE),
            PrometheusSilent(at_s=0.7 * length_s, for_s=0.1 * length_s),
        ),
    )
    return simulate(scenario, Constant(replicas=sizes))


@pytest.fixture(autouse=True)
def style() -> Iterator[None]:
    with styled():
        yield


@pytest.mark.parametrize("name", LOADS)
def test_the_reports_plots_can_be_read(name: str) -> None:
    run = run_of(name)
    for draw in DRAWN:
        figure = draw(run)
        assert figure is not None
        assert flaws(figure) == [], draw.__name__


def entries(hours: float, spread: float) -> tuple[RivalResult, ...]:
    """Many rivals between *hours* and *spread* times that, from all to none of the requests in time."""
    some = score(run_of("tiny"))
    kinds = [*Kind, *([Kind.HPA] * 15)]
    return tuple(
        RivalResult(
            kind=kind,
            name=f"rival {index}",
            score=replace(
                some,
                attainment=AttainmentPercent(both=share, ttft=share, itl=share, requests=7),
                gpu_hours={
                    Role.PREFILL: hours * spread ** (index / len(kinds)),
                    Role.DECODE: 0.0,
                },
            ),
            feasible=share >= 99,
        )
        for index, (kind, share) in enumerate(
            zip(kinds, (99.4, 100.0, 0.0, 12.0, 99.0, 99.97, *[100.0] * 14), strict=False)
        )
    )


@pytest.mark.parametrize(
    ("hours", "spread"), [(0.3, 1.01), (3.0, 2.0), (15.0, 8.0), (600.0, 3.0), (2.0, 900.0)]
)
def test_the_chart_of_rivals_can_be_read(hours: float, spread: float) -> None:
    comparison = Comparison(entries=entries(hours, spread), fluid_bound_gpu_hours=0.8 * hours)
    assert flaws(rival_figure(comparison, 99.0)) == []


@pytest.mark.parametrize("mode", [Mode.DISAGG, Mode.DECODE, Mode.AGG], ids=str)
@pytest.mark.parametrize("name", LOADS)
def test_a_dry_run_can_be_read(name: str, mode: Mode) -> None:
    played = trace(name)
    run = dry_run(
        policy(mode=mode, gpu_budget=16, interval_s=max(20.0, played.span_s / 100), roles=()),
        PROFILE,
        played,
        assumptions=Assumptions(gpus_per_replica=dict.fromkeys(Role, 2)),
        warm_up=played,
    )
    assert flaws(dryrun_plot.figure_of(run, title=f"llama-8b on {name}.jsonl.gz")) == []


@pytest.mark.parametrize("has_lengths", [True, False], ids=["lengths", "no-lengths"])
@pytest.mark.parametrize("level", [0.004, 3.0, 90_000.0])
def test_a_backtest_can_be_read(level: float, has_lengths: bool) -> None:
    rng = np.random.default_rng(2)
    load = level * (1.0 + 0.3 * np.sin(np.arange(80) / 7) + 0.1 * rng.normal(size=80))
    lengths = (1000.0,) * 80
    series = Series(
        end_s=4800.0, step_s=60.0, requests=tuple(load.tolist()), isl_tokens=lengths, osl_tokens=lengths
    )
    methods = [Method.builtin(kind) for kind in (PredictorType.CONSTANT, PredictorType.KALMAN)]
    result = backtest(series, methods, horizon_steps=3)
    figure = backtest_plot.figure_of(result, title="series.csv", has_lengths=has_lengths)
    assert flaws(figure) == []


def test_flaws_are_seen() -> None:
    figure = Figure(figsize=(4, 3))
    axes = figure.subplots()
    assert "nothing is drawn in 'empty'" in flaws(_titled(figure, "empty"))
    axes.plot([0, 1], [0, 1])
    axes.text(0.5, 0.5, "one word")
    axes.text(0.5, 0.5, "another")
    axes.text(-5.0, 0.5, "far away")
    found = flaws(figure)
    assert "'one word' lies over 'another'" in found
    assert "'far away' is cut off" in found


def _titled(figure: Figure, title: str) -> Figure:
    figure.axes[0].set_title(title)
    return figure
