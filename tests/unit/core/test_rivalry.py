"""A fight over replicas: seen after the third revert, given way to, tried again, forgotten."""

import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from slaplanner.core.model import Role
from slaplanner.core.rebalance import ReplicaWrite
from slaplanner.core.rivalry import (
    FIRST_PAUSE_S,
    FORGET_S,
    LONGEST_PAUSE_S,
    REVERTS,
    Rivalry,
    asked,
    ended,
    from_document,
    let_go,
    looked,
    peace,
    to_document,
    wrote,
)

NOON = 1_800_000_000.0
INTERVAL_S = 180.0
ARGOCD = "argocd-controller"
THEIRS = {Role.DECODE: (ARGOCD,)}
OURS: dict[Role, tuple[str, ...]] = {Role.DECODE: ()}


def write(replicas: int) -> ReplicaWrite:
    return ReplicaWrite(role=Role.DECODE, before=1, replicas=replicas)


def look(
    rivalry: Rivalry,
    replicas: int,
    owners: dict[Role, tuple[str, ...]],
    *,
    at_s: float,
    interval_s: float = INTERVAL_S,
) -> Rivalry:
    return looked(rivalry, {Role.DECODE: replicas}, owners, now_s=at_s, interval_s=interval_s)


def reverted(
    times: int, *, start_s: float = NOON, every_s: float = INTERVAL_S, rivalry: Rivalry | None = None
) -> Rivalry:
    """Written as 4 and found as 1, that many times; the last look is at the last revert."""
    rivalry = rivalry or peace()
    for number in range(times):
        rivalry = look(
            wrote(rivalry, [write(4)]), 1, THEIRS, at_s=start_s + number * every_s, interval_s=every_s
        )
    return rivalry


def test_what_stands_as_written_is_peace():
    assert look(wrote(peace(), [write(4)]), 4, OURS, at_s=NOON).rivals == ()


def test_one_correction_by_hand_is_no_fight():
    rivalry = reverted(REVERTS - 1)
    assert rivalry.rivals == ()
    assert rivalry.may_write(NOON)


def test_the_third_revert_is_a_fight_and_names_who():
    rivalry = reverted(REVERTS)
    assert (rivalry.rivals, rivalry.roles) == ((ARGOCD,), (Role.DECODE,))
    assert not rivalry.may_write(rivalry.reverted_at_s[-1] + FIRST_PAUSE_S - 1)


def test_a_number_that_changed_without_another_owner_is_nobodys_revert():
    rivalry = peace()
    for number in range(10):
        rivalry = look(wrote(rivalry, [write(4)]), 1, OURS, at_s=NOON + number * INTERVAL_S)
    assert rivalry == replace(peace(), wrote={Role.DECODE: 4})


def test_one_revert_is_counted_once_however_often_it_is_looked_at():
    rivalry = reverted(1)
    for number in range(10):
        rivalry = look(rivalry, 1, THEIRS, at_s=NOON + number)
    assert len(rivalry.reverted_at_s) == 1


def test_reverts_hours_apart_are_forgotten():
    assert reverted(10, every_s=FORGET_S).rivals == (ARGOCD,), "plans every hour remember ten of them"
    rivalry = peace()
    for number in range(10):
        rivalry = look(wrote(rivalry, [write(4)]), 1, THEIRS, at_s=NOON + number * (FORGET_S + 1))
    assert rivalry.rivals == ()


def test_a_try_that_is_reverted_doubles_the_pause_up_to_an_hour():
    rivalry, pauses = reverted(REVERTS), []
    for _ in range(6):
        pauses.append(rivalry.pause_s)
        at_s = rivalry.retry_at_s
        assert rivalry.may_write(at_s)
        rivalry = look(wrote(rivalry, [write(4)]), 1, THEIRS, at_s=at_s + 1)
    assert pauses == [300, 600, 1200, 2400, LONGEST_PAUSE_S, LONGEST_PAUSE_S]


