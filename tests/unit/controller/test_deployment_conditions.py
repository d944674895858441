"""`SLAMet` changes only after three plans that agree; a policy speaks of the latencies of its roles."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from slaplanner.adapters.deployment import DeploymentConditions
from slaplanner.adapters.deployment.own_conditions import MET
from slaplanner.controller.deployment_conditions import sighted, sla_met, verdict
from slaplanner.controller.outside.ports import TrafficReading
from slaplanner.controller.planning import PlanResult
from slaplanner.controller.records import Record, Records
from slaplanner.core.model import Mode, Policy
from slaplanner.core.readings import Known, Observation
from slaplanner.core.state import PlannerState
from tests.planning import observation, policy, unknown
from tests.reconciling import document, target

READY = [{"type": "Ready", "status": "True", "reason": "Planned", "message": "all is well"}]
GOOD = observation()
LATE = observation(ttft_ms=Known(2000.0))
SLOW = observation(itl_ms=Known(31.0))
UNSEEN = observation(0.0)


@pytest.fixture
def record() -> Record:
    return Records().seen(document())


def note(record: Record, asked: Policy, plan: PlanResult) -> None:
    """What is said after a plan, as the reporter keeps it."""
    sightings = sighted(record.report.sightings, asked, plan)
    said = verdict(record, asked, plan, READY, sightings)
    record.report = replace(record.report, sightings=sightings, verdict=said)


def told(record: Record, *observations: Observation, **fields: Any) -> DeploymentConditions:
    """The verdict after one plan for each observation."""
    for seen in observations:
        plan = PlanResult(state=PlannerState(), traffic=TrafficReading(observation=seen))
        note(record, policy(**fields), plan)
    assert record.report.verdict is not None
    return record.report.verdict


def test_planned_repeats_ready(record: Record):
    found = told(record, GOOD)
    assert (found.planned, found.planned_reason, found.planned_message) == ("True", "Planned", "all is well")


@pytest.mark.parametrize(
    ("seen", "met"),
    [
        pytest.param([GOOD], "Unknown", id="one-plan"),
        pytest.param([GOOD, GOOD], "Unknown", id="two-plans"),
        pytest.param([GOOD, GOOD, GOOD], "True", id="three-plans"),
        pytest.param([GOOD, LATE, GOOD, GOOD], "Unknown", id="not-in-a-row"),
        pytest.param([LATE, LATE, SLOW], "False", id="missed-by-either-latency"),
        pytest.param([GOOD, GOOD, GOOD, LATE, LATE], "True", id="two-misses-change-nothing"),
        pytest.param([GOOD, GOOD, GOOD, LATE, LATE, LATE], "False", id="three-misses-do"),
        pytest.param([GOOD, UNSEEN, GOOD, UNSEEN, GOOD], "True", id="what-is-unknown-does-not-count"),
        pytest.param([GOOD, GOOD, GOOD, UNSEEN, UNSEEN, UNSEEN], "True", id="nor-does-it-take-back"),
    ],
)
def test_three_plans_must_agree(record: Record, seen: list[Observation], met: str):
    assert told(record, *seen).met == met


def test_the_message_gives_both_figures_and_stays_while_the_verdict_does(record: Record):
    first = told(record, GOOD, GOOD, GOOD)
    assert (first.met_reason, first.met_message) == (
        "TargetsMet",
        "TTFT 60 ms of 1,000 ms, ITL 15 ms of 30 ms",
    )
    assert told(record, replace(GOOD, ttft_ms=Known(70.0))).met_message == first.met_message


@pytest.mark.parametrize(
    ("mode", "late", "slow"),
    [(Mode.DISAGG, False, False), (Mode.PREFILL, False, True), (Mode.DECODE, True, False)],
)
def test_a_policy_answers_for_the_latencies_of_its_roles(mode: Mode, late: bool, slow: bool):
    assert sla_met(policy(mode=mode), LATE) is late
    assert sla_met(policy(mode=mode), SLOW) is slow


def test_nothing_observed_is_neither_met_nor_missed():
    assert sla_met(policy(), UNSEEN) is None
    assert sla_met(policy(), replace(GOOD, itl_ms=unknown())) is None


class TestAfterARestart:
    """The deployment's own condition is the memory."""

    def resumed(
        self, record: Record, said: tuple[str, str], *observations: Observation
    ) -> DeploymentConditions:
        before = replace(target(), told={MET: (said[0], "", said[1])})
        for seen in observations:
            plan = PlanResult(state=PlannerState(), target=before, traffic=TrafficReading(observation=seen))
            note(record, policy(), plan)
        assert record.report.verdict is not None
        return record.report.verdict

    def test_what_was_said_stands_until_three_plans_disagree(self, record: Record):
        said = ("True", "other: ITL 9 ms of 30 ms; llama: TTFT 60 ms of 1,000 ms")
        first = self.resumed(record, said, LATE)
        assert (first.met, first.met_reason, first.met_message) == (
            "True",
            "TargetsMet",
            "TTFT 60 ms of 1,000 ms",
        )
        assert self.resumed(record, said, LATE).met == "True"
        assert self.resumed(record, said, LATE).met == "False"

    @pytest.mark.parametrize(
        "said",
        [
            pytest.param(("False", "other: TTFT 2,000 ms of 1,000 ms"), id="another-policys-words"),
            pytest.param(("Unknown", "llama: 3 plans must agree"), id="nothing-decided"),
            pytest.param(("True", ""), id="no-words"),
        ],
    )
    def test_what_it_did_not_say_is_not_resumed(self, record: Record, said: tuple[str, str]):
        found = self.resumed(record, said, GOOD)
        assert (found.met, found.met_reason) == ("Unknown", "Observing")
