"""Blocking calls on threads, whose end a cancelled caller waits for."""

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import Executor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call on a thread of the loop's own pool; otherwise as `in_pool`."""
    return await in_pool(None, function, *args, **kwargs)


async def in_pool(
    pool: Executor | None, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Call on a thread of `pool`; returns only when the call has ended, cancelled or not.

    A thread cannot be stopped. asyncio.to_thread leaves it running when its caller is cancelled,
    and then the caller's undo, and whoever gets the caller's locks next, meets a call that still
    makes files and mounts. So a cancellation is raised after the call: CancelledError means that
    the call succeeded and its result is lost; where it failed, its own error is raised instead.
    """
    loop = asyncio.get_running_loop()
    future = loop.run_in_executor(pool, functools.partial(function, *args, **kwargs))
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            # Neither cancels the future nor raises its error, unlike `await future`.
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancelled = error
    result = future.result()
    if cancelled is not None:
        raise cancelled
    return result
