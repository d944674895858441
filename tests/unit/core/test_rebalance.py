"""Moving replicas between roles under a budget, in any world that is slow to follow."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaplanner.core.model import Fleet, Role, RoleState
from slaplanner.core.reasons import Reason
from slaplanner.core.rebalance import ReplicaWrite, ScalingStep, next_step

P, D = Role.PREFILL, Role.DECODE


def role(
    which: Role,
    replicas: int,
    *,
    present: int | None = -1,
    gpus: int | None = 1,
    settled: bool = True,
    rollout: bool = False,
) -> RoleState:
    """*present* defaults to the replicas that are asked for."""
    return RoleState(
        role=which,
        component=which.value,
        replicas=replicas,
        present=replicas if present == -1 else present,
        gpus_per_replica=gpus,
        settled=settled,
        rollout=rollout,
    )


def fleet(*roles: RoleState) -> Fleet:
    return Fleet(roles=roles)


def moves(step: ScalingStep) -> list[tuple[Role, int, int]]:
    return [(write.role, write.before, write.replicas) for write in step.writes]


@pytest.mark.parametrize(
    ("roles", "desired", "budget", "expected", "waiting_for"),
    [
        pytest.param((role(P, 2), role(D, 3)), {P: 2, D: 3}, 8, [], None, id="nothing-to-do"),
        pytest.param(
            (role(P, 2), role(D, 3)), {P: 4, D: 4}, 8, [(P, 2, 4), (D, 3, 4)], None, id="room-for-both"
        ),
        pytest.param(
            (role(P, 2), role(D, 6)), {P: 5, D: 3}, 8, [(D, 6, 3)], Reason.GPU_BUDGET, id="shrink-first"
        ),
        pytest.param(
            (role(P, 2), role(D, 3, present=6)), {P: 5, D: 3}, 8, [], Reason.GPU_BUDGET,
            id="terminating-replicas-hold-their-gpus",
        ),
        pytest.param(
            (role(P, 2), role(D, 3, present=4)), {P: 5, D: 3}, 8, [(P, 2, 4)], Reason.GPU_BUDGET,
            id="grow-into-what-is-free-already",
        ),
        pytest.param(
            (role(P, 2), role(D, 3)), {P: 5, D: 3}, 8, [(P, 2, 5)], None, id="then-grow",
        ),
        pytest.param(
            (role(P, 2), role(D, 6)), {P: 5, D: 3}, None, [(D, 6, 3), (P, 2, 5)], None, id="no-budget",
        ),
        pytest.param(
            (role(P, 6), role(D, 6)), {P: 7, D: 4}, 8, [(D, 6, 4)], Reason.GPU_BUDGET,
            id="above-the-budget-already",
        ),
        pytest.param(
            (role(P, 1, gpus=4), role(D, 4, gpus=2)), {P: 2, D: 5}, 17, [(P, 1, 2)], Reason.GPU_BUDGET,
            id="whole-replicas-only",
        ),
        pytest.param(
            (role(P, 1), role(D, 3, present=None, settled=False)), {P: 2, D: 2}, 8, [(D, 3, 2)],
            Reason.NOT_REPORTED, id="what-the-target-has-not-said-is-not-free",
        ),
        pytest.param(
            (role(P, 1), role(D, 3, present=None)), {P: 2, D: 3}, 8, [(P, 1, 2)], None,
            id="a-settled-target-without-counts-holds-what-it-asks-for",
        ),
        pytest.param(
            (role(P, 1), role(D, 3, gpus=None)), {P: 2, D: 2}, 8, [], Reason.GPUS_UNKNOWN,
            id="gpus-unknown-under-a-budget-writes-nothing",
        ),
        pytest.param(
            (role(P, 1), role(D, 3, gpus=None)), {P: 2}, None, [(P, 1, 2)], None,
            id="gpus-do-not-matter-without-a-budget",
        ),
        pytest.param((role(P, 1), role(D, 7)), {P: 2}, 8, [], Reason.GPU_BUDGET, id="absent-roles-count"),
        pytest.param(
            (role(P, 4, rollout=True), role(D, 1)), {P: 1, D: 3}, 8, [(D, 1, 3)], Reason.ROLLOUT_BLOCKS,
            id="a-rollout-that-began-since-is-not-disturbed",
        ),
        pytest.param(
            (role(P, 1, rollout=True), role(D, 1)), {P: 2, D: 3}, None, [(D, 1, 3)], Reason.ROLLOUT_BLOCKS,
            id="nor-without-a-budget",
        ),
        pytest.param(
            (role(P, 4, rollout=True), role(D, 1)), {P: 1, D: 9}, 8, [(D, 1, 4)], Reason.GPU_BUDGET,
            id="its-gpus-are-not-free-meanwhile",
        ),
    ],
)  # fmt: skip
def test_what_may_be_written_now(
    roles: tuple[RoleState, ...],
    desired: dict[Role, int],
    budget: int | None,
    expected: list[tuple[Role, int, int]],
    waiting_for: Reason | None,
) -> None:
    step = next_step(fleet(*roles), desired, budget)
    assert moves(step) == expected
    assert step.waiting_for is waiting_for


def test_what_waits_starts_where_the_writes_end() -> None:
    step = next_step(fleet(role(P, 2), role(D, 3, present=4)), {P: 5, D: 3}, 8)
    assert step.waiting == (ReplicaWrite(role=P, component="prefill", before=4, replicas=5),)


@dataclass
class Pool:
    """Replicas of one role in a world that follows its spec when it gets to it."""

    gpus: int
    spec: int
    active: int
    terminating: int = 0
    seen_spec: int = field(default=-1)

    def __post_init__(self) -> None:
        self.seen_spec = self.spec

    def follow(self) -> None:
        """The deployment's controller acts on the spec, and its status says so."""
        self.terminating += max(0, self.active - self.spec)
        self.active = self.seen_spec = self.spec

    def finish_one(self) -> None:
        self.terminating = max(0, self.terminating - 1)

    @property
    def held(self) -> int:
        return self.gpus * (self.active + self.terminating)

    def state(self, which: Role) -> RoleState:
        current = self.seen_spec == self.spec
        return RoleState(
            role=which,
            replicas=self.spec,
            present=self.active + self.terminating if current else None,
            gpus_per_replica=self.gpus,
            settled=current and self.terminating == 0,
        )


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Pool], dict[Role, int], int]:
    """Two roles within a budget, and a wish that fits it too."""
    gpus = [draw(st.integers(1, 8)) for _ in range(2)]
    now = [draw(st.integers(1, 12)) for _ in range(2)]
    wish = [draw(st.integers(1, 12)) for _ in range(2)]
    needed = max(sum(g * n for g, n in zip(gpus, size, strict=True)) for size in (now, wish))
    budget = needed + draw(st.integers(0, 10))
    pools = [Pool(gpus=g, spec=n, active=n) for g, n in zip(gpus, now, strict=True)]
    return pools, dict(zip((P, D), wish, strict=True)), budget


