"""What a simulation promises, the live fleet keeps: the same trace and planner, both ways.

The bounds that `docs/how-to/simulate.md` states. What is left between them: the fleet looks at its clock four
times a second, so a replica serves up to a quarter of a second after it is ready, and is found gone as late.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest

from slaplanner.adapters.traces.trace import read_trace
from slaplanner.core.model import Fleet, Policy, Role, RolePolicy, Sizing, Sla
from slaplanner.core.readings import Observation
from slaplanner_lab.notebook import load_profile
from slaplanner_lab.simulation.loop import ROLES, Run, Scenario, simulate
from slaplanner_lab.simulation.planners import PolicyPlanner, Verdict
from slaplanner_lab.simulation.score import score
from slaplanner_lab.simulation.setup import scenario_of
from tests.live_fleet import LiveFleet
from tests.profile_data import MODELLED_32B, PROFILES, ROOT

ATTAINMENT_POINTS = 1.0
GPU_TIME_SHARE = 0.01

SLICE_S = (1770.0, 2370.0)
"""Ten minutes: the trace's busiest, then half as many input tokens."""

PROFILE = load_profile(PROFILES / MODELLED_32B).profile
TIGHT = Policy(
    sla=Sla(ttft_ms=300.0, itl_ms=20.0),
    roles=tuple(RolePolicy(role=role, gpus_per_replica=2) for role in ROLES),
    interval_s=30.0,
    window_s=30.0,
    startup_s=40.0,
)
"""Targets that some requests miss, whoever plans: agreeing on 100 % would show little."""


@dataclass
class Scripted:
    """Asks for what its script says at each time."""

    script: Mapping[float, Mapping[Role, int]] = field(default_factory=dict)

    def __call__(self, observation: Observation, fleet: Fleet, *, now_s: float) -> Verdict:  # noqa: ARG002
        running = {role.role: role.replicas for role in fleet.roles}
        return Verdict(replicas={**running, **self.script.get(now_s, {})}, reason="Scripted")


UP_AND_DOWN = Scripted(
    {
        60.0: {Role.PREFILL: 5, Role.DECODE: 2},
        240.0: {Role.PREFILL: 2, Role.DECODE: 4},
        420.0: {Role.PREFILL: 4, Role.DECODE: 1},
    }
)


def ten_minutes(policy: Policy, *, start: Mapping[Role, int] | None = None) -> Scenario:
    trace = read_trace(ROOT / "examples" / "traces" / "azure2023_conv.jsonl.gz").between(*SLICE_S)
    return scenario_of(policy, trace, fleet=PROFILE, copies=4, start=start, unscored_s=0.0)


def agree(live: Mapping[str, Mapping[str, float]], run: Run) -> None:
    told = score(run)
    assert live["requests"]["served"] == live["requests"]["arrived"] == told.requests
    for kind in ("both", "ttft", "itl"):
        assert live["attainment"][kind] == pytest.approx(
            getattr(told.attainment, kind), abs=ATTAINMENT_POINTS
        ), kind
    for role, hours in told.gpu_hours.items():
        assert live["gpuSeconds"][role.value] == pytest.approx(3600.0 * hours, rel=GPU_TIME_SHARE), role


def test_ten_minutes_under_the_planner_are_the_same_in_both() -> None:
    scenario = ten_minutes(replace(TIGHT, sizing=Sizing.ATTAINMENT, gpu_budget=24))
    run = simulate(scenario, PolicyPlanner(policy=scenario.policy, profile=PROFILE))
    live = LiveFleet(scenario).run(PolicyPlanner(policy=scenario.policy, profile=PROFILE))
    assert run.moves > 0
    agree(live, run)


def test_ten_minutes_of_growth_and_draining_are_the_same_in_both() -> None:
    scenario = ten_minutes(TIGHT, start={Role.PREFILL: 2, Role.DECODE: 3})
    run = simulate(scenario, UP_AND_DOWN)
    live = LiveFleet(scenario).run(UP_AND_DOWN)
    assert run.moves == 6
    agree(live, run)
