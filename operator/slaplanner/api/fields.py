"""The building blocks of the SLAPolicy's models: types with their bounds, and rules across fields.

Numbers are strict (no strings, no booleans), because that is how the API server reads them. A bound
stands once, on the type; `structural` turns it into the CRD's schema.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    Strict,
    StringConstraints,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

DAY_S = 86_400
HOUR_MS = 3_600_000
DNS_SUBDOMAIN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A CEL rule across fields, as the API server evaluates it (`x-kubernetes-validations`).

    Only core CEL, so that it also runs offline. `path` is the field to blame, relative to the part
    that carries the rule. A rule that mentions `oldSelf` acts on updates alone.
    """

    rule: str
    message: str
    path: str = ""


@dataclass(frozen=True, slots=True)
class OneOf:
    """Restricts an enum to the values that work today, in the model and in its schema."""

    values: tuple[StrEnum, ...]

    def check(self, value: StrEnum) -> StrEnum:
        """Return *value* if it is allowed.

        Raises:
            ValueError: it is not; the message lists what is.
        """
        if value not in self.values:
            raise ValueError(f"found {value}, wanted one of {', '.join(self.values)}")
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, _schema: CoreSchema, _handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"type": "string", "enum": [str(value) for value in self.values]}


@dataclass(frozen=True, slots=True)
class ListMap:
    """A list whose entries are told apart, and merged, by one key."""

    key: str

    def check(self, entries: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return *entries* if no two share the key.

        Raises:
            ValueError: two do; the message names the value.
        """
        found: set[Any] = set()
        for entry in entries:
            value = getattr(entry, self.key)
            if value in found:
                raise ValueError(f"found two entries with {self.key} {value}, wanted one")
            found.add(value)
        return entries

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return handler(schema) | {
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": [self.key],
        }


class Part(BaseModel):
    """A piece of the object as users write it: camelCase, unknown fields refused, immutable."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)

    rules: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, data: Any) -> Any:
        """Drop `field: null` of a known field, as the API server does before it applies defaults."""
        if not isinstance(data, dict):
            return data
        known = {info.alias or name for name, info in cls.model_fields.items()}
        return {key: value for key, value in data.items() if value is not None or key not in known}


Count = Annotated[int, Strict(), Field(ge=1, le=10_000)]
Gpus = Annotated[int, Strict(), Field(ge=1, le=1_000_000)]
Seconds = Annotated[int, Strict(), Field(ge=1, le=DAY_S)]
SecondsOrNone = Annotated[int, Strict(), Field(ge=0, le=DAY_S)]
Milliseconds = Annotated[float, Strict(), Field(gt=0, le=HOUR_MS)]
Tokens = Annotated[float, Strict(), Field(gt=0, le=10_000_000)]
Positive = Annotated[float, Strict(), Field(gt=0, le=1e9)]
Flag = Annotated[bool, Strict()]


def part(model: type[Part], description: str) -> Any:
    """A parent with defaults below it: absent means `{}`, so that they act."""
    return Field(default_factory=model, description=description, json_schema_extra={"default": {}})


ObjectName = Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=DNS_SUBDOMAIN)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=253)]
