"""What serves a graph: the fleet's own played engines, or processes that somebody else wrote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from slaplanner_lab.fleet.graph import Graph
from slaplanner_lab.fleet.names import Json
from slaplanner_lab.fleet.replicas import ComponentReplicas


class Engines(Protocol):
    """The frontend of one graph and the engines behind it."""

    graph: Graph
    """As it was last read; the fleet sets it."""
    now_s: float
    """Until when it has served."""

    def advance(self, now_s: float, pools: Mapping[str, ComponentReplicas]) -> None:
        """Serve until *now_s* with the replicas of *pools* (by component): those that are not there any more end."""

    def up(self) -> Mapping[str, frozenset[int]] | None:
        """Replicas that say that they are ready, by component; None: they are after the fleet's start-up time."""

    def drained(self, pools: Mapping[str, ComponentReplicas]) -> dict[str, frozenset[int]]:
        """Draining replicas that have finished, by component."""

    def restart_frontend(self) -> None:
        """A new frontend process: what it counted is lost."""

    def report(self) -> Json:
        """What really happens, for tests and people."""
