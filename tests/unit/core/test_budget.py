"""The budget: never above it, never growing a role, floors first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaplanner.core.budget import BudgetFit, BudgetRole, fit_budget
from slaplanner.core.reasons import Reason


@st.composite
def roles(draw: st.DrawFn) -> list[BudgetRole]:
    """One or two roles, each asking for its floor or more, as bounded roles do."""
    floors = draw(st.lists(st.integers(1, 8), min_size=1, max_size=2))
    return [
        BudgetRole(
            replicas=floor + draw(st.integers(0, 200)),
            gpus_per_replica=draw(st.sampled_from([1, 2, 4, 8, 16])),
            min_replicas=floor,
        )
        for floor in floors
    ]


budgets = st.one_of(st.none(), st.integers(1, 2000))


def _gpus(asked: list[BudgetRole], fit: BudgetFit) -> int:
    return sum(count * role.gpus_per_replica for count, role in zip(fit.replicas, asked, strict=True))


@given(roles(), budgets)
def test_the_budget_holds_whenever_the_floors_fit(asked: list[BudgetRole], budget: int | None) -> None:
    fit = fit_budget(asked, gpu_budget=budget)
    floors = sum(role.min_replicas * role.gpus_per_replica for role in asked)
    assert fit.feasible == (budget is None or floors <= budget)
    if fit.feasible and budget is not None:
        assert _gpus(asked, fit) <= budget


@given(roles(), budgets)
def test_the_budget_never_grows_a_role(asked: list[BudgetRole], budget: int | None) -> None:
    fit = fit_budget(asked, gpu_budget=budget)
    assert all(count <= role.replicas for count, role in zip(fit.replicas, asked, strict=True))


@given(roles(), budgets)
def test_the_floors_hold(asked: list[BudgetRole], budget: int | None) -> None:
    fit = fit_budget(asked, gpu_budget=budget)
    assert all(count >= role.min_replicas for count, role in zip(fit.replicas, asked, strict=True))


@given(roles(), budgets)
def test_fitting_what_was_fitted_changes_nothing(asked: list[BudgetRole], budget: int | None) -> None:
    fit = fit_budget(asked, gpu_budget=budget)
    again = [
        BudgetRole(replicas=count, gpus_per_replica=role.gpus_per_replica, min_replicas=role.min_replicas)
        for count, role in zip(fit.replicas, asked, strict=True)
    ]
    assert fit_budget(again, gpu_budget=budget).replicas == fit.replicas


@given(roles(), st.integers(1, 2000))
def test_a_larger_budget_never_gives_fewer_gpus_to_a_single_role(
    asked: list[BudgetRole], budget: int
) -> None:
    less, more = (fit_budget(asked[:1], gpu_budget=gpus) for gpus in (budget, budget + 1))
    if less.feasible:
        assert less.replicas <= more.replicas


def _role(replicas: int, gpus: int, floor: int = 1) -> BudgetRole:
    return BudgetRole(replicas=replicas, gpus_per_replica=gpus, min_replicas=floor)


@pytest.mark.parametrize(
    ("asked", "budget", "given_", "reason"),
    [
        pytest.param([_role(9, 8)], None, (9,), Reason.NO_BUDGET, id="no-budget"),
        pytest.param([_role(4, 2), _role(4, 2)], 16, (4, 4), Reason.WITHIN_BUDGET, id="exactly-fits"),
        pytest.param([_role(10, 2)], 9, (4,), Reason.BUDGET_EXCEEDED, id="one-role"),
        pytest.param([_role(6, 2), _role(6, 4)], 18, (3, 3), Reason.BUDGET_EXCEEDED, id="proportional"),
        pytest.param(
            [_role(20, 1), _role(1, 8)], 10, (2, 1), Reason.BUDGET_EXCEEDED, id="floor-of-the-second"
        ),
        pytest.param(
            [_role(5, 8), _role(16, 1)], 5, (5, 16), Reason.BUDGET_INFEASIBLE, id="below-the-floors"
        ),
        pytest.param([_role(1, 8, floor=4)], None, (1,), Reason.NO_BUDGET, id="asks-below-its-floor"),
    ],
)
def test_the_split(
    asked: list[BudgetRole], budget: int | None, given_: tuple[int, ...], reason: Reason
) -> None:
    fit = fit_budget(asked, gpu_budget=budget)
    assert (fit.replicas, fit.reason) == (given_, reason)


def test_an_infeasible_budget_tells_what_the_floors_need() -> None:
    fit = fit_budget([_role(5, 8), _role(16, 1)], gpu_budget=5)
    assert (fit.wanted_gpus, fit.floor_gpus) == (56, 9)


@pytest.mark.parametrize("asked", [[], [_role(1, 1)] * 3, [_role(1, 0)]], ids=["none", "three", "no-gpus"])
def test_what_cannot_be_split_is_a_mistake_of_the_caller(asked: list[BudgetRole]) -> None:
    with pytest.raises(ValueError, match="found"):
        fit_budget(asked, gpu_budget=8)
