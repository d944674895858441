"""How a component's replicas come and go: a pure step from one moment to the next.

A replica is created, waits for a place, starts for some time, serves, drains and is gone. A change
of the pod template replaces replicas a few at a time, as a Deployment does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

SURGE_SHARE = 0.25
"""A Deployment's default maxSurge (rounded up) and maxUnavailable (rounded down)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One replica, from its creation until it is gone."""

    id: int
    revision: str
    created_s: float
    placed_s: float | None = None
    """When it got its GPUs; None: it waits for them."""
    ready_s: float | None = None
    """When it will serve, or since when it does; None: not placed, or crash-looping."""
    crashing: bool = False
    draining: bool = False
    """It takes no new requests, finishes what it has, and still holds its GPUs."""

    def serves(self, now_s: float) -> bool:
        return not self.draining and self.ready_s is not None and self.ready_s <= now_s


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentReplicas:
    """The replicas of one component."""

    replicas: tuple[Replica, ...] = ()
    next_id: int = 0
    revisions: tuple[str, ...] = ()
    """The current revision, and before it the one that it replaces while a rollout lasts."""

    @property
    def alive(self) -> tuple[Replica, ...]:
        return tuple(replica for replica in self.replicas if not replica.draining)

    @property
    def rolling_out(self) -> bool:
        return len(self.revisions) > 1

    def serving(self, now_s: float) -> tuple[Replica, ...]:
        return tuple(replica for replica in self.replicas if replica.serves(now_s))


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a component's spec and the world around it ask for."""

    replicas: int
    revision: str
    startup_s: float
    crash_looping: int = 0
    """So many replicas never become ready."""
    up: frozenset[int] | None = None
    """Replicas that say themselves that they are ready; None: each is so `startup_s` after it was placed."""
    drained: frozenset[int] = field(default_factory=frozenset)
    """Draining replicas that have finished their last request."""
    placeable: int | None = None
    """Further replicas that find GPUs now; None: all do."""


def adopt(*, serving: int, revision: str, now_s: float) -> ComponentReplicas:
    """The pool of a component that was already serving when the fleet started."""
    return ComponentReplicas(
        replicas=tuple(
            Replica(id=index, revision=revision, created_s=now_s, placed_s=now_s, ready_s=now_s)
            for index in range(serving)
        ),
        next_id=serving,
        revisions=(revision,),
    )


def step(pool: ComponentReplicas, wanted: Wanted, now_s: float) -> ComponentReplicas:
    """Move *pool* towards *wanted*: drop what is drained, drain, create, place, crash."""
    revisions = pool.revisions
    if not revisions or revisions[-1] != wanted.revision:
        revisions = (*revisions[-1:], wanted.revision)
    left = tuple(r for r in pool.replicas if not (r.draining and r.id in wanted.drained))
    pool = replace(pool, replicas=left, revisions=revisions)
    for move in (_drain, _create, _place, _crash, _hear, _finish_rollout):
        pool = move(pool, wanted, now_s)
    return pool


def _drain(pool: ComponentReplicas, wanted: Wanted, now_s: float) -> ComponentReplicas:
    """Let go of surplus replicas: of an old revision, then not serving yet, then the youngest."""
    old = [r for r in pool.alive if r.revision != wanted.revision]
    current = sorted(
        (r for r in pool.alive if r.revision == wanted.revision), key=lambda r: not r.serves(now_s)
    )
    surplus = current[wanted.replicas :]
    if old:
        unavailable = math.floor(wanted.replicas * SURGE_SHARE)
        spare = max(0, len(pool.serving(now_s)) - (wanted.replicas - unavailable))
        busy = [r for r in old if r.serves(now_s)]
        surplus += [r for r in old if not r.serves(now_s)] + busy[:spare]
    going = {r.id for r in surplus}
    # one that never served has no request to finish and is gone at once
    kept = (r for r in pool.replicas if r.id not in going or r.serves(now_s))
    return replace(pool, replicas=tuple(replace(r, draining=r.draining or r.id in going) for r in kept))


def _create(pool: ComponentReplicas, wanted: Wanted, now_s: float) -> ComponentReplicas:
    current = sum(r.revision == wanted.revision for r in pool.alive)
    surge = math.ceil(wanted.replicas * SURGE_SHARE) if pool.rolling_out else 0
    count = max(0, min(wanted.replicas - current, wanted.replicas + surge - len(pool.alive)))
    born = tuple(
        Replica(id=pool.next_id + index, revision=wanted.revision, created_s=now_s) for index in range(count)
    )
    return replace(pool, replicas=pool.replicas + born, next_id=pool.next_id + count)


def _place(pool: ComponentReplicas, wanted: Wanted, now_s: float) -> ComponentReplicas:
    waiting = [r.id for r in pool.replicas if r.placed_s is None]
    placed = set(waiting[: wanted.placeable])
    return replace(
        pool,
        replicas=tuple(
            replace(r, placed_s=now_s, ready_s=now_s + wanted.startup_s) if r.id in placed else r
            for r in pool.replicas
        ),
    )


def _crash(pool: ComponentReplicas, wanted: Wanted, now_s: float) -> ComponentReplicas:
    """Those that crash go on crashing, others join from the newest; one that is let off starts anew."""
    candidates = sorted(
        (r for r in pool.alive if r.placed_s is not None), key=lambda r: (not r.crashing, -r.id)
    )
    crashing = {r.id for r in candidates[: wanted.crash_looping]}

    def moved(replica: Replica) -> Replica:
        if replica.id in crashing:
            return replace(replica, crashing=True, ready_s=None)
        if replica.crashing:
            return replace(replica, crashing=False, ready_s=now_s + wanted.startup_s)
        return replica

    return replace(pool, replicas=tuple(map(moved, pool.replicas)))


def _hear(pool: ComponentReplicas, wanted: Wanted, now_s: float) -> ComponentReplicas:
    """Take the replicas' own word for who is ready, and since when."""
    up = wanted.up
    if up is None:
        return pool

    def heard(replica: Replica) -> Replica:
        if replica.draining or replica.id in up:
            return replace(replica, ready_s=min(replica.ready_s or now_s, now_s))
        return replace(replica, ready_s=None)

    return replace(pool, replicas=tuple(heard(r) if not r.crashing else r for r in pool.replicas))


def _finish_rollout(pool: ComponentReplicas, wanted: Wanted, now_s: float) -> ComponentReplicas:
    old = any(r.revision != wanted.revision for r in pool.alive)
    if old or len(pool.serving(now_s)) < wanted.replicas:
        return pool
    return replace(pool, revisions=(wanted.revision,))
