"""One operation being decided: its time and number, and the events that it has caused so far."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from berth.base.quantity import ordered
from nodeagent.allocator.policy.guard import PolicyGuard
from nodeagent.allocator.usage.allocation import Allocation
from nodeagent.allocator.values.event import Event, EventType

RETURN_TTL = 60_000
"""How long units set aside wait for a client that must come back, in milliseconds."""
ASK_TTL = 120_000
"""How long a client that asks again by itself may be silent before it is given up."""
LATE_AFTER = 5_000
"""How long after its deadline a reclaim may last before it is reported as late."""


@dataclass(slots=True)
class Transaction:
    """`allocations` is the allocator's own table, `guard` asks the sharing policies.

    `expiring` are the allocations that wait for their client, `asking` the one whose client asks
    now. `earlier` are deadlines of notices that this operation has called off; a new notice about
    the same allocation runs out no later.
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
        """A new identity, the same in every replay."""
        self._made += 1
        return f"{prefix}{self.seq}.{self._made}"
