from slaplanner.core.model import Policy, Role, Sizing, Sla
from slaplanner.offline.dryrun import Assumptions, dry_run
from slaplanner.offline.notebook import load_policy, load_profile, simulate
from slaplanner.offline.planner import Interval, Plan, Planner
from slaplanner.offline.simulation.planners import Verdict
from slaplanner.offline.simulation.score import score
from slaplanner.offline.traces import read_trace as load_trace

__version__: str

__all__ = [
    "Assumptions",
    "Interval",
    "Plan",
    "Planner",
    "Policy",
    "Role",
    "Sizing",
    "Sla",
    "Verdict",
    "dry_run",
    "load_policy",
    "load_profile",
    "load_trace",
    "score",
    "simulate",
]
