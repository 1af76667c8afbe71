"""Blocking calls of the network: on threads, in a namespace, and never left behind."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from berth.linux import namespaces

T = TypeVar("T")

_THREADS = 8


class Threads:
    """A few threads for calls into the kernel, which may wait for its network lock."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="network")

    async def call(self, fn: Callable[[], T]) -> T:
        """The result of `fn`. A caller that is cancelled waits for its end, so that an undo
        afterwards finds everything that `fn` did."""
        future = asyncio.get_running_loop().run_in_executor(self._pool, fn)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait([future])
            raise

    def close(self) -> None:
        self._pool.shutdown()


def inside(netns: str | None, fn: Callable[[], T]) -> T:
    """Call in the namespace at this path; None: in the one we are in.

    What `fn` opens (a netlink socket) stays in that namespace afterwards."""
    return fn() if netns is None else namespaces.run_inside(netns, fn)


def entering(netns: str | None) -> list[str]:
    """What to put before a command line for it to run in that namespace."""
    return [] if netns is None else ["nsenter", f"--net={netns}", "--"]
