"""Locks by name: one call at a time works on what a name stands for."""

import asyncio
import contextlib
from collections.abc import AsyncIterator


class NamedLocks:
    """A lock lives as long as somebody holds or awaits it.

    Who comes second finds the first one's work done, or does it if the first one failed.
    """

    def __init__(self) -> None:
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    @contextlib.asynccontextmanager
    async def hold(self, name: str) -> AsyncIterator[None]:
        lock, users = self._locks.get(name, (asyncio.Lock(), 0))
        self._locks[name] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks[name]
            if users == 1:
                del self._locks[name]
            else:
                self._locks[name] = (lock, users - 1)
