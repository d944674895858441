"""An operator that comes back reads its memory from the status, and decides what it would have decided."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from slaplanner.controller.world import Traffic
from slaplanner.core.readings import Series
from tests.heart import FakeWorld, Patient, document, patient, target
from tests.planning import fleet, observation

INTERVAL_S = 60.0
PLANNING = {"intervalSeconds": 60, "sizing": "Throughput", "predictor": {"type": "Constant"}}
BEHAVIOR = {
    "scaleUp": {"policies": [{"type": "Replicas", "value": 2, "periodSeconds": 90}]},
    "scaleDown": {"stabilizationWindowSeconds": 150},
}


@dataclass(slots=True)
class ServingWorld(FakeWorld):
    """Carries out what it is ordered, and serves the load that it is told."""

    loads: list[float] = field(default_factory=list)
    """Requests per interval, one for each slot of the grid so far."""

    async def traffic(self, *_: object, **options: Any) -> Traffic:
        count = len(self.loads)
        history = Series(
            end_s=options["end_s"],
            step_s=INTERVAL_S,
            requests=tuple(self.loads),
            isl_tokens=(1000.0,) * count,
            osl_tokens=(200.0,) * count,
        )
        return Traffic(observation=observation(self.loads[-1], history=history))

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


def run(loads: list[tuple[float, bool]]) -> list[tuple[Any, ...]]:
    """Plan once per load, killed after those that say so; from, to and reason of each decision."""
    world = ServingWorld(target())
    shown = document(planning=PLANNING, behavior=BEHAVIOR)
    one: Patient = patient(world, shown)
    status: dict[str, Any] = {}
    decided = []

    async def live() -> None:
        nonlocal one, status
        for requests, killed in loads:
            world.loads.append(requests * INTERVAL_S)
            await one.beat()
            decision = one.record.decision
            assert decision is not None
            decided.append(
                (decision.at_s, decision.reason, [(role.current, role.desired) for role in decision.roles])
            )
            for patch in world.statuses:
                status = merged(status, json.loads(json.dumps(patch)))
            world.statuses.clear()
            world.carry_out()
            if killed:
                one = patient(world, {**shown, "status": status})
            world.time_s += INTERVAL_S

    asyncio.run(live())
    return decided


@given(
    loads=st.lists(
        st.tuples(st.sampled_from([0.0, 5.0, 40.0, 60.0, 130.0]), st.booleans()), min_size=2, max_size=10
    )
)
@example(loads=[(0.0, True), (40.0, False)])
@settings(max_examples=15, deadline=None)
def test_operators_that_are_killed_between_plans_decide_what_an_undisturbed_one_does(
    loads: list[tuple[float, bool]],
):
    assert run(loads) == run([(requests, False) for requests, _ in loads])


def test_the_played_rules_really_need_a_memory():
    """Else the comparison would show nothing: the fall is held back, the rise comes in steps."""
    rise = [(130.0, False)] * 4
    counts = [moves[0][1] for _, _, moves in run([*rise, (0.0, False), (0.0, False)])]
    assert counts[0] == 3
    assert counts[3] > 3
    assert counts[4:] == [counts[3]] * 2
