"""Enums that only the boundary knows; those that decide how to plan are `core.model`'s."""

from __future__ import annotations

from enum import StrEnum


class TargetKind(StrEnum):
    """What can be a target."""

    DYNAMO_GRAPH_DEPLOYMENT = "DynamoGraphDeployment"


class ConnectorType(StrEnum):
    """Who carries a decision out."""

    KUBERNETES = "Kubernetes"
    VIRTUAL = "Virtual"


class VirtualBackend(StrEnum):
    """Where the virtual connector publishes decisions."""

    KUBERNETES = "Kubernetes"
    ETCD = "Etcd"


class Toggle(StrEnum):
    """A part that can be switched off."""

    ENABLED = "Enabled"
    DISABLED = "Disabled"
