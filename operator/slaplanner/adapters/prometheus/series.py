"""The series that Dynamo's components expose, and expressions over those of one scope.

Counters appear with the first request that needs them, so absence alone means nothing. A frontend's
request counters have an endpoint and an error type, which keep what is not generation, and what no
replica could have served, out of the load. Requests refused for overload stay in: they are demand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from slaplanner.adapters.prometheus.selectors import Matcher, Scope
from slaplanner.core.model import MatchOperator, MetricsSource

PREFIXES: Final = {
    MetricsSource.FRONTEND: "dynamo_frontend_",
    MetricsSource.ROUTER: "dynamo_component_router_",
}

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

MS_PER_S: Final = 1000.0
"""The planner speaks of latencies in ms; they are made so where they are read."""

QUEUED: Final = "queued_requests"
INFLIGHT: Final = "inflight_requests"

REGISTRATIONS: Final = ("dynamo_frontend_model_ready", "dynamo_frontend_model_context_length")
"""Gauges of the models that a frontend knows, present before the first request; the first in newer
versions only, the second since there are such gauges."""

NOT_GENERATION: Final = Matcher(
    label="endpoint",
    operator=MatchOperator.NOT_MATCHES,
    value="embeddings|classify|rerank|pooling|images|videos|audios|tensor",
)
"""What is not text generation is left out by name, so that a new kind of generation counts."""

NOT_SERVABLE: Final = Matcher(
    label="error_type", operator=MatchOperator.NOT_MATCHES, value="validation|not_found|not_implemented"
)
"""Completions that no number of replicas would have served."""

POD: Final = "instance,pod"
"""Labels that tell scraped processes apart, whichever of them there are."""


@dataclass(frozen=True, slots=True)
class Expressions:
    """PromQL over the series of one scope."""

    scope: Scope

    def metric(self, suffix: str, *matchers: Matcher) -> str:
        """Selector of one metric's series."""
        return PREFIXES[self.scope.source] + suffix + self.scope.traffic(*matchers)

    @property
    def started(self) -> str:
        """Selector of the counters of arrivals."""
        return self.metric(STARTED, *self._generation())

    @property
    def completed(self) -> str:
        """Selector of the counters of completions."""
        return self.metric(COMPLETED, *self._generation(NOT_SERVABLE))

    def requests(self, window: str) -> str:
        """Requests within *window*: arrivals, from a process that does not count them completions."""
        return (
            f"sum(sum by ({POD})(increase({self.started}[{window}]))"
            f" or sum by ({POD})(increase({self.completed}[{window}])))"
        )

    def counter(self) -> str:
        """The counters' values per process, to take differences of."""
        return f"sum by ({POD})({self.started}) or sum by ({POD})({self.completed})"

    def sampled(self, window: str) -> str:
        """Those series of the counters that have samples within *window*, valued by how many."""
        return f"(count_over_time({self.started}[{window}]) or count_over_time({self.completed}[{window}]))"

    def born(self, window: str, before: str) -> str:
        """How many of the series that are counted began within *window*: none of theirs lies *before* it."""
        arrivals = f"count_over_time({self.started}[{window}])"
        completions = f"count_over_time({self.completed}[{window}]) unless on ({POD}) {arrivals}"
        return (
            f"count(({arrivals} unless count_over_time({self.started}[{before}] offset {window}))"
            f" or (({completions}) unless count_over_time({self.completed}[{before}] offset {window})))"
        )

    def registered(self, window: str) -> str | None:
        """The scope's registration gauges with samples within *window*; None: this source has none."""
        if self.scope.source is not MetricsSource.FRONTEND:
            return None
        selector = self.scope.registration()
        names = (f"count_over_time({name}{selector}[{window}])" for name in REGISTRATIONS)
        return f"({' or '.join(names)})"

    def down(self, window: str) -> str:
        """Processes of this scope that cannot be scraped now, though they have or may have traffic."""
        known = " or ".join(part for part in (self.sampled(window), self.registered(window)) if part)
        lost = f"(up == 0 and on (instance, job) ({known}))"
        target = self.scope.target()
        if target is not None:
            lost += f" or (up{target} == 0 and on (job) ({known}))"
        return f"count({lost})"

    def elsewhere(self, window: str) -> str:
        """Labels under which anybody's counters or registration gauges are, the busiest first."""
        prefix = PREFIXES[self.scope.source]
        names = [prefix + STARTED, prefix + COMPLETED]
        if self.scope.source is MetricsSource.FRONTEND:
            names += REGISTRATIONS
        found = " or ".join(f"count_over_time({name}[{window}])" for name in names)
        return f"topk(50, count by (model, dynamo_namespace)({found}))"

    def _generation(self, *further: Matcher) -> tuple[Matcher, ...]:
        return (NOT_GENERATION, *further) if self.scope.source is MetricsSource.FRONTEND else ()


def duration(seconds: float) -> str:
    """*seconds* in PromQL.

    >>> duration(22.5)
    '22500ms'
    """
    milliseconds = round(seconds * 1000)
    return f"{milliseconds // 1000}s" if milliseconds % 1000 == 0 else f"{milliseconds}ms"
