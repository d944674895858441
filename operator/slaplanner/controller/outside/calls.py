"""Calls of outside systems: in threads, timed, counted, and with refusals explained."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ParamSpec, TypeVar

from slaplanner.adapters.deployment import ApiRefusal, ScalingOutcome
from slaplanner.controller import metrics
from slaplanner.controller.api_server import ApiServer
from slaplanner.controller.thread_pools import ThreadPool
from slaplanner.core.errors import PlanningError

P = ParamSpec("P")
T = TypeVar("T")

REQUEST_TIMEOUT_S = 4.0
"""Of one request to the API server: below the 5 s that remain after SIGTERM."""

KUBERNETES_THREADS = 8
ETCD_THREADS = 4


@dataclass(slots=True)
class Calls:
    """Calls of the API server and of etcd."""

    api_server: ApiServer = field(default_factory=ApiServer)
    pools: dict[str, ThreadPool] = field(
        default_factory=lambda: {
            "kubernetes": ThreadPool("kubernetes", size=KUBERNETES_THREADS),
            "etcd": ThreadPool("etcd", size=ETCD_THREADS),
        }
    )

    async def of(self, system: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of *function*, which asks *system*; what it raises is counted and explained."""
        started_s = time.monotonic()
        try:
            return await self.pools[system].run(function, *args, **kwargs)
        except PlanningError as error:
            told = self.api_server.explained(error)
            metrics.OUTSIDE_ERRORS.labels(system, told.reason).inc()
            if told is error:
                raise
            raise told from error
        except ApiRefusal as refusal:
            explained = self.api_server.explained_refusal(refusal)
            metrics.OUTSIDE_ERRORS.labels(system, explained.failure.reason).inc()
            if explained is refusal:
                raise
            raise explained from refusal
        finally:
            metrics.OUTSIDE_REQUESTS.labels(system).observe(time.monotonic() - started_s)

    async def write(
        self, system: str, function: Callable[P, ScalingOutcome], /, *args: P.args, **kwargs: P.kwargs
    ) -> ScalingOutcome:
        """As `of`, for writes, which do not raise what was refused."""
        outcome = await self.of(system, function, *args, **kwargs)
        if outcome.error is None:
            return outcome
        error = self.api_server.explained(outcome.error)
        metrics.OUTSIDE_ERRORS.labels(system, error.reason).inc()
        return replace(outcome, error=error)
