"""What is learnt from measured misses, and that acting on it closes a loop."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

from slaplanner.core.model import Role, RoleState, Sla
from slaplanner.core.profiles import build
from slaplanner.core.readings import Histogram, Known, Observation, Reading, Unknown
from slaplanner.core.reasons import Reason
from slaplanner.core.sizing import observed
from slaplanner.core.sizing.batch import mean_context_tokens
from slaplanner.core.sizing.burstiness import Burstiness
from slaplanner.core.sizing.capacity import Capacity
from slaplanner.core.sizing.experience import ENGINE_MARGIN, LEVELS, STRIDE, Experience
from slaplanner.core.sizing.learning import Learning
from slaplanner.core.sizing.lengths import lengths
from tests.profile_data import MODELLED_70B, measured

ALLOWED = 0.005
INF = float("inf")

windows = st.lists(
    st.tuples(st.floats(0.0, 10.0), st.floats(0.0, 1.0), st.floats(0.0, 1e5), st.floats(1.0, 300.0)),
    max_size=8,
)


def after(*seen: tuple[float, float], start: Experience | None = None) -> Experience:
    """After windows of a minute with this utilisation and share late."""
    memory = start or Experience()
    begin = memory.at_s or 0.0
    for at, (utilisation, late) in enumerate(seen, start=1):
        memory = memory.after(
            utilisation=utilisation, late=late, requests=1e4, window_s=60.0, now_s=begin + 60.0 * at
        )
    return memory


def test_nothing_seen_is_the_model_less_the_margin_for_engines() -> None:
    assert 0.9 / ENGINE_MARGIN < Experience().highest(ALLOWED) < 1.0 / ENGINE_MARGIN
    assert Experience().fewest(10.0, current=100, allowed=ALLOWED) == 0


@pytest.mark.parametrize("utilisation", [0.1, 0.4, 0.8])
def test_one_window_of_misses_acts_at_once(utilisation: float) -> None:
    assert after((utilisation, 0.3)).highest(ALLOWED) < utilisation


def test_levels_that_nobody_saw_are_expected_where_the_engine_was_measured_to_be() -> None:
    nothing = Experience()
    assert nothing.highest(ALLOWED, just_enough=0.5) == pytest.approx(
        0.5 * nothing.highest(ALLOWED), rel=0.05
    )
    # What was seen counts for more.
    kept = after(*[(0.8, 0.0)] * 10)
    assert kept.highest(ALLOWED, just_enough=0.5) > 0.75


def test_many_misses_take_more_than_few() -> None:
    found = [after((0.8, late)).highest(ALLOWED) for late in (0.02, 0.2, 0.9)]
    assert found == sorted(found, reverse=True)


def test_better_is_believed_level_by_level() -> None:
    kept = after(*[(0.95, 0.0)] * 10)
    assert 0.9 < kept.highest(ALLOWED) < 0.95 * STRIDE
    assert after(*[(0.3, 0.0)] * 10).highest(ALLOWED) == pytest.approx(Experience().highest(ALLOWED), rel=0.3)


def test_what_was_learnt_at_one_load_is_not_forgotten_at_another() -> None:
    bad = after(*[(0.6, 0.2)] * 5)
    later = after(*[(0.2, 0.0)] * 20, start=bad)
    assert later.highest(ALLOWED) < 0.6


@pytest.mark.parametrize("late", [0.004, 0.03, 0.5, 1.0])
def test_misses_that_more_replicas_do_not_end_order_no_more(late: float) -> None:
    """An outage, prompts that are too long: the share is the same at half, a quarter, an eighth of the load."""
    memory = after(*[(load, late) for load in (0.8, 0.4, 0.2, 0.1) for _ in range(3)])
    assert memory.highest(ALLOWED) >= 0.4


def test_overlapping_windows_count_once() -> None:
    whole = Experience()
    for at in range(1, 21):
        whole = whole.after(utilisation=0.5, late=0.1, requests=1e4, window_s=120.0, now_s=6.0 * at)
    assert sum(whole.windows) == pytest.approx(2.0, abs=0.2)


@given(seen=windows)
def test_it_reads_back_as_what_was_written(seen: list[tuple[float, float, float, float]]) -> None:
    memory = Experience()
    for at, (utilisation, late, requests, window_s) in enumerate(seen, start=1):
        memory = memory.after(
            utilisation=utilisation, late=late, requests=requests, window_s=window_s, now_s=41.7 * at
        )
    assert Experience.from_document(json.loads(json.dumps(memory.to_document()))) == memory
    assert LEVELS[0] <= memory.highest(ALLOWED) <= LEVELS[-1]


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"at": None, "lev": [[1, 0.1]]},
        {"at": None, "lev": [[99, 0.1, 1.0]]},
        {"at": None, "lev": [[-1, 0.1, 1.0]]},
        {"at": None, "lev": [[1, 1.1, 1.0]]},
        {"at": None, "lev": [[1, 0.1, 1e9]]},
    ],
)
def test_a_document_that_is_no_experience_is_refused(document: object) -> None:
    with pytest.raises((KeyError, TypeError, ValueError, IndexError)):
        Experience.from_document(document)


@settings(deadline=None, max_examples=60)
@given(slower=st.floats(0.5, 3.5), need=st.floats(1.0, 40.0), start=st.floats(0.6, 4.0))
def test_a_loop_around_an_unknown_engine_settles_where_the_promise_is_kept(
    slower: float, need: float, start: float
) -> None:
    """An engine *slower* times the model, misses as its utilisation has them: neither kept nor run away from."""
    replicas = max(1, round(need * start))
    memory, late = Experience(), 1.0
    for at in range(1, 121):
        utilisation = need / replicas
        late = float(ndtr((math.log(utilisation * slower) + 0.25) / 0.1))
        memory = memory.after(
            utilisation=utilisation, late=late, requests=1e3, window_s=60.0, now_s=60.0 * at
        )
        wanted = math.ceil(need / memory.highest(ALLOWED))
        replicas = max(1, wanted, memory.fewest(need, current=replicas, allowed=2.0 * ALLOWED))
    assert late < 0.05
    assert replicas <= max(2.0 * need * slower, need * ENGINE_MARGIN * 1.2) + 2.0


PROFILE = build(measured(MODELLED_70B))
UNKNOWN = Unknown(Reason.NOT_REPORTED, "not part of the question")
SLA = Sla(ttft_ms=1000.0, itl_ms=30.0)
CAPACITY = Capacity(
    sla=SLA, profile=PROFILE, isl=lengths(3000.0, None), osl=lengths(300.0, None), burstiness=Burstiness()
)


def window(
    *,
    requests: float = 600.0,
    late: float = 0.0,
    queued: float = 0.0,
    lower_bound: bool = False,
    ttft: Reading = UNKNOWN,
) -> Observation:
    return Observation(
        window_s=60.0,
        requests=Known(requests, lower_bound=lower_bound),
        isl_tokens=Known(3000.0),
        osl_tokens=Known(300.0),
        ttft_ms=Known(200.0) if ttft is UNKNOWN else ttft,
        itl_ms=UNKNOWN,
        request_duration_s=UNKNOWN,
        queued=Known(queued),
        ttft_histogram=Histogram(
            edges=(500.0, 1000.0, INF), counts=(requests * (1 - late), 0.0, requests * late)
        ),
    )


def prefill(serving: int, **changes: bool) -> RoleState:
    return RoleState(role=Role.PREFILL, replicas=serving, serving=serving, **changes)


def taught(memory: Learning, observation: Observation, role: RoleState, *, now_s: float) -> Learning:
    return memory.after(observation, role=role, capacity=CAPACITY, interval_s=60.0, now_s=now_s)


def level(memory: Learning) -> float:
    """The highest utilisation that was seen."""
    return max(float(at) for at, weight in zip(LEVELS, memory.experience.windows, strict=True) if weight)


def lowest_blamed(memory: Learning) -> float:
    """The lowest utilisation at which anybody was late."""
    experience = memory.experience
    return min(
        float(at)
        for at, late, weight in zip(LEVELS, experience.late, experience.windows, strict=True)
        if weight and late > ALLOWED
    )


def answers(tokens_s: float, *, late: float) -> Observation:
    """Answers of 300 tokens, so many tokens per second, whose tokens come 25 ms apart."""
    requests = 60.0 * tokens_s / 300.0
    return Observation(
        window_s=60.0,
        requests=Known(requests),
        isl_tokens=Known(3000.0),
        osl_tokens=Known(300.0),
        ttft_ms=UNKNOWN,
        itl_ms=Known(31.0 if late > 0.5 else 25.0),
        request_duration_s=Known(7.5),
        itl_histogram=Histogram(edges=(30.0, INF), counts=(requests * (1 - late), requests * late)),
    )


def some_taught(
    memory: Learning, observation: Observation, capacity: Capacity, *, serving: int, now_s: float
) -> Learning:
    role = RoleState(role=Role.DECODE, replicas=serving, serving=serving)
    return memory.after(observation, role=role, capacity=capacity, interval_s=60.0, now_s=now_s)


def test_misses_are_blamed_on_the_fewest_that_served() -> None:
    few = taught(Learning(), window(), prefill(4), now_s=60.0)
    grown = taught(few, window(late=0.2), prefill(16), now_s=120.0)
    assert level(grown) == pytest.approx(level(few), rel=0.01)
    credited = taught(few, window(late=0.0), prefill(16), now_s=120.0)
    assert credited.experience.windows != grown.experience.windows


@pytest.mark.parametrize("serving", [16, 64])
def test_a_queue_that_outlasts_its_overload_is_blamed_on_it(serving: int) -> None:
    """However many replicas work it off: that prompts wait longer than promised says nothing about them."""
    overloaded = taught(Learning(), window(late=1.0, queued=2000.0), prefill(2), now_s=60.0)
    working = taught(overloaded, window(late=0.8, queued=1900.0), prefill(2), now_s=120.0)
    # The helpers of the second window began to serve in it; in the third only they do.
    helped = taught(working, window(late=0.5, queued=1800.0), prefill(serving), now_s=180.0)
    drained = taught(helped, window(late=0.3, queued=0.0), prefill(serving), now_s=240.0)
    assert lowest_blamed(drained) >= 0.9 * lowest_blamed(overloaded)
    # Once it is gone, and those who waited in it, misses are those of the replicas that serve.
    later = taught(drained, window(late=0.3), prefill(serving), now_s=360.0)
    assert lowest_blamed(later) < 0.5 * lowest_blamed(overloaded)


@pytest.mark.parametrize("waited_s", [5.0, 40.0, INF])
def test_prompts_that_waited_through_an_overload_are_blamed_on_it_in_the_next_window(waited_s: float) -> None:
    """They get their first token when it is over, in a window in which nearly nobody came, by many replicas.

    Blamed on that window, they once made 305 replicas out of 30.
    """
    overloaded = taught(Learning(), window(late=0.6, requests=6000.0), prefill(4), now_s=60.0)
    ended = Histogram(edges=(500.0, 1000.0, 1e3 * waited_s), counts=(50.0, 0.0, 10.0))
    over = replace(window(requests=60.0), ttft_histogram=ended)
    memory = taught(overloaded, over, prefill(30), now_s=120.0)
    assert lowest_blamed(memory) >= 0.9 * lowest_blamed(overloaded)
    # Whose wait began after the overload did not see it.
    quiet = taught(overloaded, window(requests=60.0), prefill(30), now_s=120.0)
    later = taught(quiet, over, prefill(30), now_s=220.0)
    assert lowest_blamed(later) < 0.1 * lowest_blamed(overloaded)


@pytest.mark.parametrize("windows_later", [2, 3, 4])
def test_a_long_answer_that_ends_late_is_blamed_on_the_time_in_which_it_was_written(
    windows_later: int,
) -> None:
    """One answer in a hundred takes five minutes; most take a few seconds."""
    some = replace(CAPACITY, osl=lengths(300.0, Histogram(edges=(200.0, 12000.0), counts=(99.0, 1.0))))
    busy, quiet = answers(12000.0, late=0.6), answers(12000.0, late=0.0)
    memory = some_taught(Learning(), busy, some, serving=3, now_s=60.0)
    blamed = lowest_blamed(memory)
    for at in range(2, 2 + windows_later):
        memory = some_taught(memory, quiet, some, serving=12, now_s=60.0 * at)
    memory = some_taught(
        memory, answers(12000.0, late=0.03), some, serving=12, now_s=60.0 * (2 + windows_later)
    )
    assert lowest_blamed(memory) >= 0.9 * blamed


def test_a_load_that_rises_inside_the_window_is_blamed_as_high_as_it_is_at_its_end() -> None:
    flat = replace(window(late=0.3), arrivals=(50.0,) * 12, arrivals_step_s=5.0)
    risen = replace(window(late=0.3), arrivals=(20.0,) * 8 + (110.0,) * 4, arrivals_step_s=5.0)
    of_flat = level(taught(Learning(), flat, prefill(4), now_s=60.0))
    of_risen = level(taught(Learning(), risen, prefill(4), now_s=60.0))
    assert of_risen > 1.5 * of_flat
    in_time = replace(risen, ttft_histogram=window().ttft_histogram)
    assert level(taught(Learning(), in_time, prefill(4), now_s=60.0)) == of_flat


@pytest.mark.parametrize("slower", [0.7, 1.0, 1.6])
def test_the_mean_itl_tells_how_slow_the_engine_is(slower: float) -> None:
    context_tokens, batch, serving = mean_context_tokens(CAPACITY.isl, CAPACITY.osl), 16.0, 4
    itl_ms = slower * float(PROFILE.decode.itl_row_ms(np.array([batch]), context_tokens=context_tokens)[0])
    tokens_s = (batch - 1.0) * serving / (itl_ms / 1e3)
    seen = replace(answers(tokens_s, late=0.0), itl_ms=Known(itl_ms), itl_histogram=None)
    some = replace(CAPACITY, sla=Sla(ttft_ms=1000.0, itl_ms=1.01 * itl_ms))
    memory = Learning()
    for at in range(1, 20):
        memory = some_taught(memory, seen, some, serving=serving, now_s=60.0 * at)
    assert memory.slowdown == pytest.approx(slower, rel=0.02)
    assert Learning.from_document(json.loads(json.dumps(memory.to_document()))) == memory


def test_a_memory_from_before_the_slowdown_was_learnt_is_kept() -> None:
    """If it were refused, the whole planner state would be dropped, damping and start-up times included."""
    memory = taught(Learning(), window(late=0.1), prefill(4), now_s=60.0)
    written = memory.to_document()
    del written["now"][4]
    assert Learning.from_document(written) == replace(memory, slowdown=1.0)
    for broken in ([], written["now"][:3], [*written["now"], 1.0, 1.0]):
        with pytest.raises(ValueError, match="unpack"):
            Learning.from_document({**written, "now": broken})


def test_an_overload_is_no_measure_of_the_engine() -> None:
    """Answers wait to be let in, and their ITL is the queue's."""
    seen = replace(answers(12000.0, late=1.0), itl_ms=Known(274.0))
    assert some_taught(Learning(), seen, CAPACITY, serving=3, now_s=60.0).slowdown == 1.0


