"""Threads for synchronous calls: a few per outside system, so that a slow one starves only itself.

The threads are daemons and never joined: after SIGTERM little time remains, and a request that
hangs must not hold the exit (`slaplanner run` ends its process under them). A call whose caller was cancelled before a thread was free is dropped.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class ThreadPool:
    """At most *size* calls at once; the others wait in line."""

    def __init__(self, name: str, *, size: int) -> None:
        self._name = name
        self._size = size
        self._jobs: queue.SimpleQueue[
            tuple[asyncio.AbstractEventLoop, asyncio.Future[Any], Callable[[], Any]]
        ]
        self._jobs = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call *function* in a thread and wait for it without blocking the event loop.

        Cancelling the caller abandons the call: it ends in its thread, and its outcome is dropped.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._jobs.put((loop, future, partial(function, *args, **kwargs)))
        if len(self._threads) < self._size:
            thread = threading.Thread(
                target=self._work, name=f"{self._name}-{len(self._threads)}", daemon=True
            )
            self._threads.append(thread)
            thread.start()
        return await future

    def _work(self) -> None:
        while True:
            loop, future, call = self._jobs.get()
            if future.cancelled():
                continue
            try:
                result = call()
            except BaseException as error:  # noqa: BLE001 - whatever it is belongs to the caller
                _deliver(loop, future, error=error)
            else:
                _deliver(loop, future, result=result)


def _deliver(
    loop: asyncio.AbstractEventLoop,
    future: asyncio.Future[Any],
    *,
    result: object = None,
    error: BaseException | None = None,
) -> None:
    def settle() -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)

    try:
        loop.call_soon_threadsafe(settle)
    except RuntimeError:
        """The loop has closed: nobody waits any more."""
