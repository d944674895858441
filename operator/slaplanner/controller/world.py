"""The world of a plan: every outside system, asked off the event loop, each in its own threads.

Nothing here decides. Each method is one question or one order, bounded in time; what it raises is a
`PlanningError` whose reason the condition shows.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, ParamSpec, TypeVar

from kubernetes.client import ApiClient, CoreV1Api, CustomObjectsApi
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from slaplanner.adapters.object_versions import Watched
from slaplanner.adapters.profiles import LoadedProfile, load_config_map, load_directory
from slaplanner.adapters.prometheus import (
    Connections,
    Deadline,
    Matcher,
    Scope,
    discover_model,
    nothing_known,
    observe,
    read_attainment,
    read_history,
)
from slaplanner.adapters.target import (
    FIELD_MANAGER,
    ApiRefusal,
    Connector,
    GraphConnector,
    GraphTarget,
    KubernetesApi,
    Outcome,
    Rivals,
    TargetState,
    combined,
    failure_of,
    report_conditions,
)
from slaplanner.adapters.target.conditions import Verdict
from slaplanner.adapters.target.graph import GROUP, PLURAL
from slaplanner.api.parts.profile import ConfigMapRef
from slaplanner.api.policy import GROUP as POLICY_GROUP
from slaplanner.api.policy import PLURAL as POLICY_PLURAL
from slaplanner.api.policy import VERSION, SLAPolicy
from slaplanner.api.words import VirtualBackend
from slaplanner.controller import metrics
from slaplanner.controller.api_server import ApiServer
from slaplanner.controller.histories import joined, points_to_read
from slaplanner.controller.pools import Pool
from slaplanner.controller.virtual import virtual_connector, virtual_version
from slaplanner.controller.warmup import WarmUps, config_map_bytes, file_bytes
from slaplanner.core.attainment import Attainment
from slaplanner.core.errors import MetricsError, PlanningError, ProfileError, ProfileNotFound, WarmUpError
from slaplanner.core.model import Interpolation, Role
from slaplanner.core.readings import Known, Observation, Series
from slaplanner.core.reasons import Reason
from slaplanner.settings import Settings

P = ParamSpec("P")
T = TypeVar("T")

REQUEST_TIMEOUT_S = 4.0
"""Of one request to the API server: below the 5 s that remain after SIGTERM."""

OBSERVATION_TIMEOUT_S = 12.0
"""Of all queries of one plan together; a slow Prometheus costs a plan, not the operator."""

KUBERNETES_THREADS = 8
PROMETHEUS_THREADS = 8
"""Of each connection."""
_UNKNOWN_CONNECTION = ""
"""For policies that name one which nobody configured: they are answered without asking anybody."""
ETCD_THREADS = 4
FILE_THREADS = 2
FILE_TIMEOUT_S = 4.0
"""For a profile or trace on a mounted volume, whose server may hang."""
NUMERICS_THREADS = 1
"""Numerics hold the interpreter lock, so more threads would only take turns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What Prometheus said for one plan."""

    observation: Observation
    attainment: Mapping[int, Attainment] | None = None
    """By window in seconds; None when it could not be read."""
    clock_offset_s: float | None = None
    """How far Prometheus' clock is ahead of ours; None when it did not say."""


