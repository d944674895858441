"""Throughput sizing, correction and budget against what Dynamo's planner computes, row by row."""

from __future__ import annotations

from typing import Any

import pytest

from slaplanner.core.budget import BudgetFit, BudgetRole, fit_budget
from slaplanner.core.correction import Correction, Factor, raw_decode_factor, raw_prefill_factor
from slaplanner.core.model import Interpolation, Policy, Role, RolePolicy, Sla
from slaplanner.core.profiles import Profile, build
from slaplanner.core.reasons import Reason
from slaplanner.core.sizing import MeanLoad
from slaplanner.core.sizing.throughput import size
from tests.profile_data import GOLDEN, GOLDEN_PROFILES, measured

NO_BUDGET = -1
"""How Dynamo's planner says that there is none."""

INFEASIBLE_PAIRS = frozenset(
    {
        0,
        5,
        26,
        38,
        44,
        62,
        63,
        65,
        69,
        80,
        99,
        101,
        117,
        119,
        123,
        135,
        142,
        193,
        197,
        198,
        212,
        214,
        223,
        238,
        244,
        249,
        257,
        260,
        271,
        295,
    }
)
"""Rows of `budget_pair` whose floors do not fit: Dynamo asks for 0 and 0, here there is no fit and
the caller keeps what runs."""

INFEASIBLE_SINGLES = frozenset(
    {
        0,
        26,
        62,
        193,
        197,
        212,
        214,
        223,
        244,
        249,
        257,
        260,
    }
)
"""The same in `budget_single`: Dynamo asks for 0."""

GROWN_PAIRS = {
    12: ((5, 3), (5, 1)),
    217: ((4, 3), (4, 1)),
    252: ((45, 6), (45, 1)),
}
"""Rows of `budget_pair` in which Dynamo gives decode the rest of the budget although it asked for
less: its answer, and the one here, which never grows a role."""


@pytest.fixture(scope="module")
def profiles() -> dict[str, Profile]:
    return {name: build(measured(folder), Interpolation.CUBIC) for name, folder in GOLDEN_PROFILES.items()}


def test_every_replica_count_equals_dynamo(profiles: dict[str, Profile]) -> None:
    differing = []
    for index, row in enumerate(GOLDEN["replicas"]):
        sized = size(
            policy=Policy(
                sla=Sla(ttft_ms=row["ttft_ms"], itl_ms=row["itl_ms"]),
                interval_s=row["interval_s"],
                roles=tuple(
                    RolePolicy(role=role, min_replicas=row["min_endpoint"])
                    for role in (Role.PREFILL, Role.DECODE)
                ),
            ),
            profile=profiles[row["profile"]],
            demand=MeanLoad(
                requests_per_interval=row["num_req"], isl_tokens=row["isl"], osl_tokens=row["osl"]
            ),
            correction=Correction(
                stages={
                    Role.PREFILL: Factor(applied=row["p_correction"]),
                    Role.DECODE: Factor(applied=row["d_correction"]),
                }
            ),
            gpus_per_replica={Role.PREFILL: row["prefill_gpus"], Role.DECODE: row["decode_gpus"]},
        )
        found = [role.replicas for role in sized.roles]
        if found != [row["num_p"], row["num_d"]]:
            differing.append((index, found, row))
    assert not differing


def test_every_correction_factor_equals_dynamo(profiles: dict[str, Profile]) -> None:
    for row in GOLDEN["correction"]:
        profile = profiles[row["profile"]]
        prefill = raw_prefill_factor(ttft_ms=row["ttft"], isl_tokens=row["isl"], profile=profile)
        decode = raw_decode_factor(
            itl_ms=row["itl"],
            requests_per_interval=row["num_req"],
            request_duration_s=row["request_duration"],
            isl_tokens=row["isl"],
            osl_tokens=row["osl"],
            workers=row["num_d_workers"],
            interval_s=row["interval_s"],
            profile=profile,
        )
        assert prefill == pytest.approx(row["p_correction"], rel=1e-6)
        if decode is None:
            assert (row["num_d_workers"], row["d_correction"]) == (0, 1.0), "no worker keeps the old factor"
        else:
            assert decode == pytest.approx(row["d_correction"], rel=1e-6)


def _fit(row: dict[str, Any], roles: list[tuple[str, str]]) -> tuple[tuple[int, ...], BudgetFit]:
    """What is asked for in a golden row, and what the budget gives."""
    asked = [
        BudgetRole(replicas=row[count], gpus_per_replica=row[gpus], min_replicas=row["min_endpoint"])
        for count, gpus in roles
    ]
    budget = None if row["budget"] == NO_BUDGET else row["budget"]
    return tuple(role.replicas for role in asked), fit_budget(asked, gpu_budget=budget)


def test_every_pair_budget_equals_dynamo_but_for_the_two_intended_differences() -> None:
    for index, row in enumerate(GOLDEN["budget_pair"]):
        asked, fit = _fit(row, [("num_p", "prefill_gpus"), ("num_d", "decode_gpus")])
        theirs = tuple(row["out"])
        if index in INFEASIBLE_PAIRS:
            assert (theirs, fit.reason) == ((0, 0), Reason.BUDGET_INFEASIBLE), row
        elif index in GROWN_PAIRS:
            assert (theirs, fit.replicas) == GROWN_PAIRS[index], row
            assert theirs[1] > asked[1]
        else:
            assert fit.replicas == theirs, row


def test_every_single_budget_equals_dynamo_but_for_the_infeasible() -> None:
    for index, row in enumerate(GOLDEN["budget_single"]):
        _, fit = _fit(row, [("num", "gpus")])
        if index in INFEASIBLE_SINGLES:
            assert (row["out"], fit.reason) == (0, Reason.BUDGET_INFEASIBLE), row
        else:
            assert fit.replicas == (row["out"],), row
