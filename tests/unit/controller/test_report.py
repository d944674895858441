"""What is told of plans when a write is refused, when a policy goes, and when its target is no good."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest

from slaplanner.adapters.deployment import ApiRefusal, ScalingOutcome, TargetState, combined
from slaplanner.adapters.deployment.failures import Failure
from slaplanner.controller import metrics
from slaplanner.core.errors import TargetError
from slaplanner.core.reasons import Reason
from tests.reconciling import FakeWorld, OnePolicy, document, one_policy, target

REFUSED = ApiRefusal(Failure(reason=Reason.FORBIDDEN, message="missing permission", status=403))
GONE = ApiRefusal(
    Failure(reason=Reason.TARGET_NOT_FOUND, message="no such policy", status=404, not_found=True)
)
HOUR_S = 3600.0
MEMBERS = (
    *("v", "uid", "n", "at", "fail", "len", "corr", "burst", "rival", "roles", "seen", "prefill", "decode"),
    *("hi", "lo", "add", "rem", "rep", "des", "up", "room", "ask", "wrote", "by", "of", "pause", "retry"),
    *("stall", "unready"),
)
"""Of a planner's state, at any depth."""


@pytest.fixture
def one() -> OnePolicy:
    return one_policy()


def plan(one: OnePolicy) -> None:
    """One more plan, an hour later."""
    one.world.time_s += HOUR_S
    asyncio.run(one.tick())


def told(status: Mapping[str, Any], kind: str) -> tuple[str, str]:
    found = next(entry for entry in status["conditions"] if entry["type"] == kind)
    return found["status"], found["reason"]


class TestARefusedStatus:
    def test_the_next_heartbeat_writes_it(self, one: OnePolicy):
        one.world.refusal = REFUSED
        plan(one)
        assert one.world.statuses == []
        one.world.refusal = None
        one.world.time_s += one.reconciler.settings.heartbeat_s
        asyncio.run(one.tick())
        (status,) = one.world.statuses
        assert told(status, "Ready") == ("True", "Planned")

    def test_plans_go_on_and_none_of_them_is_lost_from_the_report(self, one: OnePolicy):
        one.world.refusal = REFUSED
        plan(one)
        one.world.moved(fleet=target(4, 2).fleet)
        plan(one)
        one.world.refusal = None
        plan(one)
        shown = one.record.report.written
        assert shown is not None
        assert [entry["id"] for entry in shown["decisions"]] == [2, 1]

    def test_what_was_told_as_an_event_is_not_told_again(self, one: OnePolicy):
        one.world.refusal = REFUSED
        plan(one)
        count = len(one.events)
        one.world.moved(fleet=target(4, 2).fleet)
        plan(one)
        assert count > 0
        assert len(one.events) == count

    def test_a_policy_that_is_gone_needs_no_status(self, one: OnePolicy):
        one.world.refusal = GONE
        plan(one)
        assert one.record.report.unwritten is None


class TestTheDeploymentsConditions:
    def test_they_tell_of_a_target_that_cannot_be_planned_for(self, one: OnePolicy):
        one.world.target = TargetError("two play decode", reason=Reason.DUPLICATE_ROLE)
        plan(one)
        assert one.world.reports == [("serving", "llama", ("llama",))]
        assert one.record.report.verdict is not None
        assert (one.record.report.verdict.planned, one.record.report.verdict.planned_reason) == (
            "False",
            "DuplicateRole",
        )

    def test_they_say_nothing_under_observe(self):
        one = one_policy(shown=document(actuation="Observe"))
        plan(one)
        assert one.world.reports == []

    def test_they_are_not_sent_where_they_stand_already(self, one: OnePolicy):
        for _ in range(4):  # until what they say of the latencies is decided
            plan(one)
        assert len(one.world.reports) == 4, "they do not stand on this deployment"
        assert one.record.report.verdict is not None
        assert isinstance(one.world.target, TargetState)
        stand = {
            each.type: (each.status, each.reason, each.message)
            for each in combined([one.record.report.verdict])
        }
        one.world.moved(told=stand)
        plan(one)
        assert len(one.world.reports) == 4
        one.world.moved(told=stand | {"SLAMet": ("True", "SomebodyElses", "words")})
        plan(one)
        assert len(one.world.reports) == 5

    def test_they_go_with_the_policy(self, one: OnePolicy):
        plan(one)
        asyncio.run(one.reconciler.reporter.withdrawn(one.record))
        assert one.world.reports[-1] == ("serving", "llama", ())

    def test_they_go_although_this_operator_never_planned_the_policy(self, one: OnePolicy):
        asyncio.run(one.reconciler.reporter.withdrawn(one.record))
        assert one.world.reports == [("serving", "llama", ())]

    def test_they_go_when_the_policy_cannot_be_read_any_more(self, one: OnePolicy):
        plan(one)
        one.shows(document(generation=2, mode="sideways"))
        asyncio.run(one.tick())
        assert one.world.reports[-1] == ("serving", "llama", ())


