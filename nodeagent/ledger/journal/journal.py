"""The journal: records become durable in batches by one thread of its own.

While a batch is on its way to the disk the next one gathers (group commit), so the cost of one
fsync is shared by all who wait. Called from one event loop.
"""

import asyncio
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from nodeagent.ledger.journal.errors import JournalError
from nodeagent.ledger.journal.frames import MAX_PAYLOAD, Json, Record, encode_record
from nodeagent.ledger.journal.recovery import Recovered, recover
from nodeagent.ledger.journal.segments import locked, remove_drafts
from nodeagent.ledger.journal.writer import Writer

SEGMENT_BYTES = 16 << 20
BATCH_BYTES = 1 << 20
"""A batch is closed when it reaches this size."""
MAX_RECORD = MAX_PAYLOAD // 4


@dataclass(slots=True)
class _Job:
    """A record to append, or the state of a snapshot."""

    data: bytes
    done: "asyncio.Future[int]"
    number: int
    snapshot: bool


@dataclass(slots=True)
class _Queue:
    """What the loop hands to the thread."""

    ready: threading.Condition = field(default_factory=threading.Condition)
    jobs: list[_Job] = field(default_factory=list)
    closing: bool = False


class Journal:
    """An open journal; at most one process has it open."""

    def __init__(self, directory: Path, segment_bytes: int = SEGMENT_BYTES) -> None:
        """Open and lock the directory; `recovered` says what was there.

        Raises JournalError if another process holds it and JournalCorrupt if durable bytes are
        damaged. Needs a running event loop.
        """
        self._held = ExitStack()
        with ExitStack() as undo:
            undo.enter_context(locked(directory))
            remove_drafts(directory)
            self.recovered: Recovered = recover(directory)
            self._writer = Writer(directory, self.recovered.last, segment_bytes)
            self._held = undo.pop_all()
        self._directory = directory
        self._loop = asyncio.get_running_loop()
        self._queue = _Queue()
        self._last = self.recovered.last
        self._broken: JournalError | None = None
        self._thread = threading.Thread(target=self._write, name="journal", daemon=True)
        self._thread.start()

    @property
    def last(self) -> int:
        """Number of the record appended last, durable or not."""
        return self._last

    def append(self, record: Record) -> "asyncio.Future[int]":
        """Queue a record; the future has its number once it is durable.

        Raises JournalError at once if the journal failed before; the future fails with it if it
        fails now. After a failure nothing more is accepted: reopen to know what is durable.
        """
        data = encode_record(record)
        if len(data) > MAX_RECORD:
            raise JournalError(f"{self._directory}: a record of {len(data)} bytes is too long")
        self._check()
        self._last += 1
        return self._put(data, snapshot=False)

    def snapshot(self, state: Json) -> "asyncio.Future[int]":
        """Queue the state after all records appended so far; old segments go when it is durable."""
        data = encode_record(state)
        self._check()
        return self._put(data, snapshot=True)

    def _check(self) -> None:
        if self._broken is not None:
            raise self._broken
        if self._queue.closing:
            raise JournalError(f"{self._directory}: the journal is closed")

    def _put(self, data: bytes, snapshot: bool) -> "asyncio.Future[int]":
        job = _Job(data, self._loop.create_future(), self._last, snapshot)
        with self._queue.ready:
            self._queue.jobs.append(job)
            self._queue.ready.notify()
        return job.done

    async def close(self) -> None:
        """Write what is queued, end the thread, give the directory free."""
        with self._queue.ready:
            self._queue.closing = True
            self._queue.ready.notify()
        await asyncio.to_thread(self._thread.join)
        self._writer.close()
        self._held.close()

    def _write(self) -> None:
        failure: JournalError | None = None
        while jobs := self._take():
            failure = failure or self._attempt(jobs)
            self._loop.call_soon_threadsafe(self._settle, jobs, failure)

    def _take(self) -> list[_Job]:
        """The next batch: one snapshot, or records up to a size; empty at the end."""
        queue = self._queue
        with queue.ready:
            queue.ready.wait_for(lambda: queue.jobs or queue.closing)
            count = _batch(queue.jobs)
            jobs, queue.jobs = queue.jobs[:count], queue.jobs[count:]
        return jobs

    def _attempt(self, jobs: Sequence[_Job]) -> JournalError | None:
        """Write a batch. After a failure the file may end in half a frame: nothing may follow."""
        try:
            if jobs[0].snapshot:
                self._writer.snapshot(jobs[0].data)
            else:
                self._writer.write([job.data for job in jobs])
        except OSError as cause:
            failure = JournalError(
                f"{self._directory}: cannot write the journal: {cause}. Free or repair the disk, "
                "then restart the agent"
            )
            failure.__cause__ = cause
            return failure
        return None

    def _settle(self, jobs: Sequence[_Job], error: JournalError | None) -> None:
        if error is not None:
            self._broken = self._broken or error
        for job in jobs:
            if job.done.done():
                continue
            if error is None:
                job.done.set_result(job.number)
            else:
                job.done.set_exception(error)
                job.done.exception()


def _batch(jobs: Sequence[_Job]) -> int:
    """How many jobs go together."""
    if not jobs or jobs[0].snapshot:
        return min(len(jobs), 1)
    size = 0
    for count, job in enumerate(jobs):
        if job.snapshot or size >= BATCH_BYTES:
            return count
        size += len(job.data)
    return len(jobs)
