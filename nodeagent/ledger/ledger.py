"""The ledger: every operation is decided, made durable, and only then answered.

The one writer of the allocator's state and of the journal. It numbers the events and fires the
allocator's timers (deadlines, expiries, windows).
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from nodeagent.allocator.allocator import Allocator
from nodeagent.allocator.values.event import Decision, EventType
from nodeagent.allocator.values.operation import Operation, Tick
from nodeagent.ledger.clock import Alarm, Clock
from nodeagent.ledger.history import Entry, History
from nodeagent.ledger.journal.errors import JournalError
from nodeagent.ledger.journal.journal import Journal
from nodeagent.ledger.records import DurableState, Frame, first_record, rebuilt, record

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


class Ledger:
    """Use from one event loop. `failed` gets the error after which nothing can be kept any more.

    `listeners` are called with the events of each operation once it is durable. `fallbacks` counts
    by group how often a policy plug-in failed since the agent started.
    """

    def __init__(self, journal: Journal, clock: Clock, durable: DurableState) -> None:
        self.durable = durable
        self.listeners: list[Listener] = []
        self.fallbacks: Counter[str] = Counter()
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._journal = journal
        self._clock = clock
        self._alarm: Alarm | None = None
        self._due = asyncio.Event()
        self._since_snapshot = 0

    @classmethod
    async def open(cls, journal: Journal, clock: Clock, frame: Frame, first: First) -> "Ledger":
        """Rebuild what the journal holds, or begin with what `first` gives.

        Raises JournalError, ValueError for a journal of another version, and what `first` raises.
        """
        durable = rebuilt(journal.recovered, frame)
        if durable is None:
            plan, capacity, digest = first()
            now = clock.now()
            await journal.append(first_record(plan, capacity, now, digest))
            durable = DurableState(
                frame.allocator(plan, capacity, now), History(), plan_digest=digest
            )
        return cls(journal, clock, durable)

    @property
    def allocator(self) -> Allocator:
        """For reading only: `apply` is the way to change it."""
        return self.durable.allocator

    @property
    def history(self) -> History:
        """The events, those that are durable."""
        return self.durable.history

    async def apply(self, operation: Operation, **notes: Any) -> Decided:
        """Decide an operation; return once it is durable, whoever gave up waiting.

        Raises OperationRefused and DocumentRefused, then nothing changed; JournalError, then the
        agent must be started anew.
        """
        if self.failed.done():
            self.failed.result()
        decision = self.allocator.apply(operation, self._clock.now(), self.allocator.seq + 1)
        entries = self.history.add(event.to_document() for event in decision.events)
        self.durable.note(notes)
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
                self._journal.snapshot(self.durable.snapshot()).add_done_callback(self._check)
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
        """Set the alarm to what the allocator does next by itself."""
        if self._alarm is not None:
            self._alarm.cancel()
        due = self.allocator.next_due()
        self._alarm = None if due is None else self._clock.call_at(due, self._due.set)

    async def keep_time(self) -> None:
        """Let the allocator do what is due when it is due; the work of one background task."""
        self._arm()
        while True:
            await self._due.wait()
            self._due.clear()
            due = self.allocator.next_due()
            if due is not None and due <= self._clock.now():
                await self.apply(Tick())
            else:
                self._arm()

    async def close(self) -> None:
        """Snapshot what there is, if it can be written, and close the journal."""
        if self._alarm is not None:
            self._alarm.cancel()
        if not self.failed.done():
            try:
                await self._journal.snapshot(self.durable.snapshot())
            except JournalError as error:
                self._fail(error)
        await self._journal.close()
