"""The engines and the frontend of one graph: the replicas that are ready serve its traffic.

`Serving` is moved by `advance(now_s)`; what it needs of an engine is `core.engine.Engine`, which the
simulator plays too. A replica becomes an engine's worker when it serves and is gone when its worker
has drained. An `agg` replica is played by a prefill and a decode worker that do not slow each other
down, so it is somewhat faster than a real one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from slaplanner.core.model import Role
from slaplanner_lab.engine import Engine, EngineTables
from slaplanner_lab.fleet.frontend import Dialect, Frontend, gap_edges_s
from slaplanner_lab.fleet.graph import Graph
from slaplanner_lab.fleet.ground_truth import LatencyTargets, Truth
from slaplanner_lab.fleet.names import Json
from slaplanner_lab.fleet.replicas import ComponentReplicas
from slaplanner_lab.fleet.traffic import Replay, skip, take
from slaplanner_lab.simulation.traffic import Traffic

_PLAYED_BY = {
    Role.PREFILL: (Role.PREFILL,),
    Role.DECODE: (Role.DECODE,),
    Role.AGG: (Role.PREFILL, Role.DECODE),
}

_ROUNDING = 1e-9
"""Ten times 0.3 is 3, also in binary."""

_Worker = tuple[str, int]
"""A component's name and its replica's id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Controls:
    """What a test may do to the traffic and the engines."""

    stall: bool = False
    """Requests arrive and none gets its first token."""
    idle: bool = False
    """Nothing arrives; the trace goes on unplayed."""
    refuse_share: float = 0.0
    """Share of the requests that are turned away for overload."""
    embeddings: int = 0
    """Embedding requests per generation request, under the same counters."""


