"""What a planner remembers from plan to plan, and how it survives a restart.

Load, latencies and lengths are read back from Prometheus; what cannot be (own recommendations,
changes, failures, measured start-ups, the smoothed correction) travels through the policy's
status as a small versioned document. Reading it back never fails a plan: what does not parse is
dropped, and the planner starts afresh with what it can see.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from slaplanner.core import rivalry
from slaplanner.core.correction import CorrectionState
from slaplanner.core.damping import DampingState, Stamped
from slaplanner.core.forecast import ForecastState
from slaplanner.core.model import Role
from slaplanner.core.placement import PlacementWatch
from slaplanner.core.readings import Series
from slaplanner.core.rivalry import Rivalry, peace
from slaplanner.core.sizing.burstiness import Burstiness
from slaplanner.core.sizing.learning import Learning
from slaplanner.core.sizing.mix import Mix
from slaplanner.core.stalls import StallWatch
from slaplanner.core.startup import StartupWatch

VERSION = 1

_ORDER = tuple(Role)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleMemory:
    """What is remembered of one role."""

    role: Role
    damping: DampingState = field(default_factory=DampingState)
    startup: StartupWatch = field(default_factory=StartupWatch)
    placement: PlacementWatch = field(default_factory=PlacementWatch)
    stall: StallWatch = field(default_factory=StallWatch)
    replicas: int | None = None
    """What the target asked for at the last plan."""
    desired: int | None = None
    """What the last plan asked for."""
    learning: Learning = field(default_factory=Learning)
    """What measured misses have shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Mean request lengths, in tokens."""

    isl_tokens: float
    osl_tokens: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannerState:
    """One policy's memory. A fresh one plans well from the first observation on."""

    roles: tuple[RoleMemory, ...] = ()
    target: str = ""
    """Identity (uid) of the target that all of this is about; empty before the first look."""
    decisions: int = 0
    """How many decisions were taken; the id of the last one."""
    planned_at_s: float | None = None
    failures: int = 0
    """Observations in a row that failed."""
    lengths: Lengths | None = None
    """The last known ones, kept through idle time and stalls."""
    correction: CorrectionState = field(default_factory=CorrectionState)
    rivalry: Rivalry = field(default_factory=peace)
    """Who writes our replicas back."""
    forecast: ForecastState | None = None
    """Fits and residuals; learnt again from history after a restart, so not persisted."""
    warm_up: Series | None = None
    """What stood before the history when `forecast` was learnt."""
    isl_mix: Mix = field(default_factory=Mix)
    osl_mix: Mix = field(default_factory=Mix)
    """Which lengths requests have."""
    burstiness: Burstiness = field(default_factory=Burstiness)
    """How unevenly requests arrive."""
    unready_since_s: float | None = None
    """Since when the target says that it is not ready; None: it is."""

    def role(self, role: Role) -> RoleMemory:
        """What is remembered of *role*; nothing yet is an empty memory."""
        for memory in self.roles:
            if memory.role is role:
                return memory
        return RoleMemory(role=role)

    def with_roles(self, memories: Iterable[RoleMemory], **changes: Any) -> PlannerState:
        """The same state with the memories of these roles replaced, and other fields as in `replace`."""
        roles = {memory.role: memory for memory in (*self.roles, *memories)}
        return replace(self, roles=tuple(roles[role] for role in _ORDER if role in roles), **changes)


def caught_up(state: PlannerState, *, to_s: float) -> PlannerState:
    """A state that was read back, as if it had been written at *to_s*.

    It is not written while plans repeat themselves, so its newest recommendations may be stamped long
    ago though they held until now; damping would forget them too early.
    """
    stamp = state.planned_at_s
    if stamp is None or stamp >= to_s:
        return state

    def moved(entries: tuple[Stamped, ...]) -> tuple[Stamped, ...]:
        return tuple(Stamped(to_s, entry.count) if entry.at_s == stamp else entry for entry in entries)

    return replace(
        state,
        roles=tuple(
            replace(
                memory,
                damping=replace(
                    memory.damping, highs=moved(memory.damping.highs), lows=moved(memory.damping.lows)
                ),
            )
            for memory in state.roles
        ),
    )


