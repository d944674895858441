"""Which series belong to a policy, as PromQL selectors. Every value that comes from a user is escaped.

Labels are found, not assumed. Dynamo since 1.2 keeps the case of `model`, older frontends lower it; a
frontend bears the deployment's `dynamo_namespace`, workers and routers that of their worker set
(`<deployment's>-<hash>`, with dashes or underscores, another hash after each rollout). A selector here
matches all of these, so that whatever serves side by side is counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from slaplanner.core.errors import MetricsError
from slaplanner.core.model import MatchOperator, MetricsSource
from slaplanner.core.reasons import Reason

MODEL: Final = "model"
NAMESPACE: Final = "dynamo_namespace"

FRONTEND_PREFIX: Final = "dynamo_frontend"
"""What the names of a frontend's series begin with, unless `DYN_METRICS_PREFIX` says otherwise."""

LABEL_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
"""What Prometheus allows as the name of a label."""
METRIC_NAME: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
"""What Prometheus allows as the name of a metric."""

REQUEST_LABELS: Final = frozenset({"endpoint", "request_type", "status", "error_type"})
"""Labels of the request counters alone: a matcher on one of them would leave nothing of a histogram."""

PER_SERIES_LABELS: Final = frozenset({MODEL, "le"}) | REQUEST_LABELS
"""Labels that a frontend puts on single series; `up` and other series of the target lack them."""

WORKER_SET: Final = "([-_]([0-9a-f]{8,64}|legacy))?"
"""What Dynamo's operator appends to the deployment's namespace for one generation of workers."""

_REGEX_SPECIAL = re.compile(r"([\\.+*?()|\[\]{}^$])")

