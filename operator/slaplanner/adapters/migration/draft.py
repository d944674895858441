"""An SLAPolicy while it is put together, with what the one who migrates has to know."""

from __future__ import annotations

from typing import Any


class MigrationError(Exception):
    """Nothing can be migrated; the message says what was found and what was wanted."""


class Draft:
    """A spec that grows field by field, and notes."""

    def __init__(self) -> None:
        self.spec: dict[str, Any] = {}
        self.notes: list[str] = []

    def put(self, path: str, value: object) -> None:
        """Set a field by its dotted path; the first word on a field stays."""
        *parents, name = path.split(".")
        place = self.spec
        for parent in parents:
            place = place.setdefault(parent, {})
        place.setdefault(name, value)

    def put_role(self, role: str, field: str, value: object) -> None:
        roles = self.spec.setdefault("roles", [])
        entry = next((entry for entry in roles if entry["name"] == role), None)
        if entry is None:
            entry = {"name": role}
            roles.append(entry)
        entry.setdefault(field, value)

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)
