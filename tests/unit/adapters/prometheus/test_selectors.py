"""Selectors: whose series, and no way for a value to become anything else."""

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaplanner.adapters.prometheus import LabelMatcher, MatchOperator, MetricsSource, Scope
from slaplanner.adapters.prometheus.selectors import SYMBOLS, any_case, braces, escape
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
    text = str(LabelMatcher(label="pool", operator=operator, value=value))
    opening = f'pool{SYMBOLS[operator]}"'
    assert text.startswith(opening)
    assert text.endswith('"')
    assert unescape(text[len(opening) : -1]) == value


@pytest.mark.parametrize("label", ["", "1a", "a-b", 'a="b",c', "a b", "ä", "a\n"])
def test_what_is_not_a_label_is_refused(label: str) -> None:
    with pytest.raises(MetricsError, match="as the name of a label") as refused:
        LabelMatcher(label=label, value="x")
    assert refused.value.reason is Reason.PROMETHEUS_REJECTED


def test_half_a_character_is_refused_before_it_is_sent() -> None:
    with pytest.raises(MetricsError, match="not Unicode text"):
        LabelMatcher(label="model", value="\ud800")


OWN = r'dynamo_namespace=~"serving[-_]my[-_]graph([-_]([0-9a-f]{8,64}|legacy))?'


@pytest.mark.parametrize(
    ("scope", "traffic"),
    [
        pytest.param(
            Scope(model="Meta/Llama-3.1", dynamo_namespace="serving-my-graph"),
            rf'{{model=~"(?i:Meta/Llama-3\\.1)",{OWN}"}}',
            id="frontend",
        ),
        pytest.param(
            Scope(source=MetricsSource.ROUTER, model="Llama", dynamo_namespace="serving-my-graph"),
            f'{{{OWN}"}}',
            id="the-router-has-no-model",
        ),
        pytest.param(
            Scope(model="llama", dynamo_namespace="serving-my-graph", worker_namespaces=("pool-7",)),
            f'{{model=~"(?i:llama)",{OWN}|pool[-_]7"}}',
            id="worker-sets-that-the-target-tells",
        ),
        pytest.param(
            Scope(
                model="llama",
                matchers=(LabelMatcher(label="cluster", operator=MatchOperator.MATCHES, value="eu|us"),),
            ),
            '{model=~"(?i:llama)",cluster=~"eu|us"}',
            id="without-namespace-for-older-versions",
        ),
        pytest.param(
            Scope(model="Llama", matchers=(LabelMatcher(label="model", value="LLAMA"),)),
            '{model=~"(?i:Llama)"}',
            id="a-matcher-that-repeats-the-model",
        ),
    ],
)
def test_traffic_of_a_scope(scope: Scope, traffic: str) -> None:
    assert scope.traffic() == traffic


def matches(matcher: LabelMatcher, value: str) -> bool:
    """As Prometheus matches: the whole value."""
    return re.fullmatch(matcher.value, value) is not None


@given(unicode_text.filter(bool), st.sampled_from([str, str.lower, str.upper]))
def test_a_model_matches_itself_in_any_case_and_nothing_longer(
    model: str, spelling: Callable[[str], str]
) -> None:
    spelled_model = spelling(model)
    if spelling is str.upper and spelled_model.lower() != model.lower():
        return  # such letters have no upper case that comes back, so nobody can tell that they are one
    assert matches(any_case(model), spelled_model)
    assert not matches(any_case(model), f"{model}x")
    assert matches(any_case(model, or_none=True), "")


NAMES = st.from_regex(r"[a-z]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True)


@given(
    base=st.builds("{}-{}".format, NAMES, NAMES),
    joined=st.sampled_from("-_"),
    worker_set=st.integers(0, 2**32 - 1),
    underscored=st.booleans(),
)
def test_a_namespace_matches_its_worker_sets_with_dashes_and_underscores(
    *, base: str, joined: str, worker_set: int, underscored: bool
) -> None:
    selector = Scope(dynamo_namespace=base).measures()
    pattern = selector[len('{dynamo_namespace=~"') : -len('"}')]
    spelled_base = base.replace("-", "_") if underscored else base
    assert re.fullmatch(pattern, spelled_base)
    assert re.fullmatch(pattern, f"{spelled_base}{joined}{worker_set:08x}")
    assert not re.fullmatch(pattern, f"{spelled_base}x")
    assert not re.fullmatch(pattern, f"x{spelled_base}")
    assert not re.fullmatch(pattern, f"{spelled_base}{joined}canary")
    assert not re.fullmatch(pattern, "")


def test_a_matcher_on_a_requests_label_leaves_histograms_alone() -> None:
    scope = Scope(
        model="llama",
        matchers=(LabelMatcher(label="endpoint", value="responses"), LabelMatcher(label="pool", value="a")),
    )
    assert scope.requests() == '{model=~"(?i:llama)",endpoint="responses",pool="a"}'
    assert scope.measures() == '{model=~"(?i:llama)",pool="a"}'


@pytest.mark.parametrize("prefix", ["", "1x", "a-b", 'x"', "a b", "ä"])
def test_what_cannot_begin_a_metrics_name_is_refused(prefix: str) -> None:
    with pytest.raises(MetricsError, match="as the prefix of metrics"):
        Scope(model="llama", prefix=prefix)


def test_a_target_is_told_apart_by_labels_that_it_can_have() -> None:
    scope = Scope(
        model="llama",
        dynamo_namespace="serving-my-graph",
        matchers=(
            LabelMatcher(label="cluster", value="eu"),
            LabelMatcher(label="endpoint", value="completions"),
        ),
    )
    assert scope.target() == f'{{{OWN}",cluster="eu"}}'
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
