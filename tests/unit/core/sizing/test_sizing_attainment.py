"""Sizing by attainment as a whole: what more load, faster engines and tighter targets must do."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slaplanner.core.forecast import LEVELS, Forecast, TokenForecast
from slaplanner.core.model import Fleet, Mode, Policy, PredictorType, Role, RolePolicy, RoleState, Sizing, Sla
from slaplanner.core.profiles import build
from slaplanner.core.readings import Known, Observation, Reading, Unknown
from slaplanner.core.reasons import Reason
from slaplanner.core.rounding import whole_replicas
from slaplanner.core.sizing import MeanLoad, Sized, attainment
from slaplanner.core.sizing.burstiness import Burstiness
from slaplanner.core.sizing.capacity import Capacity
from slaplanner.core.sizing.experience import LEVELS as UTILISATIONS
from slaplanner.core.sizing.experience import STRIDE, Experience
from slaplanner.core.sizing.learning import Learning
from slaplanner.core.sizing.lengths import lengths
from slaplanner.core.wording import exact, exactly
from tests.profile_data import MODELLED_70B, measured

PROFILE = build(measured(MODELLED_70B))
INTERVAL_S, STARTUP_S, STEPS = 60.0, 180.0, 4
ISL, OSL = 3000.0, 300.0
UNKNOWN = Unknown(Reason.NOT_REPORTED, "not part of the question")
SLA = Sla(ttft_ms=1000.0, itl_ms=30.0)
NOTHING_LEARNT = Learning()

rates = st.floats(0.0, 200.0)
factors = st.floats(0.25, 4.0)


def sized(
    requests_s: float = 10.0,
    *,
    spread: float = 0.3,
    mode: Mode = Mode.DISAGG,
    sla: Sla = SLA,
    factor: float = 1.0,
    current: int = 1,
    serving: int | None = None,
    clump_s: float = 0.0,
    floor: int = 1,
    queued: Reading = UNKNOWN,
    learning: Learning = NOTHING_LEARNT,
    startup_s: float = STARTUP_S,
) -> Sized:
    """Sizes for a load that is forecast to stay at *requests_s*, its bounds up to *spread* above that."""
    requests = requests_s * INTERVAL_S

    def demand(tokens: float) -> TokenForecast:
        bounds = tuple(tokens * (1.0 + spread * at / (len(LEVELS) - 1)) for at in range(len(LEVELS)))
        return TokenForecast(mean_tokens=(tokens,) * STEPS, bounds_tokens=(bounds,) * STEPS)

    policy = Policy(
        mode=mode,
        sla=sla,
        sizing=Sizing.ATTAINMENT,
        roles=tuple(RolePolicy(role=role, min_replicas=floor) for role in mode.roles),
        interval_s=INTERVAL_S,
        startup_s=startup_s,
    )
    situation = attainment.Situation(
        policy=policy,
        capacity=Capacity(
            sla=sla,
            profile=PROFILE,
            isl=lengths(ISL, None),
            osl=lengths(OSL, None),
            burstiness=Burstiness(excess=clump_s, square=1.0, plans=1.0),
            slowdown=factor,
        ),
        forecast=Forecast(
            method=PredictorType.CONSTANT,
            requests=(requests,) * STEPS,
            isl_tokens=(ISL,) * STEPS,
            osl_tokens=(OSL,) * STEPS,
            prefill=demand(requests * ISL),
            decode=demand(requests * OSL),
        ),
        learning=dict.fromkeys(mode.roles, learning),
        observation=Observation(
            window_s=INTERVAL_S,
            requests=Known(requests),
            isl_tokens=Known(ISL),
            osl_tokens=Known(OSL),
            ttft_ms=UNKNOWN,
            itl_ms=UNKNOWN,
            request_duration_s=UNKNOWN,
            queued=queued,
        ),
        fleet=Fleet(
            roles=tuple(
                RoleState(role=role, replicas=current, serving=current if serving is None else serving)
                for role in mode.roles
            )
        ),
        startup_s=startup_s,
    )
    return attainment.size(
        situation,
        demand=MeanLoad(requests_per_interval=requests, isl_tokens=ISL, osl_tokens=OSL),
        gpus_per_replica=dict.fromkeys(Role, 4),
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


def test_a_queue_asks_for_more_prefill() -> None:
    assert replicas(sized(queued=Known(3000.0)))[0] > replicas(sized())[0]


def test_replicas_on_their_way_work_on_the_queue_too() -> None:
    def asked(current: int) -> int:
        return replicas(sized(current=current, serving=3, queued=Known(20_000.0)))[0]

    assert asked(40) < asked(3)


def test_a_queue_that_is_served_before_new_replicas_serve_orders_none() -> None:
    enough = replicas(sized())[0]
    assert replicas(sized(current=enough, queued=Known(20.0)))[0] == enough


@settings(deadline=None)
@given(rate=rates, current=st.integers(0, 50), queued=st.floats(0.0, 1e4), more=st.floats(0.0, 1e4))
def test_a_longer_queue_never_takes_fewer(rate: float, current: int, queued: float, more: float) -> None:
    longer = sized(rate, current=current, queued=Known(queued + more))
    assert nowhere_fewer(longer, sized(rate, current=current, queued=Known(queued)))


def test_what_is_not_reported_is_no_queue_and_no_zero() -> None:
    assert replicas(sized(queued=UNKNOWN)) == replicas(sized(queued=Known(0.0)))


def test_no_load_takes_the_least() -> None:
    assert replicas(sized(0.0)) == [1, 1]


def figures(text: str) -> list[float]:
    return [float(figure.replace(",", "")) for figure in re.findall(r"[\d.,]*\d", text)]


def counted(message: str) -> tuple[float, int]:
    """The need and the whole replicas that a reader works out from a message's figures."""
    total = 0.0
    for part in message.split("certain); ")[1].split(" = ", maxsplit=1)[0].split(" + "):
        total += figures(part)[0] * figures(part)[1] / figures(part)[2] if "/" in part else figures(part)[0]
    return exact(total), whole_replicas(exact(total))


