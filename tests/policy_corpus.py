"""One corpus of good and bad policies, for every judge: the schema offline, pydantic, the API server.

Rules across fields, transitions and matters of writing are written down in `tests/corpus`. What one
field alone can break (type, bound, enum, pattern, required, unknown) is derived from the schema, so
that a new field or bound has its good and its bad object before anybody thinks of it.
"""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from slaplanner.api.schema import spec_schema

CORPUS = Path(__file__).parent / "corpus"
TAIL = "targetRef: {name: llama-70b}, profile: {configMapRef: {name: planner-profile-data}}"

Schema = Mapping[str, Any]

VIRTUAL: Mapping[str, Any] = {
    "targetRef": None,
    "roles": [{"name": name, "gpusPerReplica": 1} for name in ("prefill", "decode")],
    "connector": {
        "type": "Virtual",
        "virtual": {"backend": "Kubernetes", "dynamoNamespace": "fleet", "model": "llama"},
    },
}
"""What makes the base object a policy of the virtual connector."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One object and its verdict."""

    name: str
    document: dict[str, Any]
    accepted: bool
    says: str = ""
    about: str = ""
    """The rule's message, or the path and keyword of the schema."""


@dataclass(frozen=True, kw_only=True)
class Update:
    """One update and its verdict."""

    name: str
    old: dict[str, Any]
    new: dict[str, Any]
    accepted: bool
    rule: str | None


@dataclass(frozen=True, kw_only=True)
class Text:
    """One document as written."""

    name: str
    text: str
    accepted: bool
    says: str = ""
    offline: str = ""
    """What the offline check says instead, where its words differ."""


def base() -> dict[str, Any]:
    """A fresh copy of the object that every case starts from."""
    document: dict[str, Any] = _load("base.yaml")
    return document


def merged(document: Any, patch: Any) -> Any:
    """JSON merge patch."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def policy(**spec: Any) -> dict[str, Any]:
    """The base object with *spec* merged in."""
    result: dict[str, Any] = merged(base(), {"spec": spec})
    return result


def rule_cases() -> Iterator[Case]:
    for rule in _load("rules.yaml"):
        for case in rule["cases"]:
            says = "" if case["accepted"] else rule["rule"]
            yield Case(
                name=case["fact"],
                document=policy(**case["spec"]),
                accepted=case["accepted"],
                says=says,
                about=rule["rule"],
            )


def updates() -> Iterator[Update]:
    for rule in _load("transitions.yaml"):
        for case in rule["cases"]:
            yield Update(
                name=case["fact"],
                old=policy(**case["old"]),
                new=policy(**case["new"]),
                accepted=case["accepted"],
                rule=rule["rule"],
            )


def texts() -> Iterator[Text]:
    for case in _load("texts.yaml"):
        lines = (
            "apiVersion: slaplanner.io/v1alpha1",
            "kind: SLAPolicy",
            f"metadata: {case.get('metadata', '{name: case}')}",
            f"spec: {case['spec'].replace('TAIL', TAIL)}",
            case.get("beside", ""),
        )
        says = case.get("says", "")
        yield Text(
            name=case["fact"],
            text="\n".join(lines),
            accepted=case["accepted"],
            says=says,
            offline=case.get("offline", says),
        )


def field_cases() -> Iterator[Case]:
    """Good and bad objects for every keyword of every field of the spec's schema."""
    for path, schema in fields(spec_schema()):
        for keyword, value, accepted in _values(schema):
            name = f"{path}-{keyword}-{'good' if accepted else 'bad'}-{str(value)[:24]}"
            document = _with(path, value)
            yield Case(name=name, document=document, accepted=accepted, about=f"{path} {keyword}")
    yield from _required_cases()


