"""What the benchmark of predictors claims of one load, and whether it holds.

Every comparison is of losses point by point, on the points that both methods were asked for. Behind a
ratio stands how far chance alone moves it: the standard error of a block bootstrap over those points.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from slaplanner_lab.backtest import TARGETS, Backtest, MethodResult, wape

Array = npt.NDArray[np.float64]

SHORT, LONG = 100, 500
BANDS = {0.9: (0.87, 0.93), 0.99: (0.975, 0.998)}
MEDIAN_MS, P99_MS = 5.0, 50.0
TIMES_FASTER = 20.0
RESAMPLES, BLOCK = 400, 20


@dataclass(frozen=True, slots=True)
class Rival:
    """pmdarima as Dynamo's planner calls it: order picked once, then updated with every point.

    It picks its order on the warm-up here. Dynamo lets it pick after five points, which makes it
    worse: order (0, 0, 0), a WAPE of 0.47, on both series of deepseek_r1.
    """

    first: int
    """The first point that it was asked for."""
    wape: float
    ms_median: float
    ms_first: float


@dataclass(frozen=True, slots=True)
class Verdict:
    load: str
    claim: str
    found: str
    holds: bool | None
    """None: too short a series, printed only."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One figure for each method, and Auto's over that of the method that does best beside it."""

    what: str
    values: dict[str, float]
    best: str
    ratio: float
    chance: float
    """Standard error of `ratio`."""


def tolerance(points: int) -> float | None:
    """What may be lost to the best other method; None: printed only."""
    if points >= LONG:
        return 1.01
    return 1.05 if points >= SHORT else None


def comparisons(result: Backtest) -> Iterator[Comparison]:
    """WAPE of all targets at both ends of the horizon, then pinball losses of the token rates."""
    for target in TARGETS:
        truth = _scored(result, target)
        for steps in sorted({1, result.horizon_steps}):
            losses = {
                outcome.method.name: np.abs(
                    truth - (outcome.ahead if steps == 1 else outcome.at_horizon)[target]
                )
                for outcome in result.outcomes
            }
            yield _compared(f"WAPE {target}, {steps} step{'s' * (steps > 1)}", losses, truth)
    for target in TARGETS[1:]:
        truth = _scored(result, target)
        for level in BANDS:
            losses = {}
            for outcome in result.outcomes:
                error = truth - outcome.upper[target][level]
                losses[outcome.method.name] = np.maximum(level * error, (level - 1) * error)
            yield _compared(f"pinball {target}, {level:.0%}", losses, truth)


def verdicts(
    name: str, result: Backtest, compared: list[Comparison], rival: Rival | None
) -> Iterator[Verdict]:
    """Everything that is claimed of one load."""
    points = len(result.series)
    allowed = tolerance(points)
    outcomes = {outcome.method.name: outcome for outcome in result.outcomes}
    auto, last = outcomes["Auto"], outcomes["Constant"]
    for one in compared:
        found = f"{one.ratio:.3f} of {one.best}'s, chance {one.chance:.3f}"
        yield Verdict(name, f"Auto not above the best: {one.what}", found, allowed and one.ratio <= allowed)
    for target in TARGETS[1:]:
        for level, (low, high) in BANDS.items():
            covered = auto.scores[target].coverage[level]
            claim = f"the {level:.0%} bound covers {low:.1%} to {high:.1%}: {target}"
            yield Verdict(name, claim, f"{covered:.1%}", low <= covered <= high if points >= LONG else None)
    if name.startswith(("deepseek", "m_mid")):
        for target in TARGETS:
            mine, its = auto.scores[target], last.scores[target]
            yield Verdict(
                name,
                f"Auto below the last value: {target}",
                f"{mine.wape:.4f} < {its.wape:.4f}; {mine.wape_horizon:.4f} < {its.wape_horizon:.4f}",
                mine.wape < its.wape and mine.wape_horizon < its.wape_horizon,
            )
    yield Verdict(
        name,
        f"Auto under {MEDIAN_MS:g} ms median, {P99_MS:g} ms p99",
        f"{auto.ms_median:.2f} ms, {auto.ms_p99:.2f} ms",
        auto.ms_median < MEDIAN_MS and auto.ms_p99 < P99_MS,
    )
    if rival is not None:
        yield _beside_pmdarima(name, outcomes["ARIMA"], rival, result.truth["requests"])


def _beside_pmdarima(name: str, arima: MethodResult, rival: Rival, truth: Array) -> Verdict:
    """On the points that both were asked for."""
    times, mine = rival.ms_median / arima.ms_median, wape(truth, arima.ahead["requests"], rival.first)
    return Verdict(
        name,
        f"ARIMA {TIMES_FASTER:g} times faster than pmdarima at no worse WAPE",
        f"{times:.0f} times; {mine:.5f} to {rival.wape:.5f}",
        times >= TIMES_FASTER and mine <= rival.wape,
    )


def _scored(result: Backtest, target: str) -> Array:
    """The truth from the first point that counts; NaN before it."""
    counts = np.arange(len(result.series)) >= result.first_scored
    truth: Array = np.where(counts, result.truth[target], np.nan)
    return truth


def _compared(what: str, losses: Mapping[str, Array], truth: Array) -> Comparison:
    ratios = {name: _ratio(losses["Auto"], loss) for name, loss in losses.items() if name != "Auto"}
    best = max(ratios, key=lambda name: ratios[name])
    return Comparison(
        what=what,
        values={
            name: float(np.nansum(loss) / np.sum(truth[np.isfinite(loss)])) for name, loss in losses.items()
        },
        best=best,
        ratio=ratios[best],
        chance=_chance(losses["Auto"], losses[best]),
    )


def _ratio(mine: Array, its: Array) -> float:
    both = np.isfinite(mine) & np.isfinite(its)
    return float(np.sum(mine[both]) / np.sum(its[both]))


def _chance(mine: Array, its: Array) -> float:
    """Standard error of the ratio: blocks of points drawn with replacement, always the same ones."""
    both = np.isfinite(mine) & np.isfinite(its)
    mine, its = mine[both], its[both]
    length = min(BLOCK, len(mine))
    starts = np.random.default_rng(0).integers(
        0, len(mine) - length + 1, size=(RESAMPLES, -(-len(mine) // length))
    )
    drawn = (starts[:, :, None] + np.arange(length)).reshape(RESAMPLES, -1)
    return float(np.std(mine[drawn].sum(axis=1) / its[drawn].sum(axis=1)))
