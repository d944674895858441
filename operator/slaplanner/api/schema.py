"""The two schemas of the object, made once per process."""

from __future__ import annotations

from functools import lru_cache

from slaplanner.api.spec import Spec
from slaplanner.api.status_schema import Status
from slaplanner.api.structural import Schema, structural_schema


@lru_cache(maxsize=1)
def spec_schema() -> Schema:
    """Structural schema of `spec`. Shared: not to be changed."""
    return structural_schema(Spec)


@lru_cache(maxsize=1)
def status_schema() -> Schema:
    """Structural schema of `status`. Shared: not to be changed."""
    return structural_schema(Status)
