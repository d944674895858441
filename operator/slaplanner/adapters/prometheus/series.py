"""The series that Dynamo's components expose, and expressions over those of one scope.

Counters appear with the first request that needs them, so absence alone means nothing. A frontend's
request counters have an endpoint and an error type, which keep what is not generation, and what no
replica could have served, out of the load. Requests refused for overload stay in: they are demand.

Series without a `dynamo_namespace` count as ours where the process that exposes them also exposes
series with ours: Dynamo may put the worker set's name on lengths and latencies, and none on counters.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from slaplanner.adapters.prometheus.selectors import (
    FRONTEND_PREFIX,
    MODEL,
    NAMESPACE,
    LabelMatcher,
    Scope,
    any_case,
    quote_regex,
)
from slaplanner.core.model import MatchOperator, MetricsSource

ROUTER_PREFIX: Final = "dynamo_component_router"

STARTED: Final = "requests_started_total"
"""Arrivals, in newer versions."""
COMPLETED: Final = "requests_total"
"""Completions: their rate is capped by back-pressure, so arrivals are preferred."""

TTFT: Final = "time_to_first_token_seconds"
ITL: Final = "inter_token_latency_seconds"
ISL: Final = "input_sequence_tokens"
OSL: Final = "output_sequence_tokens"
DURATION: Final = "request_duration_seconds"
CACHED: Final = "cached_tokens"

TRANSFERS: Final = "kv_transfer_estimated_latency_seconds"
"""Of the router: observed once for each request that it routes twice, to prefill and then to decode. Since 1.4
the two legs are counted apart: as two requests, two input lengths (the same), two output lengths (that of the
prefill leg is 1 token) and two times to first token, one of them nearly 0."""

ONCE_SHARE: Final = 0.9
"""A router whose frontend, in the same process, counts this share of its requests counts them once."""

MS_PER_S: Final = 1000.0
"""The planner speaks of latencies in ms; they are made so where they are read."""

INFLIGHT: Final = ("active_requests", "inflight_requests")
"""Gauges of the requests in a frontend; the second is deprecated and means the same."""
QUEUED: Final = "queued_requests"
"""Gauge of the requests before their first token; deprecated."""
STAGES: Final = "stage_requests"
"""Gauge that replaces it, summed over `stage` and `phase`; of all models, under the usual prefix always."""
PENDING: Final = "router_queue_pending_requests"
"""Gauge of the requests that the KV router holds back; of all models before 1.4."""

REGISTRATIONS: Final = ("model_ready", "model_context_length")
"""Gauges of the models that a frontend knows, present before the first request; the first in newer
versions only, the second since there are such gauges."""

NOT_GENERATION: Final = LabelMatcher(
    label="endpoint",
    operator=MatchOperator.NOT_MATCHES,
    value="embeddings|classify|rerank|pooling|images|videos|audios|tensor",
)
"""What is not text generation is left out by name, so that a new kind of generation counts."""

READY: Final = REGISTRATIONS[0]
"""1 while workers of every role serve the model, 0 while those of some role are missing."""

UNKNOWN_MODEL: Final = "unknown_model"
"""The label `model` of requests for models that a frontend does not know, since 1.4; one that has lost its
last worker is such a model."""

NOT_FOUND: Final = LabelMatcher(label="error_type", value="not_found")

NOT_SERVABLE: Final = LabelMatcher(
    label="error_type", operator=MatchOperator.NOT_MATCHES, value="validation|not_found|not_implemented"
)
"""Completions that no number of replicas would have served."""

OF_A_FRONTEND: Final = LabelMatcher(label="request_type", operator=MatchOperator.NOT_EQUAL, value="")
"""What tells a frontend's request counters from those of other programs, whatever their prefix."""

PROCESS: Final = "job,instance,pod"
"""Labels that tell scraped processes apart, whichever of them there are."""

ROW: Final = f"{MODEL},{NAMESPACE},namespace,{PROCESS}"
"""What a figure of one process is told by: the process, and the labels that say whose it is."""


