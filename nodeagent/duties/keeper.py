"""The keeper of the ledger: every operation is decided, journaled, and only then answered.

The one owner of ledger and journal. It numbers the events and fires the ledger's timers (deadlines,
expiries, windows).
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from nodeagent.allocator.event import Decision, EventType
from nodeagent.allocator.ledger import Ledger
from nodeagent.allocator.operation import Operation, Tick
from nodeagent.duties.clock import Alarm, Clock
from nodeagent.duties.history import Entry, History
from nodeagent.duties.records import Books, Frame, first_record, rebuilt, record
from nodeagent.journal.errors import JournalError
from nodeagent.journal.journal import Journal

SNAPSHOT_EVERY = 5_000
"""Records after which the state is written anew."""

Listener = Callable[[Sequence[Entry]], None]
First = Callable[[], tuple[Any, Mapping[str, Mapping[str, int]], str]]
"""Gives plan, capacity by group, and the plan file's digest where there is no journal yet."""


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision that is durable, and its events as they were numbered."""

    decision: Decision
    entries: Sequence[Entry]


class Keeper:
    """Use from one event loop. `failed` gets the error after which nothing can be kept any more.

    `listeners` are called with the events of each operation once it is durable. `fallbacks` counts
    by group how often a policy plug-in failed since the agent started.
    """

    def __init__(self, journal: Journal, clock: Clock, books: Books) -> None:
        self.books = books
        self.listeners: list[Listener] = []
        self.fallbacks: Counter[str] = Counter()
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._journal = journal
        self._clock = clock
        self._alarm: Alarm | None = None
        self._due = asyncio.Event()
        self._since_snapshot = 0

    @classmethod
    async def open(cls, journal: Journal, clock: Clock, frame: Frame, first: First) -> "Keeper":
        """Rebuild what the journal holds, or begin with what `first` gives.

        Raises JournalError, ValueError for a journal of another version, and what `first` raises.
        """
        books = rebuilt(journal.recovered, frame)
        if books is None:
            plan, capacity, digest = first()
            now = clock.now()
            await journal.append(first_record(plan, capacity, now, digest))
            books = Books(frame.ledger(plan, capacity, now), History(), plan_digest=digest)
        return cls(journal, clock, books)

    @property
    def ledger(self) -> Ledger:
        """For reading only: `perform` is the way to change it."""
        return self.books.ledger

    @property
    def history(self) -> History:
        """The events, those that are durable."""
        return self.books.history

    async def perform(self, operation: Operation, **notes: Any) -> Decided:
        """Decide an operation; return once it is durable, whoever gave up waiting.

        Raises OperationRefused and DocumentRefused, then nothing changed; JournalError, then the
        agent must be started anew.
        """
        if self.failed.done():
            self.failed.result()
        decision = self.ledger.apply(operation, self._clock.now(), self.ledger.seq + 1)
        entries = self.history.add(event.to_document() for event in decision.events)
        self.books.note(notes)
        self._count(decision)
        durable = self._append(record(operation, decision, notes))
        durable.add_done_callback(partial(self._settled, entries))
        self._arm()
        await asyncio.shield(durable)
        return Decided(decision, entries)

    def _count(self, decision: Decision) -> None:
        for event in decision.events:
            if event.type is EventType.POLICY_FALLBACK:
                self.fallbacks[event.fields["group"]] += 1

    def _append(self, document: Mapping[str, Any]) -> "asyncio.Future[int]":
        try:
            durable = self._journal.append(document)
            self._since_snapshot += 1
            if self._since_snapshot >= SNAPSHOT_EVERY:
                self._since_snapshot = 0
                self._journal.snapshot(self.books.snapshot()).add_done_callback(self._check)
        except JournalError as error:
            self._fail(error)
            raise
        return durable

    def _settled(self, entries: Sequence[Entry], durable: "asyncio.Future[int]") -> None:
        self._check(durable)
        if self.failed.done() or not entries:
            return
        self.history.show(entries[-1].cursor)
        for listener in self.listeners:
            listener(entries)

    def _check(self, durable: "asyncio.Future[int]") -> None:
        if not durable.cancelled() and (error := durable.exception()) is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if not self.failed.done():
            self.failed.set_exception(error)
            self.failed.exception()

    def _arm(self) -> None:
        """Set the alarm to what the ledger does next by itself."""
        if self._alarm is not None:
            self._alarm.cancel()
        due = self.ledger.next_due()
        self._alarm = None if due is None else self._clock.call_at(due, self._due.set)

    async def keep_time(self) -> None:
        """Let the ledger do what is due when it is due; the work of one background task."""
        self._arm()
        while True:
            await self._due.wait()
            self._due.clear()
            due = self.ledger.next_due()
            if due is not None and due <= self._clock.now():
                await self.perform(Tick())
            else:
                self._arm()

    async def close(self) -> None:
        """Snapshot what there is, if it can be written, and close the journal."""
        if self._alarm is not None:
            self._alarm.cancel()
        if not self.failed.done():
            try:
                await self._journal.snapshot(self.books.snapshot())
            except JournalError as error:
                self._fail(error)
        await self._journal.close()
