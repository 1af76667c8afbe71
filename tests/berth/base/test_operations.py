"""Creates that join: one work, many clients, and results kept for who comes back."""

import asyncio
from collections.abc import Callable
from functools import partial

import pytest

from berth.base.errors import RuntimeFailure
from berth.base.operations import KEEP, Operations, Stage
from berth.linux.tasks import Tasks


class Work:
    """A create that ends when told; counts how often it ran."""

    def __init__(self) -> None:
        self.runs = 0
        self.go = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self, stage: Stage) -> str:
        self.runs += 1
        stage.enter("middle")
        await self.go.wait()
        if self.error:
            raise self.error
        return f"id-{self.runs}"


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_retry_joins_the_create_in_flight() -> None:
    async with Tasks() as tasks:
        operations: Operations[str] = Operations(tasks)
        work = Work()
        clients = [asyncio.ensure_future(operations.join("n", "make n", work)) for _ in range(3)]
        await turns()
        [stage] = operations.in_flight()
        assert (stage.what, stage.name) == ("make n", "middle")
        work.go.set()
        assert await asyncio.gather(*clients) == ["id-1"] * 3
        assert operations.in_flight() == []


async def test_a_client_that_leaves_does_not_stop_it_and_the_retry_gets_its_result() -> None:
    async with Tasks() as tasks:
        operations: Operations[str] = Operations(tasks)
        work = Work()
        client = asyncio.ensure_future(operations.join("n", "make n", work))
        await turns()
        client.cancel()
        await turns()
        work.go.set()
        await turns()
        assert await operations.join("n", "make n", work) == "id-1"
        assert work.runs == 1


async def test_a_result_that_was_taken_is_not_given_twice() -> None:
    async with Tasks() as tasks:
        operations: Operations[str] = Operations(tasks)
        work = Work()
        work.go.set()
        assert await operations.join("n", "make n", work) == "id-1"
        assert await operations.join("n", "make n", work) == "id-2"


async def test_a_failure_is_told_to_all_and_forgotten() -> None:
    async with Tasks() as tasks:
        operations: Operations[str] = Operations(tasks)
        work = Work()
        work.error = RuntimeFailure("no")
        clients = [asyncio.ensure_future(operations.join("n", "make n", work)) for _ in range(2)]
        await turns()
        work.go.set()
        for client in clients:
            with pytest.raises(RuntimeFailure, match="no"):
                await client
        work.error = None
        assert await operations.join("n", "make n", work) == "id-2"


async def _left_and_ended(operations: Operations[str], work: Work) -> None:
    """An operation whose only client leaves before its good end."""
    client = asyncio.ensure_future(operations.join("n", "make n", work))
    await turns()
    client.cancel()
    await turns()
    work.go.set()
    await turns()


@pytest.fixture
async def timers(monkeypatch: pytest.MonkeyPatch) -> dict[float, Callable[[], object]]:
    """Timers that were set, by their seconds: a test lets time pass by calling one."""
    found: dict[float, Callable[[], object]] = {}

    def call_later(delay: float, callback: Callable[..., object], *args: object) -> None:
        found[delay] = partial(callback, *args)

    monkeypatch.setattr(asyncio.get_running_loop(), "call_later", call_later)
    return found


async def test_a_result_nobody_takes_is_dropped_in_time(
    timers: dict[float, Callable[[], object]],
) -> None:
    async with Tasks() as tasks:
        operations: Operations[str] = Operations(tasks)
        work = Work()
        await _left_and_ended(operations, work)
        timers[KEEP]()
        assert await operations.join("n", "make n", work) == "id-2"


async def test_the_timer_of_a_result_that_was_taken_leaves_a_newer_operation_alone(
    timers: dict[float, Callable[[], object]],
) -> None:
    async with Tasks() as tasks:
        operations: Operations[str] = Operations(tasks)
        work = Work()
        await _left_and_ended(operations, work)
        assert await operations.join("n", "make n", work) == "id-1"
        work.go.clear()
        newer = asyncio.ensure_future(operations.join("n", "make n", work))
        await turns()
        timers[KEEP]()
        assert operations.stage_of("n") is not None
        work.go.set()
        assert await newer == "id-2"


async def test_a_failure_nobody_hears_is_forgotten() -> None:
    async with Tasks() as tasks:
        operations: Operations[str] = Operations(tasks)
        work = Work()
        work.error = RuntimeFailure("no")
        await _left_and_ended(operations, work)
        work.error = None
        assert await operations.join("n", "make n", work) == "id-2"


async def test_a_waiter_cancelled_as_the_result_comes_leaves_it_for_the_retry_for_a_while(
    timers: dict[float, Callable[[], object]],
) -> None:
    async with Tasks() as tasks:
        operations: Operations[str] = Operations(tasks)
        work = Work()
        client = asyncio.ensure_future(operations.join("n", "make n", work))
        await turns()
        [task] = [it for it in asyncio.all_tasks() if it.get_name() == "operation make n"]
        task.add_done_callback(lambda _: client.cancel())
        work.go.set()
        await asyncio.wait([client])
        assert client.cancelled() and work.runs == 1
        timers[KEEP]()
        assert await operations.join("n", "make n", work) == "id-2"


async def test_unwaited_work_is_cancelled_and_cleans_up_before_the_last_client_is_gone() -> None:
    async with Tasks() as tasks:
        operations: Operations[str] = Operations(tasks, cancel_unwaited=True)
        events: list[str] = []

        async def work(stage: Stage) -> str:
            try:
                await asyncio.Event().wait()
            finally:
                await turns(3)
                events.append("cleaned up")
            return ""

        clients = [asyncio.ensure_future(operations.join("n", "make n", work)) for _ in range(2)]
        for client in clients:
            await turns()
            assert len(operations.in_flight()) == 1
            client.cancel()
            client.add_done_callback(lambda _: events.append("gone"))
        await asyncio.wait(clients)
        assert events == ["gone", "cleaned up", "gone"]
        assert operations.in_flight() == []


async def test_a_result_of_work_that_needs_waiters_is_given_once() -> None:
    async with Tasks() as tasks:
        operations: Operations[str] = Operations(tasks, cancel_unwaited=True)
        work = Work()
        clients = [asyncio.ensure_future(operations.join("n", "make n", work)) for _ in range(2)]
        await turns()
        work.go.set()
        assert await asyncio.gather(*clients) == ["id-1"] * 2
        assert await operations.join("n", "make n", work) == "id-2"
