"""A reconciler beside somebody who writes the replicas back: it stops, says with whom, tries again, recovers."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from slaplanner.core.model import Role
from slaplanner.core.reasons import ConditionType, Reason
from slaplanner.core.rivalry import FIRST_PAUSE_S, REVERTS
from slaplanner.core.state import from_document, to_document
from tests.reconciling import FakeWorld, OnePolicy, document, one_policy, target

ARGOCD = "argocd-controller"
THEIRS = {Role.PREFILL: (ARGOCD,), Role.DECODE: (ARGOCD,)}
OURS: dict[Role, tuple[str, ...]] = {Role.PREFILL: (), Role.DECODE: ()}
INTERVAL_S = 60
SPEC = {
    "planning": {"intervalSeconds": INTERVAL_S, "sizing": "Throughput", "predictor": {"type": "Constant"}}
}


def tick(one: OnePolicy) -> None:
    asyncio.run(one.tick())


def later(one: OnePolicy, seconds: float = INTERVAL_S) -> None:
    """Time passes, and the next plan is made."""
    one.world.time_s += seconds
    tick(one)


def moves(one: OnePolicy) -> list[dict[Role, int]]:
    """What was ordered, without taking ownership."""
    return [dict(order) for order in one.world.orders if order]


def fought() -> OnePolicy:
    """Each plan's write was turned back to 1, until it was too much."""
    one = one_policy(FakeWorld(target(replica_writers=THEIRS)), document(**SPEC))
    tick(one)
    for _ in range(REVERTS):
        one.world.moved()
        later(one)
    return one


def told(one: OnePolicy) -> tuple[str, str, str]:
    status = one.record.report.status or {}
    found = next(c for c in status["conditions"] if c["type"] == ConditionType.TARGET_CONFLICT)
    return found["status"], found["reason"], found["message"]


def test_the_fight_is_told_once_with_the_name_of_the_other():
    one = fought()
    later(one)
    status, reason, message = told(one)
    assert (status, reason) == ("True", Reason.OTHER_FIELD_MANAGER)
    assert repr(ARGOCD) in message
    assert "nothing is written" in message
    assert [event.action for event in one.events].count("TargetConflict") == 2, "of policy and deployment"


def test_nothing_is_written_until_the_pause_is_over():
    one = fought()
    written = len(moves(one))
    assert written == REVERTS
    for _ in range(int(FIRST_PAUSE_S / INTERVAL_S) - 1):
        later(one)
    assert len(moves(one)) == written
    later(one, 2 * INTERVAL_S)
    assert len(moves(one)) == written + 1
    assert told(one)[0] == "True", "a try is not yet the end"


def test_a_try_that_holds_is_the_end():
    one = fought()
    later(one, FIRST_PAUSE_S + INTERVAL_S)
    tried = moves(one)[-1]
    one.world.moved(fleet=target(tried[Role.PREFILL], tried[Role.DECODE]).fleet, replica_writers=OURS)
    later(one)
    assert told(one)[:2] == ("False", Reason.NO_CONFLICT)
    assert [event.reason for event in one.events][-1] == "NoConflict"


def test_plan_now_tries_at_once():
    one = fought()
    written = len(moves(one))
    one.shows(document(annotations={"slaplanner.io/plan-requested-at": "now"}, **SPEC))
    tick(one)
    assert len(moves(one)) == written + 1


def test_replicas_that_nobody_else_owns_are_written_again():
    one = fought()
    written = len(moves(one))
    one.world.moved(replica_writers=OURS)
    later(one)
    assert len(moves(one)) == written + 1
    assert told(one)[0] == "False"


def test_a_restarted_operator_does_not_begin_anew():
    one = fought()
    assert one.record.memory.state is not None
    state = from_document(to_document(one.record.memory.state))
    one.record.memory = replace(one.record.memory, state=state)
    written = len(moves(one))
    later(one)
    assert len(moves(one)) == written
    assert told(one)[0] == "True"


def test_a_person_who_pauses_and_corrects_is_no_rival():
    one = one_policy(FakeWorld(target(replica_writers=THEIRS)), document(**SPEC))
    paused = document(annotations={"slaplanner.io/paused": "true"}, **SPEC)
    tick(one)
    for _ in range(2 * REVERTS):
        one.shows(paused)
        one.world.moved()
        later(one)
        one.shows(document(**SPEC))
        later(one)
    assert told(one)[:2] == ("False", Reason.NO_CONFLICT)
    assert len(moves(one)) == 2 * REVERTS + 1
