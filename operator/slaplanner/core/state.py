"""What a planner remembers from plan to plan, and how it survives a restart.

Load, latencies and lengths are read back from Prometheus. The rest (own recommendations, changes, failures, measured
start-up times, the smoothed correction) is stored in the policy's status as a small versioned document. Anybody who
may write a status may change that document, so every number is checked when it is read. If a check fails, the document
is dropped and the planner starts with what it can observe.
"""

from __future__ import annotations

import math
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
from slaplanner.core.sizing.length_memory import Mix
from slaplanner.core.stalls import StallWatch
from slaplanner.core.startup import LONGEST_S, StartupWatch

VERSION = 1

_ORDER = tuple(Role)

_MOST_REPLICAS = 2**31 - 1
_MOST_COUNT = 2**53
_LONGEST_PAUSE_S = 86_400.0
"""The longest planning interval, and so the longest pause that the planner itself takes."""


class StateError(ValueError):
    """A document is no state that a planner wrote."""


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
class MeanLengths:
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
    lengths: MeanLengths | None = None
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
    unserved_at_s: float | None = None
    """When a plan last saw a role without a serving replica; None: never."""

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
        unserved_at_s=to_s if state.unserved_at_s == stamp else state.unserved_at_s,
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


def to_document(state: PlannerState, *, digest: str | None = None) -> dict[str, Any]:
    """The persistent part as plain JSON values, short keys, times to the second.

    *digest*: of what the plan depended on, for whoever asks later whether that has changed.
    """
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
        **({"gone": round(state.unserved_at_s)} if state.unserved_at_s is not None else {}),
        **({"rival": kept} if (kept := rivalry.to_document(state.rivalry)) else {}),
        "roles": {memory.role.value: _role_document(memory) for memory in state.roles},
        **({"seen": digest} if digest else {}),
    }


def digest_in(document: object) -> str:
    """The digest that `to_document` was given; "" when there was none."""
    return str(document.get("seen") or "") if isinstance(document, Mapping) else ""


def timeless(document: object) -> object:
    """A document of `to_document` without what moves when a plan decides the same again.

    That is the time of the plan, the number of decisions, and the stamps of recommendations that the plan
    repeated. What is not of that shape is left as it is.
    """
    if not isinstance(document, dict):
        return document
    rest = {key: value for key, value in document.items() if key not in ("at", "n")}
    planned_at = document.get("at")
    if rest.get("gone") == planned_at:
        rest["gone"] = None
    if isinstance(roles := rest.get("roles"), dict):
        rest["roles"] = {name: _timeless_role(role, planned_at) for name, role in roles.items()}
    return rest


def _timeless_role(role: object, planned_at: object) -> object:
    if not isinstance(role, dict):
        return role
    return {
        key: [["now", *entry[1:]] if _stamped(entry, planned_at) else entry for entry in entries]
        if key in _RECOMMENDATIONS and isinstance(entries, list)
        else entries
        for key, entries in role.items()
    }


def _stamped(entry: object, at: object) -> bool:
    return isinstance(entry, list) and entry[:1] == [at]


_RECOMMENDATIONS = frozenset({"hi", "lo"})
"""Keys of a role whose newest entry is stamped anew by each plan that repeats it."""


def from_document(document: object) -> PlannerState:
    """Read the persistent part back; what does not parse is a fresh state."""
    try:
        return read_back(document)
    except StateError:
        return PlannerState()


