"""Making journals for the tests of this package."""

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path

from nodeagent.ledger.journal.frames import Json, Record
from nodeagent.ledger.journal.journal import Journal
from nodeagent.ledger.journal.recovery import Recovered


async def fill(directory: Path, *batches: Sequence[Record], segment_bytes: int = 1 << 20) -> None:
    """Append the batches, each durable before the next, then close."""
    journal = Journal(directory, segment_bytes)
    for batch in batches:
        for done in [journal.append(record) for record in batch]:
            await done
    await journal.close()


async def take_snapshot(directory: Path, state: Json) -> None:
    """Open, take a snapshot, close."""
    journal = Journal(directory)
    await journal.snapshot(state)
    await journal.close()


async def reopened(directory: Path) -> Recovered:
    """What opening finds."""
    journal = Journal(directory)
    await journal.close()
    return journal.recovered


class Gate:
    """Stands before a journal's writer: its first batch waits until the gate is opened.

    `batches` has how many records came together; `error` is what the first batch ends with.
    """

    def __init__(self, journal: Journal, error: OSError | None = None) -> None:
        self.batches: list[int] = []
        self._error = error
        self._write = journal._writer.write
        self._began = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._opened = threading.Event()
        journal._writer.write = self.write  # type: ignore[method-assign]  # what a gate is

    def write(self, records: Sequence[bytes]) -> None:
        self.batches.append(len(records))
        if not self._opened.is_set():
            self._loop.call_soon_threadsafe(self._began.set)
            assert self._opened.wait(30)
            if self._error is not None:
                raise self._error
        self._write(records)

    async def reached(self) -> None:
        """Wait until a batch stands before the gate: what is appended now goes into the next."""
        await self._began.wait()

    def open(self) -> None:
        self._opened.set()
