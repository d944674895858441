"""How a component's replicas come and go."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaplanner_lab.fleet.replicas import ComponentReplicas, Wanted, adopt, step

STARTUP_S = 20.0


def wanted(replicas: int, revision: str = "a", **more: object) -> Wanted:
    return replace(Wanted(replicas=replicas, revision=revision, startup_s=STARTUP_S), **more)  # type: ignore[arg-type]


def drained(pool: ComponentReplicas) -> frozenset[int]:
    return frozenset(replica.id for replica in pool.replicas if replica.draining)


def settle(
    pool: ComponentReplicas, goal: Wanted, now_s: float = 1000.0, steps: int = 60
) -> tuple[ComponentReplicas, float]:
    """Step until long after everything has started and drained."""
    for _ in range(steps):
        now_s += STARTUP_S
        pool = step(pool, replace(goal, drained=drained(pool)), now_s)
    return pool, now_s


def test_a_new_replica_serves_after_its_start_up() -> None:
    pool = step(ComponentReplicas(), wanted(2), 100.0)
    assert len(pool.replicas) == 2
    assert not pool.serving(100.0 + STARTUP_S - 0.1)
    assert len(pool.serving(100.0 + STARTUP_S)) == 2


def test_replicas_that_still_start_go_before_those_that_serve() -> None:
    pool = step(adopt(serving=2, revision="a", now_s=0.0), wanted(4), 10.0)
    pool = step(pool, wanted(3), 11.0)
    assert [replica.id for replica in pool.replicas] == [0, 1, 2]
    assert not any(replica.draining for replica in pool.replicas)


def test_the_youngest_serving_replica_drains_and_goes_when_it_has_finished() -> None:
    pool = step(adopt(serving=3, revision="a", now_s=0.0), wanted(2), 10.0)
    assert drained(pool) == {2}
    assert len(step(pool, wanted(2), 11.0).replicas) == 3
    assert len(step(pool, wanted(2, drained=frozenset({2})), 12.0).replicas) == 2


def test_a_draining_replica_does_not_come_back() -> None:
    pool = step(adopt(serving=2, revision="a", now_s=0.0), wanted(1), 10.0)
    pool = step(pool, wanted(2), 11.0)
    assert len(pool.replicas) == 3
    assert len(pool.serving(11.0)) == 1


def test_replicas_without_a_place_wait_and_can_be_cancelled_at_once() -> None:
    pool = step(adopt(serving=1, revision="a", now_s=0.0), wanted(4, placeable=1), 10.0)
    assert [replica.placed_s for replica in pool.replicas] == [0.0, 10.0, None, None]
    assert len(step(pool, wanted(2, placeable=0), 11.0).replicas) == 2


def test_a_crash_looping_replica_stays_the_same_one_while_others_grow() -> None:
    pool, now_s = settle(ComponentReplicas(), wanted(3, crash_looping=1))
    crashing = [replica.id for replica in pool.replicas if replica.crashing]
    assert len(pool.serving(now_s)) == 2
    pool, now_s = settle(pool, wanted(5, crash_looping=1), now_s)
    assert [replica.id for replica in pool.replicas if replica.crashing] == crashing
    assert len(pool.serving(now_s)) == 4
    pool, now_s = settle(pool, wanted(5), now_s)
    assert len(pool.serving(now_s)) == 5


@pytest.mark.parametrize("replicas", [1, 2, 4, 9])
def test_a_rollout_never_has_too_few_serving_nor_too_many_alive(replicas: int) -> None:
    pool = adopt(serving=replicas, revision="a", now_s=0.0)
    surge, unavailable = -(-replicas // 4), replicas // 4
    now_s, goal = 0.0, wanted(replicas, revision="b")
    for _ in range(20 * replicas):
        now_s += STARTUP_S / 2
        pool = step(pool, replace(goal, drained=drained(pool)), now_s)
        assert len(pool.alive) <= replicas + surge
        assert len(pool.serving(now_s)) >= replicas - unavailable
    assert not pool.rolling_out
    assert {replica.revision for replica in pool.replicas} == {"b"}


@given(
    st.lists(
        st.tuples(st.integers(0, 6), st.sampled_from("ab"), st.integers(0, 2), st.none() | st.integers(0, 3)),
        max_size=8,
    ),
    st.integers(0, 6),
)
def test_whatever_happened_before_what_is_wanted_is_reached(
    history: list[tuple[int, str, int, int | None]], replicas: int
) -> None:
    pool, now_s = ComponentReplicas(), 0.0
    for count, revision, crash_looping, placeable in history:
        goal = wanted(
            count, revision, crash_looping=crash_looping, placeable=placeable, drained=drained(pool)
        )
        pool = step(pool, goal, now_s)
        assert len({replica.id for replica in pool.replicas}) == len(pool.replicas)
        now_s += 15.0
    pool, now_s = settle(pool, wanted(replicas, "b"), now_s)
    assert len(pool.serving(now_s)) == len(pool.replicas) == replicas
    assert {replica.revision for replica in pool.replicas} <= {"b"}
    assert not pool.rolling_out


@given(st.integers(0, 9))
def test_at_the_goal_nothing_moves(replicas: int) -> None:
    pool, now_s = settle(ComponentReplicas(), wanted(replicas))
    assert step(pool, wanted(replicas), now_s + 1.0) == pool
