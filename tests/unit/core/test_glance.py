"""Glances between plans: what raises an alarm, what never does, and what a plan makes of it."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaplanner.core.decision import Decision
from slaplanner.core.explain import explain
from slaplanner.core.forecast import Forecast, TokenForecast
from slaplanner.core.glance import SPAN_S, Plans, Sight, judge, least_distance_s, lifted, most_requests
from slaplanner.core.model import Policy, PredictorType, Role
from slaplanner.core.plan import decide
from slaplanner.core.readings import Known, Observation, Series, Unknown
from slaplanner.core.reasons import Reason
from slaplanner.core.sizing.burstiness import Burstiness
from slaplanner.core.state import PlannerState
from tests.planning import fleet, observation, policy, profile, role

POLICY = Policy(interval_s=180.0, window_s=180.0)
QUIET = Burstiness()
LONG_AGO = Plans(last_s=0.0)
NOW_S = 1_000.0

rates = st.floats(0.0, 1e4)


def outlook(rate_per_s: float, *, spread: float = 1.0, steps: int = 2) -> Forecast:
    """The same rate in every step, its upper bounds *spread* times as high."""
    requests = rate_per_s * POLICY.interval_s

    def demand(tokens: float) -> TokenForecast:
        return TokenForecast(
            mean_tokens=(requests * tokens,) * steps,
            bounds_tokens=((requests * tokens * spread,) * 9,) * steps,
        )

    return Forecast(
        method=PredictorType.AUTO,
        requests=(requests,) * steps,
        isl_tokens=(1000.0,) * steps,
        osl_tokens=(200.0,) * steps,
        prefill=demand(1000.0),
        decode=demand(200.0),
    )


def decision(rate_per_s: float = 10.0, *, seen: Observation | None = None, spread: float = 1.0) -> Decision:
    return Decision(
        id=1,
        at_s=0.0,
        roles=(),
        reason=Reason.STEADY,
        why="",
        findings=(),
        observation=seen or observation(),
        forecast=outlook(rate_per_s, spread=spread),
    )


def reason_of(
    sight: Sight, made: Decision, *, plans: Plans = LONG_AGO, **fleet_fields: object
) -> Reason | None:
    alarm = judge(
        sight,
        decision=made,
        fleet=fleet(**fleet_fields),  # type: ignore[arg-type]
        policy=POLICY,
        burstiness=QUIET,
        plans=plans,
        startup_s=120.0,
    )
    return alarm.reason if alarm is not None else None


@given(rate=rates, spread=st.floats(1.0, 3.0), share=st.floats(0.0, 1.0))
def test_a_load_within_the_forecasts_bound_is_no_alarm(rate: float, spread: float, share: float):
    sight = Sight(at_s=NOW_S, requests=share * spread * rate * SPAN_S)
    assert reason_of(sight, decision(rate, spread=spread)) is None


@given(rate=st.floats(1.0, 1e4))
def test_twice_the_load_is_an_alarm(rate: float):
    sight = Sight(at_s=NOW_S, requests=2.0 * rate * SPAN_S)
    assert reason_of(sight, decision(rate)) is Reason.LOAD_ABOVE_FORECAST


@given(rate=rates, fewer=st.floats(0.0, 1e6), more=st.floats(0.0, 1e6))
def test_more_load_never_ends_an_alarm(rate: float, fewer: float, more: float):
    few, many = sorted((fewer, more))
    made = decision(rate)
    if reason_of(Sight(at_s=NOW_S, requests=few), made) is not None:
        assert reason_of(Sight(at_s=NOW_S, requests=many), made) is not None


def test_what_is_not_known_is_no_alarm():
    assert reason_of(Sight(at_s=NOW_S), decision(0.0)) is None
    assert reason_of(Sight(at_s=NOW_S, queued=1e6, inflight=1e6), decision()) is None


@pytest.mark.parametrize("rate", [0.02, 0.5, 5.0, 200.0])
def test_chance_raises_less_than_one_alarm_a_day(rate: float):
    """17,280 glances a day; here the load is the forecast's bound itself."""
    counts = np.random.default_rng(1).poisson(rate * SPAN_S, 1_000_000)
    allowed = most_requests(outlook(rate), policy=POLICY, burstiness=QUIET, seconds=SPAN_S)
    assert np.mean(counts > allowed) < 1 / 17_280


