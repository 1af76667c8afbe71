"""What happened, by number: the last events for those who watch and those who ask why."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

KEPT = 10_000
"""Events kept in memory."""
SAVED = 1_000
"""Events kept in a snapshot."""


class CursorLost(LookupError):
    """The events after a cursor are not kept any more, or the cursor is from the future."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An event with its number, which only ever grows on a node."""

    cursor: int
    document: Mapping[str, Any]


class History:
    """Numbered events. `last` is the number of the newest, `shown` of the newest that is durable:
    only up to that one anybody sees them.
    """

    def __init__(self, last: int = 0, documents: Iterable[Mapping[str, Any]] = ()) -> None:
        kept = list(documents)
        start = last - len(kept)
        self._entries = deque((Entry(start + n, it) for n, it in enumerate(kept, 1)), KEPT)
        self.last = self.shown = last
        self._grown = asyncio.Event()

    def add(self, documents: Iterable[Mapping[str, Any]]) -> list[Entry]:
        """Number events; `show` lets them be seen."""
        added = []
        for document in documents:
            self.last += 1
            added.append(Entry(self.last, document))
        self._entries.extend(added)
        return added

    def show(self, upto: int) -> None:
        """Let the events up to a number be seen, and wake those who watch."""
        if upto > self.shown:
            self.shown = upto
            self._grown.set()
            self._grown = asyncio.Event()

    def after(self, cursor: int) -> list[Entry]:
        """The events after a cursor, oldest first; 0: all that are kept. Raises CursorLost."""
        oldest = self._entries[0].cursor if self._entries else self.last + 1
        if cursor > self.shown:
            raise CursorLost(f"cursor {cursor} is from the future: the last event is {self.shown}")
        if 0 < cursor < oldest - 1:
            raise CursorLost(f"events after {cursor} are gone: the oldest kept is {oldest}")
        first = max(0, cursor - oldest + 1)
        return list(islice(self._entries, first, max(first, self.shown - oldest + 1)))

    async def watch(self, cursor: int) -> AsyncIterator[Entry]:
        """The events after a cursor, then those to come. Raises CursorLost."""
        while True:
            grown = self._grown
            for entry in self.after(cursor):
                yield entry
                cursor = entry.cursor
            await grown.wait()

    def saved(self) -> dict[str, Any]:
        """The newest events for a snapshot, durable or not: it comes after them."""
        newest = [dict(entry.document) for entry in self._entries][-SAVED:]
        return {"last": self.last, "events": newest}
