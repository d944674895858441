"""Prometheus: the traffic of a target, its history, and whether the promise was kept."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace

from slaplanner.adapters.deployment import TargetState
from slaplanner.adapters.prometheus import (
    Client,
    Connections,
    Deadline,
    LabelMatcher,
    Prometheus,
    Scope,
    SharedQueries,
    discover_model,
    look,
    nothing_known,
    observe,
    read_attainment,
    read_history,
)
from slaplanner.adapters.prometheus.selectors import FRONTEND_PREFIX
from slaplanner.adapters.prometheus.shared_queries import MOST_CHARS
from slaplanner.api.policy import SLAPolicy
from slaplanner.controller import metrics
from slaplanner.controller.histories import joined, points_to_read
from slaplanner.controller.outside.calls import REQUEST_TIMEOUT_S
from slaplanner.controller.outside.ports import TrafficReading
from slaplanner.controller.thread_pools import ThreadPool
from slaplanner.core.errors import MetricsError
from slaplanner.core.glance import Sight
from slaplanner.core.model import Policy
from slaplanner.core.readings import Known, Series
from slaplanner.core.reasons import Reason
from slaplanner.settings import HttpMethod, Settings

OBSERVATION_TIMEOUT_S = 12.0
"""Of all queries of one plan together, unless the administrator lets a single one take longer."""

PROMETHEUS_THREADS = 32
"""Of each connection: a thousand policies a minute make 17 plans in one second, which share their questions."""

_UNKNOWN_CONNECTION = ""
"""For policies that name one which nobody configured: they are answered without asking anybody."""


class PrometheusMetrics:
    """The administrator's connections, each with threads of its own."""

    def __init__(self, settings: Settings) -> None:
        self._connections = Connections(settings.prometheus, hook=_count_query)
        self._shared = {
            name: SharedQueries(
                self._connections.get(name),
                # The address of a GET has room for the queries of one plan, and is refused if it is longer.
                most_chars=MOST_CHARS if connection.http_method is HttpMethod.POST else 1,
            )
            for name, connection in settings.prometheus.items()
        }
        self._timeouts_s = {
            name: max(OBSERVATION_TIMEOUT_S, connection.read_timeout_s)
            for name, connection in settings.prometheus.items()
        }
        self._pools = {
            name: ThreadPool(f"prometheus {name}", size=PROMETHEUS_THREADS)
            for name in (*settings.prometheus, _UNKNOWN_CONNECTION)
        }

    async def traffic(
        self,
        policy: SLAPolicy,
        target: TargetState,
        model: str,
        *,
        at_s: float,
        end_s: float,
        kept: Series | None,
    ) -> TrafficReading:
        """One observation at *at_s*, the history up to the grid time *end_s*, and the attainment.

        What cannot be asked, such as a connection that nobody configured, is an observation that failed.
        """
        return await self.pool(policy).run(
            self._traffic, policy, target, model, at_s=at_s, end_s=end_s, kept=kept
        )

    async def glance(
        self, connection: str, scopes: Mapping[str, Scope], *, at_s: float
    ) -> Mapping[str, Sight]:
        """A cheap look at the traffic of many policies, by uid, in one round trip. Raises MetricsError."""
        return await self._pools[connection].run(
            look,
            self._connections.get(connection),
            scopes,
            at_s=at_s,
            deadline=Deadline.after(REQUEST_TIMEOUT_S),
        )

    def pool(self, policy: SLAPolicy) -> ThreadPool:
        """The threads of the policy's connection: one that hangs keeps nobody from asking another."""
        name = policy.spec.metrics.connection
        return self._pools[name if name in self._pools else _UNKNOWN_CONNECTION]

    def discover(self, policy: SLAPolicy, target: TargetState, *, at_s: float) -> tuple[str, ...]:
        """The models that the target's frontends serve; blocks. Raises MetricsError."""
        return discover_model(
            self._of(policy),
            target.dynamo_namespace,
            worker_namespaces=target.runtime_namespaces,
            prefix=_prefix(policy, target),
            at_s=at_s,
            deadline=Deadline.after(REQUEST_TIMEOUT_S),
            matchers=_matchers(policy),
        ).found

    def _of(self, policy: SLAPolicy) -> Client:
        return self._connections.get(policy.spec.metrics.connection, namespace=policy.metadata.namespace)

    def _traffic(
        self,
        policy: SLAPolicy,
        target: TargetState,
        model: str,
        *,
        at_s: float,
        end_s: float,
        kept: Series | None,
    ) -> TrafficReading:
        core = policy.to_core()
        try:
            prometheus = self._of(policy)
            scope = scope_of(policy, target, model=model)
            if self._connections.is_shared(policy.spec.metrics.connection):
                scope = replace(scope, told_to=policy.metadata.namespace)
        except MetricsError as error:
            return TrafficReading(observation=nothing_known(error, window_s=core.window_s))
        shared = self._shared[prometheus.name]
        with shared.reading():
            deadline = Deadline.after(self._timeouts_s[prometheus.name])
            read = self._read(shared, scope, core, at_s=at_s, end_s=end_s, kept=kept, deadline=deadline)
        return read.on_clock(prometheus.clock_offset_s)

    @staticmethod
    def _read(
        prometheus: Prometheus,
        scope: Scope,
        core: Policy,
        *,
        at_s: float,
        end_s: float,
        kept: Series | None,
        deadline: Deadline,
    ) -> TrafficReading:
        observation = observe(
            prometheus,
            scope,
            at_s=at_s,
            window_s=core.window_s,
            interval_s=core.interval_s,
            deadline=deadline,
        )
        if not isinstance(observation.requests, Known):
            return TrafficReading(observation=observation, scope=scope)
        history = attainment = None
        with contextlib.suppress(MetricsError):  # counted by the hook; the plan goes on from what it has
            read = read_history(
                prometheus,
                scope,
                end_s=round(end_s),
                interval_s=round(core.interval_s),
                points=points_to_read(kept, end_s=end_s, interval_s=core.interval_s),
                deadline=deadline,
            )
            history = joined(kept, read)
        with contextlib.suppress(MetricsError):  # a figure for people, no input of the plan
            attainment = read_attainment(
                prometheus,
                scope,
                at_s=at_s,
                ttft_ms=core.sla.ttft_ms,
                itl_ms=core.sla.itl_ms,
                deadline=deadline,
            )
        return TrafficReading(
            observation=replace(observation, history=history),
            attainment=attainment,
            scope=scope,
        )


def scope_of(policy: SLAPolicy, target: TargetState, *, model: str) -> Scope:
    """Whose series a policy means. Raises MetricsError for matchers that cannot be sent."""
    return Scope(
        source=policy.spec.metrics.source,
        model=model,
        dynamo_namespace=target.dynamo_namespace,
        worker_namespaces=target.runtime_namespaces,
        prefix=_prefix(policy, target),
        matchers=_matchers(policy),
    )


def _prefix(policy: SLAPolicy, target: TargetState) -> str:
    return policy.spec.metrics.prefix or target.metrics_prefix or FRONTEND_PREFIX


def _matchers(policy: SLAPolicy) -> tuple[LabelMatcher, ...]:
    return tuple(
        LabelMatcher(label=matcher.label, operator=matcher.operator, value=matcher.value)
        for matcher in policy.spec.metrics.matchers or ()
    )


def _count_query(*, connection: str, kind: str, duration_s: float, reason: Reason | None) -> None:  # noqa: ARG001 - the hook's signature
    metrics.OUTSIDE_REQUESTS.labels("prometheus").observe(duration_s)
    if reason is not None:
        metrics.OUTSIDE_ERRORS.labels("prometheus", reason).inc()
