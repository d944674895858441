"""Which series belong to a policy, as PromQL selectors. Every value that comes from a user is escaped."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from slaplanner.core.errors import MetricsError
from slaplanner.core.model import MatchOperator, MetricsSource
from slaplanner.core.reasons import Reason

MODEL = "model"
NAMESPACE = "dynamo_namespace"

LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
"""What Prometheus allows as the name of a label."""

PER_SERIES_LABELS = frozenset({MODEL, "endpoint", "request_type", "status", "error_type", "le"})
"""Labels that a frontend puts on single series; `up` and other series of the target lack them."""

_REGEX_SPECIAL = re.compile(r"([\\.+*?()|\[\]{}^$])")


SYMBOLS = {
    MatchOperator.EQUAL: "=",
    MatchOperator.NOT_EQUAL: "!=",
    MatchOperator.MATCHES: "=~",
    MatchOperator.NOT_MATCHES: "!~",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Matcher:
    """One condition on a label.

    Raises:
        MetricsError: *label* is not a label's name, or *value* cannot be sent.
    """

    label: str
    operator: MatchOperator = MatchOperator.EQUAL
    value: str

    def __post_init__(self) -> None:
        if not LABEL_NAME.fullmatch(self.label):
            raise MetricsError(
                f"found {self.label!r} as the name of a label, wanted letters, digits and _",
                reason=Reason.PROMETHEUS_REJECTED,
            )
        try:
            self.value.encode()
        except UnicodeEncodeError as error:
            raise MetricsError(
                f"the value of label {self.label} is not Unicode text: {self.value!a}",
                reason=Reason.PROMETHEUS_REJECTED,
            ) from error

    def __str__(self) -> str:
        return f'{self.label}{SYMBOLS[self.operator]}"{escape(self.value)}"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Whose traffic: what a policy says, or what was found in its target."""

    source: MetricsSource = MetricsSource.FRONTEND
    model: str | None = None
    """As the deployment names it; None: not matched. The router's series have no model."""
    dynamo_namespace: str | None = None
    """With dashes, as the frontend has it; None: not matched."""
    matchers: tuple[Matcher, ...] = ()

    def __post_init__(self) -> None:
        if self.traffic() == "{}":
            raise MetricsError(
                f"nothing tells whose {self.source.value} series to read: wanted the model (Frontend only), "
                "the dynamoNamespace or matchers",
                reason=Reason.NO_SERIES,
            )

    def traffic(self, *extra: Matcher) -> str:
        """Selector of the counters and histograms."""
        model = self.model if self.source is MetricsSource.FRONTEND else None
        found = [] if model is None else [Matcher(label=MODEL, value=model.lower())]
        return braces([*found, *self._namespace(), *self.matchers, *extra])

    def registration(self) -> str:
        """Selector of the gauges that say which models a frontend has; they keep the name's case."""
        found = (
            []
            if self.model is None
            else [
                Matcher(
                    label=MODEL,
                    operator=MatchOperator.MATCHES,
                    value=f"(?i:{quote_regex(self.model)})",
                )
            ]
        )
        return braces([*found, *self._namespace(), *self.matchers])

    def target(self) -> str | None:
        """Selector of the scraped targets' own series (`up`); None: nothing tells them apart."""
        matchers = [matcher for matcher in self.matchers if matcher.label not in PER_SERIES_LABELS]
        if self.dynamo_namespace is not None:
            # The label of a target is the deployment's, whatever its series make of it.
            spellings = {self.dynamo_namespace, self.dynamo_namespace.replace("-", "_")}
            matchers.insert(0, _any_of(NAMESPACE, sorted(spellings)))
        return braces(matchers) if matchers else None

    def _namespace(self) -> list[Matcher]:
        if self.dynamo_namespace is None:
            return []
        router = self.source is MetricsSource.ROUTER
        value = self.dynamo_namespace.replace("-", "_") if router else self.dynamo_namespace
        return [Matcher(label=NAMESPACE, value=value)]

    def __str__(self) -> str:
        return f"{self.source.value} {self.traffic()}"


def escape(value: str) -> str:
    r"""*value* as the inside of a double-quoted PromQL string.

    >>> print(escape('say "hi"'))
    say \"hi\"
    """
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def quote_regex(value: str) -> str:
    r"""*value* as a regular expression (RE2) that matches it alone.

    >>> print(quote_regex("llama-3.1"))
    llama-3\.1
    """
    return _REGEX_SPECIAL.sub(r"\\\1", value)


def braces(matchers: Iterable[Matcher]) -> str:
    """The matchers as a selector, `{}` when there are none."""
    return "{" + ",".join(str(matcher) for matcher in matchers) + "}"


def _any_of(label: str, values: list[str]) -> Matcher:
    if len(values) == 1:
        return Matcher(label=label, value=values[0])
    return Matcher(
        label=label, operator=MatchOperator.MATCHES, value="|".join(quote_regex(value) for value in values)
    )
