"""An operator that comes back reads its memory from the status, and decides what it would have decided."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from slaplanner.controller.outside.ports import TrafficReading
from slaplanner.core.readings import Series
from tests.planning import fleet, observation
from tests.reconciling import FakeWorld, OnePolicy, document, one_policy, target

INTERVAL_S = 60.0
PLANNING = {"intervalSeconds": 60, "predictor": {"type": "Constant"}}
ARRIVALS_STEP_S = 5.0
BEHAVIOR = {
    "scaleUp": {"policies": [{"type": "Replicas", "value": 2, "periodSeconds": 90}]},
    "scaleDown": {"stabilizationWindowSeconds": 150},
}


@dataclass(slots=True)
class ServingWorld(FakeWorld):
    """Carries out what it is ordered, and serves the load that it is told."""

    loads: list[float] = field(default_factory=list)
    """Requests per interval, one for each slot of the grid so far."""
    clumped: bool = False
    """Whether the latest of them came in clumps."""

    async def traffic(self, *_: object, **options: Any) -> TrafficReading:
        count = len(self.loads)
        history = Series(
            end_s=options["end_s"],
            step_s=INTERVAL_S,
            requests=tuple(self.loads),
            isl_tokens=(1000.0,) * count,
            osl_tokens=(200.0,) * count,
        )
        step = self.loads[-1] * ARRIVALS_STEP_S / INTERVAL_S
        arrivals = (2 * step, 0.0) * 6 if self.clumped else (step,) * 12
        return TrafficReading(
            observation=observation(
                self.loads[-1], history=history, arrivals=arrivals, arrivals_step_s=ARRIVALS_STEP_S
            )
        )

    def carry_out(self) -> None:
        """The deployment asks for what the last order said."""
        if self.orders:
            counts = {str(role): count for role, count in self.orders[-1].items()}
            self.moved(fleet=fleet(counts["prefill"], counts["decode"]))


def merged(document: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(document)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping):
            result[key] = merged(result.get(key) or {}, value)
        else:
            result[key] = value
    return result


def run(loads: list[tuple[float, bool, bool]], sizing: str = "Throughput") -> list[tuple[Any, ...]]:
    """Plan once per load, in clumps or even; killed after those that say so.

    Returns:
        Time, reason, from and to of each decision, and how many replicas are needed.
    """
    world = ServingWorld(target())
    shown = document(planning=PLANNING | {"sizing": sizing}, behavior=BEHAVIOR)
    one: OnePolicy = one_policy(world, shown)
    status: dict[str, Any] = {}
    decided = []

    async def live() -> None:
        nonlocal one, status
        for requests, world.clumped, killed in loads:
            world.loads.append(requests * INTERVAL_S)
            await one.tick()
            decision = one.record.memory.decision
            assert decision is not None
            decided.append(
                (
                    decision.at_s,
                    decision.reason,
                    [(role.current, role.desired) for role in decision.roles],
                    [role.sized.raw for role in decision.roles if role.sized is not None],
                )
            )
            for patch in world.statuses:
                status = merged(status, json.loads(json.dumps(patch)))
            world.statuses.clear()
            world.carry_out()
            if killed:
                one = one_policy(world, {**shown, "status": status})
            world.time_s += INTERVAL_S

    asyncio.run(live())
    return decided


@pytest.mark.parametrize("sizing", ["Throughput", "Attainment"])
@given(
    loads=st.lists(
        st.tuples(st.sampled_from([0.0, 5.0, 40.0, 60.0, 130.0]), st.booleans(), st.booleans()),
        min_size=2,
        max_size=10,
    )
)
@example(loads=[(0.0, False, True), (40.0, False, False)])
@example(loads=[(60.0, True, False), (60.0, True, True), (60.0, False, False)])
@settings(max_examples=15, deadline=None)
def test_operators_that_are_killed_between_plans_decide_what_an_undisturbed_one_does(
    sizing: str, loads: list[tuple[float, bool, bool]]
):
    undisturbed = run([(requests, clumped, False) for requests, clumped, _ in loads], sizing)
    assert run(loads, sizing) == undisturbed


def test_clumps_are_remembered_where_sizing_counts_them():
    """Else the comparison would show nothing of it."""
    clumped, even = ([(60.0, first, False), (60.0, False, False)] for first in (True, False))
    needs = [run(loads, "Attainment")[-1][-1] for loads in (clumped, even)]
    assert needs[0] > needs[1]
    assert run(clumped)[-1][-1] == run(even)[-1][-1]


def test_the_played_rules_really_need_a_memory():
    """Else the comparison would show nothing: the fall is held back, the rise comes in steps."""
    rise = [(130.0, False, False)] * 4
    counts = [moves[0][1] for _, _, moves, _ in run([*rise, *[(0.0, False, False)] * 2])]
    assert counts[0] == 3
    assert counts[3] > 3
    assert counts[4:] == [counts[3]] * 2