def test_a_try_that_holds_ends_the_fight():
    rivalry = reverted(REVERTS)
    rivalry = look(wrote(rivalry, [write(4)]), 4, OURS, at_s=rivalry.retry_at_s + INTERVAL_S)
    assert rivalry.rivals == ()


def test_a_rival_that_comes_back_soon_is_known_at_once():
    rivalry = reverted(1, start_s=NOON + 600, rivalry=ended(reverted(REVERTS, every_s=10)))
    assert rivalry.rivals == (ARGOCD,)
    assert rivalry.pause_s == 2 * FIRST_PAUSE_S


def test_a_rival_that_lets_each_try_stand_for_a_while_is_told_of_less_than_twice_an_hour():
    rivalry, replicas, begun = peace(), 1, 0
    plans = range(int(24 * 3600 / INTERVAL_S))
    for number in plans:
        at_s = NOON + number * INTERVAL_S
        before = rivalry
        rivalry = look(rivalry, replicas, THEIRS if replicas == 1 else OURS, at_s=at_s)
        begun += bool(rivalry.rivals) and not before.rivals
        if replicas == 4 and number % 3 == 0:
            replicas = 1
        elif replicas == 1 and rivalry.may_write(at_s):
            rivalry, replicas = wrote(rivalry, [write(4)]), 4
    assert 2 <= begun < 2 * 24


def test_replicas_that_nobody_else_owns_any_more_end_the_fight():
    assert look(reverted(REVERTS), 1, OURS, at_s=NOON + 600).rivals == ()


def test_a_request_of_the_user_makes_the_next_try_due():
    rivalry = reverted(REVERTS)
    assert asked(rivalry).may_write(NOON)
    assert asked(rivalry).rivals == (ARGOCD,), "it is not over before a try has held"


def test_what_others_write_while_nothing_may_be_written_is_their_right():
    rivalry = peace()
    for number in range(2 * REVERTS):
        rivalry = look(let_go(wrote(rivalry, [write(4)])), 1, THEIRS, at_s=NOON + number * INTERVAL_S)
    assert rivalry == peace()


def test_a_pause_ends_no_fight():
    assert look(let_go(reverted(REVERTS)), 1, THEIRS, at_s=NOON + 600).rivals == (ARGOCD,)


def test_a_role_that_was_given_up_is_not_watched():
    rivalry = wrote(peace(), [ReplicaWrite(role=Role.PREFILL, before=1, replicas=2)])
    assert look(rivalry, 1, THEIRS, at_s=NOON) == rivalry


@given(times=st.integers(0, 6), every_s=st.floats(1, 1000), held=st.booleans())
def test_a_restart_forgets_nothing(times: int, every_s: float, held: bool):
    rivalry = reverted(times, every_s=every_s)
    rivalry = ended(rivalry) if held else rivalry
    kept = from_document(json.loads(json.dumps(to_document(rivalry))))
    assert (kept.rivals, kept.roles, kept.wrote) == (rivalry.rivals, rivalry.roles, rivalry.wrote)
    assert abs(kept.retry_at_s - rivalry.retry_at_s) <= 0.5
    assert len(kept.reverted_at_s) == len(rivalry.reverted_at_s)


@given(
    looks=st.lists(
        st.tuples(st.integers(1, 4), st.booleans(), st.booleans(), st.floats(1, 5000)), max_size=40
    )
)
def test_memory_stays_small_and_a_pause_ends_whatever_happens(
    looks: list[tuple[int, bool, bool, float]],
):
    rivalry, now_s = peace(), NOON
    for replicas, theirs, writes, later_s in looks:
        now_s += later_s
        if writes:
            rivalry = wrote(rivalry, [write(4)])
        rivalry = look(rivalry, replicas, THEIRS if theirs else OURS, at_s=now_s)
        assert len(rivalry.reverted_at_s) <= REVERTS
        assert rivalry.may_write(now_s + LONGEST_PAUSE_S)
        assert len(json.dumps(to_document(rivalry))) < 300