@dataclass(slots=True, kw_only=True)
class Serving:
    """One graph's traffic, engines and frontend."""

    graph: Graph
    tables: EngineTables
    dialect: Dialect
    traffic: Traffic | None
    loop_s: float
    """The trace begins anew after so long; 0: it plays once."""
    now_s: float
    targets: LatencyTargets
    controls: Controls = field(default_factory=Controls)

    engine: Engine = field(init=False)
    frontend: Frontend = field(init=False)
    truth: Truth = field(init=False)
    replay: Replay | None = field(init=False, default=None)
    _slots: dict[_Worker, dict[Role, int]] = field(init=False, default_factory=dict)
    _firsts: int = field(init=False, default=0)
    _lasts: int = field(init=False, default=0)
    _known_from: int = field(init=False, default=0)
    """The first request that this frontend process knows."""
    _gaps: npt.NDArray[np.float64] = field(init=False)
    _gap_sum_s: float = field(init=False, default=0.0)
    _announced: bool = field(init=False, default=False)
    _refusals_due: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self.engine = Engine(self.tables, start_s=self.now_s, gap_edges_s=gap_edges_s())
        self.truth = Truth(targets=self.targets)
        self._gaps = self.engine.gap_counts
        self.restart_frontend()

    def restart_frontend(self) -> None:
        """A new process: its counters begin at zero, what was in flight is nobody's."""
        self.frontend = Frontend(
            model=self.graph.model,
            dynamo_namespace=self.graph.dynamo_namespace,
            worker_set=self.graph.worker_set,
            dialect=self.dialect,
            disaggregated=not any(component.role is Role.AGG for component in self.graph.workers),
        )
        self._known_from = self.engine.submitted
        self._announced = False

    def advance(self, now_s: float, pools: Mapping[str, ComponentReplicas]) -> None:
        """Serve until *now_s* with the replicas of *pools* (by component)."""
        for component in self.graph.workers:
            assert component.role is not None
            held = sum(replica.placed_s is not None for replica in pools[component.name].replicas)
            gpu_s = held * component.gpus_per_replica * (now_s - self.now_s)
            self.truth.gpu_s[component.role] += gpu_s  # type: ignore[assignment]  # a Counter adds floats, too
        self.now_s = now_s
        self._arrive(now_s)
        self.engine.advance(now_s)
        self._publish()
        self._follow(pools)

    def drained(self, pools: Mapping[str, ComponentReplicas]) -> dict[str, frozenset[int]]:
        """Draining replicas whose workers are gone, by component."""
        return {
            name: frozenset(r.id for r in pool.replicas if r.draining and (name, r.id) not in self._slots)
            for name, pool in pools.items()
        }

    def up(self) -> Mapping[str, frozenset[int]] | None:
        """Nobody says that it is ready: a replica is so after the fleet's start-up time."""
        return None

    def report(self) -> Json:
        """How busy the engines are (requests running and waiting, share of the KV in use), and the truth."""
        found = {role: self.engine.gauges(role) for role in _PLAYED_BY[Role.AGG]}
        return {
            "unfinished": self.engine.unfinished,
            "engines": {
                role.value: {"running": one.running, "waiting": one.waiting, "kvUsage": one.kv_usage}
                for role, one in found.items()
            },
            "traceEnded": self.replay is not None and self.replay.ended,
            **self.truth.report(),
        }

    def _arrive(self, now_s: float) -> None:
        if self.replay is None:
            return
        if self.controls.idle:
            self.replay = skip(self.replay, now_s)
            return
        self.replay, new = take(self.replay, now_s)
        count = new.at_s.size
        if not count:
            return
        self.truth.arrived += count
        self.frontend.embed(self.controls.embeddings * count)
        kept = ~self._refusals(count)
        indices = self.engine.submit(
            arrival_s=np.maximum(new.at_s[kept], self.engine.now_s),
            isl_tokens=new.isl_tokens[kept],
            osl_tokens=new.osl_tokens[kept],
        )
        too_long = int(self.engine.requests(indices.start, indices.stop).refused.sum())
        turned_away = count - len(indices)
        self.truth.refused += turned_away + too_long
        self.frontend.refuse(turned_away)
        self.frontend.refuse(too_long, error_type="validation")
        self.frontend.arrive(len(indices) - too_long)

    def _refusals(self, count: int) -> npt.NDArray[np.bool_]:
        """Which of the next *count* requests are turned away: their share, evenly spread."""
        share = self.controls.refuse_share
        due = np.floor(self._refusals_due + share * np.arange(count + 1) + _ROUNDING)
        self._refusals_due += share * count - due[-1]
        refused: npt.NDArray[np.bool_] = np.diff(due) > 0
        return refused

    def _publish(self) -> None:
        """Tell the frontend of every token that came since the last time."""
        firsts, lasts = self.engine.first_tokens(self._firsts), self.engine.last_tokens(self._lasts)
        self._firsts += firsts.size
        self._lasts += lasts.size
        for index in firsts[firsts >= self._known_from].tolist():
            one = self.engine.requests(index, index + 1)
            self.frontend.first_token(
                ttft_s=float(one.first_token_s[0] - one.arrival_s[0]), isl_tokens=float(one.isl_tokens[0])
            )
        gaps, gap_sum_s = self.engine.gap_counts, self.engine.gap_sum_s
        self.frontend.gaps((gaps - self._gaps).tolist(), gap_sum_s - self._gap_sum_s)
        self._gaps, self._gap_sum_s = gaps, gap_sum_s
        for index in lasts.tolist():
            one = self.engine.requests(index, index + 1)
            self.truth.serve(one.ttft_ms, one.itl_ms)
            if index >= self._known_from:
                self.frontend.last_token(
                    osl_tokens=float(one.osl_tokens[0]), duration_s=float(one.duration_s[0])
                )

    def _follow(self, pools: Mapping[str, ComponentReplicas]) -> None:
        """Give each serving replica its workers, let those that drain go, lose those that are gone."""
        self._forget()
        serving: dict[_Worker, Role] = {}
        draining: set[_Worker] = set()
        for component in self.graph.workers:
            assert component.role is not None
            for replica in pools[component.name].replicas:
                if replica.draining:
                    draining.add((component.name, replica.id))
                elif replica.serves(self.now_s):
                    serving[component.name, replica.id] = component.role
        for worker, role in serving.items():
            self._employ(worker, _PLAYED_BY[role])
        # after the newcomers: a slot that is free again must not be theirs before it is forgotten
        for worker in list(self._slots):
            if worker in draining:
                self._drain(worker)
            elif worker not in serving:
                self._fail(worker, {Role.PREFILL, Role.DECODE})
                del self._slots[worker]
            elif self.controls.stall:
                self._fail(worker, {Role.PREFILL})
        self._open({part for role in serving.values() for part in _PLAYED_BY[role]})

    def _open(self, ready: set[Role]) -> None:
        """Announce the model with the first worker; begin the trace when both stages serve."""
        complete = len(ready) == len(_PLAYED_BY[Role.AGG])
        if ready or self._announced:
            self._announced = True
            self.frontend.register(ready=complete)
        if self.replay is None and self.traffic is not None and complete:
            self.replay = Replay(traffic=self.traffic, start_s=self.now_s, length_s=self.loop_s)

    def _forget(self) -> None:
        """Drop the workers that have finished; their slots may be given to others from now on."""
        there = {role: set(self.engine.workers(role)) for role in (Role.PREFILL, Role.DECODE)}
        for worker, slots in list(self._slots.items()):
            left = {role: slot for role, slot in slots.items() if slot in there[role]}
            if left or not slots:
                self._slots[worker] = left
            else:
                del self._slots[worker]

    def _employ(self, worker: _Worker, roles: tuple[Role, ...]) -> None:
        slots = self._slots.setdefault(worker, {})
        for role in roles:
            if role not in slots and not (self.controls.stall and role is Role.PREFILL):
                slots[role] = self.engine.add_worker(role)

    def _drain(self, worker: _Worker) -> None:
        for slot in self._slots[worker].values():
            self.engine.drain_worker(slot)
        if not self._slots[worker]:
            del self._slots[worker]

    def _fail(self, worker: _Worker, roles: set[Role]) -> None:
        for role in roles & self._slots[worker].keys():
            self.engine.fail_worker(self._slots[worker].pop(role))
