"""Reads objects that anybody may have written: a value of an unexpected type counts as absent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_WHOLE = re.compile(r"^\d{1,6}$")


def mapping(value: object) -> Mapping[str, Any]:
    """The mapping, or an empty one."""
    return value if isinstance(value, Mapping) else {}


def items(value: object) -> list[Any]:
    """The list, or an empty one."""
    return list(value) if isinstance(value, (list, tuple)) else []


def text(value: object) -> str:
    """The string, or an empty one."""
    return value if isinstance(value, str) else ""


def whole(value: object) -> int | None:
    """A whole number as manifests write it (8 or "8"); None for anything else.

    >>> whole("8"), whole(True), whole(-1), whole("8Gi")
    (8, None, None, None)
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if value >= 0 else None
    return int(value) if isinstance(value, str) and _WHOLE.match(value) else None
