"""Operations that are joined: a second call with the same name waits for the first one's result.

kubelet gives up on a slow create after its own timeout and asks again, with the same name, while
the first create still works on it. Were the second to start over, it would collide with the first
one's cgroup, addresses and record. So the work runs in a task of its own, which a client that
leaves does not stop, and a retry gets the result of that task:

            join                 work ends, somebody waits
    (none) ──────> IN FLIGHT ───────────────────────────────> (none), every waiter has the result
                   ^      │
             join  └──────┤ work fails, nobody waits
                          ├─────────────────────────────────> (none), a retry starts anew
                          │ work succeeds, nobody waits
                          v             join
                        KEPT ───────────────────────────────> (none), the retry has the result
                          └──── KEEP seconds ───────────────> (none), the object stays; kubelet
                                                              finds it by listing
(The idea is cri-o's resource store, internal/resourcestore.)

Work that nobody needs once its last client has left (a pull: what was fetched is kept elsewhere)
is cancelled then instead, and its result is never kept.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar, cast

from berth.linux.tasks import Tasks

T = TypeVar("T")

KEEP = 120.0
"""Seconds that a result nobody took is kept for the retry.

kubelet retries within its backoff of seconds. What is never retried must go at some time, or the
next pod of this name would get the id of one that is gone.
"""


@dataclass(slots=True)
class Stage:
    """What an operation is doing and since when; its stages are named `network`, `mounts`, …"""

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
    """The end of an operation, good or bad, as a value.

    A task that raises is logged by its owner as a defect; a failure that a waiter is told is none.
    """

    value: T | None
    error: BaseException | None = None


@dataclass(slots=True)
class _Operation(Generic[T]):
    stage: Stage
    task: "asyncio.Task[_Outcome[T]]"
    waiting: int = 0
    """Callers in `join` now."""
    taken: bool = False
    """Some caller has the result."""


class Operations(Generic[T]):
    """Operations by name (any key that tells them apart), each with a result of one type.

    `cancel_unwaited`: cancel the work when nobody waits for it any more, instead of finishing it.
    """

    def __init__(self, tasks: Tasks, *, cancel_unwaited: bool = False) -> None:
        self._tasks = tasks
        self._cancel_unwaited = cancel_unwaited
        self._by_name: dict[Hashable, _Operation[T]] = {}

    async def join(self, name: Hashable, what: str, run: Callable[[Stage], Awaitable[T]]) -> T:
        """The result of the operation `name`; `run` is started where none is in flight or kept.

        Raises what `run` raised, in every caller that waits. `what` names it in stages and logs.
        """
        operation = self._by_name.get(name)
        if operation is None:
            operation = self._begin(name, what, run)
        operation.waiting += 1
        try:
            # Without the shield a client that gives up would cancel the work for all.
            outcome = await asyncio.shield(operation.task)
            operation.taken = True
            if outcome.error is not None:
                raise outcome.error
            return cast(T, outcome.value)
        finally:
            operation.waiting -= 1
            self._settle(name, operation)
            if self._cancel_unwaited and not operation.waiting:
                await self._cancel(name, operation)

    def in_flight(self) -> list[Stage]:
        """The stages of all operations whose work has not ended."""
        return [o.stage for o in self._by_name.values() if not o.task.done()]

    def stage_of(self, name: Hashable) -> Stage | None:
        """The stage of one operation; None where none of this name is in flight."""
        operation = self._by_name.get(name)
        return operation.stage if operation and not operation.task.done() else None

    def _begin(
        self, name: Hashable, what: str, run: Callable[[Stage], Awaitable[T]]
    ) -> _Operation[T]:
        stage = Stage(what)

        async def work() -> _Outcome[T]:
            try:
                return _Outcome(await run(stage))
            except Exception as error:  # not CancelledError: a cancelled task has no outcome
                return _Outcome(None, error)

        operation = _Operation(stage, self._tasks.start(work(), f"operation {what}"))
        operation.task.add_done_callback(lambda _: self._settle(name, operation))
        self._by_name[name] = operation
        return operation

    def _settle(self, name: Hashable, operation: _Operation[T]) -> None:
        """Once the work has ended: forget it, or keep a result that nobody took for the retry.

        Called when it ends, and again when a waiter leaves: one that is cancelled in the moment
        in which the result comes has not taken it.
        """
        if not operation.task.done():
            return
        if operation.taken or _failed(operation.task):
            self._drop(name, operation)
        elif not operation.waiting:
            asyncio.get_running_loop().call_later(KEEP, self._drop, name, operation)

    async def _cancel(self, name: Hashable, operation: _Operation[T]) -> None:
        """Stop the work and wait until it has cleaned up; a join meanwhile starts anew."""
        self._drop(name, operation)
        operation.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await operation.task

    def _drop(self, name: Hashable, operation: _Operation[T]) -> None:
        # A timer may come late: the name may belong to a newer operation by now.
        if self._by_name.get(name) is operation:
            del self._by_name[name]


def _failed(task: "asyncio.Task[_Outcome[T]]") -> bool:
    return task.cancelled() or task.exception() is not None or task.result().error is not None
