"""A fleet of prefill and decode workers that serves requests: the one model of an engine.

The simulator plays a day of it in seconds, the live fleet plays it beside the wall clock; both call
this class, so what is measured in one holds in the other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from slaplanner.core.arrays import Floats
from slaplanner.core.model import Mode, Role
from slaplanner_lab.engine import kernels
from slaplanner_lab.engine.heaps_and_queues import tree_update
from slaplanner_lab.engine.state import (
    AGG,
    DECODE,
    DRAINING,
    FREE,
    NONE,
    PREFILL,
    QUEUE,
    READY,
    ROLES,
    STARTING,
    TOTALS,
    Arena,
    Integers,
    Records,
    empty_requests,
    empty_workers,
)
from slaplanner_lab.engine.tables import EngineTables

INDEX = {Role.PREFILL: PREFILL, Role.DECODE: DECODE, Role.AGG: AGG}
"""The roles that workers of this model play."""


class Requests(NamedTuple):
    """What became of requests: one entry per request in order of submission; NaN is not yet, or never."""

    arrival_s: Floats
    isl_tokens: npt.NDArray[np.int32]
    osl_tokens: npt.NDArray[np.int32]
    prefill_start_s: Floats
    first_token_s: Floats
    admitted_s: Floats
    """First admitted to a decode batch."""
    last_token_s: Floats
    refused: npt.NDArray[np.bool_]
    """Larger than the KV of a worker: never served."""

    @property
    def ttft_ms(self) -> Floats:
        """Arrival to first token."""
        return (self.first_token_s - self.arrival_s) * 1e3

    @property
    def itl_ms(self) -> Floats:
        """Mean gap between the tokens of a request, the wait for decode included; 0 with one token."""
        gaps = np.maximum(self.osl_tokens - 1, 1)
        return (self.last_token_s - self.first_token_s) / gaps * 1e3

    @property
    def duration_s(self) -> Floats:
        """Arrival to last token."""
        return self.last_token_s - self.arrival_s


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleGauges:
    """One role now. Workers by phase; requests in service; `waiting` in the role's queue."""

    starting: int
    ready: int
    draining: int
    running: int
    waiting: int
    kv_usage: float
    """Mean share of the KV in use over ready and draining workers; prefill: of workers that are busy."""
    worker_s: float
    """Worker-seconds since the start: starting, ready and draining."""

    @property
    def present(self) -> int:
        """Workers that hold GPUs."""
        return self.starting + self.ready + self.draining


