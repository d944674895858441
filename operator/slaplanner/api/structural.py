"""From pydantic models to the structural schema that the API server enforces.

What differs from pydantic's own JSON schema: references are inlined, optional means absent and not
null, an exclusive bound is a flag beside the bound, unknown fields are refused by the server itself,
fractional bounds become CEL rules (the server rounds them in its messages, and 99.9 would read
"100"), and every enum says its longest value, which lets the server bound the cost of rules.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Any, Union, get_args, get_origin

from slaplanner.api.fields import Part, Rule

Schema = dict[str, Any]

_FIRST = ("type", "description", "default", "enum")
_LAST = ("required", "properties", "items")
"""How a schema is read: what it is, its bounds and rules by name, then what is below."""

_DROPPED = frozenset({"title", "additionalProperties", "$defs"})


def structural_schema(model: type[Part]) -> Schema:
    """The structural schema of *model*, rules included. Pure: the same model gives the same schema."""
    document = model.model_json_schema(by_alias=True)
    schema = _inlined(document, document.get("$defs", {}))
    _attach_rules(schema, model)
    return _sorted(schema)


def _inlined(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> Schema:
    """*node* with references and `| null` resolved; what stands beside a reference wins over it."""
    merged = dict(node)
    if "anyOf" in merged:
        (present,) = (option for option in merged.pop("anyOf") if option.get("type") != "null")
        merged = {**present, **merged}
    if "$ref" in merged:
        merged = {**definitions[merged.pop("$ref").rpartition("/")[2]], **merged}
    schema: Schema = {key: value for key, value in merged.items() if key not in _DROPPED}
    if schema.get("default", ...) is None:
        del schema["default"]
    if "properties" in schema:
        schema["properties"] = {
            name: _inlined(child, definitions) for name, child in schema["properties"].items()
        }
    if "items" in schema:
        schema["items"] = _inlined(schema["items"], definitions)
    if "enum" in schema:
        schema["maxLength"] = max(len(value) for value in schema["enum"])
    _write_bounds(schema)
    return schema


def _write_bounds(schema: Schema) -> None:
    if "exclusiveMinimum" in schema:
        schema["minimum"] = schema.pop("exclusiveMinimum")
        schema["exclusiveMinimum"] = True
    for bound, comparison in (("minimum", ">="), ("maximum", "<=")):
        value = schema.get(bound)
        if value is None:
            continue
        if float(value).is_integer():
            schema[bound] = int(value)
            continue
        del schema[bound]
        _add_rule(schema, Rule(rule=f"self {comparison} {value}", message=f"must be {_WORDS[bound]} {value}"))
    default = schema.get("default")
    if isinstance(default, float) and default.is_integer():
        schema["default"] = int(default)


_WORDS = {"minimum": "at least", "maximum": "at most"}


def _add_rule(schema: Schema, rule: Rule) -> None:
    entry = {"rule": rule.rule, "message": rule.message}
    if rule.path:
        entry["fieldPath"] = rule.path
    schema.setdefault("x-kubernetes-validations", []).append(entry)


def _attach_rules(schema: Schema, model: type[Part]) -> None:
    """Put each model's rules onto its own schema, all the way down."""
    for rule in model.rules:
        _add_rule(schema, rule)
    for name, info in model.model_fields.items():
        child = schema["properties"][info.alias or name]
        for part in _parts(info.annotation):
            _attach_rules(child.get("items", child), part)


def _sorted(schema: Schema) -> Schema:
    """The same schema, its keys in the order in which it is read."""
    keys = [key for key in _FIRST if key in schema]
    keys += sorted(key for key in schema if key not in _FIRST + _LAST)
    keys += [key for key in _LAST if key in schema]
    ordered = {key: schema[key] for key in keys}
    if "properties" in ordered:
        ordered["properties"] = {name: _sorted(child) for name, child in ordered["properties"].items()}
    if "items" in ordered:
        ordered["items"] = _sorted(ordered["items"])
    return ordered


def _parts(annotation: Any) -> Iterator[type[Part]]:
    """The models inside a field's type: itself, or below an optional, a tuple or extra metadata."""
    if isinstance(annotation, type) and not get_args(annotation):
        if issubclass(annotation, Part):
            yield annotation
    elif get_origin(annotation) in (Union, UnionType):
        for argument in get_args(annotation):
            yield from _parts(argument)
    elif get_args(annotation):
        yield from _parts(get_args(annotation)[0])
