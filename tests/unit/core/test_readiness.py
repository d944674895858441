"""The truth table of Ready."""

import itertools

import pytest

from slaplanner.core.decision import Finding
from slaplanner.core.readiness import HARMFUL, NEEDED, compute_ready
from slaplanner.core.reasons import ConditionType, Reason

TRUTHS = (True, False, None)
HEALTHY: dict[ConditionType, bool | None] = {**dict.fromkeys(NEEDED, True), **dict.fromkeys(HARMFUL, False)}


def _findings(truths: dict[ConditionType, bool | None]) -> list[Finding]:
    return [
        Finding(type=kind, status=status, reason=Reason.STALE, message=f"about {kind}")
        for kind, status in truths.items()
    ]


def test_ready_is_true_when_all_that_is_needed_is_there_and_nothing_harms() -> None:
    ready = compute_ready(_findings(HEALTHY), planned=True)

    assert (ready.type, ready.status, ready.reason) == (ConditionType.READY, True, Reason.PLANNED)


@pytest.mark.parametrize("truths", [HEALTHY, dict.fromkeys(NEEDED, False), {}], ids=["good", "bad", "empty"])
def test_ready_is_unknown_before_the_first_plan_whatever_the_others_say(
    truths: dict[ConditionType, bool | None],
) -> None:
    ready = compute_ready(_findings(truths), planned=False)

    assert (ready.status, ready.reason) == (None, Reason.PENDING)


@pytest.mark.parametrize("statuses", list(itertools.product(TRUTHS, repeat=5)), ids=str)
def test_the_whole_table(statuses: tuple[bool | None, ...]) -> None:
    truths = dict(zip((*NEEDED, *HARMFUL), statuses, strict=True))

    ready = compute_ready(_findings(truths), planned=True)

    assert ready.status is (
        all(truths[kind] is True for kind in NEEDED) and not any(truths[kind] is True for kind in HARMFUL)
    )


@pytest.mark.parametrize("kind", [kind for kind in ConditionType if kind not in (*NEEDED, *HARMFUL)])
@pytest.mark.parametrize("status", TRUTHS, ids=str)
def test_other_conditions_do_not_matter(kind: ConditionType, status: bool | None) -> None:
    assert compute_ready(_findings({**HEALTHY, kind: status}), planned=True).status is True


@pytest.mark.parametrize("kind", NEEDED)
def test_the_reason_is_that_of_the_condition_to_blame(kind: ConditionType) -> None:
    ready = compute_ready(_findings({**HEALTHY, kind: False}), planned=True)

    assert (ready.status, ready.reason, ready.message) == (False, Reason.STALE, f"{kind}: about {kind}")


def test_what_nobody_looked_at_is_not_there() -> None:
    assert compute_ready([], planned=True).status is False
