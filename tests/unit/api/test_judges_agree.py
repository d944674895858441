"""Whatever is written into a policy, the schema and pydantic give the same verdict."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from slaplanner.api.policy import SLAPolicy
from slaplanner.api.schema import spec_schema
from slaplanner.api.structural import Schema
from slaplanner.api.validation import judge
from slaplanner.core.errors import PolicyError
from tests.policy_corpus import base, merged, policy

NUMBERS = st.one_of(
    st.integers(-2, 12), st.sampled_from([50, 99.9, 100, 3600, 86_400, 86_401]), st.floats(-1, 200, width=32)
).map(lambda number: int(number) if float(number).is_integer() else number)
"""As they arrive through JSON: 3.0 is 3."""

ANYTHING = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)


def _values(schema: Schema) -> st.SearchStrategy[Any]:
    """Mostly what the schema asks for, sometimes anything."""
    kind = schema["type"]
    if "enum" in schema:
        fitting: st.SearchStrategy[Any] = st.sampled_from(schema["enum"])
    elif kind == "object":
        fitting = _objects(schema)
    elif kind == "array":
        fitting = st.lists(_values(schema["items"]), max_size=3)
    elif kind in ("integer", "number"):
        fitting = NUMBERS
    elif kind == "boolean":
        fitting = st.booleans()
    else:
        fitting = st.sampled_from(["a", "/a", "nvidia.com/v1", "A_1", ""])
    return st.one_of(fitting, fitting, fitting, ANYTHING)


def _objects(schema: Schema) -> st.SearchStrategy[dict[str, Any]]:
    optional = {name: _values(child) for name, child in schema["properties"].items()}
    return st.fixed_dictionaries({}, optional=optional)


def _parses(document: dict[str, Any]) -> bool:
    try:
        SLAPolicy.parse(document)
    except PolicyError:
        return False
    return True


@given(_objects(spec_schema()))
def test_on_any_spec(spec: dict[str, Any]) -> None:
    document = base() | {"spec": spec}

    assert _parses(document) == judge(document).accepted


@given(st.sampled_from(sorted(spec_schema()["properties"])), st.data())
def test_on_any_section_of_a_good_spec(section: str, data: st.DataObject) -> None:
    value = data.draw(_values(spec_schema()["properties"][section]))
    document = policy() | {
        "spec": {**policy()["spec"], section: merged(policy()["spec"].get(section), value)}
    }

    assert _parses(document) == judge(document).accepted
