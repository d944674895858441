"""A merge patch says only what changed, and applying it gives the other document."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaplanner.controller.merge_patches import merge_patch

LEAVES = st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2)
DOCUMENTS = st.recursive(
    st.dictionaries(st.sampled_from("abc"), LEAVES, max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner | LEAVES, max_size=3),
    max_leaves=8,
)


def patched(document: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """What an API server makes of a merge patch (RFC 7386)."""
    result = dict(document)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping):
            old = result.get(key)
            result[key] = patched(old if isinstance(old, Mapping) else {}, value)
        else:
            result[key] = value
    return result


@given(before=DOCUMENTS, after=DOCUMENTS)
def test_the_patch_leads_from_one_document_to_the_other(before: dict[str, Any], after: dict[str, Any]):
    kept = copy.deepcopy(before)
    assert patched(before, merge_patch(before, after)) == after
    assert before == kept


@given(document=DOCUMENTS)
def test_equal_documents_need_no_patch(document: dict[str, Any]):
    assert merge_patch(document, copy.deepcopy(document)) == {}


@pytest.mark.parametrize(
    ("before", "after", "patch"),
    [
        pytest.param({"a": 1}, {}, {"a": None}, id="gone-is-null"),
        pytest.param({"a": [1, 2]}, {"a": [1]}, {"a": [1]}, id="lists-are-sent-whole"),
        pytest.param(
            {"a": {"x": 1, "y": 2}}, {"a": {"x": 1, "y": 3}}, {"a": {"y": 3}}, id="only-what-differs"
        ),
        pytest.param({"a": 1}, {"a": {"x": 1}}, {"a": {"x": 1}}, id="another-kind-of-value"),
    ],
)
def test_a_patch_is_small(before: dict[str, Any], after: dict[str, Any], patch: dict[str, Any]):
    assert merge_patch(before, after) == patch
