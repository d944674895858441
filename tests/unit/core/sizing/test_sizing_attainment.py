"""Sizing by attainment as a whole: what more load, faster engines and tighter targets must do."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slaplanner.core.correction import Correction, Factor
from slaplanner.core.forecast import LEVELS, Demand, Forecast
from slaplanner.core.model import Fleet, Mode, Policy, PredictorType, Role, RolePolicy, RoleState, Sizing, Sla
from slaplanner.core.profiles import build
from slaplanner.core.readings import Known, Observation, Reading, Series, Unknown
from slaplanner.core.reasons import Reason
from slaplanner.core.sizing import Demand as MeanDemand
from slaplanner.core.sizing import Sized, attainment
from slaplanner.core.sizing.burstiness import Burstiness
from slaplanner.core.sizing.service import prefill_factor
from tests.profile_data import MODELLED_70B, measured

PROFILE = build(measured(MODELLED_70B))
INTERVAL_S, STARTUP_S, STEPS = 60.0, 180.0, 4
ISL, OSL = 3000.0, 300.0
UNKNOWN = Unknown(Reason.NOT_REPORTED, "not part of the question")
SLA = Sla(ttft_ms=1000.0, itl_ms=30.0)

rates = st.floats(0.0, 200.0)
factors = st.floats(0.25, 4.0)


def sized(
    requests_s: float = 10.0,
    *,
    spread: float = 0.3,
    tail: float | None = None,
    mode: Mode = Mode.DISAGG,
    sla: Sla = SLA,
    factor: float = 1.0,
    current: int = 1,
    serving: int | None = None,
    prefill_gpus: int = 4,
    decode_gpus: int = 4,
    clump_s: float = 0.0,
    floor: int = 1,
    queued: Reading = UNKNOWN,
    history: Series | None = None,
) -> Sized:
    """Sizes for a load that is forecast to stay at *requests_s*, its bounds up to *spread* above that.

    With *tail* the bounds are those of rare bursts instead: the chance of a load falls with that power of it.
    """
    requests = requests_s * INTERVAL_S

    def demand(tokens: float) -> Demand:
        bounds = tuple(tokens * (1.0 + spread * at / (len(LEVELS) - 1)) for at in range(len(LEVELS)))
        if tail is not None:
            bounds = tuple(tokens * (2.0 * (1.0 - level)) ** (-1.0 / tail) for level in LEVELS)
        return Demand(mean_tokens=(tokens,) * STEPS, bounds_tokens=(bounds,) * STEPS)

    policy = Policy(
        mode=mode,
        sla=sla,
        sizing=Sizing.ATTAINMENT,
        roles=tuple(RolePolicy(role=role, min_replicas=floor) for role in mode.roles),
        interval_s=INTERVAL_S,
        startup_s=STARTUP_S,
    )
    situation = attainment.Situation(
        policy=policy,
        profile=PROFILE,
        forecast=Forecast(
            method=PredictorType.CONSTANT,
            requests=(requests,) * STEPS,
            isl_tokens=(ISL,) * STEPS,
            osl_tokens=(OSL,) * STEPS,
            prefill=demand(requests * ISL),
            decode=demand(requests * OSL),
        ),
        correction=Correction(
            stages={stage: Factor(applied=factor) for stage in (Role.PREFILL, Role.DECODE)}
        ),
        observation=Observation(
            window_s=INTERVAL_S,
            requests=Known(requests),
            isl_tokens=Known(ISL),
            osl_tokens=Known(OSL),
            ttft_ms=UNKNOWN,
            itl_ms=UNKNOWN,
            request_duration_s=UNKNOWN,
            queued=queued,
            history=history,
        ),
        fleet=Fleet(
            roles=tuple(
                RoleState(role=role, replicas=current, serving=current if serving is None else serving)
                for role in mode.roles
            )
        ),
        startup_s=STARTUP_S,
        burstiness=Burstiness(excess=clump_s, square=1.0, plans=1.0),
    )
    return attainment.size(
        situation,
        demand=MeanDemand(requests_per_interval=requests, isl_tokens=ISL, osl_tokens=OSL),
        gpus_per_replica={Role.PREFILL: prefill_gpus, Role.DECODE: decode_gpus, Role.AGG: decode_gpus},
    )


def replicas(some: Sized) -> list[int]:
    return [role.replicas for role in some.roles]


def nowhere_fewer(more: Sized, less: Sized) -> bool:
    return all(many >= few for many, few in zip(replicas(more), replicas(less), strict=True))


@pytest.mark.parametrize("mode", list(Mode))
def test_each_mode_sizes_its_roles_in_their_order(mode: Mode) -> None:
    assert tuple(role.role for role in sized(mode=mode).roles) == mode.roles


@settings(deadline=None)
@given(rate=rates, times=st.floats(1.0, 5.0))
def test_more_load_never_takes_fewer_replicas(rate: float, times: float) -> None:
    assert nowhere_fewer(sized(rate * times), sized(rate))


@settings(deadline=None)
@given(rate=rates, slow=factors, fast=factors)
def test_a_faster_fleet_never_takes_more_replicas(rate: float, slow: float, fast: float) -> None:
    slow, fast = max(slow, fast), min(slow, fast)
    # Prompts that no size serves in time are no reason to buy: the comparison is among those that can be.
    reachable = Sla(ttft_ms=10_000.0, itl_ms=300.0)
    assert nowhere_fewer(sized(rate, factor=slow, sla=reachable), sized(rate, factor=fast, sla=reachable))


@settings(deadline=None)
@given(rate=rates, percent=st.floats(50.0, 99.99), tighter=st.floats(0.0, 0.9))
def test_a_higher_promise_never_takes_fewer_replicas(rate: float, percent: float, tighter: float) -> None:
    more = percent + tighter * (100.0 - percent)
    assert nowhere_fewer(
        sized(rate, sla=replace(SLA, attainment_percent=more)),
        sized(rate, sla=replace(SLA, attainment_percent=percent)),
    )


@settings(deadline=None)
@given(rate=rates, times=st.floats(1.0, 3.0))
def test_tighter_targets_never_take_fewer_replicas(rate: float, times: float) -> None:
    loose = Sla(ttft_ms=SLA.ttft_ms * times, itl_ms=SLA.itl_ms * times)
    assert nowhere_fewer(sized(rate), sized(rate, sla=loose))


@settings(deadline=None)
@given(rate=st.floats(1.0, 200.0), clump_s=st.floats(0.0, 10.0))
def test_clumps_never_take_fewer_replicas_than_chance(rate: float, clump_s: float) -> None:
    assert nowhere_fewer(sized(rate, clump_s=clump_s), sized(rate))


@settings(deadline=None)
@given(rate=rates, current=st.integers(1, 200))
def test_what_runs_is_given_back_with_more_care_than_it_is_bought(rate: float, current: int) -> None:
    for buy, keep in zip(sized(rate).roles, sized(rate, current=current).roles, strict=True):
        assert buy.replicas <= keep.replicas <= max(buy.replicas, current)
        assert keep.sooner <= current


@settings(deadline=None)
@given(rate=rates, floor=st.integers(1, 50))
def test_floors_hold_and_say_so(rate: float, floor: int) -> None:
    for role in sized(rate, floor=floor).roles:
        assert role.replicas == max(floor, int(role.raw))
        assert (role.limit is Reason.TOO_FEW_REPLICAS) == (role.raw < floor)


@settings(deadline=None)
@given(rate=rates, spread=st.floats(0.0, 10.0), current=st.integers(0, 50))
def test_every_count_comes_with_its_words(rate: float, spread: float, current: int) -> None:
    for role in sized(rate, spread=spread, current=current).roles:
        assert role.replicas >= 1
        assert f"{role.replicas} replicas" in role.message


def test_rare_bursts_are_covered_as_far_as_replicas_for_them_are_worth_it() -> None:
    bursts = sized(tail=1.5).roles[0]
    assert bursts.limit is Reason.BURSTS_NOT_COVERED
    careful = sized(tail=1.5, sla=replace(SLA, attainment_percent=99.9)).roles[0]
    assert bursts.replicas < min(bursts.raw, careful.replicas)
    assert f"; {bursts.raw:.0f} would cover rare bursts too" in bursts.message


@pytest.mark.parametrize("mode", list(Mode))
def test_every_role_leaves_out_what_rare_bursts_would_take(mode: Mode) -> None:
    for role in sized(30.0, tail=1.2, mode=mode).roles:
        assert role.limit is Reason.BURSTS_NOT_COVERED
        assert role.replicas < role.raw


@settings(deadline=None)
@given(rate=rates, spread=st.floats(0.0, 1.0), percent=st.sampled_from([95.0, 99.0, 99.9]))
@pytest.mark.parametrize("ttft_ms", [1.3 * PROFILE.prefill.ttft_ms(ISL), 1000.0])
def test_nothing_is_left_out_where_loads_come_evenly(
    rate: float, spread: float, percent: float, ttft_ms: float
) -> None:
    sla = replace(SLA, ttft_ms=ttft_ms, attainment_percent=percent)
    for role in sized(rate, spread=spread, sla=sla).roles:
        assert role.limit is None


@settings(deadline=None)
@given(
    rate=rates,
    tail=st.floats(0.8, 3.0),
    clump_s=st.floats(0.0, 10.0),
    percent=st.floats(50.0, 90.0),
    queued=st.floats(0.0, 1e5),
)
def test_a_promise_that_gives_up_a_tenth_gives_up_no_more(
    rate: float, tail: float, clump_s: float, percent: float, queued: float
) -> None:
    sla = replace(SLA, attainment_percent=percent)
    for role in sized(rate, tail=tail, clump_s=clump_s, sla=sla, queued=Known(queued)).roles:
        assert role.limit is None


@settings(deadline=None)
@given(rate=rates, tail=st.floats(0.8, 3.0), clump_s=st.floats(0.0, 10.0), percent=st.floats(90.0, 99.9))
def test_little_is_given_up_to_bursts(rate: float, tail: float, clump_s: float, percent: float) -> None:
    for role in sized(rate, tail=tail, clump_s=clump_s, sla=replace(SLA, attainment_percent=percent)).roles:
        given_up = float(role.message.split("all but at most ")[1].split(" %")[0])
        assert given_up <= 1.01 * min(5.0, 5.0 * (100.0 - percent))


def test_replicas_without_gpus_are_no_reason_to_leave_any_out() -> None:
    free = sized(tail=1.5, prefill_gpus=0, decode_gpus=0)
    assert [role.raw for role in free.roles] == replicas(free)
    assert replicas(free)[0] == sized(tail=1.5).roles[0].raw


@settings(deadline=None)
@given(rate=st.floats(1.0, 200.0), tail=st.floats(1.0, 2.0), gpus=st.integers(1, 16))
def test_what_counts_is_what_a_gpu_serves_not_how_many_a_replica_has(
    rate: float, tail: float, gpus: int
) -> None:
    alike = sized(rate, tail=tail, prefill_gpus=gpus, decode_gpus=gpus)
    assert replicas(alike) == replicas(sized(rate, tail=tail))


def test_the_role_whose_gpus_save_less_leaves_out_more() -> None:
    alike, dear = sized(tail=1.8), sized(tail=1.8, decode_gpus=32)
    (prefill, decode), (more, fewer) = replicas(alike), replicas(dear)
    assert fewer < decode
    assert more > prefill


@pytest.mark.parametrize(
    ("floor", "raw", "limit"),
    [
        pytest.param(5, 17.0, Reason.BURSTS_NOT_COVERED, id="below the need"),
        pytest.param(14, 11.0, Reason.TOO_FEW_REPLICAS, id="covers some bursts"),
        pytest.param(1000, 11.0, Reason.TOO_FEW_REPLICAS, id="covers all bursts"),
    ],
)
def test_a_floor_covers_bursts_too(floor: int, raw: float, limit: Reason) -> None:
    role = sized(tail=1.5, floor=floor).roles[0]
    assert (role.raw, role.replicas, role.limit) == (raw, max(11, floor), limit)
    assert ("; 17 would cover rare bursts too" in role.message) == (floor < 17)


def test_a_queue_asks_for_more_prefill() -> None:
    assert replicas(sized(queued=Known(3000.0)))[0] > replicas(sized())[0]


def test_replicas_on_their_way_work_on_the_queue_too() -> None:
    def asked(current: int) -> int:
        return replicas(sized(current=current, serving=3, queued=Known(20_000.0)))[0]

    assert asked(40) < asked(3)


def test_a_queue_is_worked_off_within_the_horizon_and_no_sooner() -> None:
    prompts = 20_000.0
    capacity = sized().roles[0].capacity_per_replica_tokens_s / ISL
    more = replicas(sized(queued=Known(prompts)))[0] - replicas(sized())[0]
    assert more == pytest.approx(prompts / (INTERVAL_S + STARTUP_S) / capacity, rel=0.2)


def test_a_queue_that_is_served_before_new_replicas_serve_orders_none() -> None:
    enough = replicas(sized())[0]
    assert replicas(sized(current=enough, queued=Known(20.0)))[0] == enough


def test_a_queue_that_is_served_soon_still_keeps_what_serves_it() -> None:
    queue, none = sized(current=30, queued=Known(3000.0)).roles[0], sized(current=30).roles[0]
    assert queue.replicas == none.replicas
    assert queue.sooner > max(none.sooner, none.replicas)


@settings(deadline=None)
@given(rate=rates, current=st.integers(0, 50), queued=st.floats(0.0, 1e4), more=st.floats(0.0, 1e4))
def test_a_longer_queue_never_takes_fewer(rate: float, current: int, queued: float, more: float) -> None:
    longer = sized(rate, current=current, queued=Known(queued + more))
    assert nowhere_fewer(longer, sized(rate, current=current, queued=Known(queued)))


def test_what_is_not_reported_is_no_queue_and_no_zero() -> None:
    assert replicas(sized(queued=UNKNOWN)) == replicas(sized(queued=Known(0.0)))


def test_gaps_in_the_history_change_nothing() -> None:
    nan = float("nan")

    def history(*requests: float) -> Series:
        return Series(
            end_s=0.0,
            step_s=INTERVAL_S,
            requests=requests,
            isl_tokens=(ISL,) * len(requests),
            osl_tokens=(OSL,) * len(requests),
        )

    assert replicas(sized(history=history(600.0, nan, 600.0))) == replicas(
        sized(history=history(600.0, 600.0))
    )


def test_no_load_takes_the_least() -> None:
    assert replicas(sized(0.0)) == [1, 1]


def test_a_window_of_bursts_tells_nothing_of_the_engine() -> None:
    seconds = PROFILE.prefill.ttft_ms(ISL) / 1e3
    observation = Observation(
        window_s=60.0,
        requests=Known(600.0),
        isl_tokens=Known(ISL),
        osl_tokens=Known(OSL),
        ttft_ms=Known(1.3e3 * seconds),
        itl_ms=UNKNOWN,
        request_duration_s=UNKNOWN,
        arrivals=(50.0,) * 12,
        arrivals_step_s=5.0,
    )
    even = prefill_factor(observation, profile=PROFILE, workers=40, interval_s=60.0)
    assert even == pytest.approx(1.3, rel=0.02)
    crowded = replace(observation, arrivals=(0.0, 0.0, 0.0, 200.0) * 3)
    assert prefill_factor(crowded, profile=PROFILE, workers=4, interval_s=60.0) is None
