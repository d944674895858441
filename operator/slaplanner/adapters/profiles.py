"""Profiles from where users keep them: a directory as Dynamo's profiler leaves it, or a ConfigMap.

Everything that is read is bounded, and a directory is read only below those that the administrator
allows, symbolic links followed first. What was parsed is kept by its content, so that the tables of
one profile version are built once, whoever asks.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from slaplanner.adapters.allowed_files import FileRefusedError, read_bytes, resolved
from slaplanner.core.errors import ProfileError, ProfileFormatError, ProfileNotFound
from slaplanner.core.model import Interpolation
from slaplanner.core.profiles import Profile, ProfileTables, build
from slaplanner.core.profiles.checks import Fault, FaultKind, check, overshoots
from slaplanner.core.profiles.hardware import Hardware
from slaplanner.core.profiles.parse import MAX_FILE_BYTES, decode_table, prefill_table
from slaplanner.core.reasons import Reason

PREFILL_JSON = "prefill_raw_data.json"
DECODE_JSON = "decode_raw_data.json"
META_JSON = "meta.json"
"""Optional, beside the profile: `tp`, `pp`, `gpu_type` and `model`, from which more can be checked."""

PREFILL_FILES = (Path("selected_prefill_interpolation/raw_data.npz"), Path(PREFILL_JSON))
DECODE_FILES = (Path("selected_decode_interpolation/raw_data.npz"), Path(DECODE_JSON))
"""In the order in which they are looked for."""

PROFILES_KEPT = 64
_NAMES_IN_MESSAGE = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoadedProfile:
    """A profile, ready for look-ups, with what is wrong with it."""

    profile: Profile
    tables: ProfileTables
    hardware: Hardware
    """What `meta.json` says; nothing where there is none."""
    faults: tuple[Fault, ...]
    summary: str
    """One line: what it covers."""

    def faults_on(self, gpus_per_replica: int) -> tuple[Fault, ...]:
        """The faults when a replica is known to have so many GPUs."""
        known = replace(self.hardware, gpus_per_replica=gpus_per_replica)
        return (*check(self.tables, known), *(f for f in self.faults if f.kind is FaultKind.CUBIC_OVERSHOOTS))


@dataclass(frozen=True, slots=True)
class _File:
    """Bytes and what to call them."""

    name: str
    data: bytes


def load_config_map(data: Mapping[str, str], *, interpolation: Interpolation) -> LoadedProfile:
    """Read the profile from a ConfigMap's data.

    Raises:
        ProfileNotFound: neither key is there.
        ProfileFormatError: a key does not parse, or the interpolation needs more points.
    """

    def file(key: str) -> _File | None:
        return _File(key, data[key].encode()) if key in data else None

    prefill, decode = file(PREFILL_JSON), file(DECODE_JSON)
    if prefill is None and decode is None:
        raise ProfileNotFound(
            f"the ConfigMap has {_listed(data) or 'no keys'}, wanted {PREFILL_JSON} and {DECODE_JSON}"
        )
    return _loaded(prefill, decode, file(META_JSON), interpolation)


def load_directory(
    path: str | Path, *, allowed: Sequence[Path] | None, interpolation: Interpolation
) -> LoadedProfile:
    """Read the profile from a directory, NPZ before JSON.

    Args:
        path: the directory.
        allowed: directories below which it must lie; None allows all (the command line, where the
            user reads what the user may read).
        interpolation: how it is read between its points.

    Raises:
        ProfileError: the directory lies elsewhere (PROFILE_PATH_NOT_ALLOWED) or cannot be read.
        ProfileNotFound: it does not exist, or holds no profile.
        ProfileFormatError: a file does not parse, or the interpolation needs more points.
    """
    roots = None if allowed is None else [root.resolve() for root in allowed]
    directory = _resolved(Path(path), roots, shown=str(path))
    if not directory.is_dir():
        raise ProfileNotFound(f"{path}: found no such directory, wanted one with a profile")
    prefill = _first(directory, PREFILL_FILES, roots)
    decode = _first(directory, DECODE_FILES, roots)
    if prefill is None and decode is None:
        wanted = ", ".join(str(name) for name in (*PREFILL_FILES, *DECODE_FILES))
        found = _listed(entry.name for entry in directory.iterdir()) or "nothing"
        raise ProfileNotFound(f"{path}: found {found}, wanted one or more of {wanted}")
    return _loaded(prefill, decode, _read(directory, Path(META_JSON), roots), interpolation)


@lru_cache(maxsize=PROFILES_KEPT)
def _loaded(
    prefill: _File | None, decode: _File | None, meta: _File | None, interpolation: Interpolation
) -> LoadedProfile:
    tables = ProfileTables(
        prefill=prefill_table(prefill.data, source=prefill.name) if prefill else None,
        decode=decode_table(decode.data, source=decode.name) if decode else None,
    )
    hardware = _hardware(meta)
    profile = build(tables, interpolation)
    return LoadedProfile(
        profile=profile,
        tables=tables,
        hardware=hardware,
        faults=(*check(tables, hardware), *_overshoots(profile, tables, interpolation)),
        summary=_summary(tables, interpolation),
    )


def _overshoots(profile: Profile, tables: ProfileTables, interpolation: Interpolation) -> tuple[Fault, ...]:
    if interpolation is not Interpolation.CUBIC or tables.prefill is None:
        return ()
    return tuple(overshoots(profile.prefill, tables.prefill))


def _hardware(meta: _File | None) -> Hardware:
    """What `meta.json` says, as far as it can be read: it is somebody's note, not part of the format."""
    if meta is None or len(meta.data) > MAX_FILE_BYTES:
        return Hardware()
    try:
        document = json.loads(meta.data)
    except (ValueError, RecursionError):
        return Hardware()
    if not isinstance(document, dict):
        return Hardware()
    tp, pp = document.get("tp"), document.get("pp", 1)
    gpus = tp * pp if type(tp) is int and type(pp) is int and tp > 0 and pp > 0 else None
    gpu_type, model = document.get("gpu_type"), document.get("model")
    return Hardware(
        gpus_per_replica=gpus,
        gpu_type=gpu_type if isinstance(gpu_type, str) else None,
        model=model if isinstance(model, str) else None,
    )


