"""YAML as kubectl reads it, which is not quite as PyYAML does.

Kubernetes' YAML has `1e3` as a number, `2024-01-01` and `1:30` as strings, `y` and `n` as booleans,
and writes the number 3.0 as 3. A key given twice is refused, as strict field validation does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml


class DocumentError(ValueError):
    """Text that is not YAML, or not one that Kubernetes would read."""


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a file and the line, from 1, where it starts."""

    content: Any
    line: int


def read_documents(text: str) -> Iterator[Document]:
    """The documents of *text* that are not empty, in order.

    Raises:
        DocumentError: syntax, a key given twice, or a number that JSON cannot carry.
    """
    try:
        loader = _Loader(text)
        while loader.check_node():
            node = loader.get_node()
            content = None if node is None else loader.construct_document(node)
            if node is not None and content is not None:
                yield Document(_as_json(content), node.start_mark.line + 1)
    except yaml.YAMLError as error:
        raise DocumentError(_one_line(error)) from error
    except RecursionError as error:
        raise DocumentError("nested too deeply, or an anchor that contains itself") from error


class _Loader(yaml.SafeLoader):
    """SafeLoader with Kubernetes' idea of what a plain word is."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own way to specialise a loader
        first: [
            (tag, pattern)
            for tag, pattern in resolvers
            if tag.rpartition(":")[2] not in ("timestamp", "float", "int", "bool", "value")
        ]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - as the base class has it
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a word", key.start_mark)
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f'duplicate field "{key.value}"', key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_NUMBER_FIRST = list("-+.0123456789")
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool",
    re.compile(r"^(?:y|Y|yes|Yes|YES|n|N|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF)$"),
    list("yYnNtTfFoO"),
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int",
    re.compile(r"^[-+]?(?:0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*)$"),
    _NUMBER_FIRST,
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?(?:(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?|\.(?:inf|Inf|INF))$"
        r"|^\.(?:nan|NaN|NAN)$"
    ),
    _NUMBER_FIRST,
)


def _int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node).replace("_", "").lower()
    digits = text.lstrip("+-")
    base = {"0x": 16, "0b": 2, "0o": 8}.get(digits[:2], 8 if digits.startswith("0") and digits != "0" else 10)
    try:
        return int(text, base)
    except ValueError as error:
        raise yaml.constructor.ConstructorError(
            None, None, f"{node.value[:32]!r} is not an integer", node.start_mark
        ) from error


def _bool(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> bool:
    return loader.construct_scalar(node).lower() in ("y", "yes", "true", "on")


_Loader.add_constructor("tag:yaml.org,2002:int", _int)
_Loader.add_constructor("tag:yaml.org,2002:bool", _bool)


def _as_json(value: Any) -> Any:
    """What arrives at the server after the way through JSON: string keys, 3.0 as 3, finite numbers."""
    if isinstance(value, dict):
        return {_key(key): _as_json(child) for key, child in value.items()}
    if isinstance(value, list | tuple | set):
        return [_as_json(entry) for entry in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    if isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):  # noqa: PLR0124 - NaN
            raise DocumentError(f"{value} is not a number that JSON can carry")
        return int(value) if value.is_integer() else value
    return value


def _key(key: Any) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    return str(key)


def _one_line(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}"
    return " ".join(str(error).split())
