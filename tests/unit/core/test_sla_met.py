"""Whether the promise was kept, told from histograms: never more certain than the buckets allow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaplanner.core.attainment import Attainment, Share, share_within
from slaplanner.core.model import Mode, Policy, Sla
from slaplanner.core.readings import Histogram
from slaplanner.core.reasons import ConditionType, Reason
from slaplanner.core.sla_met import attained, budget_left_percent, promise_finding


def promise(percent: float = 99.0, *, mode: Mode = Mode.DISAGG) -> Policy:
    return Policy(sla=Sla(ttft_ms=500, itl_ms=20, attainment_percent=percent), mode=mode)


def exactly(percent: float) -> Share:
    return Share(lower_percent=percent, upper_percent=percent)


def test_a_certain_miss_of_one_latency_is_a_miss() -> None:
    finding = promise_finding(promise(), Attainment(ttft=exactly(84.1), itl=exactly(100)))

    assert (finding.type, finding.status) == (ConditionType.SLA_MET, False)
    assert finding.reason is Reason.TARGETS_MISSED
    assert finding.message == (
        "last hour: TTFT within 500 ms: 84.1 % of the requests, ITL within 20 ms: 100 % of the tokens; "
        "promised 99 %"
    )


def test_it_is_met_when_the_least_that_the_buckets_allow_is_enough() -> None:
    finding = promise_finding(
        promise(), Attainment(ttft=Share(lower_percent=99.2, upper_percent=100), itl=exactly(99))
    )

    assert finding.status is True
    assert finding.reason is Reason.TARGETS_MET


def test_buckets_that_leave_it_open_are_named_with_the_setting_that_helps() -> None:
    histogram = Histogram(edges=(13.0, 24.0, float("inf")), counts=(0.0, 1000.0, 0.0))
    finding = promise_finding(promise(), Attainment(ttft=exactly(100), itl=share_within(histogram, 20.0)))

    assert finding.status is None
    assert finding.reason is Reason.BUCKETS_TOO_COARSE
    assert "no bucket edge between 13 and 24 ms" in finding.message
    assert "DYN_METRICS_ITL" in finding.message


def test_a_policy_of_one_role_answers_for_its_own_latency_only() -> None:
    both = Attainment(ttft=exactly(10), itl=exactly(100))

    assert promise_finding(promise(mode=Mode.DECODE), both).status is True
    assert promise_finding(promise(mode=Mode.PREFILL), both).status is False


def test_without_requests_nothing_is_known() -> None:
    finding = promise_finding(promise(), Attainment())

    assert finding.status is None
    assert finding.reason is Reason.NOTHING_SERVED


@pytest.mark.parametrize(
    ("share", "left"),
    [
        (exactly(100), (100, 100)),
        (exactly(99), (0, 0)),
        (exactly(97), (-200, -200)),
        (Share(lower_percent=98, upper_percent=99.5), (-100, 50)),
    ],
)
def test_the_error_budget_is_what_is_left_of_the_allowed_misses(
    share: Share, left: tuple[float, float]
) -> None:
    assert budget_left_percent(share, promised_percent=99) == pytest.approx(left)


def test_the_column_shows_the_worse_latency() -> None:
    found = Attainment(ttft=exactly(98.76), itl=exactly(99.9))

    assert attained(promise(), found) == "98.7/99"
    assert attained(promise(), Attainment()) is None


def test_a_share_is_never_rounded_up_to_a_promise_that_it_misses() -> None:
    assert attained(promise(99.9), Attainment(ttft=exactly(99.89))) == "99.8/99.9"


percents = st.floats(0, 100)


@given(low=percents, high=percents, promised=st.floats(50, 99.9))
def test_no_verdict_is_stronger_than_the_histogram(low: float, high: float, promised: float) -> None:
    low, high = sorted((low, high))
    share = Share(lower_percent=low, upper_percent=high, between=None if low == high else (10.0, 30.0))
    finding = promise_finding(promise(promised), Attainment(ttft=share))

    assert (finding.status is True) == (low >= promised)
    assert (finding.status is False) == (high < promised)
