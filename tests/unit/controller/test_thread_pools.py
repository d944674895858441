"""Threads for calls that block: few, shared fairly, and never waited for at the end."""

from __future__ import annotations

import asyncio
import threading

import pytest

from slaplanner.controller.thread_pools import ThreadPool


def test_a_call_that_blocks_leaves_the_event_loop_free():
    release = threading.Event()

    async def main() -> str:
        blocked = asyncio.ensure_future(ThreadPool("test", size=1).run(release.wait))
        await asyncio.sleep(0)
        release.set()  # the loop runs, or nobody would
        await blocked
        return "free"

    assert asyncio.run(main()) == "free"


def test_what_a_call_raises_reaches_its_caller_and_the_thread_goes_on():
    async def main() -> int:
        pool = ThreadPool("test", size=1)
        with pytest.raises(ZeroDivisionError):
            await pool.run(lambda: 1 / 0)
        return await pool.run(lambda: 7)

    assert asyncio.run(main()) == 7


def test_no_more_calls_than_threads_run_at_once():
    lock, running, most = threading.Lock(), [0], [0]
    both = threading.Barrier(2)

    def call() -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        both.wait(timeout=60)
        with lock:
            running[0] -= 1

    async def main() -> None:
        pool = ThreadPool("test", size=2)
        await asyncio.gather(*(pool.run(call) for _ in range(6)))

    asyncio.run(main())
    assert most[0] == 2


def test_a_call_whose_caller_gave_up_before_its_turn_is_never_made():
    release, made = threading.Event(), []

    async def main() -> None:
        pool = ThreadPool("test", size=1)
        first = asyncio.ensure_future(pool.run(release.wait))
        second = asyncio.ensure_future(pool.run(lambda: made.append("second")))
        await asyncio.sleep(0)
        second.cancel()
        release.set()
        await first
        await pool.run(lambda: made.append("third"))

    asyncio.run(main())
    assert made == ["third"]


def test_a_call_that_hangs_does_not_hold_the_end_of_the_loop():
    hanging = threading.Event()

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await ThreadPool("test", size=1).run(hanging.wait)

    asyncio.run(main())
    hanging.set()
