"""The allocator: the state of the node's allocation, changed by one operation at a time.

Deterministic: the same plan, capacity and log of (operation, now, seq) give byte-identical
decisions. Time and numbers are arguments, times are integer milliseconds, amounts base units.
"""

from collections.abc import Iterable

from nodeagent.allocator.dispatch import check, dispatch
from nodeagent.allocator.state import NodeState
from nodeagent.allocator.timers import next_due, run_due
from nodeagent.allocator.transaction import Transaction
from nodeagent.allocator.values.event import Decision, EventType
from nodeagent.allocator.values.operation import Operation, OperationRefused


class Allocator(NodeState):
    """The state, and the one way to change it."""

    def apply(
        self,
        operation: Operation,
        now: int,
        seq: int,
        *,
        fallbacks: Iterable[int] | None = None,
    ) -> Decision:
        """Let time pass up to `now`, dispatch one operation and bring everything to rest.

        `seq` grows with every operation of the log. A `now` before the last one counts as the
        last one. `fallbacks` None asks policy plug-ins live; a replay passes those of the recorded
        decision. Raises OperationRefused or DocumentRefused, and then nothing has changed.
        """
        if seq <= self.seq:
            raise OperationRefused("seq", f"{seq} was given before", f"more than {self.seq}")
        prepared = check(self, operation)
        replayed = None if fallbacks is None else frozenset(fallbacks)
        guard = self.guard
        guard.begin(replayed)
        now = max(now, self.now)
        transaction = Transaction(self.now, seq, self.allocations, guard, self.expiring)
        run_due(self, transaction, now)
        transaction.now = self.now = now
        verdict = dispatch(self, transaction, operation, prepared)
        self.seq = seq
        for fallback in guard.fallbacks:
            transaction.emit(
                EventType.POLICY_FALLBACK,
                group=fallback.group,
                policy=fallback.policy,
                call=fallback.call,
                reason=fallback.reason,
            )
        return Decision(seq, now, verdict, tuple(transaction.events), tuple(guard.failed))

    def next_due(self) -> int | None:
        """When something happens by itself next, in milliseconds: a Tick is due then."""
        return next_due(self)
