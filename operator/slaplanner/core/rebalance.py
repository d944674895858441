"""From the current replicas to the decided ones, without ever exceeding the budget.

To move GPUs from one role to another, the first must shrink before the second grows, and a pod holds its GPUs until
it has gone. A script of these steps would break when the operator is killed. Instead `next_step` looks at the fleet as
it is and says what may be written now. The rest is written when `next_step` is asked again, also by the next operator.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from slaplanner.core.model import Fleet, Role, RoleState
from slaplanner.core.reasons import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaWrite:
    """One role's replicas, from what its spec asks for now to what it should ask for."""

    role: Role
    component: str = ""
    before: int
    replicas: int

    @property
    def shrinks(self) -> bool:
        return self.replicas < self.before


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingStep:
    """What to write now, in this order, and what has to wait (from there to what was decided)."""

    writes: tuple[ReplicaWrite, ...] = ()
    waiting: tuple[ReplicaWrite, ...] = ()
    waiting_for: Reason | None = None
    """GPU_BUDGET: GPUs are still held by replicas that go; NOT_REPORTED: the target has not said yet
    what it holds; GPUS_UNKNOWN: nobody can say how many GPUs a replica takes; ROLLOUT_BLOCKS: a new
    revision replaces the role's replicas."""


def next_step(fleet: Fleet, desired: Mapping[Role, int], gpu_budget: int | None) -> ScalingStep:
    """The writes that are safe now on the way from *fleet* to *desired*.

    A role in the middle of a rollout, its own or one that defers its scaling, is left alone, also by a move
    that was decided before the rollout began. Shrinking comes first. Growth takes only GPUs that nobody holds: a role holds the replicas that
    its spec asks for or those that still exist, whichever are more. So every prefix of the writes,
    and the fleet at every moment after them, stays within *gpu_budget*, if it was within it before.

    Args:
        fleet: what runs; roles that are absent from *desired* stay as they are and count.
        desired: replicas per role.
        gpu_budget: GPUs that all roles of *fleet* together may hold; None is no limit.
    """
    moves = [
        ReplicaWrite(
            role=state.role,
            component=state.component,
            before=state.replicas,
            replicas=desired[state.role],
        )
        for state in fleet.roles
        if desired.get(state.role, state.replicas) != state.replicas
    ]
    rolling = tuple(move for move in moves if _rolls(fleet.role(move.role)))
    shrinking = tuple(move for move in moves if move.shrinks and move not in rolling)
    growing = tuple(move for move in moves if not move.shrinks and move not in rolling)
    if gpu_budget is None:
        return _step(shrinking + growing, rolling=rolling)
    if any(state.gpus_per_replica is None for state in fleet.roles):
        return ScalingStep(waiting=tuple(moves), waiting_for=Reason.GPUS_UNKNOWN) if moves else ScalingStep()

    held = [_held_gpus(state) for state in fleet.roles]
    if growing and None in held:
        return _step(shrinking, rolling=rolling, waiting=growing, waiting_for=Reason.NOT_REPORTED)
    free = gpu_budget - sum(gpus for gpus in held if gpus is not None)
    grown: list[ReplicaWrite] = []
    waiting: list[ReplicaWrite] = []
    for move in growing:
        per_replica = fleet.role(move.role).gpus_per_replica or 0
        room = move.replicas - move.before
        if per_replica:
            room = min(room, max(0, free) // per_replica)
        reachable = move.before + room
        free -= room * per_replica
        if room:
            grown.append(_between(move, move.before, reachable))
        if reachable < move.replicas:
            waiting.append(_between(move, reachable, move.replicas))
    return _step((*shrinking, *grown), rolling=rolling, waiting=tuple(waiting), waiting_for=Reason.GPU_BUDGET)


def _step(
    writes: tuple[ReplicaWrite, ...],
    *,
    rolling: tuple[ReplicaWrite, ...],
    waiting: tuple[ReplicaWrite, ...] = (),
    waiting_for: Reason | None = None,
) -> ScalingStep:
    """What waits for the GPUs of others names the reason before what waits for its own rollout."""
    because = waiting_for if waiting else None
    return ScalingStep(
        writes=writes,
        waiting=(*waiting, *rolling),
        waiting_for=Reason.ROLLOUT_BLOCKS if rolling and because is None else because,
    )


def _rolls(state: RoleState) -> bool:
    return state.rollout or state.waits_for is Reason.SCALING_DEFERRED


def _held_gpus(state: RoleState) -> int | None:
    """GPUs that the role holds or may take at any moment; None when its target has not said."""
    present = state.present
    if present is None:
        if not state.settled:
            return None
        present = state.replicas
    return max(state.replicas, present) * (state.gpus_per_replica or 0)


def _between(move: ReplicaWrite, before: int, replicas: int) -> ReplicaWrite:
    return ReplicaWrite(role=move.role, component=move.component, before=before, replicas=replicas)
