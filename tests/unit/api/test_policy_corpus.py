"""Every rule and every bound has a good and a bad object, and every judge gives the same verdict."""

import contextlib
import re
from collections import defaultdict
from typing import Any

import pytest

from slaplanner.api.policy import SLAPolicy
from slaplanner.api.schema import spec_schema
from slaplanner.api.validation import Judgement, judge
from slaplanner.core.errors import PolicyError
from slaplanner.yaml_documents import DocumentError, read_documents
from tests.policy_corpus import (
    HANDLED,
    Case,
    Text,
    Update,
    base,
    field_cases,
    fields,
    rule_cases,
    texts,
    updates,
)

CASES = [*rule_cases(), *field_cases()]
BOUNDS = ("minimum", "maximum", "maxLength", "minLength", "pattern", "enum", "maxItems", "required")
GOOD_BY_OTHERS = {"pattern": "maxLength", "maxItems": "unique"}
"""Whose good object shows that a good one passes this keyword too."""


def _ids(case: Case | Update | Text) -> str:
    return case.name


def _said(verdict: Judgement) -> str:
    return "\n".join(f"{fault.path}: {fault.message}" for fault in verdict.faults)


def _path(verdict: Judgement) -> str:
    """The field that the first fault blames; a list that has an entry twice is blamed as a whole by one."""
    return re.sub(r"\[\d+\]$", "", verdict.faults[0].path) if verdict.faults else ""


def _verdict_on(text: str) -> tuple[bool, str]:
    try:
        (document,) = read_documents(text)
    except DocumentError as error:
        return False, str(error)
    verdict = judge(document.content)
    return verdict.accepted, _said(verdict)


def _schema_rules() -> set[str]:
    schemas = [spec_schema(), *(schema for _, schema in fields(spec_schema()))]
    schemas += [schema["items"] for schema in schemas if "items" in schema]
    return {rule["message"] for schema in schemas for rule in schema.get("x-kubernetes-validations", ())}


def test_the_base_object_is_good_and_needs_no_warning() -> None:
    assert judge(base()) == Judgement(faults=())


@pytest.mark.parametrize("case", CASES, ids=_ids)
def test_schema_and_pydantic_agree_on_an_object(case: Case) -> None:
    verdict = judge(case.document)

    assert verdict.accepted == case.accepted, _said(verdict)
    assert case.says in _said(verdict)
    with (
        contextlib.nullcontext()
        if case.accepted
        else pytest.raises(PolicyError, match=re.escape(_path(verdict)))
    ):
        SLAPolicy.parse(case.document)


@pytest.mark.parametrize("update", list(updates()), ids=_ids)
def test_the_offline_verdict_on_an_update(update: Update) -> None:
    verdict = judge(update.new, old=update.old)

    assert verdict.accepted == update.accepted, _said(verdict)
    if not update.accepted:
        assert update.rule in [fault.message for fault in verdict.faults]


@pytest.mark.parametrize("text", list(texts()), ids=_ids)
def test_the_offline_verdict_on_a_text(text: Text) -> None:
    accepted, said = _verdict_on(text.text)

    assert accepted == text.accepted, said
    assert text.offline in said


def test_every_rule_has_a_good_and_a_bad_object() -> None:
    verdicts: dict[str, set[bool]] = defaultdict(set)
    for case in rule_cases():
        verdicts[case.about].add(case.accepted)
    for update in updates():
        verdicts[update.rule or ""].add(update.accepted)

    assert {rule: verdicts[rule] for rule in _schema_rules()} == {
        rule: {True, False} for rule in _schema_rules()
    }


def test_every_bound_has_a_good_and_a_bad_object() -> None:
    verdicts: dict[str, set[bool]] = defaultdict(set)
    for case in field_cases():
        verdicts[case.about].add(case.accepted)
    missing = []
    for path, schema in fields(spec_schema()):
        below = schema.get("items", schema)
        bounds = [(path, keyword) for keyword in BOUNDS if keyword in schema and keyword != "required"]
        bounds += [(f"{path}.{name}", "required") for name in below.get("required", ())]
        for place, keyword in bounds:
            if keyword == "maxLength" and "enum" in schema:
                continue
            seen = (
                verdicts[f"{place} {keyword}"] | verdicts[f"{place} {GOOD_BY_OTHERS.get(keyword, keyword)}"]
            )
            if seen != {True, False}:
                missing.append((place, keyword, seen))

    assert missing == []


def test_no_field_has_a_keyword_without_cases() -> None:
    used: set[str] = set()
    for _, schema in fields(spec_schema()):
        used |= set(schema) | set(schema.get("items", ()))

    assert used <= HANDLED


def test_every_text_in_a_rule_is_bounded() -> None:
    def unbounded(schema: dict[str, Any]) -> list[str]:
        """Strings and lists below a schema that has a rule, and have no bound."""
        return [
            path
            for path, child in fields(schema)
            if (child["type"] == "string" and "maxLength" not in child)
            or (child["type"] == "array" and "maxItems" not in child)
        ]

    assert unbounded(spec_schema()) == []
