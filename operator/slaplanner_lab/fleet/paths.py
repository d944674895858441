"""Where the fleet's objects are found on the API server."""

from __future__ import annotations

from slaplanner_lab.fleet import names


def collection(resource: str, version: str, namespace: str | None = None) -> str:
    """All objects of *resource*, in one namespace or in all."""
    scope = f"/namespaces/{namespace}" if namespace else ""
    return f"/apis/{names.GROUP}/{version}{scope}/{resource}"


def one(resource: str, version: str, namespace: str, name: str, subresource: str = "") -> str:
    """One object, or a subresource of it."""
    return f"{collection(resource, version, namespace)}/{name}" + (f"/{subresource}" if subresource else "")
