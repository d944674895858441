"""How one role's count may change: the HPA's rules, as facts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaplanner.core.damping import MAX_REMEMBERED, DampingState, Stamped, damp, notice_change
from slaplanner.core.model import Behavior, RateLimit, RateUnit, ScalingRules, SelectPolicy
from slaplanner.core.reasons import Reason


def one(
    *,
    current: int,
    wanted: int,
    behavior: Behavior,
    state: DampingState | None = None,
    now_s: float = 0,
    need: float | None = None,
    sooner: int = 0,
    fewest: int = 0,
):
    return damp(
        current=current,
        wanted=wanted,
        need=float(wanted) if need is None else need,
        behavior=behavior,
        state=state or DampingState(),
        now_s=now_s,
        sooner=sooner,
        fewest=fewest,
    )


def run(wanted: list[int], *, current: int, behavior: Behavior, step_s: float = 30) -> list[int]:
    """Damp a sequence of wishes, each carried out at once."""
    state, counts = DampingState(), []
    for index, want in enumerate(wanted):
        damped = one(current=current, wanted=want, behavior=behavior, state=state, now_s=index * step_s)
        state = notice_change(damped.state, before=current, after=damped.replicas, at_s=index * step_s)
        current = damped.replicas
        counts.append(current)
    return counts


def limits(value: int, unit: RateUnit = RateUnit.REPLICAS, period_s: float = 60) -> tuple[RateLimit, ...]:
    return (RateLimit(unit=unit, value=value, period_s=period_s),)


def test_without_rules_every_wish_is_granted_at_once():
    assert run([5, 1, 9, 2], current=3, behavior=Behavior.free()) == [5, 1, 9, 2]


def test_shrinking_waits_until_the_window_has_forgotten_the_last_higher_wish():
    behavior = Behavior(scale_down=ScalingRules(stabilization_window_s=90))
    assert run([5, 2, 2, 2, 2], current=5, behavior=behavior) == [5, 5, 5, 2, 2]


def test_shrinking_goes_only_to_the_highest_wish_of_the_window():
    behavior = Behavior(scale_down=ScalingRules(stabilization_window_s=60))
    assert run([8, 5, 3, 3, 3], current=8, behavior=behavior) == [8, 8, 5, 3, 3]


@pytest.mark.parametrize(
    ("age_s", "expected"),
    [
        pytest.param(299.9, 8, id="younger than the window"),
        pytest.param(300.0, 3, id="as old as the window, which the HPA forgets"),
    ],
)
def test_a_wish_leaves_the_window_when_it_is_as_old(age_s: float, expected: int):
    behavior = Behavior(scale_down=ScalingRules(stabilization_window_s=300))
    state = DampingState(highs=(Stamped(0.0, 8),))
    assert one(current=8, wanted=3, behavior=behavior, state=state, now_s=age_s).replicas == expected


def test_growing_waits_for_its_own_window():
    behavior = Behavior(scale_up=ScalingRules(stabilization_window_s=60))
    assert run([2, 6, 6, 6], current=2, behavior=behavior) == [2, 2, 6, 6]


@pytest.mark.parametrize(
    ("rules", "wish"),
    [
        pytest.param({"scale_down": ScalingRules(stabilization_window_s=60)}, 2, id="fewer"),
        pytest.param({"scale_up": ScalingRules(stabilization_window_s=60)}, 9, id="more"),
    ],
)
def test_the_first_wish_of_all_waits_as_if_what_runs_had_been_wished_for(
    rules: dict[str, ScalingRules], wish: int
):
    behavior = replace(Behavior.free(), **rules)
    assert run([wish] * 4, current=5, behavior=behavior) == [5, 5, wish, wish]


def test_a_window_of_no_time_remembers_nothing_not_even_what_runs():
    assert run([2], current=5, behavior=Behavior.free()) == [2]


def test_one_noisy_wish_never_shrinks_a_role():
    behavior = Behavior()
    assert run([4, 4, 1, 4, 4], current=4, behavior=behavior) == [4, 4, 4, 4, 4]


def test_a_stabilised_count_names_its_reason():
    behavior = Behavior()
    first = one(current=4, wanted=4, behavior=behavior)
    second = one(current=4, wanted=1, behavior=behavior, state=first.state, now_s=30)
    assert (second.replicas, second.limits) == (4, (Reason.STABILIZED_DOWN,))


@pytest.mark.parametrize(
    ("sooner", "expected", "limits"),
    [
        pytest.param(6, 6, (Reason.NEEDED_SOONER,), id="keeps what runs"),
        pytest.param(2, 3, (), id="is less than what is wanted"),
        pytest.param(20, 8, (Reason.NEEDED_SOONER,), id="never grows"),
    ],
)
def test_what_is_needed_sooner(sooner: int, expected: int, limits: tuple[Reason, ...]):
    damped = one(current=8, wanted=3, behavior=Behavior.free(), sooner=sooner)
    assert (damped.replicas, damped.limits) == (expected, limits)


def test_what_is_needed_sooner_is_told_between_the_window_and_the_rate():
    state = DampingState(highs=(Stamped(0.0, 5),))
    rules = ScalingRules(stabilization_window_s=90, policies=limits(1))
    behavior = Behavior(scale_down=rules)
    damped = one(current=8, wanted=3, behavior=behavior, state=state, now_s=30, sooner=6)
    assert damped.replicas == 7
    assert damped.limits == (Reason.STABILIZED_DOWN, Reason.NEEDED_SOONER, Reason.SCALE_DOWN_LIMIT)


def test_what_was_needed_sooner_is_not_remembered():
    behavior = Behavior(scale_down=ScalingRules(stabilization_window_s=90))
    start = DampingState(highs=(Stamped(0.0, 8),))
    first = one(current=8, wanted=3, behavior=behavior, state=start, now_s=90, sooner=6)
    second = one(current=6, wanted=3, behavior=behavior, state=first.state, now_s=120)
    assert (first.replicas, second.replicas) == (6, 3)


def test_the_fewest_that_may_run_at_once_do_not_hold_for_a_whole_window():
    """Each step towards what was not tried waits for the next plan, and not for a window of its own."""
    behavior = Behavior(scale_down=ScalingRules(stabilization_window_s=90))
    start = DampingState(highs=(Stamped(0.0, 8),))
    first = one(current=8, wanted=3, behavior=behavior, state=start, now_s=90, fewest=6)
    second = one(current=6, wanted=3, behavior=behavior, state=first.state, now_s=120, fewest=5)
    third = one(current=5, wanted=3, behavior=behavior, state=second.state, now_s=150, fewest=2)
    assert [damped.replicas for damped in (first, second, third)] == [6, 5, 3]
    assert first.limits == (Reason.SHRINKS_BY_STEPS,)
    assert third.limits == ()


@pytest.mark.parametrize("fewest", [9, 20])
def test_the_fewest_that_may_run_never_grow_a_role(fewest: int):
    assert one(current=8, wanted=3, behavior=Behavior.free(), fewest=fewest).replicas == 8


@pytest.mark.parametrize(
    ("select", "expected"),
    [
        pytest.param(SelectPolicy.MAX, 8, id="the most generous policy"),
        pytest.param(SelectPolicy.MIN, 5, id="the strictest policy"),
        pytest.param(SelectPolicy.DISABLED, 4, id="none at all"),
    ],
)
def test_of_several_policies_the_selected_one_limits_growth(select: SelectPolicy, expected: int):
    rules = ScalingRules(
        select=select,
        policies=(*limits(1), *limits(100, RateUnit.PERCENT)),
    )
    assert one(current=4, wanted=20, behavior=Behavior(scale_up=rules)).replicas == expected


@pytest.mark.parametrize(
    ("select", "expected"),
    [
        pytest.param(SelectPolicy.MAX, 5, id="the most generous policy"),
        pytest.param(SelectPolicy.MIN, 9, id="the strictest policy"),
        pytest.param(SelectPolicy.DISABLED, 10, id="none at all"),
    ],
)
def test_of_several_policies_the_selected_one_limits_shrinking(select: SelectPolicy, expected: int):
    rules = ScalingRules(select=select, policies=(*limits(1), *limits(50, RateUnit.PERCENT)))
    behavior = Behavior(scale_down=rules)
    assert one(current=10, wanted=1, behavior=behavior).replicas == expected


def test_a_rate_limit_counts_what_was_added_within_its_period():
    behavior = Behavior(scale_up=ScalingRules(policies=limits(2)))
    assert run([10, 10, 10, 10], current=1, behavior=behavior) == [3, 3, 5, 5]


def test_a_rate_limit_names_its_reason():
    damped = one(current=1, wanted=9, behavior=Behavior(scale_up=ScalingRules(policies=limits(2))))
    assert damped.limits == (Reason.SCALE_UP_LIMIT,)


@pytest.mark.parametrize(
    ("need", "wanted", "expected"),
    [
        pytest.param(10.9, 11, 10, id="a little more is tolerated"),
        pytest.param(11.5, 12, 12, id="more than that is not"),
        pytest.param(9.0, 9, 10, id="a little less is tolerated"),
        pytest.param(8.0, 8, 8, id="less than that is not"),
    ],
)
def test_tolerance_compares_the_unrounded_need(need: float, wanted: int, expected: int):
    rules = ScalingRules(tolerance=0.1)
    behavior = Behavior(scale_up=rules, scale_down=rules)
    assert one(current=10, wanted=wanted, need=need, behavior=behavior).replicas == expected


def test_a_clock_set_back_forgets_the_future_instead_of_waiting_for_it():
    state = DampingState(highs=(Stamped(1e9, 50),), lows=(Stamped(1e9, 1),))
    assert one(current=50, wanted=2, behavior=Behavior(), state=state, now_s=100).replicas == 2


counts = st.integers(min_value=0, max_value=1000)
rules = st.builds(
    ScalingRules,
    stabilization_window_s=st.integers(0, 3600).map(float),
    select=st.sampled_from(SelectPolicy),
    tolerance=st.floats(0, 1),
    policies=st.lists(
        st.builds(
            RateLimit,
            unit=st.sampled_from(RateUnit),
            value=st.integers(1, 100),
            period_s=st.integers(1, 1800).map(float),
        ),
        max_size=4,
    ).map(tuple),
)
behaviors = st.builds(Behavior, scale_up=rules, scale_down=rules)


@given(current=counts, wishes=st.lists(counts, min_size=1, max_size=80), behavior=behaviors, sooner=counts)
def test_damping_never_leaves_the_way_from_what_runs_to_what_is_wanted(
    current: int, wishes: list[int], behavior: Behavior, sooner: int
):
    state = DampingState()
    for index, wanted in enumerate(wishes):
        damped = one(
            current=current,
            wanted=wanted,
            behavior=behavior,
            state=state,
            now_s=index * 15.0,
            sooner=sooner,
        )
        assert min(current, wanted) <= damped.replicas <= max(current, wanted)
        assert (damped.replicas == wanted) == (not damped.limits)
        state = notice_change(damped.state, before=current, after=damped.replicas, at_s=index * 15.0)
        current = damped.replicas


@given(wishes=st.lists(counts, min_size=100, max_size=200), behavior=behaviors)
def test_what_is_remembered_is_bounded(wishes: list[int], behavior: Behavior):
    state = DampingState()
    for index, wanted in enumerate(wishes):
        state = one(current=5, wanted=wanted, behavior=behavior, state=state, now_s=float(index)).state
        state = notice_change(state, before=wanted, after=wanted + 1, at_s=float(index))
    state = one(current=5, wanted=5, behavior=behavior, state=state, now_s=1000.0).state
    assert max(map(len, (state.highs, state.lows, state.added, state.removed))) <= MAX_REMEMBERED


@given(current=counts, behavior=behaviors, wanted=counts)
def test_a_count_that_fits_stays(current: int, behavior: Behavior, wanted: int):
    state = one(current=current, wanted=wanted, behavior=behavior).state
    settled = one(current=current, wanted=current, behavior=behavior, state=state, now_s=1)
    assert settled.replicas == current
