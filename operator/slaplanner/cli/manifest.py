"""An object of a file, with the place that a message names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """An object and where it was read."""

    file: str
    line: int
    content: Mapping[str, Any]

    @property
    def kind(self) -> str:
        return str(self.content.get("kind", ""))

    @property
    def group(self) -> str:
        return str(self.content.get("apiVersion", "")).partition("/")[0]

    @property
    def name(self) -> str:
        return str(self._metadata.get("name", ""))

    @property
    def namespace(self) -> str:
        return str(self._metadata.get("namespace", ""))

    @property
    def _metadata(self) -> Mapping[str, Any]:
        metadata = self.content.get("metadata")
        return metadata if isinstance(metadata, Mapping) else {}

    def is_near(self, namespace: str) -> bool:
        """In that namespace; one that is left out may be any."""
        return not self.namespace or not namespace or self.namespace == namespace

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.kind} {self.name!r}"
