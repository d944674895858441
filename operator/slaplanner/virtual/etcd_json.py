"""What goes over etcd's JSON gateway: Base64 for bytes, text for 64 bits, objects one per line. Pure.

What is missing or odd in an answer reads as empty or 0, as in protocol buffers; etcd leaves out what is.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MOST_PARTS = 10_000
"""Brackets and commas of an answer: ours has some forty, and each takes a hundred times its bytes in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyValue:
    """One key as it stands."""

    value: bytes
    create_revision: int
    mod_revision: int
    """Of its last write: it tells that a key was written again, also with the same value."""


def entries_of(answer: Mapping[str, Any]) -> dict[str, KeyValue]:
    """The keys that the reads of a transaction have found."""
    entries = {}
    for response in _items(answer.get("responses")):
        found = response.get("response_range")
        for pair in _items(found.get("kvs")) if isinstance(found, dict) else ():
            key = _decoded(pair.get("key")).decode("utf-8", errors="replace")
            entries[key] = KeyValue(
                value=_decoded(pair.get("value")),
                create_revision=_number(pair.get("create_revision")),
                mod_revision=_number(pair.get("mod_revision")),
            )
    return entries


def unwritten(key: str, entry: KeyValue | None) -> dict[str, Any]:
    """A transaction's comparison: nobody has written *key* since *entry* was read; None: it was absent."""
    # Revision 0 is that of an absent key.
    revision = entry.mod_revision if entry is not None else 0
    return {"key": encoded(key), "target": "MOD", "result": "EQUAL", "mod_revision": str(revision)}


def range_end(prefix: str) -> str:
    """The end of all keys that begin with *prefix*."""
    raw = prefix.encode()
    return base64.b64encode(raw[:-1] + bytes([raw[-1] + 1])).decode()


def encoded(text: str) -> str:
    """*text* as JSON carries bytes."""
    return base64.b64encode(text.encode()).decode()


def _decoded(value: object) -> bytes:
    """The bytes; an empty value is left out of etcd's JSON."""
    try:
        return base64.b64decode(value, validate=True) if isinstance(value, str) else b""
    except ValueError:  # also text that is not ASCII
        return b""


_LARGEST_NUMBER = 2**63 - 1
_MOST_DIGITS = len(str(_LARGEST_NUMBER))


def _number(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value if 0 <= value <= _LARGEST_NUMBER else 0
    if not isinstance(value, str) or len(value) > _MOST_DIGITS or not value.isdecimal():
        return 0
    return int(value)


def _items(value: object) -> Sequence[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def document_of(content: bytes) -> Mapping[str, Any]:
    """The JSON object in *content*. Raises ValueError when there is none, or too much of it."""
    if content.count(b"[") + content.count(b"{") + content.count(b",") > MOST_PARTS:
        raise ValueError(f"found more than {MOST_PARTS:,} parts, wanted an answer of a few keys")
    try:
        document = json.loads(content)
    except RecursionError as error:
        raise ValueError("found JSON that is nested too deeply, wanted an answer of a few keys") from error
    if not isinstance(document, dict):
        raise ValueError(f"found {type(document).__name__}, wanted a JSON object")  # noqa: TRY004 - one family for what is no answer
    return document
