"""What a fleet is told when it starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from slaplanner_lab.engine import EngineTables
from slaplanner_lab.fleet.engines import Engines
from slaplanner_lab.fleet.frontend import Dialect
from slaplanner_lab.fleet.graph import Graph
from slaplanner_lab.fleet.ground_truth import LatencyTargets
from slaplanner_lab.simulation.traffic import Traffic


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Common to all graphs; annotations of a graph win (see `names`)."""

    tables: EngineTables
    """What one worker can do."""
    traffic: Traffic | None = None
    """The requests, before they are amplified; None: there are none."""
    amplify: int = 1
    seed: int = 0
    """Of the jitter between the copies of a request."""
    loop_s: float = 0.0
    """The trace begins anew after so long; 0: it plays once."""
    startup_s: float = 20.0
    """From a replica's creation to its readiness."""
    dialect: Dialect = field(default_factory=Dialect)
    targets: LatencyTargets = field(default_factory=LatencyTargets)
    tick_s: float = 0.1
    """How often engines, replicas and status are looked at."""
    namespace: str | None = None
    """Only graphs of this namespace; None: of all."""
    every_graph: bool = False
    """Also graphs without the label that says they are simulated."""
    engines: Callable[[Graph], Engines] | None = None
    """Makes what serves a graph; None: it is played."""
