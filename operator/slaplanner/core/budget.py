"""Shares a GPU budget among the roles of one policy: minimum replicas first, the rest in proportion.

The split is that of Dynamo's planner, with two intended differences. If the budget is below the minimum replicas, there
is no fit and the caller keeps the current replicas, instead of asking for 0. And a role never gets more than it asked
for, which can happen in Dynamo because decode gets all that is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from slaplanner.core.reasons import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetRole:
    """What one role asks for, and the least that it may be given."""

    replicas: int
    gpus_per_replica: int
    min_replicas: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetFit:
    """What the budget gives, in the order of the roles, and why."""

    replicas: tuple[int, ...]
    """What was asked for when it fits, or when nothing would (`feasible` is False)."""
    reason: Reason
    """NO_BUDGET, WITHIN_BUDGET, BUDGET_EXCEEDED (cut to fit) or BUDGET_INFEASIBLE."""
    wanted_gpus: int
    floor_gpus: int
    """GPUs of the floors alone."""

    @property
    def feasible(self) -> bool:
        """Whether `replicas` may be carried out; False: keep what runs."""
        return self.reason is not Reason.BUDGET_INFEASIBLE


def fit_budget(roles: Sequence[BudgetRole], *, gpu_budget: int | None) -> BudgetFit:
    """Cut the wanted replicas of one or two roles down to *gpu_budget* GPUs; None is no limit.

    The first role gets its share of the budget, proportional to what it asked for and leaving room
    for the floor of the second; the second gets the rest. A sum within the budget is unchanged,
    also when a role asks for less than its floor.

    Raises:
        ValueError: not one or two roles, or a role without GPUs.

    >>> fit_budget([BudgetRole(replicas=6, gpus_per_replica=2),
    ...             BudgetRole(replicas=6, gpus_per_replica=4)], gpu_budget=18).replicas
    (3, 3)
    """
    if len(roles) not in (1, 2):
        raise ValueError(f"found {len(roles)} roles, wanted one or two")
    if any(role.gpus_per_replica < 1 for role in roles):
        raise ValueError(f"wanted at least one GPU per replica, found {[r.gpus_per_replica for r in roles]}")
    asked = tuple(role.replicas for role in roles)
    wanted_gpus = sum(role.replicas * role.gpus_per_replica for role in roles)
    floor_gpus = sum(role.min_replicas * role.gpus_per_replica for role in roles)

    def fit(replicas: tuple[int, ...], reason: Reason) -> BudgetFit:
        return BudgetFit(replicas=replicas, reason=reason, wanted_gpus=wanted_gpus, floor_gpus=floor_gpus)

    if gpu_budget is None:
        return fit(asked, Reason.NO_BUDGET)
    if wanted_gpus <= gpu_budget:
        return fit(asked, Reason.WITHIN_BUDGET)
    if gpu_budget < floor_gpus:
        return fit(asked, Reason.BUDGET_INFEASIBLE)

    given: list[int] = []
    left, floors_left = gpu_budget, floor_gpus
    for role in roles:
        floors_left -= role.min_replicas * role.gpus_per_replica
        most = (left - floors_left) // role.gpus_per_replica
        if role is not roles[-1]:
            most = min(most, role.replicas * gpu_budget // wanted_gpus)
        count = min(role.replicas, max(role.min_replicas, most))
        given.append(count)
        left -= count * role.gpus_per_replica
    return fit(tuple(given), Reason.BUDGET_EXCEEDED)
