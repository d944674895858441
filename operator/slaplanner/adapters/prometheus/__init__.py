"""What Prometheus says of a policy's traffic, as the core's readings.

`connections` reaches the servers that the administrator named and turns every failure into one typed
error; `selectors` says whose series are meant; `observe`, `history`, `attainment` and `discovery` ask
and interpret. All functions are synchronous and bounded by a deadline: callers run them in an executor.
"""

from slaplanner.adapters.prometheus.attainment import read_attainment
from slaplanner.adapters.prometheus.client import Client, Prometheus, QueryHook
from slaplanner.adapters.prometheus.connections import Connections
from slaplanner.adapters.prometheus.deadline import Deadline
from slaplanner.adapters.prometheus.discovery import ModelDiscovery, discover_model
from slaplanner.adapters.prometheus.glance import look
from slaplanner.adapters.prometheus.history import read_history
from slaplanner.adapters.prometheus.observe import nothing_known, observe
from slaplanner.adapters.prometheus.selectors import LabelMatcher, Scope
from slaplanner.adapters.prometheus.shared_queries import SharedQueries
from slaplanner.core.model import MatchOperator, MetricsSource

__all__ = [
    "Client",
    "Connections",
    "Deadline",
    "LabelMatcher",
    "MatchOperator",
    "MetricsSource",
    "ModelDiscovery",
    "Prometheus",
    "QueryHook",
    "Scope",
    "SharedQueries",
    "discover_model",
    "look",
    "nothing_known",
    "observe",
    "read_attainment",
    "read_history",
]