def to_document(state: PlannerState) -> dict[str, Any]:
    """The persistent part as plain JSON values, short keys, times to the second."""
    return {
        "v": VERSION,
        "uid": state.target,
        "n": state.decisions,
        **({"at": round(state.planned_at_s)} if state.planned_at_s is not None else {}),
        "fail": state.failures,
        **({"len": _rounded(state.lengths.isl_tokens, state.lengths.osl_tokens)} if state.lengths else {}),
        "corr": state.correction.to_document(),
        **(
            {"mix": [state.isl_mix.to_document(), state.osl_mix.to_document()]}
            if state.isl_mix.counts
            else {}
        ),
        **({"burst": state.burstiness.to_document()} if state.burstiness.plans else {}),
        **({"unready": round(state.unready_since_s)} if state.unready_since_s is not None else {}),
        **({"rival": kept} if (kept := rivalry.to_document(state.rivalry)) else {}),
        "roles": {memory.role.value: _role_document(memory) for memory in state.roles},
    }


def from_document(document: object) -> PlannerState:
    """Read the persistent part back; what does not parse is a fresh state."""
    if not isinstance(document, Mapping) or document.get("v") != VERSION:
        return PlannerState()
    try:
        lengths = document.get("len")
        return PlannerState(
            target=str(document["uid"]),
            decisions=int(document["n"]),
            planned_at_s=float(document["at"]) if "at" in document else None,
            failures=int(document["fail"]),
            lengths=Lengths(isl_tokens=float(lengths[0]), osl_tokens=float(lengths[1])) if lengths else None,
            correction=CorrectionState.from_document(document["corr"]),
            isl_mix=_mix(document, 0),
            osl_mix=_mix(document, 1),
            burstiness=Burstiness.from_document(document.get("burst", (0.0, 0.0, 0.0))),
            rivalry=rivalry.from_document(document.get("rival", {})),
            unready_since_s=float(document["unready"]) if "unready" in document else None,
            roles=tuple(_role_memory(Role(name), entry) for name, entry in document["roles"].items()),
        )
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        return PlannerState()


def _mix(document: Mapping[str, Any], which: int) -> Mix:
    return Mix.from_document(document["mix"][which]) if "mix" in document else Mix()


def _role_document(memory: RoleMemory) -> dict[str, Any]:
    damping, startup = memory.damping, memory.startup
    document: dict[str, Any] = {
        key: [[round(entry.at_s), entry.count] for entry in entries]
        for key, entries in (
            ("hi", damping.highs),
            ("lo", damping.lows),
            ("add", damping.added),
            ("rem", damping.removed),
        )
        if entries
    }
    if memory.replicas is not None:
        document["rep"] = memory.replicas
    if memory.desired is not None:
        document["des"] = memory.desired
    if memory.learning != Learning():
        document["learn"] = memory.learning.to_document()
    if startup.samples_s:
        document["up"] = [round(sample) for sample in startup.samples_s]
    if memory.placement != PlacementWatch():
        document["room"] = [memory.placement.pending_since_s, memory.placement.closed_until_s]
    if memory.stall.since_s is not None:
        document["stall"] = [round(memory.stall.since_s), memory.stall.replicas, memory.stall.updated]
    if startup.asked_at_s is not None:
        document["ask"] = [round(startup.asked_at_s), startup.asked_for]
    return document


def _role_memory(role: Role, document: Mapping[str, Any]) -> RoleMemory:
    def stamped(key: str) -> tuple[Stamped, ...]:
        return tuple(Stamped(float(at_s), int(count)) for at_s, count in document.get(key, ()))

    ask = document.get("ask")
    since_s, until_s = document.get("room", (None, None))
    stalled_s, asked_for, updated = document.get("stall", (None, 0, None))
    replicas, desired = document.get("rep"), document.get("des")
    return RoleMemory(
        role=role,
        damping=DampingState(
            highs=stamped("hi"), lows=stamped("lo"), added=stamped("add"), removed=stamped("rem")
        ),
        startup=StartupWatch(
            samples_s=tuple(float(sample) for sample in document.get("up", ())),
            asked_at_s=float(ask[0]) if ask else None,
            asked_for=int(ask[1]) if ask else 0,
            last_replicas=None if replicas is None else int(replicas),
        ),
        placement=PlacementWatch(
            pending_since_s=None if since_s is None else float(since_s),
            closed_until_s=None if until_s is None else float(until_s),
        ),
        stall=StallWatch(
            since_s=None if stalled_s is None else float(stalled_s),
            replicas=int(asked_for),
            updated=None if updated is None else int(updated),
        ),
        replicas=None if replicas is None else int(replicas),
        desired=None if desired is None else int(desired),
        learning=Learning.from_document(document["learn"]) if "learn" in document else Learning(),
    )


def _rounded(*values: float) -> list[float]:
    return [round(value, 1) for value in values]
