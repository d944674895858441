"""Probes and metrics on one port: does the operator run, and does it still try to plan?

Liveness depends on whether plans are tried and not on whether they succeed, because Prometheus may be away for hours
and a restart would not help. A restart helps against a stuck event loop or a plan that never ends. All times are
monotonic, so a clock that jumps does not restart the operator.

The probes have a thread and an event loop of their own. Plans, parsing and kopf share the main loop, which can be busy
for seconds when many policies start, and a probe must not fail because of that.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import socket
import threading
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

QUEUED_LIMITS = 10
"""A heartbeat that waits for threads gets this many times its limit, as long as other heartbeats end."""

STUCK_LOOP_S = 60.0
"""An event loop that did not run for this long is stuck, not busy."""

LAG_SAMPLE_S = 0.5
LAG_WINDOW_SAMPLES = 20

SHUTDOWN_TIMEOUT_S = 0.5
"""For clients that still read metrics when the operator ends."""


@dataclass(slots=True)
class _Policy:
    interval_s: float
    tried_at_s: float
    under_way: bool = False
    """Its heartbeat has begun and not ended."""

    @property
    def limit_s(self) -> float:
        return max(OVERDUE_INTERVALS * self.interval_s, self.interval_s + OVERDUE_AT_LEAST_S)


@dataclass(slots=True)
class Liveness:
    """When each policy's plan was last tried. Written by the event loop, read by the probes' thread."""

    clock: Callable[[], float] = time.monotonic
    started: bool = False
    standing_by: bool = False
    """Another operator leads; this one is ready to take over."""
    _policies: dict[str, _Policy] = field(default_factory=dict)
    _ended_at_s: float = -float("inf")
    """When any heartbeat last ended."""
    _loop_ran_at_s: float | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def seen(self, uid: str, *, interval_s: float) -> None:
        """The policy exists: from now on its plans are waited for."""
        with self._lock:
            policy = self._policies.get(uid)
            if policy is None:
                self._policies[uid] = _Policy(interval_s, self.clock())
            else:
                policy.interval_s = interval_s

    def tried(self, uid: str) -> None:
        """A plan ended, well or not, or waits for its turn. A policy that is not known stays unknown."""
        with self._lock:
            if uid in self._policies:
                self._policies[uid].tried_at_s = self.clock()

    def began(self, uid: str) -> None:
        """A heartbeat begins."""
        with self._lock:
            if uid in self._policies:
                self._policies[uid].under_way = True

    def ended(self, uid: str) -> None:
        """A heartbeat ended, whatever it did."""
        with self._lock:
            self._ended_at_s = self.clock()
            if uid in self._policies:
                self._policies[uid].under_way = False

    def gone(self, uid: str) -> None:
        """The policy was deleted, or cannot be planned for."""
        with self._lock:
            self._policies.pop(uid, None)

    def loop_ran(self) -> None:
        """The event loop had a turn for everybody."""
        self._loop_ran_at_s = self.clock()

    def overdue(self) -> list[str]:
        """Policies whose plans have stopped happening.

        A heartbeat that is under way may wait in a queue for threads. While other heartbeats end, the
        queue moves on and a restart would only lengthen it, so such a policy gets more time.
        """
        now_s = self.clock()
        with self._lock:
            late = []
            for uid, policy in self._policies.items():
                age_s = now_s - policy.tried_at_s
                queued = policy.under_way and now_s - self._ended_at_s <= policy.limit_s
                if age_s > policy.limit_s * (QUEUED_LIMITS if queued else 1):
                    late.append(uid)
            return late

    def trouble(self) -> str:
        """Why the operator should be restarted; empty when it should not."""
        ran_at_s = self._loop_ran_at_s
        if ran_at_s is not None and self.clock() - ran_at_s > STUCK_LOOP_S:
            return f"the event loop has not run for {self.clock() - ran_at_s:.0f} s"
        overdue = self.overdue()
        return f"no plan is tried any more for: {', '.join(overdue)}" if overdue else ""


def application(liveness: Liveness) -> web.Application:
    """The three routes."""

    async def live(_: web.Request) -> web.Response:
        trouble = liveness.trouble()
        return web.Response(status=500, text=f"{trouble}\n") if trouble else web.Response(text="ok\n")

    async def ready(_: web.Request) -> web.Response:
        if liveness.standing_by:
            return web.Response(text="ok, standing by\n")
        return web.Response(text="ok\n") if liveness.started else web.Response(status=503, text="starting\n")

    async def exposition(_: web.Request) -> web.Response:
        # In a thread: with many policies it takes long enough to hold a probe up.
        text = await asyncio.to_thread(generate_latest, metrics.REGISTRY)
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.router.add_get("/healthz", live)
    app.router.add_get("/readyz", ready)
    app.router.add_get("/metrics", exposition)
    return app


class ProbeServer:
    """Serves the probes from a thread of its own, so that a busy main loop does not delay them."""

    def __init__(self, liveness: Liveness, *, port: int) -> None:
        """*port* 0 takes any free port."""
        self.port = port
        self._liveness = liveness
        self._stop: Callable[[], object] = lambda: None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen. Raises OSError when the port is taken."""
        listening: concurrent.futures.Future[int] = concurrent.futures.Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(listening)), name="probes", daemon=True
        )
        self._thread.start()
        self.port = listening.result()

    def stop(self) -> None:
        """Stop listening; open answers get a moment to end."""
        with contextlib.suppress(RuntimeError):  # its loop has closed already
            self._stop()
        if self._thread is not None:
            self._thread.join(2 * SHUTDOWN_TIMEOUT_S)

    async def _serve(self, listening: concurrent.futures.Future[int]) -> None:
        loop, stopped = asyncio.get_running_loop(), asyncio.Event()
        self._stop = lambda: loop.call_soon_threadsafe(stopped.set)
        runner = web.AppRunner(
            application(self._liveness), access_log=None, shutdown_timeout=SHUTDOWN_TIMEOUT_S
        )
        try:
            await runner.setup()
            await web.SockSite(runner, _listening(self.port)).start()
        except BaseException as error:  # noqa: BLE001 - whoever starts the server hears of it
            listening.set_exception(error)
            await runner.cleanup()
            return
        listening.set_result(runner.addresses[0][1])
        await stopped.wait()
        await runner.cleanup()


def _listening(port: int) -> socket.socket:
    """A socket on all addresses, of IPv4 and where the machine has it IPv6."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


async def watch_loop_lag(liveness: Liveness) -> None:
    """Measure for ever how late the event loop wakes up."""
    loop = asyncio.get_running_loop()
    lags: list[float] = []
    while True:
        liveness.loop_ran()
        wanted = loop.time() + LAG_SAMPLE_S
        await asyncio.sleep(LAG_SAMPLE_S)
        lags = [*lags[1 - LAG_WINDOW_SAMPLES :], max(0.0, loop.time() - wanted)]
        metrics.LOOP_LAG.set(max(lags))