@given(world=worlds(), data=st.data())
def test_the_budget_holds_at_every_moment_whatever_the_world_does_meanwhile(
    world: tuple[list[Pool], dict[Role, int], int], data: st.DataObject
) -> None:
    pools, desired, budget = world
    by_role = dict(zip((P, D), pools, strict=True))

    def check() -> None:
        assert sum(pool.held for pool in pools) <= budget
        assert sum(pool.gpus * pool.spec for pool in pools) <= budget

    for _ in range(data.draw(st.integers(1, 25))):
        action = data.draw(
            st.sampled_from(["plan", "crash", "follow-p", "follow-d", "drain-p", "drain-d", "wish"])
        )
        if action == "wish":
            wish = {which: data.draw(st.integers(1, 12)) for which in (P, D)}
            if sum(by_role[which].gpus * count for which, count in wish.items()) <= budget:
                desired = wish
        elif action.startswith("follow"):
            pools[action == "follow-d"].follow()
        elif action.startswith("drain"):
            pools[action == "drain-d"].finish_one()
        else:
            step = next_step(fleet(*(pool.state(which) for which, pool in by_role.items())), desired, budget)
            survived = step.writes if action == "plan" else step.writes[:1]
            for write in survived:
                by_role[write.role].spec = write.replicas
                check()
        check()


@given(world=worlds())
def test_a_move_arrives_when_the_world_follows(
    world: tuple[list[Pool], dict[Role, int], int],
) -> None:
    pools, desired, budget = world
    by_role = dict(zip((P, D), pools, strict=True))
    for _ in range(80):
        step = next_step(fleet(*(pool.state(which) for which, pool in by_role.items())), desired, budget)
        for write in step.writes:
            by_role[write.role].spec = write.replicas
        for pool in pools:
            pool.follow()
            pool.finish_one()
    assert {which: pool.spec for which, pool in by_role.items()} == desired
    assert (
        next_step(fleet(*(pool.state(which) for which, pool in by_role.items())), desired, budget)
        == ScalingStep()
    )


@given(world=worlds(), room=st.one_of(st.none(), st.integers(0, 200)))
def test_shrinking_never_waits_and_comes_first(
    world: tuple[list[Pool], dict[Role, int], int], room: int | None
) -> None:
    pools, desired, _ = world
    states = [pool.state(which) for which, pool in zip((P, D), pools, strict=True)]
    step = next_step(fleet(*states), desired, room)
    shrinking = [write for write in step.writes if write.shrinks]
    assert list(step.writes[: len(shrinking)]) == shrinking
    assert {write.role for write in shrinking} == {
        state.role for state in states if desired[state.role] < state.replicas
    }
    assert not any(write.shrinks for write in step.waiting)
