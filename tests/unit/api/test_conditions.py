"""Conditions as metav1 wants them."""

from typing import Any

import pytest

from slaplanner.api.conditions import set_conditions
from slaplanner.api.status_schema import MESSAGE_CHARS
from slaplanner.core.decision import Finding
from slaplanner.core.readiness import HARMFUL, NEEDED
from slaplanner.core.reasons import ConditionType, Reason

NOON = 1_800_000_000.0
ALL_WELL = [
    *(Finding(type=kind, status=True, reason=Reason.LOADED, message="there") for kind in NEEDED),
    *(Finding(type=kind, status=False, reason=Reason.NO_CONFLICT, message="none") for kind in HARMFUL),
]


def _set(
    existing: list[dict[str, Any]],
    findings: list[Finding],
    *,
    at_s: float = NOON,
    generation: int = 1,
    planned: bool = True,
) -> list[dict[str, Any]]:
    return set_conditions(existing, findings, generation=generation, planned=planned, now_s=at_s)


def _by_type(conditions: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {condition["type"]: condition for condition in conditions}


def test_ready_and_what_it_needs_are_there_from_the_first_write_as_unknown() -> None:
    conditions = _set([], [], planned=False)

    assert [condition["type"] for condition in conditions] == ["Ready", *map(str, NEEDED)]
    assert {condition["status"] for condition in conditions} == {"Unknown"}
    assert {condition["reason"] for condition in conditions} == {"Pending"}


def test_nothing_is_said_of_what_nobody_looked_at() -> None:
    missing = Finding(
        type=ConditionType.TARGET_RESOLVED,
        status=False,
        reason=Reason.TARGET_KIND_NOT_SERVED,
        message="no kind",
    )

    conditions = _by_type(_set([], [missing], planned=True))

    assert conditions.keys() == {"Ready", *map(str, NEEDED)}
    assert len({condition["message"] for condition in conditions.values()}) == len(conditions)


def test_every_condition_has_what_metav1_requires() -> None:
    for condition in _set([], ALL_WELL, generation=7):
        assert condition.keys() == {
            "type",
            "status",
            "observedGeneration",
            "lastTransitionTime",
            "reason",
            "message",
        }
        assert condition["observedGeneration"] == 7
        assert condition["lastTransitionTime"] == "2027-01-15T08:00:00Z"


def test_finding_the_same_again_later_changes_nothing() -> None:
    once = _set([], ALL_WELL)

    assert _set(once, ALL_WELL, at_s=NOON + 3600) == once


def test_the_transition_time_moves_with_the_status_alone() -> None:
    kind = ConditionType.METRICS_AVAILABLE
    once = _set([], ALL_WELL)
    reworded = _set(
        once,
        [Finding(type=kind, status=True, reason=Reason.IDLE, message="no traffic")],
        at_s=NOON + 60,
    )
    lost = _set(
        reworded,
        [Finding(type=kind, status=False, reason=Reason.STALE, message="old")],
        at_s=NOON + 120,
    )

    assert _by_type(reworded)[kind]["reason"] == "Idle"
    assert _by_type(reworded)[kind]["lastTransitionTime"] == _by_type(once)[kind]["lastTransitionTime"]
    assert _by_type(lost)[kind]["lastTransitionTime"] == "2027-01-15T08:02:00Z"


def test_what_is_not_looked_at_again_keeps_standing() -> None:
    once = _set([], ALL_WELL)

    later = _set(once, [], at_s=NOON + 60, generation=2)

    assert [{**condition, "observedGeneration": 1} for condition in later] == once


def test_ready_is_computed_and_comes_first() -> None:
    conditions = _set([], ALL_WELL)

    assert (conditions[0]["type"], conditions[0]["status"], conditions[0]["reason"]) == (
        "Ready",
        "True",
        "Planned",
    )


def test_ready_follows_what_stood_before() -> None:
    once = _set([], ALL_WELL)
    fallback = Finding(
        type=ConditionType.FALLBACK, status=True, reason=Reason.FALLBACK_HOLD, message="3 failures"
    )

    ready = _set(once, [fallback])[0]

    assert (ready["status"], ready["reason"], ready["message"]) == (
        "False",
        "FallbackHold",
        "Fallback: 3 failures",
    )


def test_conditions_of_others_survive() -> None:
    foreign = {
        "type": "Audited",
        "status": "True",
        "reason": "Signed",
        "message": "",
        "lastTransitionTime": "x",
    }

    assert _set([foreign], ALL_WELL)[-1] == foreign


def test_a_reason_of_another_version_does_not_stop_us() -> None:
    once = _set([], ALL_WELL)
    once[1]["reason"] = "InventedLater"

    assert _by_type(_set(once, []))["TargetResolved"]["reason"] == "Pending"


@pytest.mark.parametrize("length", [MESSAGE_CHARS, MESSAGE_CHARS + 1, 100_000])
def test_long_messages_are_cut(length: int) -> None:
    finding = Finding(type=ConditionType.PAUSED, status=False, reason=Reason.NOT_PAUSED, message="m" * length)

    assert len(_by_type(_set([], [finding]))["Paused"]["message"]) == MESSAGE_CHARS
