"""Calls on threads: what a cancelled caller waits for, and what it is told."""

import asyncio
import threading

import pytest

from berth.linux.threads import in_thread


async def test_result_and_error_come_from_the_call() -> None:
    assert await in_thread(int, "12", base=3) == 5
    with pytest.raises(ValueError, match="invalid literal"):
        await in_thread(int, "x")


async def test_a_cancelled_caller_waits_for_the_end_of_the_call() -> None:
    started, may_end = threading.Event(), threading.Event()
    ended = []

    def call() -> None:
        started.set()
        may_end.wait()
        ended.append(True)

    task = asyncio.ensure_future(in_thread(call))
    await asyncio.to_thread(started.wait)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [True]


async def test_an_error_of_the_call_is_told_to_a_cancelled_caller() -> None:
    started, may_end = threading.Event(), threading.Event()

    def call() -> None:
        started.set()
        may_end.wait()
        raise OSError("broken")

    task = asyncio.ensure_future(in_thread(call))
    await asyncio.to_thread(started.wait)
    task.cancel()
    may_end.set()
    with pytest.raises(OSError, match="broken"):
        await task
