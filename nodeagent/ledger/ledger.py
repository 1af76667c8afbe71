"""The ledger: every operation is decided, made durable, and only then reported.

The one writer of the allocator's state and of the journal. It numbers the events and fires the
allocator's timers (deadlines, expiries, windows). An operation goes through

    decide       the allocator changes its state in memory and returns events
    number       the history gives the events their cursors
    append       the record joins the journal's queue
      ---        up to here nothing awaits: operations are decided one at a time, in the log's order
    durable      one fsync for all records that waited; the loop is told
    report       history, then listeners, then the caller

Nothing is reported earlier because a report causes what cannot be taken back: the shim starts a
pod, a borrower gives up its units, a pod is killed for its owner. After kill -9 the agent knows
only what is on the disk. If it stops

- before the record is whole on the disk, the operation never happened. The caller has no reply and
  asks again; requests are idempotent by id, releases by nothing being left to release;
- after that and before the reply, it happened. The caller asks again and hears where it stands;
- with events durable and listeners not told, whoever acts on events looks at the state at start
  (`Reclaimer.resume`), and watchers go on from their cursors.

Later decisions build on earlier ones that are not durable yet. That is sound because the journal is
written in order: whatever survives is a prefix of the log. It is also why a journal that fails once
ends the agent: memory is ahead of the disk, and only a restart brings them together.
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
from nodeagent.ledger.records import (
    DurableState,
    Environment,
    InitialPlan,
    first_record,
    from_first_record,
    operation_record,
    rebuild,
)

SNAPSHOT_EVERY = 5_000
"""Records after which the state is written anew; it bounds the time that a start takes."""

Listener = Callable[[Sequence[Entry]], None]


@dataclass(frozen=True, slots=True)
class Applied:
    """A decision that is durable, and its events as they were numbered."""

    decision: Decision
    entries: Sequence[Entry]


class Ledger:
    """Use from one event loop. `failed` gets the error after which nothing can be kept any more.

    `listeners` are called with the events of each operation once it is durable; they run in the
    loop's callback, so they start tasks and neither wait nor raise. `fallbacks` counts
    by group how often a policy plug-in failed since the agent started.
    """

    def __init__(self, journal: Journal, clock: Clock, state: DurableState) -> None:
        self.state = state
        self.listeners: list[Listener] = []
        self.fallbacks: Counter[str] = Counter()
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._journal = journal
        self._clock = clock
        self._alarm: Alarm | None = None
        self._due = asyncio.Event()
        # Counted from the last snapshot, not from the start: an agent that is killed again and
        # again would otherwise never write one, and its journal would grow without end.
        self._since_snapshot = len(journal.recovered.records)

    @classmethod
    async def open(
        cls,
        journal: Journal,
        clock: Clock,
        environment: Environment,
        initial: Callable[[], InitialPlan],
    ) -> "Ledger":
        """Rebuild what the journal holds, or begin with what `initial` returns if it is empty.

        Raises JournalError, ValueError for a journal of another version, and what `initial` raises.
        """
        state = rebuild(journal.recovered, environment)
        if state is None:
            record = first_record(initial(), clock.now())
            state = from_first_record(record, environment)
            await journal.append(record)
        ledger = cls(journal, clock, state)
        journal.drop_recovered()
        return ledger

    @property
    def allocator(self) -> Allocator:
        """For reading only: `apply` is the way to change it.

        It has what was decided, which may be ahead of what is durable by the batch under way.
        """
        return self.state.allocator

    @property
    def history(self) -> History:
        """The events, those that are durable."""
        return self.state.history

    async def apply(
        self,
        operation: Operation,
        *,
        pod: Mapping[str, Any] | None = None,
        plan_digest: str | None = None,
    ) -> Applied:
        """Decide an operation; return once it is durable.

        `pod` names the pod that the operation is for, `plan_digest` is that of the plan file it
        puts in force; both are kept with the record. A caller that is cancelled stops waiting; the
        operation stands.

        Raises OperationRefused and DocumentRefused, then nothing changed; JournalError, then the
        agent must be started anew.
        """
        if self.failed.done():
            self.failed.result()  # raises it
        # From here to the append nothing may await: a second operation in between would be decided
        # on this one's state and be in the log before it.
        given = {"pod": pod, "plan_digest": plan_digest}
        notes = {name: note for name, note in given.items() if note is not None}
        decision = self.allocator.apply(operation, self._clock.now(), self.allocator.seq + 1)
        entries = self.history.add(event.to_document() for event in decision.events)
        self.state.take_notes(notes)
        self._count_fallbacks(decision)
        durable = self._append(operation_record(operation, decision, notes))
        durable.add_done_callback(partial(self._report, entries))
        self._set_alarm()
        # Shielded, since the future is the journal's: to cancel it would also drop the report.
        await asyncio.shield(durable)
        return Applied(decision, entries)

    def _count_fallbacks(self, decision: Decision) -> None:
        for event in decision.events:
            if event.type is EventType.POLICY_FALLBACK:
                self.fallbacks[event.fields["group"]] += 1

    def _append(self, document: Mapping[str, Any]) -> "asyncio.Future[int]":
        try:
            durable = self._journal.append(document)
            self._since_snapshot += 1
            if self._since_snapshot >= SNAPSHOT_EVERY:
                self._since_snapshot = 0
                # Queued right behind the record, with nothing awaited between: the state is that
                # after the record. Operations go on while it is written.
                self._journal.snapshot(self.state.snapshot()).add_done_callback(self._check)
        except Exception as error:
            # Whatever it was, the decision is in memory and in no log: nothing may build on it.
            self._fail(error)
            raise
        return durable

    def _report(self, entries: Sequence[Entry], durable: "asyncio.Future[int]") -> None:
        """Let events be seen that are durable now. Futures end in the log's order: no gaps."""
        self._check(durable)
        if self.failed.done() or not entries:
            return
        self.history.mark_durable(entries[-1].cursor)
        for listener in self.listeners:
            listener(entries)

    def _check(self, durable: "asyncio.Future[int]") -> None:
        if not durable.cancelled() and (error := durable.exception()) is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if not self.failed.done():
            self.failed.set_exception(error)
            # Mark it as retrieved: asyncio logs an exception of a future that nobody awaited.
            self.failed.exception()

    def _set_alarm(self) -> None:
        """Set the alarm to when the allocator has to do something by itself next."""
        if self._alarm is not None:
            self._alarm.cancel()
        due = self.allocator.next_due()
        self._alarm = None if due is None else self._clock.call_at(due, self._due.set)

    async def run_timers(self) -> None:
        """Let deadlines, expiries and windows take effect when due; one background task's work.

        Time passes by an operation (`Tick`) like any other, so it is in the log and replayed. One
        that comes late is no harm: the allocator does what fell due in the order it fell due.
        """
        self._set_alarm()
        while True:
            await self._due.wait()
            self._due.clear()
            due = self.allocator.next_due()
            if due is not None and due <= self._clock.now():
                await self.apply(Tick())
            else:
                # Early: the alarm was bounded, or the clock was set back, or nothing is due now.
                self._set_alarm()

    async def close(self) -> None:
        """Snapshot what there is, if it can be written, and close the journal."""
        if self._alarm is not None:
            self._alarm.cancel()
        if not self.failed.done():
            try:
                await self._journal.snapshot(self.state.snapshot())
            except JournalError as error:
                self._fail(error)
        await self._journal.close()
