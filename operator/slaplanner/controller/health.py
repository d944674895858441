"""Probes and metrics on one port: is the operator up, and do plans still happen?

Liveness does not ask whether plans succeed (Prometheus may be away for hours) but whether they are
tried: a timer that ended without a word is what a restart heals. Time is monotonic here, so a
clock that jumps does not kill the operator.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from slaplanner.controller import metrics

OVERDUE_INTERVALS = 3
"""A plan may be skipped when the one before it overran; three in a row are not an overrun."""

OVERDUE_AT_LEAST_S = 120.0
"""Short intervals get the time that an unreachable API server's time-outs take."""

LAG_SAMPLE_S = 0.5
LAG_WINDOW_SAMPLES = 20


@dataclass(slots=True)
class Liveness:
    """When each policy's plan was last tried, by monotonic time."""

    clock: Callable[[], float] = time.monotonic
    started: bool = False
    _tried: dict[str, tuple[float, float]] = field(default_factory=dict)

    def tried(self, uid: str, *, interval_s: float) -> None:
        """A plan of *uid* ended, well or not, or the policy was first seen."""
        self._tried[uid] = (self.clock(), interval_s)

    def seen(self, uid: str, *, interval_s: float) -> None:
        """The policy exists: from now on its plans are waited for."""
        tried_at, _ = self._tried.get(uid, (self.clock(), interval_s))
        self._tried[uid] = (tried_at, interval_s)

    def gone(self, uid: str) -> None:
        self._tried.pop(uid, None)

    def overdue(self) -> list[str]:
        """Policies whose plans have stopped happening."""
        now = self.clock()
        return [
            uid
            for uid, (tried_at, interval_s) in self._tried.items()
            if now - tried_at > max(OVERDUE_INTERVALS * interval_s, interval_s + OVERDUE_AT_LEAST_S)
        ]


def application(liveness: Liveness) -> web.Application:
    """The three routes."""

    async def live(_: web.Request) -> web.Response:
        overdue = liveness.overdue()
        if overdue:
            return web.Response(status=500, text=f"no plan is tried any more for: {', '.join(overdue)}\n")
        return web.Response(text="ok\n")

    async def ready(_: web.Request) -> web.Response:
        return web.Response(text="ok\n") if liveness.started else web.Response(status=503, text="starting\n")

    async def exposition(_: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(metrics.REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    app = web.Application()
    app.router.add_get("/healthz", live)
    app.router.add_get("/readyz", ready)
    app.router.add_get("/metrics", exposition)
    return app


async def watch_loop_lag() -> None:
    """Measure for ever how late the event loop wakes up."""
    loop = asyncio.get_running_loop()
    lags: list[float] = []
    while True:
        wanted = loop.time() + LAG_SAMPLE_S
        await asyncio.sleep(LAG_SAMPLE_S)
        lags = [*lags[1 - LAG_WINDOW_SAMPLES :], max(0.0, loop.time() - wanted)]
        metrics.LOOP_LAG.set(max(lags))