def _summary(tables: ProfileTables, interpolation: Interpolation) -> str:
    parts = []
    if tables.prefill is not None:
        isl = tables.prefill.isl_tokens
        parts.append(f"prefill {len(tables.prefill)} points, ISL {isl.min():,.0f} to {isl.max():,.0f}")
    if tables.decode is not None:
        context = tables.decode.context_tokens
        parts.append(
            f"decode {len(tables.decode)} points, context {context.min():,.0f} to {context.max():,.0f}, "
            f"{tables.decode.max_kv_tokens:,.0f} KV tokens"
        )
    return f"{'; '.join(parts)}; interpolation {interpolation}"


def _first(directory: Path, names: Sequence[Path], roots: Sequence[Path] | None) -> _File | None:
    for name in names:
        file = _read(directory, name, roots)
        if file is not None:
            return file
    return None


def _read(directory: Path, name: Path, roots: Sequence[Path] | None) -> _File | None:
    """One file of the directory; None when it is absent."""
    path = _resolved(directory / name, roots, shown=str(name))
    try:
        data = read_bytes(path, most=MAX_FILE_BYTES, shown=str(name))
    except FileRefusedError as exc:
        raise (ProfileFormatError if exc.no_file else ProfileError)(str(exc)) from exc
    return None if data is None else _File(str(name), data)


def _resolved(path: Path, roots: Sequence[Path] | None, *, shown: str) -> Path:
    """*path* with all symbolic links followed.

    Raises:
        ProfileError: it lies below none of *roots*, or its links go round.
    """
    try:
        return resolved(path, roots, shown=shown)
    except FileRefusedError as exc:
        raise ProfileError(str(exc), reason=Reason.PROFILE_PATH_NOT_ALLOWED if exc.outside else None) from exc


def _listed(names: Iterable[str]) -> str:
    """The first few names, sorted."""
    listed = sorted(names)
    more = f" and {len(listed) - _NAMES_IN_MESSAGE} more" if len(listed) > _NAMES_IN_MESSAGE else ""
    return ", ".join(listed[:_NAMES_IN_MESSAGE]) + more
