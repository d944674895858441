"""What may be said of the arrivals: a zero needs proof, process by process."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaplanner.adapters.prometheus.proof import MOST_REQUESTS, Counter, Witness, arrivals, routed
from slaplanner.core.readings import Known, Reading, Unknown
from slaplanner.core.reasons import Reason

ABSENT = Counter()
IDLE = Counter(grown=0.0, total=621.0, sampled=True)
BUSY = Counter(grown=360.0, total=1000.0, sampled=True)
EAGER = Counter(grown=0.0, total=0.0, sampled=True)
YOUNG = Counter(total=621.0, sampled=True, born=True)
ENDED = Counter(grown=120.0, sampled=True)

REGISTERED = Witness(name="a", registered=True)


def read(*witnesses: Witness, missing: tuple[str, ...] = ()) -> Reading:
    return arrivals(witnesses, missing=missing, asked="Frontend {...}")


@pytest.mark.parametrize(
    ("witness", "reading"),
    [
        pytest.param(replace(REGISTERED, started=BUSY), Known(360.0), id="a-counter-that-rose"),
        pytest.param(replace(REGISTERED, started=IDLE), Known(0.0), id="a-counter-that-did-not-rise"),
        pytest.param(replace(REGISTERED, started=EAGER), Known(0.0), id="eager-zeros-and-no-work"),
        pytest.param(
            replace(REGISTERED, completed=IDLE), Known(0.0), id="an-older-counter-that-did-not-rise"
        ),
        pytest.param(REGISTERED, Known(0.0), id="registered-and-never-asked"),
        pytest.param(replace(REGISTERED, started=ENDED), Known(120.0), id="restarted-and-idle-since"),
        pytest.param(
            replace(REGISTERED, started=IDLE, work=364, moved=True), Known(0.0), id="long-generations"
        ),
        pytest.param(
            replace(REGISTERED, started=YOUNG),
            Known(0.0, lower_bound=True),
            id="one-sample-of-a-young-series",
        ),
        pytest.param(
            replace(REGISTERED, started=replace(BUSY, born=True)),
            Known(360.0, lower_bound=True),
            id="born-within-the-window",
        ),
        pytest.param(
            replace(REGISTERED, started=IDLE, work=5), Known(0.0, lower_bound=True), id="frozen-with-work"
        ),
        pytest.param(
            replace(REGISTERED, started=EAGER, completed=BUSY),
            Known(360.0, lower_bound=True),
            id="arrivals-that-never-count-beside-completions-that-do",
        ),
        pytest.param(
            replace(REGISTERED, started=IDLE, ready=False), Known(0.0, lower_bound=True), id="a-role-is-gone"
        ),
        pytest.param(
            replace(REGISTERED, ready=False),
            Known(0.0, lower_bound=True),
            id="never-asked-and-a-role-is-gone",
        ),
        pytest.param(
            replace(REGISTERED, started=BUSY, ready=False),
            Known(360.0, lower_bound=True),
            id="a-role-was-gone-for-a-while",
        ),
        pytest.param(
            replace(REGISTERED, completed=IDLE, refused=90), Known(0.0, lower_bound=True), id="not-found"
        ),
        pytest.param(
            replace(REGISTERED, started=IDLE, strange=90), Known(0.0, lower_bound=True), id="unknown-model"
        ),
        pytest.param(
            replace(REGISTERED, strange=90), Known(0.0, lower_bound=True), id="never-asked-and-unknown-model"
        ),
        pytest.param(
            replace(REGISTERED, started=BUSY, strange=90),
            Known(360.0, lower_bound=True),
            id="as-many-strangers-as-would-matter",
        ),
        pytest.param(
            replace(REGISTERED, started=BUSY, strange=9), Known(360.0), id="a-few-strangers-beside-many"
        ),
        pytest.param(
            replace(REGISTERED, started=IDLE, strange=90, ready=True),
            Known(0.0),
            id="strangers-beside-a-model-that-is-served",
        ),
        pytest.param(
            replace(REGISTERED, started=EAGER, moved=True),
            Reason.COUNTER_SILENT,
            id="0-since-ever-beside-tokens",
        ),
        pytest.param(
            replace(REGISTERED, started=EAGER, work=1), Reason.COUNTER_SILENT, id="0-since-ever-beside-work"
        ),
        pytest.param(replace(REGISTERED, work=1), Reason.COUNTER_SILENT, id="work-and-no-counter"),
        pytest.param(replace(REGISTERED, moved=True), Reason.COUNTER_SILENT, id="tokens-and-no-counter"),
        pytest.param(Witness(name="a"), Reason.STALE, id="neither-counter-nor-registration"),
        pytest.param(Witness(name="a", scraped=False, started=ENDED), Reason.STALE, id="gone"),
        pytest.param(Witness(name="a", scraped=False), Reason.STALE, id="gone-long-since"),
        pytest.param(
            replace(REGISTERED, started=replace(BUSY, grown=math.nan)), Reason.NOT_A_NUMBER, id="nan"
        ),
        pytest.param(
            replace(REGISTERED, started=replace(BUSY, grown=math.inf)), Reason.NOT_A_NUMBER, id="infinite"
        ),
        pytest.param(
            replace(REGISTERED, started=replace(BUSY, grown=-1.0)), Reason.NOT_A_NUMBER, id="negative"
        ),
        pytest.param(
            replace(REGISTERED, started=replace(BUSY, grown=1e308)), Reason.NOT_A_NUMBER, id="more-than-any"
        ),
    ],
)
def test_one_process(witness: Witness, reading: Reading | Reason) -> None:
    found = read(witness)
    assert (found.reason if isinstance(found, Unknown) else found) == reading


def test_processes_are_pooled() -> None:
    assert read(
        replace(REGISTERED, name="new", started=BUSY),
        replace(REGISTERED, name="old", completed=BUSY),
        replace(REGISTERED, name="silent"),
    ) == Known(720.0)


@pytest.mark.parametrize(
    "other",
    [
        Witness(name="b", scraped=False),
        replace(REGISTERED, name="b", started=IDLE, work=5),
        replace(REGISTERED, name="b", work=5),
        replace(REGISTERED, name="b", started=YOUNG),
    ],
    ids=["gone", "frozen", "without-counter", "young"],
)
def test_one_process_of_two_that_may_hide_load_makes_a_lower_bound(other: Witness) -> None:
    found = read(replace(REGISTERED, started=BUSY), other)
    assert found == Known(360.0, lower_bound=True)
    assert isinstance(found, Known)
    assert "b " in f"{found.because} "


def test_what_else_is_missing_makes_a_lower_bound_and_is_told() -> None:
    found = read(replace(REGISTERED, started=IDLE), missing=("b counts in shop_requests_total",))
    assert found == Known(0.0, lower_bound=True)
    assert isinstance(found, Known)
    assert found.because == "b counts in shop_requests_total"


def test_of_many_causes_the_first_are_told() -> None:
    gone = [Witness(name=f"pod-{number}", scraped=False) for number in range(9)]
    found = read(replace(REGISTERED, started=BUSY), *gone)
    assert isinstance(found, Known)
    assert found.because.endswith(" and 6 more")


COUNTERS = st.builds(
    Counter,
    grown=st.none() | st.just(0.0) | st.floats(0, 1e9),
    total=st.none() | st.just(0.0) | st.floats(0, 1e12),
    sampled=st.booleans(),
    born=st.booleans(),
)
WITNESSES = st.builds(
    Witness,
    name=st.text(max_size=5),
    started=COUNTERS,
    completed=COUNTERS,
    registered=st.booleans(),
    work=st.just(0.0) | st.floats(0, 1e6),
    moved=st.booleans(),
    scraped=st.booleans(),
    ready=st.none() | st.booleans(),
    refused=st.just(0.0) | st.floats(0, 1e6),
    strange=st.just(0.0) | st.floats(0, 1e6),
)


@given(st.lists(WITNESSES, min_size=1, max_size=5))
def test_an_exact_zero_has_a_proof_for_every_process(witnesses: list[Witness]) -> None:
    """Either a fresh counter of arrivals that did not rise, or a registration and no sign of work."""
    found = read(*witnesses)
    if found != Known(0.0):
        return
    for witness in witnesses:
        counter = witness.started if witness.started.sampled else witness.completed
        assert witness.scraped
        assert witness.ready is not False
        assert witness.refused == 0
        assert witness.strange == 0 or witness.ready
        rested = counter.total is not None and counter.grown == 0 and not counter.born
        never_asked = counter.total is None and witness.registered and witness.work == 0
        assert rested or never_asked
        if rested and counter.total == 0:
            assert witness.work == 0
            assert not witness.moved


@given(st.lists(WITNESSES, min_size=1, max_size=5), WITNESSES)
def test_one_more_process_never_makes_a_sum_smaller(witnesses: list[Witness], more: Witness) -> None:
    before, after = read(*witnesses), read(*witnesses, more)
    if isinstance(before, Known) and isinstance(after, Known):
        assert after.value >= before.value or math.isclose(after.value, before.value)
        assert after.lower_bound or not before.lower_bound


@given(st.lists(WITNESSES, min_size=1, max_size=5))
def test_a_reading_is_a_count_or_says_why_not(witnesses: list[Witness]) -> None:
    found = read(*witnesses)
    if isinstance(found, Known):
        assert 0 <= found.value <= MOST_REQUESTS
        assert bool(found.because) is found.lower_bound
    else:
        assert "Frontend {...}" in found.message


ROUTER = Witness(name="a", started=EAGER)
"""As a frontend registers it that does not route by KV cache."""


@pytest.mark.parametrize(
    ("routers", "frontends", "reading"),
    [
        pytest.param(
            [ROUTER], [replace(REGISTERED, started=BUSY)], Reason.COUNTER_SILENT, id="frontend-counts"
        ),
        pytest.param([ROUTER], [replace(REGISTERED, work=3)], Reason.COUNTER_SILENT, id="frontend-holds"),
        pytest.param([ROUTER], [], Reason.COUNTER_SILENT, id="nobody-beside-it"),
        pytest.param([ROUTER], [replace(REGISTERED, started=IDLE)], Known(0.0), id="frontend-rests"),
        pytest.param([ROUTER], [REGISTERED], Known(0.0), id="frontend-was-never-asked"),
        pytest.param([replace(ROUTER, started=IDLE)], [], Known(0.0), id="a-router-that-has-counted"),
        pytest.param(
            [replace(ROUTER, started=IDLE)],
            [replace(REGISTERED, started=IDLE, work=9, moved=True)],
            Known(0.0),
            id="long-generations-behind-a-router-that-has-counted",
        ),
        pytest.param(
            [replace(ROUTER, started=IDLE)],
            [replace(REGISTERED, started=BUSY)],
            Reason.COUNTER_SILENT,
            id="a-router-that-counts-no-more",
        ),
        pytest.param(
            [replace(ROUTER, name="standalone")],
            [replace(REGISTERED, started=BUSY)],
            Reason.COUNTER_SILENT,
            id="a-router-of-its-own",
        ),
        pytest.param(
            [replace(ROUTER, started=BUSY), replace(ROUTER, name="b")],
            [replace(REGISTERED, started=BUSY), replace(REGISTERED, name="b", started=BUSY)],
            Known(360.0, lower_bound=True),
            id="one-of-two-routes-by-kv-cache",
        ),
        pytest.param(
            [replace(ROUTER, started=BUSY), replace(ROUTER, name="standby")],
            [replace(REGISTERED, started=BUSY)],
            Known(360.0),
            id="a-standby-router",
        ),
    ],
)
def test_routers(routers: list[Witness], frontends: list[Witness], reading: Reading | Reason) -> None:
    found = routed(routers, frontends, asked="Router {...}")
    assert (found.reason if isinstance(found, Unknown) else found) == reading


@given(st.lists(WITNESSES, min_size=1, max_size=3), st.floats(1, 1e6))
def test_no_router_proves_a_zero_beside_a_frontend_that_counts(routers: list[Witness], grown: float) -> None:
    busy = [replace(REGISTERED, name=router.name, started=replace(BUSY, grown=grown)) for router in routers]
    assert routed(routers, busy, asked="Router {...}") != Known(0.0)
