"""Events are told on change only: trouble and its end, and what a new policy waits for."""

from __future__ import annotations

import pytest

from slaplanner.controller.events import Event, EventType, on_findings, remarked, write_failed
from slaplanner.core.decision import Finding
from slaplanner.core.reasons import ConditionType, Reason

Before = dict[ConditionType, tuple[bool | None, str]]
METRICS, CONFLICT, PAUSED, PROGRESS = (
    ConditionType.METRICS_AVAILABLE,
    ConditionType.TARGET_CONFLICT,
    ConditionType.PAUSED,
    ConditionType.PROGRESSING,
)


def finding(kind: ConditionType, status: bool | None, reason: Reason) -> Finding:
    return Finding(type=kind, status=status, reason=reason, message="why")


@pytest.mark.parametrize(
    ("before", "found", "told"),
    [
        pytest.param({}, finding(METRICS, True, Reason.METRICS_READ), ["MetricsRead"], id="first-good-news"),
        pytest.param({}, finding(CONFLICT, False, Reason.NO_CONFLICT), [], id="no-news-that-nothing-is-wrong"),
        pytest.param({}, finding(CONFLICT, True, Reason.OTHER_POLICY), ["OtherPolicy"], id="first-trouble"),
        pytest.param({METRICS: (True, "MetricsRead")}, finding(METRICS, True, Reason.METRICS_READ), [], id="same"),
        pytest.param({METRICS: (True, "MetricsRead")}, finding(METRICS, True, Reason.IDLE), [],
                     id="good-for-another-reason"),
        pytest.param({METRICS: (True, "MetricsRead")}, finding(METRICS, False, Reason.NO_SERIES),
                     ["NoSeries"], id="trouble"),
        pytest.param({METRICS: (False, "NoSeries")}, finding(METRICS, False, Reason.STALE), ["Stale"],
                     id="trouble-for-another-reason"),
        pytest.param({METRICS: (False, "NoSeries")}, finding(METRICS, True, Reason.METRICS_READ),
                     ["MetricsRead"], id="trouble-is-over"),
        pytest.param({METRICS: (False, "NoSeries")}, finding(METRICS, None, Reason.PENDING), [], id="unknown"),
        pytest.param({CONFLICT: (True, "OtherPolicy")}, finding(CONFLICT, False, Reason.NO_CONFLICT),
                     ["NoConflict"], id="conflict-is-over"),
        pytest.param({}, finding(PAUSED, True, Reason.PAUSED_SCALE_IN), ["PausedScaleIn"], id="paused-from-the-start"),
        pytest.param({PAUSED: (True, "Paused")}, finding(PAUSED, False, Reason.NOT_PAUSED), ["NotPaused"], id="resumed"),
        pytest.param({}, finding(PROGRESS, True, Reason.SCALING), [], id="progress-is-told-by-scaled"),
        pytest.param({PROGRESS: (True, "AwaitingAcknowledgement")},
                     finding(PROGRESS, True, Reason.ACKNOWLEDGEMENT_OVERDUE), ["AcknowledgementOverdue"],
                     id="nobody-answers"),
        pytest.param({PROGRESS: (True, "AcknowledgementOverdue")},
                     finding(PROGRESS, True, Reason.ACKNOWLEDGEMENT_OVERDUE), [], id="still-nobody-answers"),
        pytest.param({PROGRESS: (True, "Scaling")}, finding(PROGRESS, True, Reason.BLOCKED), ["Blocked"],
                     id="blocked-for-long"),
        pytest.param({PROGRESS: (True, "AcknowledgementOverdue")},
                     finding(PROGRESS, False, Reason.STABLE), [], id="somebody-answered-at-last"),
    ],
)  # fmt: skip
def test_a_finding_is_told_when_it_is_news(before: Before, found: Finding, told: list[str]):
    assert [event.reason for event in on_findings(before, [found])] == told


def test_trouble_is_a_warning_under_the_reason_of_its_condition():
    (event,) = on_findings({}, [finding(METRICS, False, Reason.NO_SERIES)])
    assert event == Event(
        EventType.WARNING, Reason.NO_SERIES, "MetricsAvailable is False: why", action="MetricsAvailable"
    )


@pytest.mark.parametrize("reason", list(Reason))
def test_every_event_has_a_word_that_a_condition_may_have(reason: Reason):
    """One vocabulary: what stands in an event is found in the condition, the metrics and the log."""
    told = [
        *on_findings({METRICS: (True, "Before")}, [finding(METRICS, False, reason)]),
        write_failed(reason, "why"),
        remarked(reason, "why"),
    ]
    assert [event.reason for event in told] == [reason] * 3