@given(rate=st.floats(0.1, 1e3), clump_s=st.floats(0.0, 20.0))
def test_a_load_that_comes_in_bursts_has_more_room(rate: float, clump_s: float):
    bursty = Burstiness(excess=clump_s, square=1.0, plans=1.0)

    def allowed(burstiness: Burstiness) -> float:
        return most_requests(outlook(rate), policy=POLICY, burstiness=burstiness, seconds=SPAN_S)

    assert allowed(bursty) >= allowed(QUIET)


class TestAQueue:
    """At 10 requests/s and a TTFT of 0.5 s, five requests wait if all are in time."""

    def test_beyond_littles_law_is_an_alarm(self):
        assert reason_of(Sight(at_s=NOW_S, requests=300.0, queued=40.0), decision()) is Reason.QUEUE_GROWS
        assert reason_of(Sight(at_s=NOW_S, requests=300.0, inflight=400.0), decision()) is Reason.QUEUE_GROWS

    def test_within_it_is_none(self):
        assert reason_of(Sight(at_s=NOW_S, requests=300.0, queued=5.0, inflight=100.0), decision()) is None

    def test_that_the_plan_knew_is_none(self):
        made = decision(seen=observation(queued=Known(40.0)))
        assert reason_of(Sight(at_s=NOW_S, requests=300.0, queued=40.0), made) is None

    def test_that_starting_replicas_will_serve_is_none(self):
        starting = replace(fleet(), roles=(role(Role.PREFILL, 4, serving=2), role(Role.DECODE)))
        alarm = judge(
            Sight(at_s=NOW_S, requests=300.0, queued=400.0),
            decision=decision(),
            fleet=starting,
            policy=POLICY,
            burstiness=QUIET,
            plans=LONG_AGO,
            startup_s=120.0,
        )
        assert alarm is None


class TestLateAnswers:
    def test_above_the_target_are_an_alarm(self):
        assert reason_of(Sight(at_s=NOW_S, itl_ms=51.0), decision()) is Reason.LATE
        assert reason_of(Sight(at_s=NOW_S, ttft_ms=501.0), decision()) is Reason.LATE

    def test_that_the_plan_knew_are_none(self):
        made = decision(seen=observation(itl_ms=Known(70.0)))
        assert reason_of(Sight(at_s=NOW_S, itl_ms=80.0), made) is None

    def test_in_time_are_none(self):
        assert reason_of(Sight(at_s=NOW_S, itl_ms=49.0, ttft_ms=499.0), decision()) is None


@given(startup_s=st.floats(0.0, 3600.0), times=st.lists(st.floats(0.0, 5.0), min_size=1, max_size=300))
def test_plans_that_glances_ask_for_keep_their_distance(startup_s: float, times: list[float]):
    plans, now_s, early = Plans(last_s=0.0), 0.0, []
    for pause_s in times:
        now_s += pause_s
        alarm = judge(
            Sight(at_s=now_s, requests=1e6),
            decision=decision(),
            fleet=fleet(),
            policy=POLICY,
            burstiness=QUIET,
            plans=plans,
            startup_s=startup_s,
        )
        if alarm is not None:
            plans = plans.after(now_s=now_s, alarm=alarm)
            early.append(now_s)
    assert all(later - earlier >= least_distance_s(startup_s) for earlier, later in itertools.pairwise(early))
    assert not early or early[0] >= SPAN_S