def fields(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Every field below *schema*; `[]` stands for an entry of a list."""
    for name, child in schema.get("properties", {}).items():
        here = f"{path}.{name}" if path else name
        yield here, child
        yield from fields(child, here)
        if "items" in child:
            yield from fields(child["items"], f"{here}[]")


HANDLED = frozenset(
    {
        *("type", "description", "default", "properties", "items", "x-kubernetes-list-type"),
        *("minimum", "exclusiveMinimum", "maximum", "minLength", "maxLength", "pattern", "enum", "maxItems"),
        *("required", "x-kubernetes-list-map-keys", "x-kubernetes-validations"),
    }
)
"""Keywords that have cases here, need none, or (rules) have theirs in `rules.yaml`."""

_WRONG_TYPE: Mapping[str, Any] = {
    "integer": "3",
    "number": "3",
    "string": 3,
    "boolean": "true",
    "object": "x",
    "array": {},
}
_BY_PATTERN: Mapping[str, tuple[str, tuple[str, ...]]] = {
    r"^nvidia\.com/[a-z0-9]+$": ("nvidia.com/v", ("apps/v1", "nvidia.com/", "nvidia.com/V1", "v1")),
    r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$": (
        "a.b-",
        ("A", "a_b", "-a", "a-", "a..b"),
    ),
    r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$": ("a-", ("A", "a.b", "-a", "a-")),
    r"^[a-zA-Z_][a-zA-Z0-9_]*$": ("_A9", ("9a", "a-b", "")),
    r"^[a-zA-Z_:][a-zA-Z0-9_:]*$": ("_A9:", ("9a", "a-b", "")),
    r"^[A-Za-z0-9_][-._A-Za-z0-9]*$": ("a.B_-", ("-a", ".a", "a/b", "a b", "")),
    r"^/": ("/", ("profiles", "", "./a")),
}
"""For each pattern of the schema: how a good text begins, and bad ones."""


def _values(schema: Schema) -> Iterator[tuple[str, Any, bool]]:
    """Keyword, value and verdict, for one field by itself."""
    kind = schema["type"]
    yield "type", _WRONG_TYPE[kind], False
    if kind == "integer":
        yield "type", 2.5, False
    if "enum" in schema:
        yield from (("enum", value, True) for value in schema["enum"])
        yield "enum", schema["enum"][0].swapcase(), False
    elif kind == "string":
        yield from _text_values(schema)
    elif kind in ("integer", "number"):
        yield from _number_values(schema)
    elif kind == "boolean":
        yield from (("type", value, True) for value in (True, False))
    elif kind == "object":
        yield "unknown", {"unheardOf": 1}, False
    elif kind == "array":
        entries = [_entry(schema["items"]) for _ in range(schema["maxItems"] + 1)]
        yield "maxItems", entries, False
        if "x-kubernetes-list-map-keys" in schema:
            yield "unique", entries[:2], False
            yield "unique", entries[:1], True
        else:
            yield "maxItems", entries[:-1], True
            yield "maxItems", [], True


def _number_values(schema: Schema) -> Iterator[tuple[str, Any, bool]]:
    step = 1 if schema["type"] == "integer" else 1e-6
    if "minimum" in schema:
        low = schema["minimum"]
        if schema.get("exclusiveMinimum"):
            yield "minimum", low, False
            yield "minimum", low + step, True
        else:
            yield "minimum", low - step, False
            yield "minimum", low, True
    if "maximum" in schema:
        yield "maximum", schema["maximum"] + 1, False
        yield "maximum", schema["maximum"], True


def _text_values(schema: Schema) -> Iterator[tuple[str, Any, bool]]:
    begin, bad = _BY_PATTERN[schema["pattern"]] if "pattern" in schema else ("", ())
    most = schema["maxLength"]
    yield "maxLength", begin + "a" * (most - len(begin)), True
    yield "maxLength", begin + "a" * (most + 1 - len(begin)), False
    if "minLength" in schema:
        yield "minLength", "a" * schema["minLength"], True
        yield "minLength", "a" * (schema["minLength"] - 1), False
    yield from (("pattern", text, False) for text in bad)


def _entry(schema: Schema) -> Any:
    """The smallest good entry of a list."""
    return {name: _smallest(schema["properties"][name]) for name in schema.get("required", ())}


def _smallest(schema: Schema) -> Any:
    if "enum" in schema:
        return schema["enum"][0]
    return "a" if schema["type"] == "string" else schema["minimum"]


def _with(path: str, value: Any) -> dict[str, Any]:
    """The base object with one field set, and whatever other rules then ask for."""
    patch: Any = value
    steps = path.split(".")
    for depth in range(len(steps) - 1, -1, -1):
        step = steps[depth]
        if step.endswith("[]"):
            listing = dict(fields(spec_schema()))[".".join(steps[: depth + 1])[:-2]]
            patch = [{**_entry(listing["items"]), **patch}]
        patch = {step.removesuffix("[]"): patch}
    companions: dict[str, Any] = {}
    if path == "profile.path":
        companions = {"profile": {"configMapRef": None}}
    elif path == "fallback.mode":
        companions = {"roles": [{"name": name, "fallbackReplicas": 1} for name in ("prefill", "decode")]}
    elif path == "roles[].name" and value == "agg":
        companions = {"mode": "agg"}
    elif path == "connector.type" and value == "Virtual":
        companions = VIRTUAL
    elif path.startswith("connector.virtual"):
        companions = merged(VIRTUAL, {"connector": {"virtual": {"backend": "Etcd"}}})
    return policy(**{**companions, **patch, **_shared(companions, patch)})


def _shared(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """The sections that both patches touch, in one; nulls stay, for the merge that follows."""
    shared = {}
    for key in first.keys() & second.keys():
        one, other = first[key], second[key]
        both = isinstance(one, dict) and isinstance(other, dict)
        shared[key] = {**one, **other, **_shared(one, other)} if both else other
    return shared


def _required_cases() -> Iterator[Case]:
    """Each required field left out, and each object complete."""
    for path, schema in fields(spec_schema()):
        below = schema.get("items", schema)
        for name in below.get("required", ()):
            whole = _entry(below)
            partial = {key: value for key, value in whole.items() if key != name}
            for value, accepted in ((whole, True), (partial, False)):
                document = base()
                place = document["spec"]
                *parents, last = path.split(".")
                for parent in parents:
                    place = place.setdefault(parent, {})
                place[last] = [value] if "items" in schema else value
                if path.startswith("connector.virtual"):
                    document = merged({"spec": merged(document["spec"], VIRTUAL)}, document)
                    document["spec"].pop("targetRef")
                    if path == "connector.virtual":
                        document["spec"]["connector"]["virtual"] = value
                    if path == "connector.virtual.etcd":
                        document["spec"]["connector"]["virtual"]["backend"] = "Etcd"
                yield Case(
                    name=f"{path}-without-{name}" if not accepted else f"{path}-with-{name}",
                    document=document,
                    accepted=accepted,
                    says="" if accepted else "Required value",
                    about=f"{path}.{name} required",
                )


def _load(name: str) -> Any:
    return yaml.safe_load((CORPUS / name).read_text(encoding="utf-8"))
