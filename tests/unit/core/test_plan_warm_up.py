"""A plan with load of earlier days before its history: learnt as if it had just ended."""

from __future__ import annotations

from dataclasses import replace

from slaplanner.core.decision import Decision
from slaplanner.core.model import PredictorPolicy, PredictorType
from slaplanner.core.plan import decide
from slaplanner.core.readings import Series, Unknown
from slaplanner.core.reasons import ConditionType, Reason
from slaplanner.core.state import PlannerState, from_document, to_document
from tests.planning import fleet, observation, policy, profile

ARIMA = policy(predictor=PredictorPolicy(type=PredictorType.ARIMA))
GONE = Unknown(Reason.WARMUP_TRACE_UNUSABLE, "warm-up trace: ConfigMap 'monday' does not exist")


def earlier(requests: float = 900.0, *, points: int = 12, step_s: float = 30.0) -> Series:
    return Series(
        end_s=0.0,
        step_s=step_s,
        requests=(requests,) * points,
        isl_tokens=(1000.0,) * points,
        osl_tokens=(200.0,) * points,
    )


def plan(
    warm_up: Series | Unknown | None, state: PlannerState | None = None, *, at: int = 1, asked=None
) -> tuple[PlannerState, Decision]:
    history = earlier(points=at)
    seen = observation(warm_up=warm_up, history=replace(history, end_s=30.0 * at))
    asked = asked or policy(predictor=PredictorPolicy())
    return decide(state or PlannerState(), seen, fleet(), asked, profile(), now_s=30.0 * at)


def finding(decision: Decision) -> tuple[bool | None, Reason, str]:
    (found,) = [entry for entry in decision.findings if entry.type is ConditionType.FORECAST_AVAILABLE]
    return found.status, found.reason, found.message


def test_the_first_plan_forecasts_from_the_warm_up():
    state, decision = plan(earlier())
    assert finding(decision)[:2] == (True, Reason.FORECAST)
    assert state.forecast is not None
    assert state.forecast.learner.points == 13


def test_the_next_plan_learns_only_what_is_new():
    state, _ = plan(earlier())
    state, _ = plan(earlier(), state, at=2)
    assert state.forecast is not None
    assert state.forecast.learner.points == 14


def test_another_trace_is_learnt_in_the_place_of_the_first():
    state, _ = plan(earlier())
    state, _ = plan(earlier(points=20), state, at=2)
    assert state.forecast is not None
    assert state.forecast.learner.points == 22


def test_a_trace_that_is_no_longer_wanted_is_forgotten():
    state, _ = plan(earlier())
    state, decision = plan(None, state, at=2)
    assert finding(decision)[1] is Reason.WARMING_UP
    assert state.warm_up is None


def test_a_trace_that_cannot_be_read_any_more_stays_learnt():
    state, _ = plan(earlier())
    state, decision = plan(GONE, state, at=2)
    assert state.forecast is not None
    assert state.forecast.learner.points == 14
    assert finding(decision)[:2] == (True, Reason.WARMUP_TRACE_UNUSABLE)
    assert finding(decision)[2].endswith(f"; {GONE.message}")


def test_a_trace_that_was_never_read_leaves_the_last_value():
    _, decision = plan(GONE)
    assert finding(decision)[:2] == (False, Reason.WARMUP_TRACE_UNUSABLE)
    assert decision.demand is not None
    assert decision.demand.requests_per_interval == 900.0


def test_the_trace_of_another_interval_is_left_out_until_it_is_read_again():
    state, _ = plan(earlier())
    state, decision = plan(GONE, state, asked=policy(interval_s=60.0, predictor=PredictorPolicy()))
    assert state.warm_up is None
    assert decision.forecast is not None


def test_a_restarted_planner_reads_the_trace_anew():
    state, _ = plan(earlier())
    state, decision = plan(earlier(), from_document(to_document(state)), at=2)
    assert finding(decision)[:2] == (True, Reason.FORECAST)
    assert state.forecast is not None
    assert state.forecast.learner.points == 14
