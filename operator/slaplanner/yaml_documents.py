"""YAML as kubectl reads it, which is not quite as PyYAML does.

Kubernetes' YAML has `1e3` as a number, `2024-01-01` and `1:30` as strings, `y` and `n` as booleans,
and writes the number 3.0 as 3. A key given twice is refused, as strict field validation does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
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
                yield Document(_Json(most=_MOST_VALUES + len(text)).of(content), node.start_mark.line + 1)
    except yaml.YAMLError as error:
        raise DocumentError(_one_line(error)) from error
    except RecursionError as error:
        raise DocumentError("nested too deeply, or an anchor that contains itself") from error
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        if isinstance(error, DocumentError):
            raise
        # PyYAML's constructors of tags that nobody writes by hand raise whatever they meet.
        raise DocumentError(f"a value does not fit its tag ({type(error).__name__}: {error})") from error


_MOST_VALUES = 10_000
"""Beyond one per character of the text: only aliases make more values than were written."""


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
        if not isinstance(node, yaml.MappingNode):
            raise yaml.constructor.ConstructorError(
                None, None, f"found a {node.id}, wanted a mapping", node.start_mark
            )
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

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: FBT001, FBT002 - as the base class has it
        try:
            return super().construct_object(node, deep)
        except yaml.YAMLError:
            raise
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise yaml.constructor.ConstructorError(
                None, None, f"the value does not fit its tag {node.tag}", node.start_mark
            ) from error

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Resolve `<<`, and keep each key once: merges of merges would multiply them without end."""
        super().flatten_mapping(node)
        last = {
            key.value if isinstance(key, yaml.ScalarNode) else id(key): (key, value)
            for key, value in node.value
        }
        node.value = list(last.values())


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


_INTEGER_BITS = 64


def _int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    text = loader.construct_scalar(node).replace("_", "").lower()
    digits = text.lstrip("+-")
    base = {"0x": 16, "0b": 2, "0o": 8}.get(digits[:2], 8 if digits.startswith("0") and digits != "0" else 10)
    try:
        number = int(text, base)
        # As Kubernetes reads it: what fits no 64 bits is a floating-point number.
        return number if number.bit_length() <= _INTEGER_BITS else float(number)
    except (ValueError, OverflowError) as error:
        raise yaml.constructor.ConstructorError(
            None, None, f"{node.value[:32]!r} is not an integer that JSON can carry", node.start_mark
        ) from error


def _bool(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> bool:
    return loader.construct_scalar(node).lower() in ("y", "yes", "true", "on")


_Loader.add_constructor("tag:yaml.org,2002:int", _int)
_Loader.add_constructor("tag:yaml.org,2002:bool", _bool)


class _Json:
    """What arrives at the server after the way through JSON: string keys, 3.0 as 3, finite numbers."""

    def __init__(self, *, most: int) -> None:
        """*most*: values that the document may come to, aliases counted each time."""
        self._left = self._most = most

    def of(self, value: Any) -> Any:
        self._left -= 1
        if self._left < 0:
            raise DocumentError(f"more than {self._most:,} values: its aliases multiply")
        if isinstance(value, dict):
            return {_key(key): self.of(child) for key, child in value.items()}
        if isinstance(value, list | tuple | set):
            return [self.of(entry) for entry in value]
        if isinstance(value, bytes):
            return value.decode("utf-8", errors="replace")
        if isinstance(value, float):
            if value != value or value in (float("inf"), float("-inf")):  # noqa: PLR0124 - NaN
                raise DocumentError(f"{value} is not a number that JSON can carry")
            return int(value) if value.is_integer() else value
        if isinstance(value, date):
            return str(value)
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