class TestAPlanBetweenTwoPointsOfTheGrid:
    """30 requests/s were forecast; the last half minute brought what `newest` says, in steps of 5 s."""

    @staticmethod
    def seen(newest: float, *, behind_s: float = 60.0, steps: int = 36) -> Observation:
        usual = (150.0,) * (steps - 6)
        return observation(
            5400.0,
            arrivals=(*usual, *(5.0 * newest,) * 6),
            arrivals_step_s=5.0,
            history=Series(
                end_s=NOW_S - behind_s,
                step_s=180.0,
                requests=(5400.0,) * 10,
                isl_tokens=(1000.0,) * 10,
                osl_tokens=(200.0,) * 10,
            ),
        )

    @staticmethod
    def lift(observed: Observation, rate: float = 30.0) -> Forecast:
        return lifted(outlook(rate), observed, policy=POLICY, burstiness=QUIET, now_s=NOW_S)

    def test_takes_the_rate_of_the_last_half_minute(self):
        found = self.lift(self.seen(60.0))
        assert found.requests == pytest.approx((60.0 * 180.0,) * 2)
        assert found.prefill.mean_tokens[0] == pytest.approx(60.0 * 180.0 * 1000.0)
        assert found.lifted_from == 30.0 * 180.0

    def test_is_told_with_the_load_that_was_forecast_before(self):
        observed = self.seen(60.0)
        why = explain(
            (), reason=Reason.SCALE_UP, policy=POLICY, observation=observed, forecast=self.lift(observed)
        )
        assert why.startswith("60 requests/s of 1,000 input and 200 output tokens forecast")
        assert why.endswith("(as many as in the last half minute; 30 before)")

    def test_sees_a_load_that_rose_in_the_middle_of_the_half_minute(self):
        observed = self.seen(30.0)
        observed = replace(observed, arrivals=(*observed.arrivals[:-2], 300.0, 300.0))
        assert self.lift(observed).requests[0] == pytest.approx(60.0 * 180.0)

    @given(newest=st.floats(0.0, 30.0))
    def test_never_goes_below_the_forecast(self, newest: float):
        assert self.lift(self.seen(newest)) == outlook(30.0)

    @given(newest=st.floats(0.0, 1e5), rate=st.floats(0.0, 1e4))
    def test_never_makes_a_figure_that_is_none(self, newest: float, rate: float):
        found = self.lift(self.seen(newest), rate)
        figures = (*found.requests, *found.prefill.mean_tokens, *found.decode.mean_tokens)
        assert all(math.isfinite(value) and value >= 0.0 for value in figures)
        assert found.requests[0] >= rate * 180.0 * (1 - 1e-9)

    @given(newest=st.floats(0.01, 1e4), rate=st.floats(0.0, 1e3), spread=st.floats(1.0, 100.0))
    def test_expects_at_most_twice_of_what_was_measured(self, newest: float, rate: float, spread: float):
        """Also after a silence, when the bound of the forecast is many times its mean."""
        before = outlook(rate, spread=spread)
        found = lifted(before, self.seen(newest), policy=POLICY, burstiness=QUIET, now_s=NOW_S)
        if found.lifted_from is not None:
            assert found.prefill.upper(0.99) <= 2.0 * max(newest, 30.0) * 180.0 * 1000.0 * (1 + 1e-9)
            assert found.requests[0] <= 2.0 * max(rate, 30.0) * 180.0 * (1 + 1e-9)
        else:
            assert found == before

    def test_leaves_a_plan_of_the_grid_alone(self):
        assert self.lift(self.seen(60.0, behind_s=0.0)) == outlook(30.0)

    def test_believes_a_burst_as_far_as_twice_the_busiest_interval(self):
        assert self.lift(self.seen(500.0)).requests[0] == pytest.approx(2 * 30.0 * 180.0)

    def test_takes_a_first_load_after_idle_time(self):
        observed = self.seen(60.0)
        assert observed.history is not None
        observed = replace(observed, history=replace(observed.history, requests=(0.0,) * 10))
        found = self.lift(observed, 0.0)
        assert found.requests[0] == pytest.approx(60.0 * 180.0)
        assert found.decode.upper(0.99) == pytest.approx(60.0 * 180.0 * 200.0)

    def test_orders_more_and_says_why_and_forgets_nothing(self):
        asked = policy(interval_s=180.0, window_s=180.0)

        def planned(newest: float) -> tuple[PlannerState, Decision]:
            state, _ = decide(
                PlannerState(),
                self.seen(30.0, behind_s=60.0),
                fleet(4, 2),
                asked,
                profile(),
                now_s=NOW_S - 60.0,
            )
            return decide(state, self.seen(newest), fleet(4, 2), asked, profile(), now_s=NOW_S)

        (calm_state, calm), (state, doubled) = planned(30.0), planned(60.0)
        assert all(doubled.desired[each] > calm.desired[each] for each in (Role.PREFILL, Role.DECODE))
        assert "60 requests/s" in doubled.why
        assert "30 before" in doubled.why
        assert state.forecast is not None
        assert calm_state.forecast is not None
        assert state.forecast.end_s == calm_state.forecast.end_s, (
            "the half minute is not learnt as an interval"
        )


def test_an_unknown_observation_lifts_nothing():
    unknown = Unknown(Reason.NO_SERIES, "nothing there")
    observed = observation(unknown)
    assert lifted(outlook(1.0), observed, policy=POLICY, burstiness=QUIET, now_s=NOW_S) == outlook(1.0)
