"""One operation being decided: its time and number, and the events it has caused so far."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from berth.base.quantity import ordered
from nodeagent.allocator.policy.guard import PolicyGuard
from nodeagent.allocator.usage.allocation import Allocation
from nodeagent.allocator.values.event import Event, EventType

# All three are part of the rules: a replay of the journal uses the values of the code that replays.
RETURN_TTL = 60_000
"""How long units set aside wait for a client that must come back, in milliseconds.

Six attempts of a kubelet that starts a pod again every 10 s.
"""
ASK_TTL = 120_000
"""How long a client that asks again by itself may be silent before it is given up (ms)."""
LATE_AFTER = 5_000
"""How long after its deadline a reclaim may last before it is reported as late (ms)."""


@dataclass(slots=True)
class Transaction:
    """What the parts of one decision share.

    `allocations` and `expiring` are the allocator's own tables, `guard` asks the sharing policies.
    `asking` is the id of the allocation whose client asks now, so what it gets is not set aside.
    `earlier` has, by allocation id, the deadlines of notices that this operation has cancelled; a
    new notice about the same allocation runs out no later.
    """

    now: int
    seq: int
    allocations: dict[str, Allocation]
    guard: PolicyGuard
    expiring: dict[str, Allocation]
    events: list[Event] = field(default_factory=list)
    asking: str = ""
    earlier: dict[str, int] = field(default_factory=dict)
    _made: int = 0

    def expire(self, allocation: Allocation, at: int | None) -> None:
        """Give an allocation up at a time unless its client comes back; None: never."""
        # Kept in a table of its own: `next_due` is asked after every operation, and looks at these
        # instead of at all allocations.
        allocation.expires = at
        if at is None:
            self.expiring.pop(allocation.id, None)
        else:
            self.expiring[allocation.id] = allocation

    def emit(self, kind: EventType, **fields: Any) -> None:
        """Report that something happened now."""
        self.events.append(Event(kind, self.now, fields))

    def report(self, kind: EventType, allocation: Allocation, **fields: Any) -> None:
        """Report something about an allocation."""
        about = {"id": allocation.id, "consumer": allocation.consumer, "group": allocation.group}
        self.events.append(Event(kind, self.now, {**about, **fields}))

    def queue(self, allocation: Allocation, reason: str, shortage: Mapping[str, int]) -> None:
        """Report that an allocation waits, and why."""
        allocation.reason = reason
        self.report(EventType.PENDING, allocation, reason=reason, shortage=ordered(shortage))

    def name(self, prefix: str) -> str:
        """A new identity for a claim or notice: the number of the operation, and a count within it.

        A random one would differ in every replay (I12).
        """
        self._made += 1
        return f"{prefix}{self.seq}.{self._made}"
