"""The connector for DynamoGraphDeployments.

Replicas are written where they are kept: in the deployment, or in a component's scaling adapter.
Before each write the target is read again and the step is worked out anew, so a conflict, a half
that was refused and a restart between two halves all end the same way: with what is safe now.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from slaplanner.adapters.deployment.api_client import KubernetesApi
from slaplanner.adapters.deployment.autoscalers import autoscalers_of, planners_of
from slaplanner.adapters.deployment.connector import (
    ModelDiscovery,
    Rivals,
    ScalingOutcome,
    TargetState,
    always,
)
from slaplanner.adapters.deployment.graph import KIND
from slaplanner.adapters.deployment.reading import GraphTarget, look_at
from slaplanner.adapters.deployment.roles import discovered_model
from slaplanner.adapters.deployment.writing import patch_replicas, scale_adapter, take_ownership
from slaplanner.core.errors import ActuationError, PlanningError
from slaplanner.core.model import Role
from slaplanner.core.reasons import Reason
from slaplanner.core.rebalance import ReplicaWrite, ScalingStep, next_step

CONFLICT_ATTEMPTS = 6
"""Reads and writes before a conflict is reported; the next plan tries again anyway."""

_FIRST_PAUSE_S = 0.05
"""Doubled after each conflict; about 1.5 s over all attempts."""


@dataclass(slots=True)
class _Progress:
    """What a call has achieved so far, over all its attempts."""

    written: list[ReplicaWrite] = field(default_factory=list)
    step: ScalingStep = field(default_factory=ScalingStep)


class GraphConnector:
    """A `Connector` for one DynamoGraphDeployment."""

    def __init__(
        self,
        api: KubernetesApi,
        target: GraphTarget,
        *,
        discover: ModelDiscovery | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """*pause* waits the given seconds between attempts after a conflict."""
        self._api = api
        self._target = target
        self._discover = discover
        self._pause = pause

    def observe(self) -> TargetState:
        return look_at(self._api, self._target).state

    def model_name(self, state: TargetState) -> str:
        told = self._target.model or state.model
        if told:
            return told.lower()
        return discovered_model(state.dynamo_namespace, self._discover(state) if self._discover else ())

    def rivals(self, state: TargetState) -> Rivals:
        scalers = autoscalers_of(self._api, state)
        planners = planners_of(self._api, state)
        return Rivals(found=(*planners, *scalers.found), unchecked=scalers.unchecked)

    def set_replicas(
        self,
        state: TargetState,
        desired: Mapping[Role, int],
        *,
        gpu_budget: int | None = None,
        still_wanted: Callable[[], bool] = always,
    ) -> ScalingOutcome:
        progress = _Progress()
        attempt = 0
        while True:
            error = self._try(state, desired, gpu_budget, still_wanted, progress)
            attempt += 1
            if error is None or error.reason is not Reason.CONFLICT:
                break
            if attempt == CONFLICT_ATTEMPTS or not still_wanted():
                break
            self._pause(_FIRST_PAUSE_S * 2**attempt * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
        return ScalingOutcome.of(progress.step, written=tuple(progress.written), error=error)

    def _try(
        self,
        state: TargetState,
        desired: Mapping[Role, int],
        gpu_budget: int | None,
        still_wanted: Callable[[], bool],
        progress: _Progress,
    ) -> ActuationError | None:
        try:
            self._attempt(state, desired, gpu_budget, still_wanted, progress)
        except ActuationError as refused:
            return refused
        except PlanningError as unreadable:
            return ActuationError(str(unreadable), reason=unreadable.reason)
        return None

    def _attempt(
        self,
        state: TargetState,
        desired: Mapping[Role, int],
        gpu_budget: int | None,
        still_wanted: Callable[[], bool],
        progress: _Progress,
    ) -> None:
        look = look_at(self._api, self._target)
        graph = look.graph
        if graph.uid != state.identity.uid:
            raise ActuationError(
                f"{KIND} {graph.name!r} was recreated while this plan was made "
                f"(uid {state.identity.uid} became {graph.uid})",
                reason=Reason.TARGET_NOT_FOUND,
            )
        progress.step = next_step(look.state.fleet, desired, gpu_budget)
        direct = tuple(write for write in progress.step.writes if write.role not in look.adapters)
        for write in progress.step.writes:
            if not still_wanted():
                return
            adapter = look.adapters.get(write.role)
            if adapter is not None:
                scale_adapter(self._api, graph.namespace, adapter, write)
                progress.written.append(write)
            elif direct:
                graph = patch_replicas(self._api, graph, direct)
                progress.written.extend(direct)
                direct = ()
        if still_wanted():
            plain = (entry.component.name for entry in look.roles if entry.role not in look.adapters)
            take_ownership(self._api, graph, plain)
