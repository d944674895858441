"""Targets: deployments in the cluster, and fleets that others scale as published."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kubernetes.client import ApiClient

from slaplanner.adapters.deployment import (
    Connector,
    GraphConnector,
    GraphTarget,
    KubernetesApi,
    Rivals,
    ScalingOutcome,
    TargetState,
)
from slaplanner.adapters.deployment.graph import GROUP, PLURAL
from slaplanner.adapters.object_versions import Watched
from slaplanner.api.enums import VirtualBackend
from slaplanner.api.policy import SLAPolicy
from slaplanner.controller.outside.calls import REQUEST_TIMEOUT_S, Calls
from slaplanner.controller.outside.ports import Clock
from slaplanner.controller.outside.traffic import PrometheusMetrics
from slaplanner.core.model import Role
from slaplanner.settings import Settings
from slaplanner.virtual.policy_connector import virtual_connector, virtual_version


class ConnectedTargets:
    """Targets through the connectors of their policies."""

    def __init__(
        self,
        api_client: ApiClient,
        calls: Calls,
        *,
        settings: Settings,
        metrics: PrometheusMetrics,
        clock: Clock,
    ) -> None:
        """*metrics* knows the models of deployments that do not name theirs."""
        self._api_client = api_client
        self._api = KubernetesApi(api_client, timeout_s=REQUEST_TIMEOUT_S)
        self._calls = calls
        self._settings = settings
        self._metrics = metrics
        self._clock = clock

    async def look(self, policy: SLAPolicy) -> TargetState:
        """The target now. Raises TargetError."""
        return await self._calls.of(_system(policy), self._connector(policy).observe)

    async def model(self, policy: SLAPolicy, target: TargetState) -> str:
        """The model that the target serves. Raises TargetError, MetricsError."""
        # Where the target does not name it, Prometheus is asked.
        return await self._metrics.pool(policy).run(self._connector(policy).model_name, target)

    async def rivals(self, policy: SLAPolicy, target: TargetState) -> Rivals:
        """Autoscalers and planners that scale the same target. Raises TargetError."""
        return await self._calls.of("kubernetes", self._connector(policy).rivals, target)

    async def scale(
        self,
        policy: SLAPolicy,
        target: TargetState,
        desired: Mapping[Role, int],
        *,
        still_wanted: Callable[[], bool],
    ) -> ScalingOutcome:
        """Bring the target closer to *desired*, within the budget at every moment."""
        return await self._calls.write(
            _system(policy),
            self._connector(policy).set_replicas,
            target,
            desired,
            gpu_budget=policy.spec.gpu_budget.max if policy.spec.gpu_budget else None,
            still_wanted=still_wanted,
        )

    def watched(self, target: TargetState) -> Watched:
        """The target as something to watch, in the version that was read."""
        return Watched(
            group=GROUP,
            version=target.identity.api_version.rpartition("/")[2],
            plural=PLURAL,
            namespace=target.identity.namespace,
            name=target.identity.name,
        )

    def polled_version(self, policy: SLAPolicy) -> str | None:
        """What changes when a target that cannot be watched is to be looked at; None: it can be."""
        return virtual_version(policy, settings=self._settings, now_s=self._clock.now_s())

    def _connector(self, policy: SLAPolicy) -> Connector:
        """Whoever carries this policy's decisions out."""
        spec = policy.spec
        if spec.connector.virtual is not None:
            return virtual_connector(
                policy,
                spec.connector.virtual,
                settings=self._settings,
                api_client=self._api_client,
                now_s=self._clock.now_s,
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
            discover=lambda target: self._metrics.discover(policy, target, at_s=self._clock.now_s()),
        )


def _system(policy: SLAPolicy) -> str:
    """Which outside system carries decisions out."""
    virtual = policy.spec.connector.virtual
    return "etcd" if virtual is not None and virtual.backend is VirtualBackend.ETCD else "kubernetes"
