"""Fits the wanted replicas into the GPU budget, as the last step of a plan.

`core.budget` splits the budget. This module adds the roles that must not shrink now: their gates are minimum counts. If
even these exceed the budget, only the firm gates (a pause, a rollout) remain, because using more GPUs than were granted
is worse than shrinking a role early.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from slaplanner.core.budget import BudgetRole, fit_budget
from slaplanner.core.gates import Gate
from slaplanner.core.model import RolePolicy, RoleState
from slaplanner.core.reasons import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitedCount:
    """What a step of the plan made of a role's count, and by which limits."""

    by: tuple[Reason, ...]
    replicas: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleRequest:
    """One role on its way through the plan: what is wanted, within which gate, limited by what."""

    role: RoleState
    rules: RolePolicy
    wanted: int
    gate: Gate
    limits: tuple[Reason, ...] = ()
    changed: tuple[LimitedCount, ...] = ()
    """What each of them changed, from what the need says in whole replicas to `wanted`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allotted:
    """Replicas per step, and what the budget did to them."""

    replicas: tuple[int, ...]
    reason: Reason
    """NO_BUDGET, WITHIN_BUDGET, BUDGET_EXCEEDED or BUDGET_INFEASIBLE."""
    wanted_gpus: int
    floor_gpus: int
    shrunk_to_budget: bool = False
    """What runs is over the budget, and a role is shrunk for it."""


def allot(steps: Sequence[RoleRequest], *, budget: int | None) -> Allotted:
    """Fit the wanted replicas into *budget* GPUs; a role is never given more than it wanted."""
    wanted = tuple(step.wanted for step in steps)
    gpus = tuple(step.role.gpus_per_replica or 0 for step in steps)
    wanted_gpus = sum(count * each for count, each in zip(wanted, gpus, strict=True))
    floor_gpus = sum(step.rules.min_replicas * each for step, each in zip(steps, gpus, strict=True))
    if budget is None or wanted_gpus <= budget:
        reason = Reason.NO_BUDGET if budget is None else Reason.WITHIN_BUDGET
        return Allotted(replicas=wanted, reason=reason, wanted_gpus=wanted_gpus, floor_gpus=floor_gpus)

    running = tuple(step.role.replicas for step in steps)
    running_gpus = sum(count * each for count, each in zip(running, gpus, strict=True))
    for floors in (_floors(steps, firm_only=False), _floors(steps, firm_only=True)):
        fitted = fit_budget(
            [
                BudgetRole(replicas=step.wanted, gpus_per_replica=each, min_replicas=floor)
                for step, each, floor in zip(steps, gpus, floors, strict=True)
            ],
            gpu_budget=budget,
        )
        if fitted.feasible:
            return Allotted(
                replicas=fitted.replicas,
                reason=Reason.BUDGET_EXCEEDED,
                wanted_gpus=wanted_gpus,
                floor_gpus=floor_gpus,
                shrunk_to_budget=running_gpus > budget,
            )
    return Allotted(
        replicas=running, reason=Reason.BUDGET_INFEASIBLE, wanted_gpus=wanted_gpus, floor_gpus=floor_gpus
    )


def _floors(steps: Sequence[RoleRequest], *, firm_only: bool) -> list[int]:
    """The least that each role may get; never more than it wanted."""
    floors = []
    for step in steps:
        floor = step.rules.min_replicas
        if step.gate.firm or not firm_only:
            floor = max(floor, step.gate.lowest)
        floors.append(min(floor, step.wanted))
    return floors