class Engine:
    """Workers, queues and requests in simulated time, advanced by events.

    Args:
        tables: what one worker can do.
        start_s: the clock's first reading.
        gap_edges_s: upper edges of the buckets in which `gap_counts` counts the gaps between
            tokens; a last, infinite one is added when it is absent.
        mode: which stages are played. In mode `prefill` a request is complete with its first token, and
            none is too large; in mode `decode` it comes with its first token. What the other stage does is never short then.

    Prompts beyond the profile's longest are cut to it; an OSL below 1 counts as 1. A request that
    with all its tokens exceeds the KV of a worker is refused on arrival. While a role has no ready
    worker its requests wait. A crash loses no request: what ran is prefilled again, with the
    tokens it had, before new prompts.
    """

    def __init__(
        self,
        tables: EngineTables,
        *,
        start_s: float = 0.0,
        gap_edges_s: Sequence[float] = (),
        mode: Mode = Mode.DISAGG,
    ) -> None:
        edges = np.asarray([*gap_edges_s], dtype=np.float64)
        if edges.size == 0 or np.isfinite(edges[-1]):
            edges = np.append(edges, np.inf)
        workers = 8
        self.tables = tables
        self.mode = mode
        self._arena = Arena(
            requests=empty_requests(64),
            workers=empty_workers(workers),
            queues=np.array([(NONE, NONE, 0)] * 2, QUEUE),
            totals=np.zeros(1, TOTALS),
            tree=_new_tree(workers),
            firsts=np.zeros(64, np.int64),
            lasts=np.zeros(64, np.int64),
            present=np.zeros(ROLES, np.int64),
            worker_s=np.zeros(ROLES),
            gap_edges_s=edges,
            gap_counts=np.zeros(edges.size),
            ttft_s=np.ascontiguousarray(tables.ttft_ms, dtype=np.float64) / 1e3,
            itl_s=np.ascontiguousarray(tables.itl_ms, dtype=np.float64) / 1e3,
            scales=np.array(
                [
                    tables.isl_step_tokens,
                    tables.shortest_context_tokens,
                    math.log(tables.context_ratio),
                    tables.kv_step,
                    tables.max_kv_tokens,
                    float(mode is Mode.DECODE),
                ]
            ),
        )
        self._arena.totals["clock_s"] = start_s
        self._arena.totals["present_since_s"] = start_s

    @property
    def now_s(self) -> float:
        """Where the clock stands."""
        return float(self._arena.totals["clock_s"][0])

    def submit(
        self, *, arrival_s: npt.ArrayLike, isl_tokens: npt.ArrayLike, osl_tokens: npt.ArrayLike
    ) -> range:
        """Announce requests that will arrive; the indices under which their results are found.

        Args:
            arrival_s: never falling, not before the clock nor before what was submitted earlier.
            isl_tokens: prompt lengths.
            osl_tokens: output lengths, the first token included.

        Raises:
            ValueError: the arrays differ in length, or an arrival lies in the past.
        """
        arrivals = np.atleast_1d(np.asarray(arrival_s, dtype=np.float64))
        isl = np.atleast_1d(np.asarray(isl_tokens))
        osl = np.atleast_1d(np.asarray(osl_tokens))
        if not arrivals.shape == isl.shape == osl.shape:
            raise ValueError(f"arrivals, ISL and OSL differ: {arrivals.shape}, {isl.shape}, {osl.shape}")
        begin = self.submitted
        end = begin + arrivals.size
        floor_s = (
            self.now_s if begin == 0 else max(self.now_s, float(self._arena.requests["arrival_s"][begin - 1]))
        )
        if arrivals.size and (arrivals[0] < floor_s or not (np.diff(arrivals) >= 0.0).all()):
            raise ValueError(f"arrivals must not fall nor start before {floor_s} s, found {arrivals.min()} s")
        self._make_room(end)
        requests = self._arena.requests[begin:end]
        requests["arrival_s"] = arrivals
        requests["isl_tokens"] = np.clip(isl, 1, int(self.tables.max_isl_tokens))
        requests["osl_tokens"] = np.maximum(osl, 1)
        for field in ("prefill_start_s", "first_token_s", "admitted_s", "last_token_s"):
            requests[field] = np.nan
        requests["context_tokens"] = requests["isl_tokens"]
        requests["remaining_tokens"] = 0 if self.mode is Mode.PREFILL else requests["osl_tokens"] - 1
        whole = requests["isl_tokens"].astype(np.int64) + requests["osl_tokens"]
        requests["refused"] = (whole > self.tables.max_kv_tokens) & (self.mode is not Mode.PREFILL)
        self._arena.totals["submitted"] = end
        return range(begin, end)

    def advance(self, until_s: float) -> None:
        """Play everything up to and including *until_s*.

        Raises:
            ValueError: *until_s* lies in the past.
        """
        if until_s < self.now_s:
            raise ValueError(f"the clock stands at {self.now_s} s and cannot go back to {until_s} s")
        kernels.advance(self._arena, float(until_s))

    def workers(self, role: Role, *phases: int) -> list[int]:
        """The workers of *role* in *phases* (default: all that exist), oldest first."""
        slots = self._arena.workers
        found = (slots["role"] == INDEX[role]) & np.isin(
            slots["phase"], phases or (STARTING, READY, DRAINING)
        )
        return sorted(np.flatnonzero(found).tolist(), key=lambda slot: int(slots["born"][slot]))

    def is_ready(self, slot: int) -> bool:
        """Whether the worker in *slot* takes requests."""
        return bool(self._arena.workers["phase"][slot] == READY)

    def set_workers(self, role: Role, count: int, *, startup_s: float = 0.0) -> None:
        """Ask for *count* workers of *role*: new ones start, surplus ones drain.

        Those that still start go first, then the youngest, as a ReplicaSet chooses. A draining worker
        does not come back.
        """
        if count < 0:
            raise ValueError(f"a number of workers is 0 or more, found {count}")
        have = self.workers(role, STARTING, READY)
        for _ in range(count - len(have)):
            self.add_worker(role, startup_s=startup_s)
        surplus = sorted(have, key=lambda slot: bool(self._arena.workers["phase"][slot] == STARTING))
        for slot in surplus[count:][::-1]:
            self.drain_worker(slot)

    def add_worker(self, role: Role, *, startup_s: float = 0.0) -> int:
        """Start one worker; its slot, which is used again once the worker is gone."""
        free = np.flatnonzero(self._arena.workers["phase"] == FREE)
        slot = int(free[0]) if free.size else self._more_workers()
        kernels.add_worker(self._arena, slot, INDEX[role], float(startup_s), self.now_s)
        return slot

    def drain_worker(self, slot: int) -> None:
        """Let a worker finish what it runs and go."""
        self._check_present(slot)
        kernels.drain_worker(self._arena, slot, self.now_s)

    def fail_worker(self, slot: int) -> None:
        """Lose a worker at once; its requests are prefilled again before new prompts."""
        self._check_present(slot)
        kernels.fail_worker(self._arena, slot, self.now_s)

    @property
    def submitted(self) -> int:
        return int(self._arena.totals["submitted"][0])

    @property
    def arrived(self) -> int:
        """Requests whose arrival has passed."""
        return int(self._arena.totals["arrived"][0])

    @property
    def unfinished(self) -> int:
        """Requests submitted, accepted so far, and not complete."""
        totals = self._arena.totals
        return self.submitted - int(totals["lasts"][0]) - int(totals["refused"][0])

    @property
    def first_pending(self) -> int:
        """Requests that have arrived, were accepted, and wait for their first token."""
        totals = self._arena.totals
        return self.arrived - int(totals["firsts"][0]) - int(totals["refused"][0])

    @property
    def preempted(self) -> int:
        """How often a batch outgrew its KV."""
        return int(self._arena.totals["preempted"][0])

    @property
    def migrated(self) -> int:
        """How often a request lost its worker."""
        return int(self._arena.totals["migrated"][0])

    @property
    def decoded_tokens(self) -> float:
        """Tokens decoded so far (first tokens are prefill's)."""
        return float(self._arena.totals["tokens"][0])

    @property
    def gap_sum_s(self) -> float:
        """Sum of the gaps before the decoded tokens."""
        return float(self._arena.totals["token_s"][0])

    @property
    def gap_edges_s(self) -> Floats:
        return self._arena.gap_edges_s

    @property
    def gap_counts(self) -> Floats:
        """Decoded tokens per bucket of the gap before them, since the start; never falls."""
        return self._arena.gap_counts.copy()

    def first_tokens(self, since: int = 0) -> Integers:
        """Requests in the order of their first tokens, from the *since*-th on."""
        return self._arena.firsts[since : self._arena.totals["firsts"][0]].copy()

    def last_tokens(self, since: int = 0) -> Integers:
        """Requests in the order in which they were completed, from the *since*-th on."""
        return self._arena.lasts[since : self._arena.totals["lasts"][0]].copy()

    def requests(self, begin: int = 0, end: int | None = None) -> Requests:
        """Results so far of the requests *begin* to *end*."""
        records = self._arena.requests[begin : self.submitted if end is None else end]
        return Requests(*(records[name].copy() for name in Requests._fields))

    def pick(self, indices: Integers) -> Requests:
        """Results so far of the requests at *indices*, in that order."""
        records = self._arena.requests[indices]
        return Requests(*(records[name] for name in Requests._fields))

    def gauges(self, role: Role) -> RoleGauges:
        """*role* as it is now."""
        slots, index = self._arena.workers, INDEX[role]
        phase = np.where(slots["role"] == index, slots["phase"], FREE)
        phases = [int(np.count_nonzero(phase == one)) for one in (STARTING, READY, DRAINING)]
        up = np.flatnonzero((phase == READY) | (phase == DRAINING))
        prompts = int(np.count_nonzero(slots["serving"][up] != NONE))
        if role is Role.PREFILL:
            running = prompts
            usage = running / up.size if up.size else 0.0
        else:
            running = int(slots["running"][up].sum()) + prompts
            held = slots["base_tokens"][up] + slots["running"][up] * slots["v"][up]
            usage = float(held.mean()) / self.tables.max_kv_tokens if up.size else 0.0
        return RoleGauges(
            starting=phases[0],
            ready=phases[1],
            draining=phases[2],
            running=running,
            waiting=int(self._arena.queues["length"][DECODE if role is Role.DECODE else PREFILL]),
            kv_usage=usage,
            worker_s=float(self._arena.worker_s[index]),
        )

    def _check_present(self, slot: int) -> None:
        if not 0 <= slot < self._arena.workers.size or self._arena.workers["phase"][slot] == FREE:
            raise ValueError(f"no worker in slot {slot}")

    def _make_room(self, count: int) -> None:
        have = self._arena.requests.size
        if count > have:
            more = max(count, 2 * have) - have
            self._arena = self._arena._replace(
                requests=np.concatenate([self._arena.requests, empty_requests(more)]),
                firsts=np.concatenate([self._arena.firsts, np.zeros(more, np.int64)]),
                lasts=np.concatenate([self._arena.lasts, np.zeros(more, np.int64)]),
            )

    def _more_workers(self) -> int:
        have = self._arena.workers.size
        workers: Records = np.concatenate([self._arena.workers, empty_workers(have)])
        tree = _new_tree(workers.size)
        self._arena = self._arena._replace(workers=workers, tree=tree)
        for slot in range(workers.size):
            tree_update(tree, workers, slot)
        return have


def _new_tree(leaves: int) -> Integers:
    """A winner tree over *leaves* (a power of two) slots that all wait; leaf i names slot i."""
    tree = np.zeros(2 * leaves, np.int64)
    tree[leaves:] = np.arange(leaves)
    for node in range(leaves - 1, 0, -1):
        tree[node] = tree[2 * node]
    return tree
