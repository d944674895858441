"""What the API server demands of an object's metadata, as far as a file can break it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from slaplanner.api.fields import DNS_SUBDOMAIN
from slaplanner.api.rules import Violation
from slaplanner.api.schema_validation import faults, unknown_fields

_TEXT = {"type": "string"}
_WORDS = {"type": "object"}
METADATA_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 253, "pattern": DNS_SUBDOMAIN},
        "generateName": _TEXT,
        "namespace": {"type": "string", "maxLength": 63, "pattern": r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"},
        "labels": _WORDS,
        "annotations": _WORDS,
        "finalizers": {"type": "array", "items": _TEXT},
        "ownerReferences": {"type": "array", "items": {"type": "object"}},
        "managedFields": {"type": "array", "items": {"type": "object"}},
        "uid": _TEXT,
        "resourceVersion": _TEXT,
        "selfLink": _TEXT,
        "generation": {"type": "integer"},
        "creationTimestamp": _TEXT,
        "deletionTimestamp": _TEXT,
        "deletionGracePeriodSeconds": {"type": "integer"},
    },
}

_NAME = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_QUALIFIED = re.compile(rf"(?:[a-z0-9]([-a-z0-9.]{{0,251}}[a-z0-9])?/)?{_NAME}")
_LABEL_VALUE = re.compile(rf"(?:{_NAME})?")


def metadata_faults(metadata: Any) -> Iterator[Violation]:
    """Everything about *metadata* that an API server would refuse at creation."""
    if metadata is None:
        metadata = {}
    if not isinstance(metadata, Mapping):
        yield from faults(METADATA_SCHEMA, metadata, "metadata")
        return
    present = {name: value for name, value in metadata.items() if value is not None}
    yield from unknown_fields(METADATA_SCHEMA, present, "metadata")
    yield from faults(METADATA_SCHEMA, present, "metadata")
    if not present.get("name") and not present.get("generateName"):
        yield Violation("metadata.name", "Required value: name or generateName is required")
    for field in ("labels", "annotations"):
        entries = present.get(field)
        if isinstance(entries, Mapping):
            yield from _entry_faults(field, entries)


def _entry_faults(field: str, entries: Mapping[str, Any]) -> Iterator[Violation]:
    for key, value in entries.items():
        here = f"metadata.{field}[{key}]"
        if not _QUALIFIED.fullmatch(key):
            yield Violation(
                here, "Invalid key: wanted an optional DNS prefix, '/', and a name of at most 63 characters"
            )
        if value is not None and not isinstance(value, str):
            yield Violation(here, f"Invalid value: {value!r}: must be of type string (quote it)")
        elif field == "labels" and value is not None and not _LABEL_VALUE.fullmatch(value):
            yield Violation(here, f"Invalid value: {value!r}: not a label value")
