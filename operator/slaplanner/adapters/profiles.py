"""Profiles from where users keep them: a directory as Dynamo's profiler leaves it, or a ConfigMap.

Everything that is read is bounded, and a directory is read only below those that the administrator
allows, symbolic links followed first. What was parsed is kept by its content, so that the tables of
one profile version are built once, whoever asks.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from slaplanner.adapters.allowed_files import FileRefusedError, read_bytes, resolved
from slaplanner.core.errors import ProfileError, ProfileFormatError, ProfileNotFound
from slaplanner.core.model import Interpolation
from slaplanner.core.profiles import Profile, ProfileTables, build
from slaplanner.core.profiles.checks import Fault, FaultKind, check, overshoots
from slaplanner.core.profiles.hardware import Hardware
from slaplanner.core.profiles.parse import MAX_FILE_BYTES, decode_table, prefill_table, stages_in
from slaplanner.core.reasons import Reason

PREFILL_JSON = "prefill_raw_data.json"
DECODE_JSON = "decode_raw_data.json"
META_JSON = "meta.json"
"""Optional, beside the profile: `tp`, `pp`, `gpu_type` and `model`, from which more can be checked."""

PREFILL_FILES = (
    Path("selected_prefill_interpolation/raw_data.npz"),
    Path(PREFILL_JSON),
    Path("prefill.npz"),
)
DECODE_FILES = (Path("selected_decode_interpolation/raw_data.npz"), Path(DECODE_JSON), Path("decode.npz"))
"""In the order in which they are looked for; the last ones are Dynamo's pre-swept results."""
BOTH_FILES = (Path("perf_data.npz"), Path("profile.json"))
"""Of both stages: the mocker's, and a single object with the keys of both."""

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


def load_config_map(
    data: Mapping[str, str],
    binary_data: Mapping[str, str] | None = None,
    *,
    interpolation: Interpolation,
    tp: int | None = None,
) -> LoadedProfile:
    """Read the profile from a ConfigMap's data, and from the base64 of its binaryData.

    The profiler's keys count; else the only other entry is the profile, JSON or NPZ, with one stage or both.

    Raises:
        ProfileNotFound: neither key is there, nor a single other one.
        ProfileFormatError: a key does not parse, or the interpolation needs more points.
    """
    files = {key: _File(key, value.encode()) for key, value in data.items()}
    files |= {key: _decoded(key, value) for key, value in (binary_data or {}).items()}
    meta, prefill, decode = (files.pop(key, None) for key in (META_JSON, PREFILL_JSON, DECODE_JSON))
    if prefill is None and decode is None:
        prefill, decode = _only(files.values())
    if prefill is None and decode is None:
        raise ProfileNotFound(
            f"the ConfigMap has {_listed([*data, *(binary_data or {})]) or 'no keys'}, "
            f"wanted {PREFILL_JSON} and {DECODE_JSON}"
        )
    return _loaded(prefill, decode, meta, interpolation, tp)


def load_file(
    name: str, data: bytes, *, interpolation: Interpolation, tp: int | None = None
) -> LoadedProfile:
    """Read the profile from one file, JSON or NPZ, with one stage or both; *name* stands in messages.

    Raises:
        ProfileNotFound: it has no stage.
        ProfileFormatError: it does not parse, or the interpolation needs more points.
    """
    prefill, decode = _both(_File(name, data))
    if prefill is None and decode is None:
        raise ProfileNotFound(
            f"{name}: found no prefill_ttft and no z_itl in it, wanted a profile of Dynamo's"
        )
    return _loaded(prefill, decode, None, interpolation, tp)


def load_directory(
    path: str | Path,
    *,
    allowed: Sequence[Path] | None,
    interpolation: Interpolation,
    tp: int | None = None,
) -> LoadedProfile:
    """Read the profile from a directory, NPZ before JSON.

    Args:
        path: the directory.
        allowed: directories below which it must lie; None allows all (the command line, where the
            user reads what the user may read).
        interpolation: how it is read between its points.
        tp: chooses among pre-swept results, and says what a replica has where the profile does not; None: what
            `meta.json` says.

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
        both = _first(directory, BOTH_FILES, roots)
        prefill, decode = (None, None) if both is None else _both(both)
    if prefill is None and decode is None:
        wanted = ", ".join(str(name) for name in (*PREFILL_FILES, *DECODE_FILES, *BOTH_FILES))
        found = _listed(entry.name for entry in directory.iterdir()) or "nothing"
        raise ProfileNotFound(f"{path}: found {found}, wanted one or more of {wanted}")
    return _loaded(prefill, decode, _read(directory, Path(META_JSON), roots), interpolation, tp)


@lru_cache(maxsize=PROFILES_KEPT)
def _loaded(
    prefill: _File | None,
    decode: _File | None,
    meta: _File | None,
    interpolation: Interpolation,
    tp: int | None,
) -> LoadedProfile:
    hardware = _hardware(meta)
    tp = tp or hardware.tp
    tables = ProfileTables(
        prefill=prefill_table(prefill.data, source=prefill.name, tp=tp) if prefill else None,
        decode=decode_table(decode.data, source=decode.name, tp=tp) if decode else None,
    )
    profile = build(tables, interpolation)
    return LoadedProfile(
        profile=profile,
        tables=tables,
        hardware=hardware,
        faults=(*check(tables, hardware), *_overshoots(profile, tables, interpolation)),
        summary=_summary(tables, interpolation),
    )


def _only(files: Collection[_File]) -> tuple[_File | None, _File | None]:
    """The stages of a ConfigMap's only entry; text that is no JSON has none."""
    if len(files) != 1:
        return None, None
    file = next(iter(files))
    return _both(file) if file.data.lstrip().startswith((b"PK", b"{")) else (None, None)


def _both(file: _File) -> tuple[_File | None, _File | None]:
    """A file as the source of each stage that it has."""
    prefill, decode = stages_in(file.data, source=file.name)
    return (file if prefill else None), (file if decode else None)


def _decoded(key: str, value: str) -> _File:
    try:
        return _File(key, base64.b64decode(value, validate=True))
    except binascii.Error as exc:
        raise ProfileFormatError(f"{key}: found binaryData that is no base64 ({exc}), wanted base64") from exc


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
        tp=tp if type(tp) is int and tp > 0 else None,
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
