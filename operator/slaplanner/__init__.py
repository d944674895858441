"""slaplanner: keeps LLM serving inside its latency targets with the fewest GPUs.

For notebooks and scripts, `from slaplanner import ...` offers:

- policy: `load_policy`, or `Policy` and `Sla` made by hand; `Role`, `Sizing`
- profile: `load_profile`
- planner: `Planner`, a callable from `Interval` to `Plan`
- traces: `load_trace`, `dry_run` (with `Assumptions`), `simulate` and `score`;
  `Verdict` is what a planner of one's own returns to `simulate`

They are imported when they are asked for, so that `import slaplanner` costs nothing and `core` stays
unaware of them; `__init__.pyi` tells type checkers what they are. Most of them live in the laboratory
(`slaplanner_lab`), which the operator's image leaves out.

The map of the package, and the law of imports (checked by import-linter):

- `core`: the functional core. Values in, values out; no cluster, clock, log or environment.
- `api`: what users wrote. The SLAPolicy's schema, its defaults, its conversion to core values.
- `adapters`: the world. One small package per outside system.
- `virtual`: decisions that others carry out: published by the operator or by programs, followed by programs.
- `controller`: the imperative shell; the only place that knows kopf.
- `cli`: the command line.

`core` <- `api`, `adapters` <- `virtual` <- `controller` <- `cli` <- `slaplanner_lab`: the right may import
the left, never the reverse.
"""

from __future__ import annotations

import importlib

__version__ = "0.2.0"

_HOMES = {
    "Assumptions": "slaplanner_lab.dryrun:Assumptions",
    "Interval": "slaplanner_lab.planner:Interval",
    "Plan": "slaplanner_lab.planner:Plan",
    "Planner": "slaplanner_lab.planner:Planner",
    "Policy": "slaplanner.core.model:Policy",
    "Role": "slaplanner.core.model:Role",
    "Sizing": "slaplanner.core.model:Sizing",
    "Sla": "slaplanner.core.model:Sla",
    "Verdict": "slaplanner_lab.simulation.planners:Verdict",
    "dry_run": "slaplanner_lab.dryrun:dry_run",
    "load_policy": "slaplanner_lab.notebook:load_policy",
    "load_profile": "slaplanner_lab.notebook:load_profile",
    "load_trace": "slaplanner.adapters.traces.trace:read_trace",
    "score": "slaplanner_lab.simulation.score:score",
    "simulate": "slaplanner_lab.notebook:simulate",
}


__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
