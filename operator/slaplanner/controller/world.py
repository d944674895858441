"""The real world of the controller, put together."""

from __future__ import annotations

import time
from dataclasses import dataclass

from kubernetes.client import ApiClient

from slaplanner.controller.outside.calls import Calls
from slaplanner.controller.outside.files import StoredDocuments
from slaplanner.controller.outside.policies import PolicyObjects
from slaplanner.controller.outside.ports import World
from slaplanner.controller.outside.targets import ConnectedTargets
from slaplanner.controller.outside.traffic import PrometheusMetrics
from slaplanner.controller.thread_pools import ThreadPool
from slaplanner.settings import Settings

NUMERICS_THREADS = 1
"""Numerics hold the interpreter lock, so more threads would only take turns."""


@dataclass(frozen=True, slots=True)
class SystemClock:
    """The time of this machine."""

    def now_s(self) -> float:
        """Unix seconds."""
        return time.time()

    def monotonic_s(self) -> float:
        """Seconds that never jump."""
        return time.monotonic()


def open_world(*, settings: Settings, api_client: ApiClient) -> tuple[World, PolicyObjects]:
    """Everything outside, through *api_client* and the connections of *settings*.

    Returns:
        What plans need, and what only the operator itself asks of the API server.
    """
    calls, clock = Calls(), SystemClock()
    numerics = ThreadPool("numerics", size=NUMERICS_THREADS)
    metrics = PrometheusMetrics(settings)
    policies = PolicyObjects(api_client, calls)
    world = World(
        clock=clock,
        targets=ConnectedTargets(api_client, calls, settings=settings, metrics=metrics, clock=clock),
        documents=StoredDocuments(api_client, calls, settings=settings),
        metrics=metrics,
        reports=policies,
        numerics=numerics,
        refits=ThreadPool("refits", size=NUMERICS_THREADS),
        api_server=calls.api_server,
    )
    return world, policies