@dataclass(slots=True)
class WriteWatchedWorld(FakeWorld):
    """Something happens right after a write of replicas."""

    after_write: Callable[[], None] = lambda: None

    async def scale(self, *arguments: Any, **options: Any) -> ScalingOutcome:
        # Not super(): a dataclass with slots is another class than the one that was written.
        outcome = await FakeWorld.scale(self, *arguments, **options)
        self.after_write()
        return outcome


def test_a_plan_that_ends_after_its_policy_went_leaves_no_series():
    world = WriteWatchedWorld(target())
    one = one_policy(world)
    gone = document()
    gone["metadata"]["deletionTimestamp"] = "2026-01-01T00:01:00Z"
    metrics.forget("serving", "llama")
    world.after_write = lambda: one.shows(gone)
    plan(one)
    assert [event.reason for event in one.events].count("Scaled") == 2, "of policy and deployment"
    assert 'policy="llama"' not in generate_latest(metrics.REGISTRY).decode()


class TestTheConditionsMetric:
    def shown(self, kind: str) -> float | None:
        labels = {"namespace": "serving", "policy": "llama", "type": kind, "status": "True"}
        return metrics.REGISTRY.get_sample_value("slaplanner_condition", labels)

    def test_it_follows_a_target_that_settles_between_plans(self, one: OnePolicy):
        moving = replace(target().fleet.roles[0], settled=False)
        fleet = target().fleet
        one.world.target = target(fleet=replace(fleet, roles=(moving, *fleet.roles[1:])))
        asyncio.run(one.tick())
        assert self.shown("Progressing") == 1
        one.world.moved(fleet=target(4, 2).fleet)
        asyncio.run(one.tick())
        assert self.shown("Progressing") == 0

    def test_it_says_that_a_policy_cannot_be_read_any_more(self, one: OnePolicy):
        asyncio.run(one.tick())
        assert (self.shown("Ready"), self.shown("TargetResolved")) == (1, 1)
        one.shows(document(generation=2, mode="sideways"))
        asyncio.run(one.tick())
        assert (self.shown("Ready"), self.shown("TargetResolved")) == (0, 0)


KEPT = '{{"v": 1, "uid": "", "n": 1, "fail": 0, "corr": {{}}, "roles": {{}}, {}}}'
"""A planner's state with one more member."""
ROLE = '"roles": {{"prefill": {{{}}}}}'
FUTURE = "99999999999"


