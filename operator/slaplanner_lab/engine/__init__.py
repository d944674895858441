"""The model of an engine: workers that prefill and decode, from a profile, in simulated time.

It knows nothing of planning, clusters or wall clocks. `Engine` is the door; `EngineTables` is what a
profile becomes for it.
"""

from slaplanner_lab.engine.compiled import COMPILED
from slaplanner_lab.engine.engine import Engine, Requests, RoleGauges
from slaplanner_lab.engine.tables import EngineError, EngineTables

__all__ = ["COMPILED", "Engine", "EngineError", "EngineTables", "Requests", "RoleGauges"]
