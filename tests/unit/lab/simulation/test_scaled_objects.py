"""The rules that llm-d's guides put into KEDA, figure by figure."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaplanner.core.model import Fleet, Role, RoleState, Sla
from slaplanner.core.readings import Histogram, Known, Observation, Unknown
from slaplanner.core.reasons import Reason
from slaplanner_lab.rivals.planners import Behaviour, Hpa
from slaplanner_lab.rivals.scaled_objects import SloRule, TokenRule, quantile
from slaplanner_lab.simulation.telemetry import EngineReading, spaced_edges

NOTHING = Unknown(Reason.NOT_REPORTED, "not shown")
MANY = {Role.PREFILL: 100, Role.DECODE: 100}


def observation(
    *, ttft_ms: float | None = None, itl_ms: float | None = None, requests: float = 0.0
) -> Observation:
    def at(latency_ms: float | None) -> Histogram | None:
        """Everything at one latency: its 90 % quantile is nine tenths of the way to it from 0."""
        return None if latency_ms is None else Histogram(edges=(latency_ms, math.inf), counts=(10.0, 0.0))

    return Observation(
        window_s=60.0,
        requests=Known(requests),
        isl_tokens=NOTHING,
        osl_tokens=NOTHING,
        ttft_ms=NOTHING,
        itl_ms=NOTHING,
        request_duration_s=NOTHING,
        ttft_histogram=at(ttft_ms),
        itl_histogram=at(itl_ms),
    )


def fleet(prefill: int, decode: int, *, prefill_ready: int | None = None) -> Fleet:
    ready = prefill if prefill_ready is None else prefill_ready
    return Fleet(
        roles=(
            RoleState(role=Role.PREFILL, replicas=prefill, serving=ready),
            RoleState(role=Role.DECODE, replicas=decode, serving=decode),
        )
    )


def test_the_slo_rule_grows_the_role_whose_latency_is_near_its_target() -> None:
    rule = SloRule(sla=Sla(ttft_ms=1000.0, itl_ms=100.0), grow_above=0.55, most=MANY)
    # P90 of TTFT 0.9 of its target, of ITL 0.45: 4 + ceil(4 x (0.9 / 0.55 - 1)) = 7; ITL inside the band.
    seen, there = observation(ttft_ms=1000.0, itl_ms=50.0), fleet(4, 4)
    assert [rule(seen, there, now_s=now_s).replicas[Role.PREFILL] for now_s in (0.0, 15.0)] == [4, 4]
    asked = rule(seen, there, now_s=30.0).replicas
    assert asked == {Role.PREFILL: 7, Role.DECODE: 4}


def test_replicas_that_still_start_are_credited() -> None:
    rule = SloRule(sla=Sla(ttft_ms=1000.0, itl_ms=100.0), grow_above=0.55, most=MANY)
    # 4 of 8 are ready, so 0.9 x 0.5 is below the band's upper edge: 8 + ceil(8 x (0.45 / 0.55 - 1)) = 7, no growth.
    asked = rule(observation(ttft_ms=1000.0, itl_ms=50.0), fleet(8, 4, prefill_ready=4), now_s=0.0).replicas
    assert asked[Role.PREFILL] <= 8


def test_an_outlier_counts_twice_the_target_and_no_more() -> None:
    rule = SloRule(sla=Sla(ttft_ms=1000.0, itl_ms=100.0), grow_above=0.5, most=MANY)
    # 3 x 2.0 / 0.5 = 12 wanted; at most 100 % or 4 replicas in a minute, and after 30 s.
    asked = [
        rule(observation(ttft_ms=90_000.0), fleet(3, 1), now_s=15.0 * sample).replicas[Role.PREFILL]
        for sample in range(3)
    ]
    assert asked == [3, 3, 7]


def test_a_rule_without_traffic_lets_one_replica_go_in_two_minutes_and_keeps_one() -> None:
    rule = SloRule(sla=Sla(), grow_above=0.55, most=MANY)
    replicas, sizes = 5, []
    for sample in range(120):
        replicas = rule(observation(), fleet(replicas, 1), now_s=15.0 * sample).replicas[Role.PREFILL]
        sizes.append(replicas)
    assert sizes[-1] == 1
    changes = [15.0 * (at + 1) for at, (one, two) in enumerate(pairwise(sizes)) if one != two]
    assert changes[0] >= 180.0  # the window for shrinking begins with what is there
    assert min(np.diff(changes)) >= 120.0


def test_the_token_rule_divides_the_backlog_and_the_full_kv() -> None:
    rule = TokenRule(prefill_tokens_s=10_000.0, backlog_s=0.5, kv_usage=0.8, most=MANY)
    rule.see(EngineReading(backlog_tokens=20_000.0, full_kv_workers=2.0))
    asked = rule(observation(), fleet(3, 2), now_s=0.0).replicas
    assert asked == {Role.PREFILL: 4, Role.DECODE: 3}  # 20,000 / 10,000 / 0.5 and 2.0 / 0.8


def test_an_hpa_keeps_its_size_while_arrivals_show_no_length() -> None:
    hpa = Hpa(target=0.5, interval_s=15.0, tokens_s={Role.PREFILL: 100.0, Role.DECODE: 100.0})
    asked = hpa(observation(requests=100.0), fleet(6, 4), now_s=600.0).replicas
    assert asked == {Role.PREFILL: 6, Role.DECODE: 4}


@given(wanted=st.lists(st.integers(0, 300), min_size=1, max_size=60))
def test_a_behaviour_never_grows_faster_than_it_may_nor_falls_below_one(wanted: list[int]) -> None:
    behaviour, replicas, sizes = Behaviour(grow_period_s=60.0), 3, [3]
    for at, count in enumerate(wanted):
        replicas = behaviour.bounded(replicas, count, now_s=15.0 * at)
        sizes.append(replicas)
        assert 1 <= replicas <= max(2 * min(sizes[-5:]), min(sizes[-5:]) + 4)
        assert replicas <= max(*sizes[:-1], *wanted[: at + 1])


@given(
    share=st.floats(0.01, 1.0),
    counts=st.lists(st.floats(0.0, 1e6), min_size=2, max_size=12),
)
def test_a_quantile_lies_between_the_edges_around_it(share: float, counts: list[float]) -> None:
    edges = (*(float(edge) for edge in range(1, len(counts))), math.inf)
    found = quantile(Histogram(edges=edges, counts=tuple(counts)), share)
    assert 0.0 <= found <= edges[-2]
    below = sum(count for edge, count in zip(edges, counts, strict=True) if edge <= math.floor(found))
    assert below <= share * sum(counts) * (1 + 1e-9)


def test_edges_are_those_that_the_how_to_shows() -> None:
    ttft, itl = spaced_edges(0.05, 5.0, 21), spaced_edges(0.005, 0.1, 14)
    assert ttft[:4] == (0.0, 0.063, 0.079, 0.1)
    assert (0.5 in ttft, ttft[-1], len(ttft)) == (True, 5.0, 21)
    assert itl[:3] == (0.0, 0.0063, 0.0079)
    assert (0.02 in itl, itl[-1], len(itl)) == (True, 0.1, 14)


@pytest.mark.parametrize("wrong", [(0.0, 1.0, 5), (1.0, 0.5, 5), (0.1, 1.0, 1), (0.1, math.inf, 5)])
def test_edges_that_do_not_rise_are_refused(wrong: tuple[float, float, int]) -> None:
    with pytest.raises(ValueError, match="wanted two or more edges"):
        spaced_edges(*wrong)