@pytest.mark.parametrize(
    "state",
    [
        pytest.param("{", id="broken-off"),
        pytest.param("[" * 4000, id="nested-without-end"),
        pytest.param("[1]", id="a-list"),
        pytest.param(KEPT.format('"at": NaN'), id="a-time-that-is-none"),
        pytest.param(KEPT.format('"at": "NaN"'), id="a-time-that-is-a-text"),
        pytest.param(KEPT.format('"at": "1e99"'), id="a-large-time-that-is-a-text"),
        pytest.param(KEPT.format('"at": 1e999'), id="a-time-without-end"),
        pytest.param(KEPT.format(f'"at": {FUTURE}'), id="a-time-to-come"),
        pytest.param(KEPT.format('"at": -5'), id="a-time-before-time"),
        pytest.param(KEPT.format('"at": true'), id="a-time-that-is-true"),
        pytest.param(KEPT.format(f'"at": 1{"0" * 400}'), id="a-time-too-large-for-a-float"),
        pytest.param(KEPT.format('"len": [NaN, NaN]'), id="lengths-that-are-none"),
        pytest.param(KEPT.format('"len": [0, 0]'), id="lengths-of-nothing"),
        pytest.param(KEPT.format('"len": ["100", "100"]'), id="lengths-that-are-texts"),
        pytest.param(KEPT.format('"len": [100]'), id="one-length"),
        pytest.param(KEPT.format('"n": -Infinity'), id="a-count-without-end"),
        pytest.param(KEPT.format('"n": -1'), id="fewer-than-no-decisions"),
        pytest.param(KEPT.format('"fail": "NaN"'), id="failures-that-are-a-text"),
        pytest.param(KEPT.format('"rival": {"by": 7}'), id="another-type"),
        pytest.param(KEPT.format(f'"rival": {{"retry": {FUTURE}}}'), id="a-truce-without-end"),
        pytest.param(KEPT.format('"rival": {"pause": 1e12}'), id="a-pause-without-end"),
        pytest.param(KEPT.format(f'"corr": {{"decode": [1, {FUTURE}, 1, null]}}'), id="a-correction-to-come"),
        pytest.param(
            KEPT.format('"corr": {"decode": ["NaN", 0, 1, null]}'), id="a-correction-that-is-a-text"
        ),
        pytest.param(KEPT.format(ROLE.format('"hi": [[1, "-1"]]')), id="a-text-for-a-count"),
        pytest.param(KEPT.format(ROLE.format('"hi": [[1, -1]]')), id="fewer-than-no-replicas"),
        pytest.param(
            KEPT.format(ROLE.format('"hi": [[1, 99999999999]]')), id="more-replicas-than-there-can-be"
        ),
        pytest.param(KEPT.format(ROLE.format(f'"lo": [[{FUTURE}, 1]]')), id="a-recommendation-to-come"),
        pytest.param(KEPT.format(ROLE.format('"up": [1e9]')), id="a-start-that-took-years"),
        pytest.param(KEPT.format(ROLE.format('"des": "NaN"')), id="a-size-that-is-a-text"),
        pytest.param(KEPT.format('"burst": ["inf", "nan", "1"]'), id="bursts-that-are-texts"),
    ],
)
def test_a_state_that_nobody_could_have_written_is_dropped_and_planning_starts_afresh(state: str):
    one = one_policy(shown={**document(), "status": {"plannerState": state}})
    asyncio.run(one.tick())
    assert one.record.memory.decision is not None
    assert one.record.memory.decision.id == 1
    assert [event.reason for event in one.events].count("PlannerStateDropped") == 1
    told_state = json.loads((one.record.report.written or {})["plannerState"])
    assert told_state["n"] == 1


@pytest.mark.parametrize("status", [{}, {"plannerState": ""}, {"plannerState": None}])
def test_no_state_is_nothing_to_tell(status: Mapping[str, Any]):
    one = one_policy(shown={**document(), "status": status})
    asyncio.run(one.tick())
    assert "PlannerStateDropped" not in [event.reason for event in one.events]


JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.sampled_from(["NaN", "-1", "inf", "1e999", "prefill", ""]),
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(MEMBERS), inner, max_size=4),
    max_leaves=12,
)


@given(poison=st.dictionaries(st.sampled_from(MEMBERS), JSON, max_size=6))
def test_no_state_stops_plans(poison: dict[str, Any]):
    """Whatever stands there: a plan is made at once, and the one after it at its own time."""
    state = {"v": 1, "uid": "", "n": 1, "fail": 0, "corr": {}, "roles": {}} | poison
    one = one_policy(shown={**document(), "status": {"plannerState": json.dumps(state)}})
    for _ in range(2):
        one.world.time_s += HOUR_S
        asyncio.run(one.tick())
    assert one.record.memory.attempted_at_s is not None
    assert one.world.time_s - one.record.memory.attempted_at_s < HOUR_S
    assert one.record.memory.decision is not None
