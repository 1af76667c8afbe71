"""What happened, by number: the last events, for watchers and for explanations."""

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
    """An event with its number (the cursor), which only ever grows on a node."""

    cursor: int
    document: Mapping[str, Any]


class History:
    """Numbered events. `last` is the number of the newest, `durable` of the newest on the disk.

    Nobody is given an event beyond `durable`: after kill -9 its number would be used again for
    another one, and a watcher that goes on from its cursor would never see that.
    """

    def __init__(self, last: int = 0, documents: Iterable[Mapping[str, Any]] = ()) -> None:
        """Begin after `documents`, the newest events so far; the last of them has number `last`."""
        kept = list(documents)
        start = last - len(kept)
        self._entries = deque((Entry(start + n, it) for n, it in enumerate(kept, 1)), KEPT)
        self.last = self.durable = last
        self._grown = asyncio.Event()

    def add(self, documents: Iterable[Mapping[str, Any]]) -> list[Entry]:
        """Number events; `mark_durable` lets them be seen."""
        added = []
        for document in documents:
            self.last += 1
            added.append(Entry(self.last, document))
        self._entries.extend(added)
        return added

    def mark_durable(self, upto: int) -> None:
        """Let the events up to a number be seen, and wake the watchers."""
        if upto > self.durable:
            self.durable = upto
            # One Event for each growth: a watcher waits for the one it took before it read, so
            # growth between its reading and its waiting is not missed, and none must be cleared.
            self._grown.set()
            self._grown = asyncio.Event()

    def after(self, cursor: int) -> list[Entry]:
        """The events after a cursor, oldest first; 0: all that are kept. Raises CursorLost."""
        oldest = self._entries[0].cursor if self._entries else self.last + 1
        if cursor > self.durable:
            raise CursorLost(
                f"cursor {cursor} is from the future: the last event is {self.durable}"
            )
        if 0 < cursor < oldest - 1:
            raise CursorLost(f"events after {cursor} are gone: the oldest kept is {oldest}")
        # Cursors have no gaps, so an entry's place follows from its number.
        first = max(0, cursor - oldest + 1)
        return list(islice(self._entries, first, max(first, self.durable - oldest + 1)))

    async def watch(self, cursor: int) -> AsyncIterator[Entry]:
        """The events after a cursor, then those to come.

        Raises CursorLost, also later, if the reader is slower by `KEPT` events than the node.
        """
        while True:
            grown = self._grown
            for entry in self.after(cursor):
                yield entry
                cursor = entry.cursor
            await grown.wait()

    def saved(self) -> dict[str, Any]:
        """The newest events for a snapshot, durable or not.

        The journal writes in order, so those that are not durable yet are so before the snapshot.
        """
        newest = [dict(entry.document) for entry in self._entries][-SAVED:]
        return {"last": self.last, "events": newest}
