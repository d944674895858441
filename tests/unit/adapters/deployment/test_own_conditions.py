"""Our two conditions on a deployment, and everybody else's."""

from typing import Any

from slaplanner.adapters.deployment.own_conditions import (
    MET,
    PLANNED,
    DeploymentConditions,
    GraphCondition,
    combined,
    merged,
)
from slaplanner.core.reasons import ConditionStatus

READY = {"type": "Ready", "status": "True", "reason": "all_resources_are_ready", "message": "", "x": 1}
NOW, EARLIER = "2026-01-01T00:10:00Z", "2026-01-01T00:00:00Z"


def verdict(policy: str, planned: str = "True", met: str = "True") -> DeploymentConditions:
    return DeploymentConditions(
        policy=policy,
        planned=ConditionStatus(planned),
        planned_reason=f"Planned{planned}",
        planned_message="planned message",
        met=ConditionStatus(met),
        met_reason=f"Met{met}",
        met_message=f"{met} of {policy}",
    )


def condition(status: str = "True", message: str = "m", kind: str = PLANNED) -> GraphCondition:
    return GraphCondition(type=kind, status=ConditionStatus(status), reason="R", message=message)


def stored(status: str = "True", message: str = "m", kind: str = PLANNED) -> dict[str, Any]:
    return {"type": kind, "status": status, "reason": "R", "message": message, "lastTransitionTime": EARLIER}


class TestSeveralPoliciesOnOneDeployment:
    def test_one_policy_speaks_for_itself(self) -> None:
        planned, met = combined([verdict("a")])
        assert (planned.type, planned.status, planned.reason) == (PLANNED, "True", "PlannedTrue")
        assert planned.message == "a: planned message"
        assert (met.type, met.status) == (MET, "True")

    def test_false_if_any_is_and_the_message_names_it(self) -> None:
        _, met = combined([verdict("b"), verdict("a", met="False"), verdict("c", met="Unknown")])
        assert (met.status, met.reason, met.message) == ("False", "MetFalse", "a: False of a")

    def test_unknown_comes_before_true(self) -> None:
        _, met = combined([verdict("a"), verdict("b", met="Unknown")])
        assert met.status == "Unknown"

    def test_all_that_agree_are_named(self) -> None:
        _, met = combined([verdict("b"), verdict("a")])
        assert met.message == "a: True of a; b: True of b"

    def test_the_order_in_which_they_are_asked_does_not_matter(self) -> None:
        several = [verdict("a", met="False"), verdict("b", met="False"), verdict("c")]
        assert combined(several) == combined(reversed(several))

    def test_no_policy_has_no_conditions(self) -> None:
        assert combined([]) == ()


class TestMergingIntoTheList:
    def test_others_stay_as_and_where_they_are(self) -> None:
        result = merged([READY, stored("False")], [condition()], now=NOW, generation=3)
        assert result is not None
        assert result[0] == READY
        assert [entry["type"] for entry in result] == ["Ready", PLANNED]

    def test_the_time_moves_with_the_status(self) -> None:
        result = merged([stored("False")], [condition("True")], now=NOW, generation=3)
        assert result is not None
        assert (result[0]["lastTransitionTime"], result[0]["observedGeneration"]) == (NOW, 3)

    def test_the_time_stays_when_only_the_message_changes(self) -> None:
        result = merged([stored(message="old")], [condition(message="new")], now=NOW, generation=3)
        assert result is not None
        assert (result[0]["message"], result[0]["lastTransitionTime"]) == ("new", EARLIER)

    def test_nothing_is_written_when_only_the_clock_or_the_generation_moved(self) -> None:
        assert merged([READY, stored()], [condition()], now=NOW, generation=9) is None

    def test_ours_go_with_the_last_policy(self) -> None:
        assert merged([stored(), READY, stored(kind=MET)], [], now=NOW, generation=3) == [READY]

    def test_nothing_to_remove_is_nothing_to_write(self) -> None:
        assert merged([READY], [], now=NOW, generation=3) is None

    def test_entries_of_any_shape_are_kept(self) -> None:
        odd = {"type": PLANNED, "status": None}
        result = merged([{}, odd], [condition()], now=NOW, generation=None)
        assert result is not None
        assert result[0] == {}
        assert "observedGeneration" not in result[1]
