"""What a policy scales: the `Connector` protocol, and the DynamoGraphDeployment behind it.

Pure modules: `args`, `containers`, `gpu_claims`, `inner_planners`, `component_status`, `graph` and `roles` read a
deployment of either version. `fleet_state` turns its status into the core's values. `ownership`, `request_bodies` and
`own_conditions` build what is sent, and `conflicts` says which policy may scale a role.

At the API server: `api_client` sends all requests. `reading`, `writing`, `autoscalers` and `condition_writing` use it,
and `graph_connector` joins them into a `Connector`.
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
