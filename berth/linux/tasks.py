"""Background tasks: each has a name and an owner, and none fails in silence."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")


class Tasks:
    """Owner of background tasks. `close` ends all that are left; used as a context it closes."""

    def __init__(self) -> None:
        # The event loop itself has weak references only: a task nobody keeps may be collected
        # while it waits.
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False

    def start(self, coro: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """Run the coroutine in the background; an exception is logged with the name."""
        if self._closed:
            coro.close()  # else Python warns that it was never awaited
            raise RuntimeError(f"task {name!r} comes after its owner was closed")
        task = asyncio.get_running_loop().create_task(coro, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("task %r failed: %s", task.get_name(), error, exc_info=error)

    def __len__(self) -> int:
        return len(self._tasks)

    async def close(self) -> None:
        """Cancel what still runs and wait until it has ended."""
        self._closed = True
        # Repeated, for a task may catch its cancellation once to clean up. The current task may be
        # one of ours: it ends by returning.
        while waiting := self._tasks - {asyncio.current_task()}:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    async def __aenter__(self) -> "Tasks":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