@st.composite
def learnings(draw: st.DrawFn) -> Learning:
    experience = Experience()
    windows = draw(
        st.lists(st.tuples(st.floats(0.02, 2.0), st.floats(0.0, 1.0), st.floats(1.0, 1e4)), max_size=6)
    )
    for at, (utilisation, late, requests) in enumerate(windows, start=1):
        experience = experience.after(
            utilisation=utilisation, late=late, requests=requests, window_s=60.0, now_s=60.0 * at
        )
    return Learning(experience=experience)


cases = st.fixed_dictionaries(
    {
        "requests_s": rates,
        "spread": st.floats(0.0, 10.0),
        "current": st.integers(0, 50),
        "floor": st.integers(1, 50),
        "queued": st.floats(0.0, 1e5).map(Known),
        "learning": learnings(),
        "mode": st.sampled_from(list(Mode)),
    }
)


@settings(deadline=None)
@given(case=cases)
def test_the_count_follows_from_the_figures_of_its_message(case: dict[str, Any]) -> None:
    for role in sized(**case).roles:
        raw, whole = counted(role.message)
        assert raw == role.raw
        assert role.message.endswith(f" = {exactly(raw)}, rounded up to {whole}")
        # The invariant: upper load x learnt factor / capacity + queue, rounded up, unless the floor is more.
        assert role.replicas == max(whole, case["floor"])
        assert (role.limit is Reason.TOO_FEW_REPLICAS) == (role.replicas > whole)
        assert role.fewest <= case["current"]


@settings(deadline=None)
@given(rate=rates, floor=st.integers(1, 50))
def test_floors_hold_and_say_so(rate: float, floor: int) -> None:
    for role in sized(rate, floor=floor).roles:
        assert role.replicas == max(floor, whole_replicas(role.raw))
        assert (role.limit is Reason.TOO_FEW_REPLICAS) == (whole_replicas(role.raw) < floor)


def seen(*windows: tuple[float, float]) -> Learning:
    """After windows of this utilisation and share late."""
    experience = Experience()
    for at, (utilisation, late) in enumerate(windows, start=1):
        experience = experience.after(
            utilisation=utilisation, late=late, requests=1e4, window_s=60.0, now_s=60.0 * at
        )
    return Learning(experience=experience)


def test_misses_that_were_measured_take_more_replicas_at_the_next_plan() -> None:
    assert all(
        more > few
        for more, few in zip(
            replicas(sized(60.0, learning=seen((0.8, 0.3)))), replicas(sized(60.0)), strict=True
        )
    )


