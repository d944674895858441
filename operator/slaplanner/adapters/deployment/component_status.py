"""What a deployment's status says of one component; the same in both versions but for a key.

Absent counts stay None: PodCliqueScalingGroups report no ready replicas, PodCliques and
LeaderWorkerSets no available ones, and neither means none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slaplanner.adapters.deployment.untrusted import items, mapping, text, whole

_ROLLOUT_PHASES = ("Pending", "InProgress")
_RESTART_PHASES = ("Pending", "Restarting")


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentStatus:
    """Replica counts as the deployment's own controller reports them; None: not reported."""

    replicas: int | None = None
    updated: int | None = None
    ready: int | None = None
    available: int | None = None
    scheduled: int | None = None
    gpus_per_replica: int | None = None
    runtime_namespace: str = ""
    """The Dynamo namespace of the replicas that run now; empty: not reported (older versions)."""
    served_model: str = ""
    """What clients call the model; empty: not reported."""

    @property
    def serving(self) -> int | None:
        """Available replicas, else ready ones."""
        return self.available if self.available is not None else self.ready


def counts_of(status: Mapping[str, Any], name: str) -> ComponentStatus:
    """The counts of component *name* in a deployment's status of either version."""
    reported = mapping(_by_name(status).get(name))
    return ComponentStatus(
        replicas=whole(reported.get("replicas")),
        updated=whole(reported.get("updatedReplicas")),
        ready=whole(reported.get("readyReplicas")),
        available=whole(reported.get("availableReplicas")),
        scheduled=whole(reported.get("scheduledReplicas")),
        gpus_per_replica=whole(reported.get("gpusPerReplica")),
        runtime_namespace=text(reported.get("runtimeNamespace")),
        served_model=text(reported.get("servedModelName")),
    )


def _by_name(status: Mapping[str, Any]) -> Mapping[str, Any]:
    return mapping(status.get("components")) or mapping(status.get("services"))


def rolls_out(status: Mapping[str, Any], name: str, counts: ComponentStatus) -> bool:
    """Replicas of an older revision exist, or the deployment says that it replaces them.

    `rollingUpdate` is only kept for single-node deployments outside Grove, so the counts are looked
    at too; a restart of the graph replaces replicas as well.
    """
    rolling = mapping(status.get("rollingUpdate"))
    done = [*items(rolling.get("updatedComponents")), *items(rolling.get("updatedServices"))]
    if rolling.get("phase") in _ROLLOUT_PHASES and name not in done:
        return True
    restart = mapping(status.get("restart"))
    if restart.get("phase") in _RESTART_PHASES and name in items(restart.get("inProgress")):
        return True
    return counts.updated is not None and counts.replicas is not None and counts.updated < counts.replicas
