"""With Throughput and Cubic, a dry-run is Dynamo's: every series of every golden case."""

from __future__ import annotations

from typing import Any

import pytest

from slaplanner.core.model import Role
from slaplanner_lab.dryrun import DryRun, Point, RolePoint
from tests.dryrun_golden import CASES, gpus_per_replica, name, run_of

EXACT, FORECAST = 1e-12, 1e-6
NOBODY = RolePoint(replicas=0, load_tokens_s=0.0, safe_tokens_s=0.0)


def _series(run: DryRun, case: dict[str, Any]) -> dict[str, tuple[list[float], float]]:
    """Our figures under the golden names, and how exactly they must agree.

    Dynamo counts tokens per interval, and leaves the GPUs per replica out of the safe throughput.
    """
    points, gpus = run.points, gpus_per_replica(case)
    series = {"time": ([point.t_s for point in points], EXACT)}
    fields = {"rr": "requests", "isl": "isl_tokens", "osl": "osl_tokens"}
    for golden, ours in fields.items():
        series[golden] = [getattr(point.seen, ours) for point in points], EXACT
        series[f"est_{golden}"] = [getattr(point.forecast, ours) for point in points], FORECAST
        series[f"warmup_{golden}"] = [getattr(load, ours) for load in run.warm_up], EXACT
    first_s = -len(run.warm_up) * run.interval_s
    series["warmup_time"] = [first_s + at * run.interval_s for at in range(len(run.warm_up))], EXACT
    for role, letter in ((Role.PREFILL, "p"), (Role.DECODE, "d")):
        of_role = [point.roles.get(role, NOBODY) for point in points]
        safe = [point.safe_tokens_s * run.interval_s / gpus[role] for point in of_role]
        series[f"num_{letter}"] = [float(point.replicas) for point in of_role], 0.0
        series[f"{letter}_thpt"] = [point.load_tokens_s * run.interval_s for point in of_role], EXACT
        series[f"safe_{letter}_thpt"] = safe, EXACT
    return series


@pytest.mark.parametrize("case", CASES, ids=name)
def test_every_series_equals_dynamos(case: dict[str, Any]) -> None:
    ours = _series(run_of(case), case)
    assert set(case["series"]) <= set(ours)
    for series, golden in case["series"].items():
        figures, exactness = ours[series]
        assert figures == pytest.approx(golden, rel=exactness, abs=0.0), series


def _dynamos_split(
    wanted: tuple[int, int], gpus: tuple[int, int], *, budget: int, floor: int
) -> tuple[int, int]:
    """Dynamo's line for two roles, which gives decode all that prefill leaves."""
    (p, d), (g_p, g_d) = wanted, gpus
    total = p * g_p + d * g_d
    if total <= budget:
        return wanted
    p = max(floor, min((budget - floor * g_d) // g_p, p * budget // total))
    return p, max(floor, (budget - p * g_p) // g_d)


def _bites(
    case: dict[str, Any], gpus: tuple[int, int], budget: int
) -> list[tuple[tuple[int, int], tuple[int, int], tuple[int, int]]]:
    """Where Dynamo's split is not ours: (prefill, decode) as wanted, as Dynamo gives, as is given here."""
    each = dict(zip(BOTH, gpus, strict=True))
    free, tight = run_of(case, gpus=each, gpu_budget=None), run_of(case, gpus=each, gpu_budget=budget)
    found = []
    for before, after in zip(free.points[1:], tight.points[1:], strict=True):
        wanted, given = _pair(before), _pair(after)
        theirs = _dynamos_split(wanted, gpus, budget=budget, floor=case["config"]["min_endpoint"])
        if theirs != given:
            found.append((wanted, theirs, given))
    return found


def _pair(point: Point) -> tuple[int, int]:
    return point.roles[Role.PREFILL].replicas, point.roles[Role.DECODE].replicas


BOTH = (Role.PREFILL, Role.DECODE)
DISAGG = next(case for case in CASES if case["config"]["throughput_adjustment_interval"] == 180)
"""Kalman on azure2023_conv, Llama-3.1-8B: 7 to 10 prefill and 7 to 9 decode replicas of one GPU."""


@pytest.mark.parametrize(
    ("budget", "bites"),
    [
        (12, []),
        (13, [((4, 6), (3, 7), (3, 6))] * 2),
        (14, [((4, 7), (3, 8), (3, 7))] * 3),
        (15, [((4, 8), (3, 9), (3, 8)), ((5, 6), (4, 7), (4, 6))]),
    ],
)
def test_the_budget_never_grows_a_role_which_dynamos_does_where_prefill_replicas_are_larger(
    budget: int, bites: list[Any]
) -> None:
    """The one intended difference: what prefill leaves over is not given to a role that did not ask for it."""
    assert _bites(DISAGG, (2, 1), budget) == bites


@pytest.mark.parametrize("budget", [4, 7, 11, 16])
def test_with_equal_replicas_it_cannot_bite(budget: int) -> None:
    assert _bites(DISAGG, (1, 1), budget) == []


def test_all_golden_cases_have_equal_replicas() -> None:
    """So none of them lies where the budgets differ."""
    assert all(len(set(gpus_per_replica(case).values())) == 1 for case in CASES)
