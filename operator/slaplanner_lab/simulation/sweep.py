"""One trace under several policies: other targets, other budgets, or another policy's text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import product

from slaplanner.core.model import Policy
from slaplanner.core.profiles import Profile
from slaplanner_lab.simulation.loop import Scenario, simulate
from slaplanner_lab.simulation.planners import PolicyPlanner
from slaplanner_lab.simulation.score import Score, score

MOST_VARIANTS = 200


class Axis(StrEnum):
    """What a sweep changes: latency targets in ms, the budget in GPUs."""

    TTFT = "ttft"
    ITL = "itl"
    BUDGET = "budget"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One policy of a sweep."""

    name: str
    """Of the policy that it comes from."""
    policy: Policy

    def at(self, axis: Axis) -> float | None:
        """Its figure on *axis*; None: no budget."""
        budget = self.policy.gpu_budget
        return {
            Axis.TTFT: self.policy.sla.ttft_ms,
            Axis.ITL: self.policy.sla.itl_ms,
            Axis.BUDGET: None if budget is None else float(budget),
        }[axis]


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPoint:
    """What one policy came to."""

    variant: Variant
    score: Score

    @property
    def kept(self) -> bool:
        return self.score.attainment.both >= self.variant.policy.sla.attainment_percent


def variants(policies: Mapping[str, Policy], axes: Mapping[Axis, Sequence[float]]) -> tuple[Variant, ...]:
    """Every policy at every combination of the figures, the last axis fastest.

    Raises:
        ValueError: these are more than `MOST_VARIANTS`, or a figure is no target or budget.
    """
    found = [
        Variant(name=name, policy=_changed(policy, dict(zip(axes, figures, strict=True))))
        for name, policy in policies.items()
        for figures in product(*axes.values())
    ]
    if len(found) > MOST_VARIANTS:
        raise ValueError(f"found {len(found)} policies to simulate, wanted at most {MOST_VARIANTS}")
    return tuple(found)


def _changed(policy: Policy, figures: Mapping[Axis, float]) -> Policy:
    for axis, figure in figures.items():
        if axis is Axis.BUDGET:
            if figure < 1 or figure != int(figure):
                raise ValueError(f"found a budget of {figure:g}, wanted whole GPUs, 1 or more")
            policy = replace(policy, gpu_budget=int(figure))
        else:
            policy = replace(policy, sla=replace(policy.sla, **{f"{axis.value}_ms": figure}))
    return policy


def sweep(
    variants: Sequence[Variant],
    profile: Profile,
    scenario_for: Callable[[Policy], Scenario],
    *,
    done: Callable[[], None] = lambda: None,
) -> Iterator[SweepPoint]:
    """Play each of *variants*.

    Args:
        variants: the policies.
        profile: what their planners believe.
        scenario_for: the same trace and fleet under another policy.
        done: told after each.
    """
    for variant in variants:
        scenario = scenario_for(variant.policy)
        run = simulate(scenario, PolicyPlanner(policy=scenario.policy, profile=profile))
        yield SweepPoint(variant=variant, score=score(run))
        done()
