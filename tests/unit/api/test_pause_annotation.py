"""What the pause annotation may say, and what happens when it says something else."""

import pytest

from slaplanner.api.annotations import pause_request, plan_request
from slaplanner.core.model import Pause
from slaplanner.core.reasons import Reason


@pytest.mark.parametrize(
    ("value", "pause", "reason"),
    [
        pytest.param("true", Pause.ALL, Reason.PAUSED, id="true"),
        pytest.param("True", Pause.ALL, Reason.PAUSED, id="true-in-another-case"),
        pytest.param("scale-in", Pause.SCALE_IN, Reason.PAUSED_SCALE_IN, id="scale-in"),
        pytest.param("scale-out", Pause.SCALE_OUT, Reason.PAUSED_SCALE_OUT, id="scale-out"),
        pytest.param("false", Pause.NONE, Reason.NOT_PAUSED, id="false"),
        pytest.param("", Pause.NONE, Reason.NOT_PAUSED, id="empty"),
        pytest.param("scale-down", Pause.ALL, Reason.PAUSED_BY_UNKNOWN_VALUE, id="almost-a-word"),
        pytest.param("x" * 1000, Pause.ALL, Reason.PAUSED_BY_UNKNOWN_VALUE, id="long"),
    ],
)
def test_a_value_pauses(value: str, pause: Pause, reason: Reason) -> None:
    request = pause_request({"slaplanner.io/paused": value})

    assert (request.pause, request.reason) == (pause, reason)


def test_an_unknown_value_says_what_was_found_and_what_was_wanted() -> None:
    message = pause_request({"slaplanner.io/paused": "scale-down"}).message

    assert "found 'scale-down'" in message
    assert "wanted true, scale-in, scale-out or false" in message


def test_a_long_value_does_not_flood_the_message() -> None:
    assert len(pause_request({"slaplanner.io/paused": "x" * 1000}).message) < 250


def test_no_annotation_pauses_nothing() -> None:
    assert pause_request({}).pause is Pause.NONE


def test_any_new_value_asks_for_a_plan() -> None:
    assert plan_request({}) is None
    assert plan_request({"slaplanner.io/plan-requested-at": "now"}) == "now"
