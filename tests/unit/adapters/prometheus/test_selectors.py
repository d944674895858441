"""Selectors: whose series, and no way for a value to become anything else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaplanner.adapters.prometheus import Matcher, MatchOperator, MetricsSource, Scope
from slaplanner.adapters.prometheus.selectors import SYMBOLS, braces, escape
from slaplanner.core.errors import MetricsError
from slaplanner.core.reasons import Reason

unicode_text = st.text(st.characters(exclude_categories=["Cs"]))


def unescape(literal: str) -> str:
    """What PromQL reads in a double-quoted string, or a failure where that would end early."""
    value, rest = [], iter(literal)
    for char in rest:
        assert char not in '"\n', f"{literal!r} ends before its end"
        value.append({"n": "\n"}.get(following := next(rest), following) if char == "\\" else char)
    return "".join(value)


@given(unicode_text)
def test_an_escaped_value_reads_as_itself(value: str) -> None:
    assert unescape(escape(value)) == value


@given(unicode_text, st.sampled_from(MatchOperator))
def test_no_value_leaves_its_matcher(value: str, operator: MatchOperator) -> None:
    text = str(Matcher(label="pool", operator=operator, value=value))
    opening = f'pool{SYMBOLS[operator]}"'
    assert text.startswith(opening)
    assert text.endswith('"')
    assert unescape(text[len(opening) : -1]) == value


@pytest.mark.parametrize("label", ["", "1a", "a-b", 'a="b",c', "a b", "ä", "a\n"])
def test_what_is_not_a_label_is_refused(label: str) -> None:
    with pytest.raises(MetricsError, match="as the name of a label") as refused:
        Matcher(label=label, value="x")
    assert refused.value.reason is Reason.PROMETHEUS_REJECTED


def test_half_a_character_is_refused_before_it_is_sent() -> None:
    with pytest.raises(MetricsError, match="not Unicode text"):
        Matcher(label="model", value="\ud800")


@pytest.mark.parametrize(
    ("scope", "traffic"),
    [
        pytest.param(
            Scope(model="Meta/Llama-3.1", dynamo_namespace="ns-Graph"),
            '{model="meta/llama-3.1",dynamo_namespace="ns-Graph"}',
            id="the-frontend-lowers-the-model-only",
        ),
        pytest.param(
            Scope(source=MetricsSource.ROUTER, model="Llama", dynamo_namespace="ns-my-graph"),
            '{dynamo_namespace="ns_my_graph"}',
            id="the-router-has-underscores-and-no-model",
        ),
        pytest.param(
            Scope(
                model="llama",
                matchers=(Matcher(label="cluster", operator=MatchOperator.MATCHES, value="eu|us"),),
            ),
            '{model="llama",cluster=~"eu|us"}',
            id="without-namespace-for-older-versions",
        ),
    ],
)
def test_traffic_of_a_scope(scope: Scope, traffic: str) -> None:
    assert scope.traffic() == traffic


def test_a_registration_keeps_the_models_case_so_it_is_matched_without() -> None:
    assert Scope(model="Llama-3.1(x)").registration() == r'{model=~"(?i:Llama-3\\.1\\(x\\))"}'


def test_a_target_is_told_apart_by_labels_that_it_can_have() -> None:
    scope = Scope(
        model="llama",
        dynamo_namespace="ns-graph",
        matchers=(Matcher(label="cluster", value="eu"), Matcher(label="endpoint", value="completions")),
    )
    assert scope.target() == '{dynamo_namespace=~"ns-graph|ns_graph",cluster="eu"}'
    assert Scope(model="llama").target() is None


@pytest.mark.parametrize(
    "source",
    [pytest.param(MetricsSource.FRONTEND, id="frontend"), pytest.param(MetricsSource.ROUTER, id="router")],
)
def test_a_scope_that_would_match_anybody_is_refused(source: MetricsSource) -> None:
    with pytest.raises(MetricsError, match=f"whose {source.value} series"):
        Scope(source=source, model="llama" if source is MetricsSource.ROUTER else None)


def test_no_matchers_are_an_empty_selector() -> None:
    assert braces([]) == "{}"