class World:
    """Kubernetes, Prometheus and the profiles, as one policy's plan needs them."""

    def __init__(self, *, settings: Settings, api_client: ApiClient) -> None:
        self._settings = settings
        self._api_client = api_client
        self._api = KubernetesApi(api_client, timeout_s=REQUEST_TIMEOUT_S)
        self._core = CoreV1Api(api_client)
        self._custom = CustomObjectsApi(api_client)
        self._warm_ups = WarmUps()
        self._connections = Connections(settings.prometheus, hook=_count_query)
        self._kubernetes = Pool("kubernetes", size=KUBERNETES_THREADS)
        self._prometheus = {
            name: Pool(f"prometheus {name}", size=PROMETHEUS_THREADS)
            for name in (*settings.prometheus, _UNKNOWN_CONNECTION)
        }
        self._etcd = Pool("etcd", size=ETCD_THREADS)
        self._files = Pool("files", size=FILE_THREADS)
        self.api_server = ApiServer()
        self.numerics = Pool("numerics", size=NUMERICS_THREADS)
        self.refits = Pool("refits", size=NUMERICS_THREADS)

    def now_s(self) -> float:
        """Unix seconds."""
        return time.time()

    def monotonic_s(self) -> float:
        """Seconds that never jump, for pauses and ages."""
        return time.monotonic()

    def connector(self, policy: SLAPolicy) -> Connector:
        """Whoever carries this policy's decisions out."""
        spec = policy.spec
        if spec.connector.virtual is not None:
            return virtual_connector(
                policy,
                spec.connector.virtual,
                settings=self._settings,
                api_client=self._api_client,
                now_s=self.now_s,
            )
        return GraphConnector(
            self._api,
            GraphTarget(
                namespace=policy.metadata.namespace,
                name=spec.target_ref.name or "",
                mode=spec.mode,
                roles=policy.to_core().roles,
                model=spec.metrics.model,
                dynamo_namespace=spec.metrics.dynamo_namespace,
            ),
            discover=lambda namespace: self._discover(policy, namespace),
        )

    def polled_version(self, policy: SLAPolicy) -> str | None:
        """What changes when a target that cannot be watched is to be looked at; None: it can be."""
        return virtual_version(policy, settings=self._settings, now_s=self.now_s())

    def watched_target(self, target: TargetState) -> Watched:
        """The target as something to watch, in the version that was read."""
        return Watched(
            group=GROUP,
            version=target.identity.api_version.rpartition("/")[2],
            plural=PLURAL,
            namespace=target.identity.namespace,
            name=target.identity.name,
        )

    def watched_profile(self, policy: SLAPolicy) -> Watched | None:
        """The profile's ConfigMap; None for a directory."""
        return _watched_config_map(policy, policy.spec.profile.config_map_ref)

    def watched_warm_up(self, policy: SLAPolicy) -> Watched | None:
        """The warm-up trace's ConfigMap; None for a file, or where there is no such trace."""
        trace = policy.spec.planning.predictor.warmup_trace
        return _watched_config_map(policy, trace.config_map_ref) if trace is not None else None

    async def look(self, policy: SLAPolicy) -> TargetState:
        """The target now. Raises TargetError."""
        return await self._timed(*self._carrier(policy), self.connector(policy).observe)

    async def model(self, policy: SLAPolicy, target: TargetState) -> str:
        """The model that the target serves. Raises TargetError, MetricsError."""
        # Where the target does not name it, Prometheus is asked.
        return await self._asking(policy).run(self.connector(policy).model_name, target)

    async def rivals(self, policy: SLAPolicy, target: TargetState) -> Rivals:
        """Autoscalers and planners that scale the same target."""
        return await self._timed("kubernetes", self._kubernetes, self.connector(policy).rivals, target)

    async def scale(
        self,
        policy: SLAPolicy,
        target: TargetState,
        desired: Mapping[Role, int],
        *,
        still_wanted: Callable[[], bool],
    ) -> Outcome:
        """Bring the target closer to *desired*, within the budget at every moment."""
        budget = policy.spec.gpu_budget.max if policy.spec.gpu_budget else None
        system, pool = self._carrier(policy)
        outcome = await self._timed(
            system,
            pool,
            self.connector(policy).set_replicas,
            target,
            desired,
            gpu_budget=budget,
            still_wanted=still_wanted,
        )
        if outcome.error is None:
            return outcome
        error = self.api_server.explained(f"{system} set_replicas", outcome.error)
        metrics.OUTSIDE_ERRORS.labels(system, error.reason).inc()
        return replace(outcome, error=error)

    async def profile(self, policy: SLAPolicy) -> LoadedProfile:
        """The policy's profile. Raises ProfileError."""
        spec = policy.spec.profile
        if spec.config_map_ref is not None:
            return await self._timed(
                "kubernetes",
                self._kubernetes,
                self._config_map_profile,
                policy.metadata.namespace,
                spec.config_map_ref.name,
                spec.interpolation,
            )
        read = partial(load_directory, interpolation=spec.interpolation)
        return await self._mounted(read, spec.path or "", hanging=ProfileError)

    async def warm_up(self, policy: SLAPolicy) -> Series | None:
        """The policy's warm-up trace on its planning grid; None where it has none. Raises WarmUpError."""
        trace = policy.spec.planning.predictor.warmup_trace
        if trace is None:
            return None
        reference = trace.config_map_ref
        if reference is None:
            name = trace.path or ""
            data = await self._mounted(file_bytes, name, hanging=WarmUpError)
        else:
            data = await self._timed(
                "kubernetes",
                self._kubernetes,
                self._config_map_trace,
                policy.metadata.namespace,
                reference.name,
            )
            name = f"ConfigMap {reference.name!r}"
        interval_s = float(policy.spec.planning.interval_seconds)
        return await self.numerics.run(self._warm_ups.of, data, name=name, interval_s=interval_s)

    async def traffic(
        self,
        policy: SLAPolicy,
        target: TargetState,
        model: str,
        *,
        at_s: float,
        end_s: float,
        kept: Series | None,
    ) -> Traffic:
        """One observation at *at_s*, the history up to the grid time *end_s*, and the attainment.

        What cannot be asked, such as a connection that nobody configured, is an observation that failed.
        """
        return await self._asking(policy).run(
            self._traffic, policy, target, model, at_s=at_s, end_s=end_s, kept=kept
        )

    async def write_status(self, *, namespace: str, name: str, uid: str, status: Mapping[str, Any]) -> None:
        """Merge *status* into that of the policy. Raises ApiRefusal."""
        # The uid guards against a policy that was recreated under the same name meanwhile.
        patch = {"metadata": {"uid": uid}, "status": status}
        await self._timed("kubernetes", self._kubernetes, self._write_status, namespace, name, patch)

    async def exists(self, namespace: str, name: str, uid: str) -> bool:
        """Whether this very policy still exists; True while the API server does not say."""
        try:
            return await self._timed("kubernetes", self._kubernetes, self._uid, namespace, name) == uid
        except ApiRefusal as refusal:
            return not refusal.failure.not_found

    async def create_event(self, namespace: str, event: Mapping[str, Any]) -> None:
        """Post an event. Raises ApiRefusal."""
        await self._timed("kubernetes", self._kubernetes, self._create_event, namespace, event)

    async def report_to_target(self, namespace: str, name: str, verdicts: Iterable[Verdict]) -> None:
        """Keep our two conditions on the deployment. Raises ActuationError."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        await self._timed(
            "kubernetes",
            self._kubernetes,
            report_conditions,
            self._api,
            namespace,
            name,
            combined(verdicts),
            now=now,
        )

    def _write_status(self, namespace: str, name: str, patch: dict[str, Any]) -> None:
        try:
            self._custom.patch_namespaced_custom_object_status(
                POLICY_GROUP,
                VERSION,
                namespace,
                POLICY_PLURAL,
                name,
                patch,
                field_manager=FIELD_MANAGER,
                _content_type="application/merge-patch+json",
                _request_timeout=REQUEST_TIMEOUT_S,
            )
        except (ApiException, HTTPError, OSError) as error:
            raise ApiRefusal(failure_of(error)) from error

    def _uid(self, namespace: str, name: str) -> str:
        try:
            found: Any = self._custom.get_namespaced_custom_object(
                POLICY_GROUP, VERSION, namespace, POLICY_PLURAL, name, _request_timeout=REQUEST_TIMEOUT_S
            )
        except (ApiException, HTTPError, OSError) as error:
            raise ApiRefusal(failure_of(error)) from error
        return str(found["metadata"]["uid"])

    def _create_event(self, namespace: str, event: Mapping[str, Any]) -> None:
        body: Any = event
        try:
            self._core.create_namespaced_event(namespace, body, _request_timeout=REQUEST_TIMEOUT_S)
        except (ApiException, HTTPError, OSError) as error:
            raise ApiRefusal(failure_of(error)) from error

    async def _mounted(self, read: Callable[..., T], path: str, *, hanging: type[PlanningError]) -> T:
        """What *read* makes of a path below the allowed directories; *hanging* is raised when its volume does."""
        try:
            async with asyncio.timeout(FILE_TIMEOUT_S):
                return await self._files.run(read, path, allowed=self._settings.profile_directories)
        except TimeoutError as error:
            raise hanging(
                f"{path} was not read within {FILE_TIMEOUT_S:g} s; wanted a volume that answers"
            ) from error

    def _config_map_profile(self, namespace: str, name: str, interpolation: Interpolation) -> LoadedProfile:
        try:
            found = self._config_map(namespace, name)
        except ApiRefusal as refusal:
            message = _unread(namespace, name, refusal)
            if refusal.failure.not_found:
                raise ProfileNotFound(message) from refusal
            raise ProfileError(message, reason=refusal.failure.reason) from refusal
        return load_config_map(found.data or {}, found.binary_data, interpolation=interpolation)

    def _config_map_trace(self, namespace: str, name: str) -> bytes:
        try:
            found = self._config_map(namespace, name)
        except ApiRefusal as refusal:
            raise WarmUpError(f"warm-up trace: {_unread(namespace, name, refusal)}") from refusal
        return config_map_bytes(name, found.data, found.binary_data)

    def _config_map(self, namespace: str, name: str) -> Any:
        try:
            return self._core.read_namespaced_config_map(name, namespace, _request_timeout=REQUEST_TIMEOUT_S)
        except (ApiException, HTTPError, OSError) as error:
            raise ApiRefusal(failure_of(error)) from error

    def _traffic(
        self,
        policy: SLAPolicy,
        target: TargetState,
        model: str,
        *,
        at_s: float,
        end_s: float,
        kept: Series | None,
    ) -> Traffic:
        core = policy.to_core()
        try:
            prometheus = self._connections.get(policy.spec.metrics.connection)
            scope = scope_of(policy, model=model, dynamo_namespace=target.dynamo_namespace)
        except MetricsError as error:
            return Traffic(observation=nothing_known(error, window_s=core.window_s))
        deadline = Deadline.after(OBSERVATION_TIMEOUT_S)
        observation = observe(
            prometheus,
            scope,
            at_s=at_s,
            window_s=core.window_s,
            interval_s=core.interval_s,
            deadline=deadline,
        )
        if not isinstance(observation.requests, Known):
            return Traffic(observation=observation, clock_offset_s=prometheus.clock_offset_s)
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
        return Traffic(
            observation=replace(observation, history=history),
            attainment=attainment,
            clock_offset_s=prometheus.clock_offset_s,
        )

    def _asking(self, policy: SLAPolicy) -> Pool:
        """The threads of the policy's connection: one that hangs keeps nobody from asking another."""
        name = policy.spec.metrics.connection
        return self._prometheus[name if name in self._prometheus else _UNKNOWN_CONNECTION]

    def _discover(self, policy: SLAPolicy, dynamo_namespace: str) -> tuple[str, ...]:
        return discover_model(
            self._connections.get(policy.spec.metrics.connection),
            dynamo_namespace,
            at_s=self.now_s(),
            deadline=Deadline.after(REQUEST_TIMEOUT_S),
            matchers=_matchers(policy),
        ).found

    def _carrier(self, policy: SLAPolicy) -> tuple[str, Pool]:
        """Which outside system carries decisions out, and its threads."""
        virtual = policy.spec.connector.virtual
        if virtual is not None and virtual.backend is VirtualBackend.ETCD:
            return "etcd", self._etcd
        return "kubernetes", self._kubernetes

    async def _timed(
        self, system: str, pool: Pool, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        started = time.monotonic()
        request = f"{system} {function.__name__}"
        try:
            answer = await pool.run(function, *args, **kwargs)
        except PlanningError as error:
            told = self.api_server.explained(request, error)
            metrics.OUTSIDE_ERRORS.labels(system, told.reason).inc()
            if told is error:
                raise
            raise told from error
        except ApiRefusal as refusal:
            explained = self.api_server.explained_refusal(request, refusal)
            metrics.OUTSIDE_ERRORS.labels(system, explained.failure.reason).inc()
            if explained is refusal:
                raise
            raise explained from refusal
        else:
            if not (isinstance(answer, Outcome) and answer.error is not None):
                self.api_server.answered(request)
            return answer
        finally:
            metrics.OUTSIDE_REQUESTS.labels(system).observe(time.monotonic() - started)


def _unread(namespace: str, name: str, refusal: ApiRefusal) -> str:
    if refusal.failure.not_found:
        return f"ConfigMap {name!r} does not exist in namespace {namespace!r}"
    return f"ConfigMap {name!r} cannot be read: {refusal}"


def _watched_config_map(policy: SLAPolicy, reference: ConfigMapRef | None) -> Watched | None:
    if reference is None:
        return None
    return Watched(
        group="",
        version="v1",
        plural="configmaps",
        namespace=policy.metadata.namespace,
        name=reference.name,
    )


def scope_of(policy: SLAPolicy, *, model: str, dynamo_namespace: str) -> Scope:
    """Whose series a policy means. Raises MetricsError for matchers that cannot be sent."""
    return Scope(
        source=policy.spec.metrics.source,
        model=model,
        dynamo_namespace=dynamo_namespace,
        matchers=_matchers(policy),
    )


def _matchers(policy: SLAPolicy) -> tuple[Matcher, ...]:
    return tuple(
        Matcher(label=matcher.label, operator=matcher.operator, value=matcher.value)
        for matcher in policy.spec.metrics.matchers or ()
    )


def _count_query(*, connection: str, kind: str, duration_s: float, reason: Reason | None) -> None:  # noqa: ARG001 - the hook's signature
    metrics.OUTSIDE_REQUESTS.labels("prometheus").observe(duration_s)
    if reason is not None:
        metrics.OUTSIDE_ERRORS.labels("prometheus", reason).inc()
