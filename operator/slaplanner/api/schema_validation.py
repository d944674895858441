"""What the API server's schema validation says, without an API server.

Three steps of its own, in its order: unknown fields (strict field validation), defaults, then types,
bounds and unique list keys. Messages follow the server's, so that both can be searched for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from functools import lru_cache
from typing import Any

from slaplanner.api.rules import Violation

Schema = Mapping[str, Any]

_SHOWN_CHARS = 80


def unknown_fields(schema: Schema, value: Any, path: str) -> Iterator[Violation]:
    """Fields that the schema does not have. A schema without properties takes any."""
    properties = schema.get("properties")
    if isinstance(value, Mapping) and properties is not None:
        for name, child in value.items():
            here = f"{path}.{name}" if path else str(name)
            if name in properties:
                yield from unknown_fields(properties[name], child, here)
            else:
                known = ", ".join(sorted(properties))
                yield Violation(here, f'unknown field "{here}"; known here: {known}')
    elif isinstance(value, list) and "items" in schema:
        for index, entry in enumerate(value):
            yield from unknown_fields(schema["items"], entry, f"{path}[{index}]")


def with_defaults(schema: Schema, value: Any) -> Any:
    """A copy of *value* with nulls of known fields dropped and the defaults in place."""
    if isinstance(value, Mapping) and "properties" in schema:
        properties = schema["properties"]
        kept = {name: child for name, child in value.items() if child is not None or name not in properties}
        for name, child_schema in properties.items():
            if name not in kept and "default" in child_schema:
                kept[name] = deepcopy(child_schema["default"])
        return {name: with_defaults(properties.get(name, {}), child) for name, child in kept.items()}
    if isinstance(value, list) and "items" in schema:
        return [with_defaults(schema["items"], entry) for entry in value]
    return deepcopy(value)


def faults(schema: Schema, value: Any, path: str) -> Iterator[Violation]:
    """Types, bounds, required fields and unique keys that *value* breaks."""
    kind = schema.get("type")
    if kind is not None and not _TYPES[kind](value):
        yield Violation(path, f"Invalid value: {_shown(value)}: must be of type {kind}, found {_name(value)}")
        return
    if "enum" in schema and value not in schema["enum"]:
        supported = ", ".join(json.dumps(word) for word in schema["enum"])
        yield Violation(path, f"Unsupported value: {_shown(value)}: supported values: {supported}")
        return
    if isinstance(value, str):
        yield from _text_faults(schema, value, path)
    elif isinstance(value, int | float):
        yield from _number_faults(schema, value, path)
    elif isinstance(value, Mapping):
        for name in schema.get("required", ()):
            if name not in value:
                yield Violation(f"{path}.{name}" if path else name, "Required value")
        for name, child in value.items():
            yield from faults(
                schema.get("properties", {}).get(name, {}), child, f"{path}.{name}" if path else name
            )
    elif isinstance(value, list):
        yield from _list_faults(schema, value, path)


def _text_faults(schema: Schema, value: str, path: str) -> Iterator[Violation]:
    if len(value) > schema.get("maxLength", len(value)):
        yield Violation(
            path, f"Too long: {len(value)} characters: may not be more than {schema['maxLength']}"
        )
    if len(value) < schema.get("minLength", 0):
        yield Violation(
            path, f"Invalid value: {_shown(value)}: should be at least {schema['minLength']} chars long"
        )
    if "pattern" in schema and not _pattern(schema["pattern"]).search(value):
        yield Violation(path, f"Invalid value: {_shown(value)}: should match '{schema['pattern']}'")


def _number_faults(schema: Schema, value: float, path: str) -> Iterator[Violation]:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and schema.get("exclusiveMinimum") and not value > low:
        yield Violation(path, f"Invalid value: {value}: should be greater than {low}")
    elif low is not None and not value >= low:
        yield Violation(path, f"Invalid value: {value}: should be greater than or equal to {low}")
    if high is not None and not value <= high:
        yield Violation(path, f"Invalid value: {value}: should be less than or equal to {high}")


def _list_faults(schema: Schema, value: list[Any], path: str) -> Iterator[Violation]:
    if len(value) > schema.get("maxItems", len(value)):
        yield Violation(path, f"Too many: {len(value)}: must have at most {schema['maxItems']} items")
    for index, entry in enumerate(value):
        yield from faults(schema.get("items", {}), entry, f"{path}[{index}]")
    keys = schema.get("x-kubernetes-list-map-keys", ())
    seen: set[str] = set()
    for index, entry in enumerate(value):
        if not keys or not isinstance(entry, Mapping):
            continue
        key = json.dumps({name: entry.get(name) for name in keys}, default=str)
        if key in seen:
            yield Violation(f"{path}[{index}]", f"Duplicate value: {key}")
        seen.add(key)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, Mapping),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "number": _is_number,
    "integer": _is_integer,
}


def _name(value: Any) -> str:
    """The JSON name of a value's type."""
    if value is None:
        return "null"
    for name in ("integer", "number", "object", "array", "string", "boolean"):
        if _TYPES[name](value):
            return name
    return type(value).__name__


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 3] + "..."


@lru_cache(maxsize=64)
def _pattern(pattern: str) -> re.Pattern[str]:
    """Compile for Python, whose `$` also matches before a final newline; the server's does not."""
    return re.compile(re.sub(r"(?<!\\)\$$", r"\\Z", pattern))