@pytest.mark.parametrize(
    ("seen", "role"),
    [
        pytest.param(window(late=0.5, lower_bound=True), prefill(4), id="a lower bound of the load"),
        pytest.param(window(late=0.5, ttft=Unknown(Reason.STALE, "old")), prefill(4), id="no mean"),
        pytest.param(window(late=0.5), prefill(0), id="nobody serves"),
        pytest.param(window(late=0.5), prefill(4, rollout=True), id="two revisions serve"),
    ],
)
def test_what_cannot_be_told_teaches_nothing(seen: Observation, role: RoleState) -> None:
    assert taught(Learning(), seen, role, now_s=60.0).experience == Experience()


def test_prompts_that_are_late_in_an_idle_fleet_do_not_count() -> None:
    hopeless = Capacity(
        sla=Sla(ttft_ms=100.0, itl_ms=30.0),
        profile=PROFILE,
        isl=lengths(3000.0, None),
        osl=lengths(300.0, None),
        burstiness=Burstiness(),
    )
    assert observed.late(Role.PREFILL, window(late=0.0), hopeless) == pytest.approx(0.0, abs=0.01)


@given(rate=st.floats(0.1, 500.0), clump_s=st.floats(0.0, 5.0))
def test_prefill_replicas_solve_the_equation_of_heavy_traffic(rate: float, clump_s: float) -> None:
    some = Capacity(
        sla=SLA,
        profile=PROFILE,
        isl=lengths(3000.0, None),
        osl=lengths(300.0, None),
        burstiness=Burstiness(excess=clump_s, square=1.0, plans=1.0),
    )
    prompt_s = PROFILE.prefill.ttft_ms(3000.0) / 1e3
    replicas = some.replicas(Role.PREFILL, rate * 3000.0)
    work, variance = rate * prompt_s, rate * prompt_s**2 * (1.0 + clump_s * rate)
    may_wait_s = SLA.ttft_ms / 1e3 - prompt_s
    # exp(-2 (c - rho) c w / v) = what may be late
    assert math.exp(-2.0 * (replicas - work) * replicas * may_wait_s / variance) == pytest.approx(
        some.allowed, rel=1e-3
    )