def test_a_fleet_shrinks_by_steps_towards_what_was_not_tried() -> None:
    tried = seen((UTILISATIONS[-17], 0.0))
    (prefill, _) = sized(60.0, current=1000, learning=tried).roles
    need = prefill.raw / prefill.learnt_factor
    assert prefill.fewest == math.ceil(need / (STRIDE * UTILISATIONS[-17])) > prefill.replicas


def test_an_engine_that_was_measured_to_be_slower_takes_more_before_anybody_is_late() -> None:
    slower, quicker = Learning(slowdown=1.3), Learning(slowdown=0.8)
    (prefill, decode), (same, more) = sized(60.0).roles, sized(60.0, learning=slower).roles
    assert more.replicas > decode.replicas > sized(60.0, learning=quicker).roles[1].replicas
    # ITL tells nothing of prefill.
    assert same == prefill


def test_a_promise_of_less_is_sized_for_a_load_that_is_exceeded_more_often() -> None:
    wide = {"requests_s": 60.0, "spread": 1.0}
    strict, lax = (sized(sla=replace(SLA, attainment_percent=percent), **wide) for percent in (99.9, 90.0))
    assert all(
        float(re.search(r"([\d.]+) % certain", more.message)[1])  # type: ignore[index]
        > float(re.search(r"([\d.]+) % certain", less.message)[1])  # type: ignore[index]
        for more, less in zip(strict.roles, lax.roles, strict=True)
    )


@given(startup_s=st.floats(0.0, 3600.0), longer_s=st.floats(1.0, 3600.0))
def test_the_longer_a_load_is_exceeded_until_replicas_serve_the_more_certain_its_bound(
    startup_s: float, longer_s: float
) -> None:
    def certain(startup_s: float) -> list[float]:
        roles = sized(60.0, spread=1.0, startup_s=startup_s).roles
        return [float(re.search(r"([\d.]+) % certain", role.message)[1]) for role in roles]  # type: ignore[index]

    sooner, later = certain(startup_s), certain(startup_s + longer_s)
    assert all(50.0 <= a <= b < 100.0 for a, b in zip(sooner, later, strict=True))
    assert certain(30.0) < certain(300.0)


@pytest.mark.parametrize("load", [5e-324, 1e-310, 1e-300])
def test_a_load_at_the_edge_of_numbers_is_sized(load: float) -> None:
    assert replicas(sized(load)) == replicas(sized(0.0))


@settings(deadline=None)
@given(
    expected=st.floats(0.0, 1e6),
    more=st.floats(0.0, 5.0),
    clump_s=st.floats(0.0, 5.0),
    role=st.sampled_from([Role.PREFILL, Role.DECODE]),
)
def test_swings_and_errors_of_the_forecast_are_not_both_taken_at_their_worst(
    expected: float, more: float, clump_s: float, role: Role
) -> None:
    capacity = Capacity(
        sla=SLA,
        profile=PROFILE,
        isl=lengths(ISL, None),
        osl=lengths(OSL, None),
        burstiness=Burstiness(excess=clump_s, square=1.0, plans=1.0),
    )
    upper = expected * (1.0 + more)
    need = capacity.needed(role, expected_tokens_s=expected, upper_tokens_s=upper)
    at_worst, alone = capacity.replicas(role, upper), capacity.busy(role, upper)
    assert alone * (1 - 1e-9) <= need <= at_worst * (1 + 1e-9)
    certain = capacity.needed(role, expected_tokens_s=upper, upper_tokens_s=upper)
    assert certain == at_worst


def test_no_load_lets_go_of_what_was_never_tried() -> None:
    assert replicas(sized(0.0, current=100, learning=seen((0.1, 0.0)))) == [1, 1]


def test_ordered_replicas_end_the_queue_of_an_overload() -> None:
    """Replicas that were ordered and do not serve yet are not ordered again: no runaway."""
    queued = Known(20_000.0)
    first = replicas(sized(60.0, current=3, serving=3, queued=queued))[0]
    again = replicas(sized(60.0, current=first, serving=3, queued=queued))[0]
    assert again <= first


def test_a_queue_is_worked_off_within_an_interval() -> None:
    prompts = 20_000.0
    prompt_s = PROFILE.prefill.ttft_ms(ISL) / 1e3
    more = sized(queued=Known(prompts)).roles[0].raw - sized().roles[0].raw
    assert more == pytest.approx(prompts * prompt_s / INTERVAL_S, rel=0.05)
