"""What a policy scales: the `Connector` protocol, and the DynamoGraphDeployment behind it.

Pure parts: `args`, `containers`, `planners`, `status`, `graph` and `roles` read a deployment of
either version, `fleet_state` turns its status into the planner's words, `ownership`, `writes` and
`conditions` say what to send, `conflicts` orders policies. At the API server: `client` is the one
door, `looking`, `acting`, `autoscalers` and `reporting` go through it, `graph_connector` joins them.
"""

from slaplanner.adapters.deployment.api_client import KubernetesApi, bounded_client
from slaplanner.adapters.deployment.condition_writing import report_conditions
from slaplanner.adapters.deployment.conflicts import Claim, policy_rivals
from slaplanner.adapters.deployment.connector import (
    FIELD_MANAGER,
    Connector,
    Identity,
    ModelDiscovery,
    Rival,
    Rivals,
    ScalingOutcome,
    TargetState,
    always,
    require_gpus,
)
from slaplanner.adapters.deployment.failures import ApiRefusal, Failure, failure_of
from slaplanner.adapters.deployment.graph_connector import GraphConnector
from slaplanner.adapters.deployment.own_conditions import DeploymentConditions, GraphCondition, combined
from slaplanner.adapters.deployment.reading import GraphTarget

__all__ = [
    "FIELD_MANAGER",
    "ApiRefusal",
    "Claim",
    "Connector",
    "DeploymentConditions",
    "Failure",
    "GraphCondition",
    "GraphConnector",
    "GraphTarget",
    "Identity",
    "KubernetesApi",
    "ModelDiscovery",
    "Rival",
    "Rivals",
    "ScalingOutcome",
    "TargetState",
    "always",
    "bounded_client",
    "combined",
    "failure_of",
    "policy_rivals",
    "report_conditions",
    "require_gpus",
]
