"""By name: locks, and leases that keep what they name from being collected."""

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


class Leases:
    """Names of blobs or layers that a running pull or save needs and no record mentions yet.

    In memory only: after kill -9 nothing runs that could need them, and the next start collects
    whatever no record names.
    """

    def __init__(self) -> None:
        # A count for each name: two pulls may need the same layer, and the first one to end must
        # not take it from under the other.
        self._counts: Counter[str] = Counter()

    def __contains__(self, name: str) -> bool:
        return name in self._counts

    @contextlib.contextmanager
    def hold(self, names: Iterable[str]) -> Iterator[None]:
        kept = tuple(names)
        self._counts.update(kept)
        try:
            yield
        finally:
            self._counts -= Counter(kept)