@dataclass(frozen=True, slots=True)
class Expressions:
    """PromQL over the series of one scope."""

    scope: Scope

    @property
    def prefix(self) -> str:
        """What the names of the source's series begin with."""
        return self.scope.prefix if self._is_frontend else ROUTER_PREFIX

    @property
    def started(self) -> str:
        """Selector of the counters of arrivals."""
        return self._counter(STARTED)

    @property
    def completed(self) -> str:
        """Selector of the counters of completions."""
        return self._counter(COMPLETED)

    @property
    def counters(self) -> tuple[tuple[str, str], ...]:
        """Names and selectors of both, without a namespace too."""
        return (
            ("started", self._counter(STARTED, anonymous=True)),
            ("completed", self._counter(COMPLETED, anonymous=True)),
        )

    def measure(self, suffix: str) -> str:
        """Selector of a histogram's series."""
        return f"{self.prefix}_{suffix}{self.scope.measures(model=self._is_frontend)}"

    def gauge(self, suffix: str) -> str:
        """Selector of a frontend's gauge, without a namespace too, whichever source is read."""
        return f"{self.scope.prefix}_{suffix}{self.scope.measures(anonymous=True)}"

    def growth(self, suffix: str, window: str, *, by: str) -> str:
        """How much a histogram's series grew in *window*, summed by the labels *by*."""
        return f"sum by ({by})(increase({self.measure(suffix)}[{window}]))"

    def edges(self, suffix: str, window: str) -> str:
        """How many series have each edge of a histogram."""
        return f"count by (le)(increase({self.measure(suffix)}[{window}]))"

    def requests(self, window: str) -> str:
        """Requests within *window*: arrivals, from a process that does not count them completions."""
        counted = f"sum({self._per_process('sum', 'increase({}[' + window + '])', window)})"
        return counted if self._is_frontend else f"clamp_min({counted} - {self.second_legs(window)}, 0)"

    def second_legs(self, window: str) -> str:
        """How many requests routers counted a second time within *window*; 0 where nothing tells of any."""
        assert not self._is_frontend
        beside = Expressions(replace(self.scope, source=MetricsSource.FRONTEND))

        def grown(*selectors: str) -> str:
            return " or ".join(
                f"sum by ({PROCESS})(increase({selector}[{window}]))" for selector in selectors
            )

        routed, own = grown(self.started), grown(*(counter for _, counter in beside.counters))
        told = grown(self.measure(f"{TRANSFERS}_count"))
        second = (
            f"(({told}) or (({routed}) - on ({PROCESS}) ({own}))) and on ({PROCESS}) ({routed})"
            f" unless on ({PROCESS}) (({own}) >= on ({PROCESS}) {ONCE_SHARE} * ({routed}))"
        )
        half = f"0.5 * ({routed})"
        bounded = f"(({second}) < on ({PROCESS}) {half}) or ({half} and on ({PROCESS}) ({second}))"
        return f"(sum(clamp_min({bounded}, 0)) or vector(0))"

    def counting(self, window: str) -> str:
        """How many processes had counters within *window*."""
        return f"count({self._per_process('sum', 'last_over_time({}[' + window + '])', window)})"

    def counter(self, window: str) -> str:
        """The counters' values per process at one time; *window*: in which the process bore our namespace."""
        return self._per_process("sum", "{}", window)

    def stamped(self, window: str) -> str:
        """When those values were sampled, in Unix seconds."""
        return self._per_process("max", "timestamp({})", window)

    def samples(self, window: str) -> str:
        """The most samples in *window* that a series of each process has, whether it shows requests yet or not."""
        names = [self.started, self.completed, *self.registrations()]
        counted = " or ".join(f"count_over_time({name}[{window}])" for name in names)
        return f"max by ({PROCESS})({counted})"

    def registrations(self, *, anonymous: bool = False) -> list[str]:
        """Selectors of the gauges that say which models a frontend has; the router has none."""
        if not self._is_frontend:
            return []
        selector = self.scope.measures(anonymous=anonymous)
        return [f"{self.prefix}_{name}{selector}" for name in REGISTRATIONS]

    def readiness(self, window: str) -> dict[str, str]:
        """Frontends that were ready for the model in all of *window*, and such that were not; a count each."""
        ready = self.gauge(READY)
        # The gauge goes with the last worker, and comes with the first.
        always = f"min_over_time({ready}[{window}]) > 0 and {ready} > 0 and {ready} offset {window} > 0"
        return {
            "ready": f"count by ({ROW})({always})",
            "unready": f"count by ({ROW})({self.unready(window)})",
        }

    def unready(self, window: str) -> str:
        """Frontends that lacked the workers of some role at some time in *window*."""
        return f"min_over_time({self.gauge(READY)}[{window}]) == 0"

    def our_unready(self, window: str) -> str:
        """Those of our own frontends. The gauge has no namespace, so others with the same model show it as well."""
        unready = self.unready(window)
        if not self.scope.is_namespaced:
            return unready
        sources = (replace(self.scope, source=source) for source in MetricsSource)
        ours = " or ".join(Expressions(scope).bearers(window) for scope in sources)
        return f"({unready}) and on ({PROCESS}) ({ours})"

    def restarted(self, window: str) -> str:
        """Counters that began anew within *window*. What came between the last sample before and that is lost."""
        return " or ".join(f"resets({name}[{window}]) > 0" for name in (self.started, self.completed))

    def refusals(self, window: str, before: str) -> dict[str, str]:
        """Requests in *window* that may be for our model, and that no counter of it shows.

        *before*: how long before it a series must have had a sample to have begun outside.
        """

        def came(suffix: str, scope: Scope, *kinds: LabelMatcher) -> str:
            counter = f"{self.prefix}_{suffix}{scope.requests(*kinds, NOT_GENERATION, anonymous=True)}"
            born = f"last_over_time({counter}[{window}]) unless last_over_time({counter}[{before}] offset {window})"
            return f"sum by ({ROW})(increase({counter}[{window}]) > 0 or ({born}))"

        found = {"refused": came(COMPLETED, self.scope, NOT_FOUND)}
        if self.scope.model is not None and self.scope.model.lower() != UNKNOWN_MODEL:
            strange = self.scope.of_model(UNKNOWN_MODEL)
            found["strange"] = f"{came(STARTED, strange)} or {came(COMPLETED, strange, NOT_FOUND)}"
        return found

    def unscraped(self, window: str) -> str:
        """How many targets of ours cannot be scraped now, though they have or may have traffic."""
        known = self.bearers(window)
        lost = f"(up == 0 and on (job,instance) {known})"
        target = self.scope.target()
        if target is not None:
            lost += f" or (up{target} == 0 and on (job) {known})"
        return f"count({lost})"

    def bearers(self, window: str) -> str:
        """Processes with recognisable series of ours within *window*."""
        families = (STARTED, COMPLETED, f"{TTFT}_count", *(REGISTRATIONS if self._is_frontend else ()))
        name = named(f"{quote_regex(self.prefix)}_({'|'.join(families)})")
        selector = self.scope.measures(name, model=self._is_frontend)
        return f"count by ({PROCESS})(last_over_time({selector}[{window}]))"

    def other_prefixes(self, window: str) -> str:
        """Arrivals that frontends count for us under another prefix than was asked for."""
        selector = self.scope.requests(
            OF_A_FRONTEND,
            named(f".+_({STARTED}|{COMPLETED})"),
            LabelMatcher(
                label="__name__",
                operator=MatchOperator.NOT_MATCHES,
                value=f"{quote_regex(self.prefix)}_({STARTED}|{COMPLETED})",
            ),
            anonymous=True,
        )
        return f"count by (series,{ROW})({_with_name(f'last_over_time({selector}[{window}])')})"

    def cousins(self, window: str) -> str | None:
        """Arrivals under namespaces that begin as ours and are not ours; None: there are none to tell."""
        selector = self.scope.cousins(NOT_GENERATION)
        if selector is None or not self._is_frontend:
            return None
        names = (f"last_over_time({self.prefix}_{name}{selector}[{window}])" for name in (STARTED, COMPLETED))
        return f"count by ({ROW})({' or '.join(names)})"

    def other_spellings(self, window: str) -> str | None:
        """Arrivals of this model that a matcher on the label `model` may leave out; None: there is none."""
        selector = self.scope.any_spelling(NOT_GENERATION)
        if selector is None or not self._is_frontend:
            return None
        names = (f"last_over_time({self.prefix}_{name}{selector}[{window}])" for name in (STARTED, COMPLETED))
        return f"count by ({ROW})({' or '.join(names)})"

    def around(self, window: str) -> dict[str, str]:
        """Series of the same model, or of the same namespace, by any other label or name."""
        counters = (OF_A_FRONTEND, named(f".+_({STARTED}|{COMPLETED})"))
        gauges = (named(f".+_({'|'.join(REGISTRATIONS)})"),)
        routers = (named(f"{ROUTER_PREFIX}_({STARTED}|{COMPLETED})"),)
        found = {
            "namespace_counters": self.scope.same_namespace(*counters),
            "namespace_gauges": self.scope.same_namespace(*gauges),
            "namespace_routers": self.scope.same_namespace(*routers),
        }
        if self._is_frontend:
            found["model_counters"] = self.scope.same_model(*counters)
            found["model_gauges"] = self.scope.same_model(*gauges)
        return {
            name: f"topk(50, count by (series,namespace,{MODEL},{NAMESPACE})"
            f"({_with_name(f'last_over_time({selector}[{window}])')}))"
            for name, selector in found.items()
            if selector is not None
        }

    def everywhere(self, suffix: str) -> str:
        """Selector of a gauge that has a model in some versions only, and the usual prefix always."""
        prefixes = dict.fromkeys((self.scope.prefix, FRONTEND_PREFIX))
        name = named("|".join(f"{quote_regex(prefix)}_{suffix}" for prefix in prefixes))
        model = any_case(self.scope.model, or_none=True) if self.scope.model else None
        return self.scope.measures(*filter(None, (name, model)), model=False, anonymous=True)

    @property
    def _is_frontend(self) -> bool:
        return self.scope.source is MetricsSource.FRONTEND

    def _counter(self, suffix: str, *, anonymous: bool = False) -> str:
        return (
            f"{self.prefix}_{suffix}"
            + self.scope.requests(*self._kinds(suffix), model=self._is_frontend, anonymous=anonymous)
        )  # fmt: skip

    def _kinds(self, suffix: str) -> tuple[LabelMatcher, ...]:
        """What keeps other requests than ours to serve out of a frontend's counter."""
        if not self._is_frontend:
            return ()
        return (NOT_GENERATION,) if suffix == STARTED else (NOT_GENERATION, NOT_SERVABLE)

    def _per_process(self, aggregation: str, function: str, window: str) -> str:
        """*function* of each process's counters: arrivals, else completions, else such without a namespace.

        *function* has braces for the selector.
        """

        def of(selector: str) -> str:
            return f"{aggregation} by ({PROCESS})({function.format(selector)})"

        found = [of(self.started), of(self.completed)]
        if self.scope.is_namespaced and self._is_frontend:
            nameless = " or ".join(
                of(f"{self.prefix}_{suffix}{self.scope.nameless_requests(*self._kinds(suffix))}")
                for suffix in (STARTED, COMPLETED)
            )
            found.append(f"(({nameless}) and on ({PROCESS}) {self.bearers(window)})")
        return f"({' or '.join(found)})"


def named(pattern: str) -> LabelMatcher:
    """The metrics whose names match a regular expression."""
    return LabelMatcher(label="__name__", operator=MatchOperator.MATCHES, value=pattern)


def duration(seconds: float) -> str:
    """*seconds* in PromQL.

    >>> duration(22.5)
    '22500ms'
    """
    milliseconds = round(seconds * 1000)
    return f"{milliseconds // 1000}s" if milliseconds % 1000 == 0 else f"{milliseconds}ms"


def _with_name(vector: str) -> str:
    """*vector* with each series' name as the label `series`, which aggregations can keep."""
    return f'label_replace({vector},"series","$1","__name__","(.+)")'
