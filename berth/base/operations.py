"""Creates that join instead of colliding.

A create runs in a task of its own: a client that gives up does not stop it. A retry with the same
name joins the task in flight, or, if the first client had gone, gets its finished result. What is
in flight, in which stage and since when, can be asked at any time.
(The idea is cri-o's resource store, internal/resourcestore.)
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar, cast

from berth.linux.tasks import Tasks

T = TypeVar("T")

KEEP = 120.0
"""Seconds that a result nobody took is kept for the retry."""


@dataclass(slots=True)
class Stage:
    """Where an operation is. Enter a stage by its plain name: `network`, `mounts`, …"""

    what: str
    name: str = "start"
    since: float = field(default_factory=time.monotonic)

    def enter(self, name: str) -> None:
        self.name = name
        self.since = time.monotonic()

    def __str__(self) -> str:
        return f"{self.what}: in stage {self.name!r} for {time.monotonic() - self.since:.1f} s"


@dataclass(frozen=True, slots=True)
class _Outcome(Generic[T]):
    """A failure is an answer for whoever waits, not an accident of the task."""

    value: T | None
    error: BaseException | None = None


@dataclass(slots=True)
class _Operation(Generic[T]):
    stage: Stage
    task: "asyncio.Task[_Outcome[T]]"
    waiting: int = 0
    taken: bool = False


class Operations(Generic[T]):
    """Operations by name; the value of a name is an id."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self._by_name: dict[str, _Operation[T]] = {}

    async def join(self, name: str, what: str, run: Callable[[Stage], Awaitable[T]]) -> T:
        """Start `run` under `name`, or wait for the one in flight; answer its result."""
        operation = self._by_name.get(name)
        if operation is None:
            operation = self._begin(name, what, run)
        operation.waiting += 1
        try:
            outcome = await asyncio.shield(operation.task)
            operation.taken = True
            if outcome.error is not None:
                raise outcome.error
            return cast(T, outcome.value)
        finally:
            operation.waiting -= 1
            if operation.task.done() and (operation.taken or _failed(operation.task)):
                self._drop(name, operation)

    def in_flight(self) -> list[Stage]:
        """Stages of what is running now."""
        return [o.stage for o in self._by_name.values() if not o.task.done()]

    def stage_of(self, name: str) -> Stage | None:
        operation = self._by_name.get(name)
        return operation.stage if operation and not operation.task.done() else None

    def _begin(self, name: str, what: str, run: Callable[[Stage], Awaitable[T]]) -> _Operation[T]:
        stage = Stage(what)

        async def work() -> _Outcome[T]:
            try:
                return _Outcome(await run(stage))
            except Exception as error:
                return _Outcome(None, error)

        operation = _Operation(stage, self._tasks.start(work(), f"operation {what}"))
        operation.task.add_done_callback(lambda _: self._finished(name, operation))
        self._by_name[name] = operation
        return operation

    def _finished(self, name: str, operation: _Operation[T]) -> None:
        """Nobody waits: keep a good result for the retry for a while, forget a bad one."""
        if operation.waiting:
            return
        if _failed(operation.task):
            self._drop(name, operation)
        else:
            asyncio.get_running_loop().call_later(KEEP, self._drop, name, operation)

    def _drop(self, name: str, operation: _Operation[T]) -> None:
        if self._by_name.get(name) is operation:
            del self._by_name[name]


def _failed(task: "asyncio.Task[_Outcome[T]]") -> bool:
    return task.cancelled() or task.exception() is not None or task.result().error is not None