@given(rate=st.floats(0.1, 500.0), times=st.floats(1.0, 5.0))
@pytest.mark.parametrize("stage", [Role.PREFILL, Role.DECODE])
def test_larger_fleets_carry_more_per_replica(stage: Role, rate: float, times: float) -> None:
    assert CAPACITY.replicas(stage, rate * times) <= times * CAPACITY.replicas(stage, rate) * (1 + 1e-6)


def in_flight(sequences: float, *, itl_ms: float) -> float:
    seen = Observation(
        window_s=60.0,
        requests=Known(600.0),
        isl_tokens=Known(3000.0),
        osl_tokens=Known(300.0),
        ttft_ms=UNKNOWN,
        itl_ms=Known(itl_ms),
        request_duration_s=UNKNOWN,
        inflight=Known(sequences),
    )
    return observed.in_flight_tokens_s(seen, CAPACITY)


def test_sequences_in_flight_are_a_load_and_what_piles_up_is_none() -> None:
    assert 0.8 * 1e5 < in_flight(2000.0, itl_ms=20.0) < 1e5
    # An overloaded decode: twice the sequences at twice the ITL are the same tokens.
    assert in_flight(4000.0, itl_ms=40.0) == pytest.approx(in_flight(2000.0, itl_ms=20.0), rel=0.05)


def test_a_state_of_a_version_that_kept_an_account_still_holds() -> None:
    seen = after((0.5, 0.25))
    assert Experience.from_document(seen.to_document() | {"acc": [0.01, 600]}) == seen
