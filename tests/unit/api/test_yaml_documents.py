"""YAML as Kubernetes reads it."""

import re
from typing import Any

import pytest

from slaplanner.yaml_documents import DocumentError, read_documents


def _value(text: str) -> Any:
    (document,) = read_documents(f"a: {text}")
    return document.content["a"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("1e3", 1000, id="exponent"),
        pytest.param("1.5E2", 150, id="exponent-and-point"),
        pytest.param("8.0", 8, id="a-whole-number-with-a-point-is-whole"),
        pytest.param("0.5", 0.5, id="fraction"),
        pytest.param(".5", 0.5, id="no-digit-before-the-point"),
        pytest.param("5.", 5, id="no-digit-after-the-point"),
        pytest.param("-3", -3, id="negative"),
        pytest.param("+3", 3, id="signed"),
        pytest.param("1_000", 1000, id="underscores"),
        pytest.param("0x1f", 31, id="hexadecimal"),
        pytest.param("010", 8, id="octal"),
        pytest.param("0o10", 8, id="octal-of-YAML-1.2"),
        pytest.param("0b11", 3, id="binary"),
        pytest.param("0", 0, id="zero"),
        pytest.param("1:30", "1:30", id="no-sexagesimal"),
        pytest.param("2024-01-01", "2024-01-01", id="no-dates"),
        pytest.param("1.2.3", "1.2.3", id="a-version-is-a-string"),
        pytest.param("yes", True, id="yes"),
        pytest.param("y", True, id="y"),
        pytest.param("off", False, id="off"),
        pytest.param("N", False, id="N"),
        pytest.param("nope", "nope", id="a-word"),
        pytest.param("~", None, id="null"),
        pytest.param('"1"', "1", id="quoted"),
        pytest.param("=", "=", id="equals"),
        pytest.param("!!binary aGk=", "hi", id="binary-is-its-text"),
    ],
)
def test_a_plain_word_means_what_it_means_to_kubernetes(text: str, value: Any) -> None:
    found = _value(text)

    assert (found, type(found)) == (value, type(value))


def test_keys_become_strings() -> None:
    (document,) = read_documents("7: a\ntrue: b")

    assert document.content == {"7": "a", "true": "b"}


def test_documents_know_the_line_where_they_start() -> None:
    documents = list(read_documents("# head\na: 1\n---\n\nb: 2\n---\n"))

    assert [(document.content, document.line) for document in documents] == [({"a": 1}, 2), ({"b": 2}, 5)]


def test_json_is_yaml() -> None:
    (document,) = read_documents('{"a": {"b": [1, 2.5, "x", null, true]}}')

    assert document.content == {"a": {"b": [1, 2.5, "x", None, True]}}


def test_anchors_and_merges_are_resolved() -> None:
    (document,) = read_documents("a: &a {k: 1, l: 2}\nb: {<<: *a, m: 3}")

    assert document.content["b"] == {"k": 1, "l": 2, "m": 3}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("a: [1", "line 1, column 6", id="syntax"),
        pytest.param("a: 1\nb: 2\na: 3", 'line 3, column 1: duplicate field "a"', id="a-key-given-twice"),
        pytest.param("a: .inf", "not a number that JSON can carry", id="infinity"),
        pytest.param("a: .nan", "not a number that JSON can carry", id="not-a-number"),
        pytest.param("a: &a [*a]", "contains itself", id="an-anchor-in-itself"),
        pytest.param("{[1]: 2}", "a key must be a word", id="a-list-as-a-key"),
        pytest.param(
            "a: !!python/object:os.system x", "could not determine a constructor", id="a-foreign-tag"
        ),
        pytest.param("a: \x00", "unacceptable character", id="a-control-character"),
        pytest.param("[" * 5000, "nested too deeply", id="deep-nesting"),
        pytest.param("a: !!int x", "'x' is not an integer", id="a-tag-that-does-not-fit"),
    ],
)
def test_what_kubernetes_would_not_read_is_refused(text: str, said: str) -> None:
    with pytest.raises(DocumentError, match=re.escape(said)):
        list(read_documents(text))
