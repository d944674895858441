"""A tree of frozen dataclasses read from YAML, strictly.

A key is its field's name in camelCase; the suffix `_s` is written out as `Seconds`. An unknown key, one
that is given twice and a value of another type are refused with the place, what was found and what was
wanted: a typing error in a settings file must not quietly mean the default.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

from slaplanner.yaml_documents import DocumentError, read_documents

T = TypeVar("T")


class SettingsError(Exception):
    """The settings cannot be read; the operator does not start."""


def read_yaml(document: str) -> object:
    """What the YAML text says; an empty one is an empty mapping.

    Raises:
        SettingsError: it is not YAML, or has a key twice.
    """
    try:
        documents = [entry.content for entry in read_documents(document)]
    except DocumentError as error:
        raise SettingsError(f"settings are not YAML: {error}") from error
    if len(documents) > 1:
        raise SettingsError(f"settings are not YAML: found {len(documents)} documents, wanted one")
    return documents[0] if documents else {}


def read_tree(wanted: type[T], found: object, where: str) -> T:
    """A value of the dataclass *wanted* from the mapping *found*, which lies at *where*.

    Raises:
        SettingsError: a key is unknown or missing, or a value does not fit.
    """
    mapping = _mapping(found, where)
    fields = {key_of(entry.name): entry for entry in dataclasses.fields(wanted)}  # type: ignore[arg-type]
    for key in mapping:
        if key not in fields:
            raise SettingsError(f"{where}: unknown key {key!r}{_suggestion(key, fields)}")
    hints = typing.get_type_hints(wanted)
    values: dict[str, Any] = {}
    for key, entry in fields.items():
        if key in mapping:
            values[entry.name] = _read_value(hints[entry.name], mapping[key], f"{where}.{key}")
        elif entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING:
            raise SettingsError(f"{where}: {key} is missing")
    try:
        return wanted(**values)
    except ValueError as error:
        raise SettingsError(f"{where}: {error}") from error


def key_of(name: str) -> str:
    """The key in the file of the field *name*.

    >>> key_of("read_timeout_s")
    'readTimeoutSeconds'
    """
    words = name.split("_")
    if words[-1] == "s":
        words[-1] = "seconds"
    return words[0] + "".join(word.capitalize() for word in words[1:])


def _read_value(hint: Any, found: object, where: str) -> object:
    """*found* as the annotation *hint* wants it."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:
        return None if found is None else _read_value(arguments[0], found, where)
    if origin is tuple:
        return tuple(
            _read_value(arguments[0], item, f"{where}[{index}]")
            for index, item in enumerate(_sequence(found, where))
        )
    if origin is not None:
        return {
            key: _read_value(arguments[1], value, f"{where}.{key}")
            for key, value in _mapping(found, where).items()
        }
    if dataclasses.is_dataclass(hint):
        return read_tree(typing.cast("type[object]", hint), found, where)
    return _read_scalar(hint, found, where)


def _read_scalar(hint: type, found: object, where: str) -> object:
    if issubclass(hint, Enum):
        choices = [str(member.value) for member in hint]
        if found not in choices:
            raise _unfit(found, f"one of {', '.join(choices)}", where)
        return hint(found)
    wanted, fits, make = _SCALARS[hint]
    if not fits(found):
        raise _unfit(found, wanted, where)
    return make(found)


_LARGEST = 2**63
"""Beyond it a number is a typing error; Python would take digits without end."""


def _is_text(found: object) -> bool:
    return isinstance(found, str) and bool(found.strip())


def _is_whole(found: object) -> bool:
    return isinstance(found, int) and not isinstance(found, bool) and abs(found) <= _LARGEST


def _is_number(found: object) -> bool:
    if isinstance(found, int):
        return _is_whole(found)
    return isinstance(found, float) and math.isfinite(found)


_SCALARS: dict[type, tuple[str, Callable[[object], bool], Callable[[Any], object]]] = {
    str: ("text", _is_text, str),
    Path: ("a path", _is_text, Path),
    bool: ("true or false", lambda found: isinstance(found, bool), bool),
    int: ("a whole number", _is_whole, int),
    float: ("a number", _is_number, float),
}


def _mapping(found: object, where: str) -> dict[str, object]:
    if not isinstance(found, dict):
        raise _unfit(found, "keys with values", where)
    for key in found:
        if not isinstance(key, str):
            raise _unfit(key, "text as a key", where)
    return found


def _sequence(found: object, where: str) -> list[object]:
    if not isinstance(found, list):
        raise _unfit(found, "a list", where)
    return found


def _unfit(found: object, wanted: str, where: str) -> SettingsError:
    shown = "a number of many digits" if isinstance(found, int) and abs(found) > _LARGEST else repr(found)
    return SettingsError(
        f"{where}: found {shown if len(shown) <= 80 else shown[:77] + '...'}, wanted {wanted}"
    )


def _suggestion(key: str, fields: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(key, fields, n=1)
    return f", did you mean {close[0]!r}?" if close else f", wanted one of {', '.join(sorted(fields))}"
