"""Background tasks end with their owner and fail aloud."""

import asyncio
import logging

import pytest

from berth.linux.tasks import Tasks


async def _forever(ended: list[str], name: str) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        ended.append(name)


async def test_close_ends_what_is_left() -> None:
    ended: list[str] = []
    async with Tasks() as tasks:
        tasks.start(_forever(ended, "a"), "a")
        tasks.start(_forever(ended, "b"), "b")
        await asyncio.sleep(0)
        assert len(tasks) == 2
    assert sorted(ended) == ["a", "b"]
    assert len(tasks) == 0


async def test_a_failure_is_logged_with_the_name(caplog: pytest.LogCaptureFixture) -> None:
    async def fails() -> None:
        raise ValueError("no such thing")

    tasks = Tasks()
    task = tasks.start(fails(), "sweep of exits")
    with caplog.at_level(logging.ERROR):
        await asyncio.wait([task])
        await tasks.close()
    assert "sweep of exits" in caplog.text
    assert "no such thing" in caplog.text


async def test_nothing_starts_after_close() -> None:
    tasks = Tasks()
    await tasks.close()
    with pytest.raises(RuntimeError, match="late"):
        tasks.start(asyncio.sleep(0), "late")


async def test_a_task_may_close_its_owner() -> None:
    tasks = Tasks()
    ended: list[str] = []
    tasks.start(_forever(ended, "other"), "other")
    await asyncio.sleep(0)
    await tasks.start(tasks.close(), "closer")
    assert ended == ["other"]
