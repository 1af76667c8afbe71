"""By name: locks, and holds that keep a thing from being collected."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator


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


class Holds:
    """Names that somebody needs just now; several may hold the same."""

    def __init__(self) -> None:
        self._held: Counter[str] = Counter()

    def __contains__(self, name: str) -> bool:
        return name in self._held

    @contextlib.contextmanager
    def hold(self, names: Iterable[str]) -> Iterator[None]:
        kept = tuple(names)
        self._held.update(kept)
        try:
            yield
        finally:
            self._held -= Counter(kept)