SYMBOLS: Final = {
    MatchOperator.EQUAL: "=",
    MatchOperator.NOT_EQUAL: "!=",
    MatchOperator.MATCHES: "=~",
    MatchOperator.NOT_MATCHES: "!~",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelMatcher:
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
    """Whose traffic: what a policy says, or what was found in its target.

    Raises:
        MetricsError: nothing tells whose series are meant, or the prefix cannot begin a metric's name.
    """

    source: MetricsSource = MetricsSource.FRONTEND
    model: str | None = None
    """In any case; None: not matched. The router's series have no model."""
    dynamo_namespace: str | None = None
    """The deployment's own; empty: series that bear none; None: not matched."""
    worker_namespaces: tuple[str, ...] = ()
    """Those of its worker sets, as far as the target tells them; others are found by their hash."""
    prefix: str = FRONTEND_PREFIX
    """What the names of the frontend's series begin with."""
    matchers: tuple[LabelMatcher, ...] = ()
    told_to: str | None = None
    """Kubernetes namespace of who asks, where others' labels are not to be told to it; None: tell all."""

    def __post_init__(self) -> None:
        if not METRIC_NAME.fullmatch(self.prefix):
            raise MetricsError(
                f"found {self.prefix!r} as the prefix of metrics, wanted letters, digits, _ and :",
                reason=Reason.PROMETHEUS_REJECTED,
            )
        if self.traffic() == "{}":
            raise MetricsError(
                f"nothing tells whose {self.source.value} series to read: wanted the model (Frontend only), "
                "the dynamoNamespace or matchers",
                reason=Reason.NO_SERIES,
            )

    @property
    def is_namespaced(self) -> bool:
        """Whether series with our `dynamo_namespace` tell our processes from others."""
        return bool(self.dynamo_namespace)

    def of_model(self, model: str) -> Scope:
        """The same processes' series of another model."""
        matchers = tuple(matcher for matcher in self.matchers if matcher.label != MODEL)
        return replace(self, model=model, matchers=matchers)

    @property
    def conditions(self) -> tuple[LabelMatcher, ...]:
        """The matchers, but for one that only repeats the model, in whatever spelling."""
        return tuple(matcher for matcher in self.matchers if not self._repeats_the_model(matcher))

    def traffic(self, *extra: LabelMatcher) -> str:
        """Selector of the source's request counters, for a message: with our namespace."""
        return braces([*self._own(model=self.source is MetricsSource.FRONTEND), *self.conditions, *extra])

    def requests(self, *extra: LabelMatcher, model: bool = True, anonymous: bool = False) -> str:
        """Selector of request counters; *anonymous*: those without a namespace too."""
        return braces([*self._own(model=model, anonymous=anonymous), *self.conditions, *extra])

    def nameless_requests(self, *extra: LabelMatcher) -> str:
        """Selector of this model's request counters without a namespace."""
        model = [] if self.model is None else [any_case(self.model)]
        return braces([*model, LabelMatcher(label=NAMESPACE, value=""), *self.conditions, *extra])

    def measures(self, *extra: LabelMatcher, model: bool = True, anonymous: bool = False) -> str:
        """Selector of histograms, gauges and mixed families, on which request counters' labels do not occur.

        *model*: whether these series have such a label; *anonymous*: those without a namespace too.
        """
        lacking = REQUEST_LABELS if model else PER_SERIES_LABELS
        matchers = [matcher for matcher in self.conditions if matcher.label not in lacking]
        return braces([*extra, *self._own(model=model, anonymous=anonymous), *matchers])

    def cousins(self, *extra: LabelMatcher) -> str | None:
        """Selector of this model's series under names that begin as ours and are not; None: not to be told."""
        if not self.dynamo_namespace or self.model is None:
            return None
        begins = LabelMatcher(
            label=NAMESPACE, operator=MatchOperator.MATCHES, value=f"{spelled(self.dynamo_namespace)}[-_].+"
        )
        own = self._own(model=False)[0].value
        others = LabelMatcher(label=NAMESPACE, operator=MatchOperator.NOT_MATCHES, value=own)
        return braces([any_case(self.model), begins, others, *self.conditions, *extra])

    def any_spelling(self, *extra: LabelMatcher) -> str | None:
        """Selector of our request counters without the matchers on the model; None: there are no such matchers."""
        others = [matcher for matcher in self.conditions if matcher.label != MODEL]
        if self.model is None or len(others) == len(self.conditions):
            return None
        return braces([*self._own(model=True), *others, *extra])

    def same_model(self, *extra: LabelMatcher) -> str | None:
        """Selector of anybody's series of this model; None: no model was asked for."""
        return braces([*extra, any_case(self.model)]) if self.model else None

    def same_namespace(self, *extra: LabelMatcher) -> str | None:
        """Selector of the deployment's series of any model; None: no namespace was asked for."""
        return braces([*extra, *self._own(model=False)]) if self.is_namespaced else None

    def target(self) -> str | None:
        """Selector of the scraped targets' own series (`up`); None: nothing tells them apart."""
        matchers = [matcher for matcher in self.matchers if matcher.label not in PER_SERIES_LABELS]
        found = [*(self._own(model=False) if self.is_namespaced else ()), *matchers]
        return braces(found) if found else None

    def may_tell(self, labels: Mapping[str, str]) -> bool:
        """Whether a message may name the series with these *labels*: those of the asking namespace may be told.

        The label `namespace` says whose they are; without it a Dynamo namespace does, which begins with that of
        Kubernetes.
        """
        if self.told_to is None:
            return True
        if place := labels.get("namespace"):
            return place == self.told_to
        mine = spelled(self.told_to)
        return re.match(f"{mine}([-_]|$)", labels.get(NAMESPACE, "")) is not None

    def _repeats_the_model(self, matcher: LabelMatcher) -> bool:
        is_equal = matcher.label == MODEL and matcher.operator is MatchOperator.EQUAL
        return is_equal and self.model is not None and matcher.value.lower() == self.model.lower()

    def _own(self, *, model: bool, anonymous: bool = False) -> list[LabelMatcher]:
        found = [any_case(self.model)] if model and self.model is not None else []
        if self.dynamo_namespace is None:
            return found
        if not self.dynamo_namespace:
            return [*found, LabelMatcher(label=NAMESPACE, value="")]
        names = [spelled(self.dynamo_namespace) + WORKER_SET]
        names += [spelled(name) for name in self.worker_namespaces if name]
        names += [""] if anonymous else []
        return [*found, LabelMatcher(label=NAMESPACE, operator=MatchOperator.MATCHES, value="|".join(names))]

    def __str__(self) -> str:
        """What was asked for, as a user wrote it or would write it."""
        found = []
        if self.source is MetricsSource.FRONTEND and self.model is not None:
            found.append(LabelMatcher(label=MODEL, value=self.model))
        if self.dynamo_namespace is not None:
            is_router = self.source is MetricsSource.ROUTER
            value = self.dynamo_namespace.replace("-", "_") if is_router else self.dynamo_namespace
            found.append(LabelMatcher(label=NAMESPACE, value=value))
        return f"{self.source.value} {braces([*found, *self.conditions])}"


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


def any_case(model: str, *, or_none: bool = False) -> LabelMatcher:
    r"""A model in every spelling that a frontend may give it; *or_none*: or no such label.

    >>> print(any_case("Qwen/Qwen3-0.6B"))
    model=~"(?i:Qwen/Qwen3-0\\.6B)"
    """
    pattern = f"(?i:{quote_regex(model)})"
    lower = model.lower()
    if len(lower) != len(model):
        # A few letters become two when lowered, which no comparison without case knows.
        pattern += f"|{quote_regex(lower)}"
    if or_none:
        pattern += "|"
    return LabelMatcher(label=MODEL, operator=MatchOperator.MATCHES, value=pattern)


def spelled(namespace: str) -> str:
    """A regular expression for a Dynamo namespace, whose dashes routers write as underscores.

    >>> spelled("serving-llama")
    'serving[-_]llama'
    """
    return re.sub("[-_]", "[-_]", quote_regex(namespace))


def braces(matchers: Iterable[LabelMatcher]) -> str:
    """The matchers as a selector, `{}` when there are none."""
    return "{" + ",".join(str(matcher) for matcher in matchers) + "}"
