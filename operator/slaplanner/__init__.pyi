from slaplanner.adapters.traces.trace import read_trace as load_trace
from slaplanner.core.model import Policy, Role, Sizing, Sla
from slaplanner_lab.dryrun import Assumptions, dry_run
from slaplanner_lab.notebook import load_policy, load_profile, simulate
from slaplanner_lab.planner import Interval, Plan, Planner
from slaplanner_lab.simulation.planners import Verdict
from slaplanner_lab.simulation.score import score

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
