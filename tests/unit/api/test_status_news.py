"""A status is written when it says something new."""

import json
from typing import Any

import pytest

from slaplanner.api.status import nothing_but_the_clock


def _status(
    *, at: int = 1000, n: int = 5, high: int = 4, ttft: int = 431, since: int = 400
) -> dict[str, Any]:
    state = {
        "v": 1,
        "n": n,
        "at": at,
        "roles": {"decode": {"hi": [[since, 9], [at, high]], "add": [[since, 2]], "des": high}},
    }
    return {
        "observedGeneration": 1,
        "observed": {"ttft": ttft},
        "lastDecision": {"id": n, "time": f"t{at}", "reason": "Steady", "message": "fits"},
        "plannerState": json.dumps(state),
    }


def test_the_same_plan_later_is_no_news() -> None:
    assert nothing_but_the_clock(_status(at=1000, n=5), _status(at=1180, n=6))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"ttft": 432}, id="a-figure"),
        pytest.param({"high": 5}, id="a-recommendation"),
        pytest.param({"since": 401}, id="the-time-of-an-older-recommendation"),
    ],
)
def test_anything_else_is_news(change: dict[str, int]) -> None:
    assert not nothing_but_the_clock(_status(), _status(at=1180, n=6, **change))


def test_a_new_generation_is_news() -> None:
    assert not nothing_but_the_clock(_status(), _status() | {"observedGeneration": 2})


def test_the_first_status_is_news() -> None:
    assert not nothing_but_the_clock({}, _status())


@pytest.mark.parametrize("state", ["not JSON", "[]", '{"roles": []}', '{"roles": {"decode": 3}}', "{}"])
def test_a_state_that_is_not_ours_is_compared_as_it_is(state: str) -> None:
    assert nothing_but_the_clock({"plannerState": state}, {"plannerState": state})
    assert not nothing_but_the_clock({"plannerState": state}, _status())