def read_back(document: object, *, latest_s: float = math.inf) -> PlannerState:
    """Read the persistent part back.

    Args:
        document: what `to_document` wrote, or anything else.
        latest_s: the latest Unix time that may stand in it; a later one would hold plans up until then.

    Raises:
        StateError: it is of another version, a part is missing, or a number cannot be what it stands for.
    """
    try:
        if not isinstance(document, Mapping) or document["v"] != VERSION:
            raise StateError(f"wanted a state of version {VERSION}")
        for key, part in document.items():
            _check_values(part, texts=key in _TEXTS)
        return _read(document, latest_s=latest_s)
    except (
        KeyError,
        TypeError,
        ValueError,
        IndexError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise StateError(f"{type(error).__name__}: {error}") from error


_TEXTS = frozenset({"uid", "seen", "rival"})
"""Members that hold texts; all others hold numbers only."""


def _check_values(part: object, *, texts: bool) -> None:
    """Every value is a finite number or None, or also a text: "NaN" would be read as one."""
    if isinstance(part, Mapping | list | tuple):
        for value in part.values() if isinstance(part, Mapping) else part:
            _check_values(value, texts=texts)
    elif isinstance(part, str):
        if not texts:
            raise StateError(f"found the text {part[:20]!r}, wanted a number")
    elif part is not None and (isinstance(part, bool) or not isinstance(part, int | float)):
        raise StateError(f"found {type(part).__name__}, wanted a number")
    elif part is not None and not abs(part) <= _MOST_COUNT:
        raise StateError(f"found {part}, wanted a number of at most {_MOST_COUNT}")


def _read(document: Mapping[str, Any], *, latest_s: float) -> PlannerState:
    lengths = document.get("len")
    isl_mix, osl_mix = _mixes(document["mix"], latest_s=latest_s) if "mix" in document else (Mix(), Mix())
    state = PlannerState(
        target=str(document["uid"]),
        decisions=_count(document["n"], most=_MOST_COUNT),
        planned_at_s=_time(document["at"], latest_s=latest_s) if "at" in document else None,
        failures=_count(document["fail"], most=_MOST_COUNT),
        lengths=MeanLengths(isl_tokens=_length(lengths[0]), osl_tokens=_length(lengths[1]))
        if lengths
        else None,
        correction=CorrectionState.from_document(document["corr"]),
        isl_mix=isl_mix,
        osl_mix=osl_mix,
        burstiness=Burstiness.from_document(document.get("burst", (0.0, 0.0, 0.0))),
        rivalry=rivalry.from_document(document.get("rival", {})),
        unready_since_s=_time(document["unready"], latest_s=latest_s) if "unready" in document else None,
        unserved_at_s=_time(document["gone"], latest_s=latest_s) if "gone" in document else None,
        roles=tuple(
            _role_memory(Role(name), entry, latest_s=latest_s) for name, entry in document["roles"].items()
        ),
    )
    for learnt in state.correction.stages.values():
        for at_s in (learnt.at_s, learnt.workers_since_s):
            if at_s is not None:
                _time(at_s, latest_s=latest_s)
    fight = state.rivalry
    for at_s in fight.reverted_at_s:
        _time(at_s, latest_s=latest_s)
    _within(fight.pause_s, most=_LONGEST_PAUSE_S)
    _within(fight.retry_at_s, most=latest_s + _LONGEST_PAUSE_S)
    return state


def _within(value: float, *, most: float, least: float = 0.0) -> float:
    if not least <= value <= most:
        raise StateError(f"found {value}, wanted {least:g} to {most:g}")
    return float(value)


def _time(value: float, *, latest_s: float) -> float:
    return _within(value, most=latest_s)


def _count(value: int, *, most: int = _MOST_REPLICAS) -> int:
    return int(_within(value, most=most))


def _length(value: float) -> float:
    if not value > 0:
        raise StateError(f"found {value} tokens, wanted more than 0")
    return float(value)


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


def _role_memory(role: Role, document: Mapping[str, Any], *, latest_s: float) -> RoleMemory:
    def stamped(key: str) -> tuple[Stamped, ...]:
        return tuple(
            Stamped(_time(at_s, latest_s=latest_s), _count(count)) for at_s, count in document.get(key, ())
        )

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
            samples_s=tuple(_within(sample, most=LONGEST_S) for sample in document.get("up", ())),
            asked_at_s=_time(ask[0], latest_s=latest_s) if ask else None,
            asked_for=_count(ask[1]) if ask else 0,
            last_replicas=None if replicas is None else _count(replicas),
        ),
        placement=PlacementWatch(
            pending_since_s=None if since_s is None else _time(since_s, latest_s=latest_s),
            closed_until_s=None if until_s is None else float(until_s),
        ),
        stall=StallWatch(
            since_s=None if stalled_s is None else _time(stalled_s, latest_s=latest_s),
            replicas=_count(asked_for),
            updated=None if updated is None else _count(updated),
        ),
        replicas=None if replicas is None else _count(replicas),
        desired=None if desired is None else _count(desired),
        learning=_learning(document["learn"], latest_s=latest_s) if "learn" in document else Learning(),
    )


def _learning(document: Mapping[str, Any], *, latest_s: float) -> Learning:
    learning = Learning.from_document(document)
    for at_s in (learning.busiest_at_s, learning.experience.at_s or 0.0):
        _time(at_s, latest_s=latest_s)
    return learning


def _mixes(documents: Any, *, latest_s: float) -> tuple[Mix, Mix]:
    isl, osl = (Mix.from_document(document) for document in documents)
    for mix in (isl, osl):
        _time(mix.at_s, latest_s=latest_s)
    return isl, osl


def _rounded(*values: float) -> list[float]:
    return [round(value, 1) for value in values]
