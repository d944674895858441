"""CEL rules, evaluated outside the API server: for files, and for objects older than a rule.

The rules are read from the structural schema, so what is checked here is what the server checks.
Values are converted by the schema first, as the server does: an integer in a `number` field is a
double to CEL, which does not compare across its numeric types.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cel


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken rule: which field is to blame, and the rule's own words."""

    path: str
    message: str


def violations(schema: Mapping[str, Any], value: Any, path: str, old: Any = None) -> tuple[Violation, ...]:
    """Every rule of *schema* that *value* breaks, with paths below *path*.

    *value* is complete: defaults applied, types right. Transition rules (`oldSelf`) act when *old*,
    the value before the update, is given.
    """
    typed_old = None if old is None else _typed(schema, old)
    return tuple(_broken(schema, _typed(schema, value), typed_old, path))


def _broken(schema: Mapping[str, Any], value: Any, old: Any, path: str) -> Iterator[Violation]:
    for entry in schema.get("x-kubernetes-validations", ()):
        if "oldSelf" in entry["rule"] and old is None:
            continue
        if not _holds(entry["rule"], value, old):
            yield Violation(path + entry.get("fieldPath", ""), entry["message"])
    if isinstance(value, dict):
        for name, child in schema.get("properties", {}).items():
            if name in value:
                before = old.get(name) if isinstance(old, dict) else None
                yield from _broken(child, value[name], before, f"{path}.{name}")
    elif isinstance(value, list):
        for index, entry in enumerate(value):
            yield from _broken(schema.get("items", {}), entry, None, f"{path}[{index}]")


def _holds(rule: str, value: Any, old: Any) -> bool:
    """Evaluate one rule. A rule that cannot be evaluated does not hold, as on the server."""
    variables = {"self": value} if old is None else {"self": value, "oldSelf": old}
    try:
        return _program(rule).execute(variables) is True
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError):
        return False


@lru_cache(maxsize=256)
def _program(rule: str) -> cel.Program:
    return cel.compile(rule)


def _typed(schema: Mapping[str, Any], value: Any) -> Any:
    if isinstance(value, Mapping):
        properties = schema.get("properties", {})
        return {name: _typed(properties.get(name, {}), child) for name, child in value.items()}
    if isinstance(value, list):
        return [_typed(schema.get("items", {}), entry) for entry in value]
    if schema.get("type") == "number" and isinstance(value, int):
        return float(value)
    return value
