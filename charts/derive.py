"""Writes the chart's values.schema.json: `python charts/derive.py [--check]`.

Its part about the settings follows from the operator's own `Settings`, so that Helm refuses a misspelt key
before anything is installed.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import types
import typing
from enum import Enum
from pathlib import Path
from typing import Any, Final

from slaplanner.settings import Settings
from slaplanner.settings_reading import key_of

SCHEMA: Final = Path(__file__).parent / "slaplanner/values.schema.json"

SCALARS: Final[dict[Any, str]] = {
    str: "string",
    Path: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
}
TEXT: Final = {"type": "string"}
FLAG: Final = {"type": "boolean"}
FREE: Final = {"type": "object"}
OBJECTS: Final = {"type": "array", "items": FREE}
NAMESPACE: Final = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63}
STRINGS: Final = {"type": "object", "additionalProperties": TEXT}


def record(**properties: Any) -> dict[str, Any]:
    """An object with these properties and no others."""
    return {"type": "object", "additionalProperties": False, "properties": properties}


def schema_of(hint: Any) -> dict[str, Any]:
    """The JSON schema of a type that settings are read into."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:
        return schema_of(arguments[0])
    if origin is tuple:
        return {"type": "array", "items": schema_of(arguments[0])}
    if origin is not None:
        return {"type": "object", "additionalProperties": schema_of(arguments[1])}
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        found = record(
            **{key_of(field.name): schema_of(hints[field.name]) for field in dataclasses.fields(hint)}
        )
        required = [
            key_of(field.name)
            for field in dataclasses.fields(hint)
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        ]
        return found | ({"required": required} if required else {})
    if issubclass(hint, Enum):
        return {"enum": [member.value for member in hint]}
    return {"type": SCALARS[hint]}


def schema() -> dict[str, Any]:
    """The whole schema."""
    settings = schema_of(Settings)
    # The chart fills it in from watchNamespaces, which also decides the RoleBindings.
    del settings["properties"]["watchedNamespaces"]
    return {"$schema": "http://json-schema.org/draft-07/schema#"} | record(
        image=record(
            repository={"type": "string", "minLength": 1},
            tag=TEXT,
            digest={"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
            pullPolicy={"enum": ["Always", "IfNotPresent", "Never"]},
            pullSecrets=OBJECTS,
        ),
        settings=settings,
        watchNamespaces={
            "type": "array",
            "uniqueItems": True,
            "items": NAMESPACE,
        },
        replicas={"type": "integer", "minimum": 1},
        networkPolicy=record(install=FLAG, prometheusNamespace=NAMESPACE),
        monitoring=record(
            monitor={"enum": ["", "PodMonitor", "ServiceMonitor"]},
            rules=FLAG,
            dashboards=FLAG,
            labels=STRINGS,
        ),
        crd=record(install=FLAG),
        admissionPolicies=record(install=FLAG),
        serviceAccount=record(annotations=STRINGS),
        resources=FREE,
        podAnnotations=STRINGS,
        priorityClassName=TEXT,
        nodeSelector=STRINGS,
        tolerations=OBJECTS,
        affinity=FREE,
        extraEnv=OBJECTS,
        extraVolumes=OBJECTS,
        extraVolumeMounts=OBJECTS,
        **{"global": FREE},
    )


def main(arguments: list[str]) -> int:
    """Write or check; returns the exit code."""
    wanted = json.dumps(schema(), indent=2) + "\n"
    if "--check" not in arguments:
        SCHEMA.write_text(wanted, encoding="utf-8")
        return 0
    if SCHEMA.exists() and SCHEMA.read_text(encoding="utf-8") == wanted:
        return 0
    sys.stderr.write(f"{SCHEMA} is out of date: run make docs\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
