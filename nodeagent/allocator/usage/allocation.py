"""An allocation: what a pod asked for, what it holds, and where it stands.

    PENDING ──────────► GRANTED ◄────► NOTICED ◄──► SQUEEZED
      │  ▲                ▲               │             │
      ▼  │                │               ▼             ▼
    RECLAIMING ──► EARMARKED           STOPPING ─────► FREED

    (whoever holds something may fall back to PENDING when it is requeued)

PENDING waits, RECLAIMING waits for units that are being taken back, EARMARKED has units set aside
until its client comes back. NOTICED has been asked to give back; SQUEEZED has given back a part
and waits to regrow; STOPPING can be spared no more and counts as used until its units are free.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from berth.base.quantity import Vector, minus, ordered, times
from nodeagent.allocator.usage.usage import Pairs


class State(Enum):
    """Where an allocation stands; the drawing above says what follows what."""

    PENDING = "PENDING"
    RECLAIMING = "RECLAIMING"
    EARMARKED = "EARMARKED"
    GRANTED = "GRANTED"
    NOTICED = "NOTICED"
    SQUEEZED = "SQUEEZED"
    STOPPING = "STOPPING"
    FREED = "FREED"


_ENDS = frozenset({State.PENDING, State.STOPPING, State.FREED})
MOVES: dict[State, frozenset[State]] = {
    State.PENDING: frozenset(
        {State.RECLAIMING, State.EARMARKED, State.GRANTED, State.SQUEEZED, State.FREED}
    ),
    State.RECLAIMING: frozenset({State.PENDING, State.EARMARKED, State.GRANTED, State.FREED}),
    State.EARMARKED: _ENDS | {State.GRANTED, State.NOTICED},
    State.GRANTED: _ENDS | {State.NOTICED, State.SQUEEZED},
    State.NOTICED: _ENDS | {State.GRANTED, State.SQUEEZED, State.EARMARKED},
    State.SQUEEZED: _ENDS | {State.GRANTED, State.NOTICED},
    State.STOPPING: _ENDS | {State.GRANTED, State.SQUEEZED, State.EARMARKED},
    State.FREED: frozenset(),
}
"""What may follow what. Whoever holds something may lose it and wait again: a requeue."""


Wish = tuple[int, tuple[tuple[int, int], ...], bool]
"""What decides whether a wish can be served: leaf, least vector by resource index, whether firm."""


@dataclass(slots=True)
class Allocation:
    """`unit` is the vector of one unit; `target` all it asks for; `held` what it holds.

    `leaf` is the consumer's node in the tree in force, `pairs` the held vector by resource index.
    `seq` orders by age: the operation that asked last. `granted_at` is when it first held
    something, `expires` when a client that must come back is given up (both milliseconds). `wish`
    is what it asks for at least, while it waits: equal wishes are served or not alike.
    """

    id: str
    group: str
    consumer: str
    unit: Vector
    minimum: int
    maximum: int
    target: Vector
    priority: int
    firm: bool
    retry: bool
    seq: int
    leaf: int = 0
    held: dict[str, int] = field(default_factory=dict)
    state: State = State.PENDING
    granted_at: int = 0
    expires: int | None = None
    claim: str = ""
    reason: str = ""
    pairs: Pairs = ()
    wish: "Wish" = (0, (), False)

    @property
    def elastic(self) -> bool:
        """Whether it may hold fewer units than it asks for."""
        return self.maximum > self.minimum

    @property
    def missing(self) -> dict[str, int]:
        """What it asks for and does not hold."""
        return minus(self.target, self.held)

    @property
    def stopping(self) -> bool:
        """Whether it is on its way out and asks for nothing more."""
        return self.state is State.STOPPING or self.state is State.NOTICED

    def move(self, state: State) -> None:
        """Go to another state; only along the drawing above."""
        if state is not self.state:
            assert state in MOVES[self.state], f"{self.id}: {self.state} to {state}"
            self.state = state

    def portions(self) -> tuple[dict[str, int], int, int]:
        """What it still asks for: a portion, and the least and the most portions of it."""
        missing = self.missing
        if not self.elastic:
            return missing, 1, 1
        steps = [missing.get(name, 0) // amount for name, amount in self.unit.items() if amount]
        count = min(steps, default=0)
        if count == 0:
            return missing, 1, 1
        return dict(self.unit), 1 if self.held else min(self.minimum, count), count

    def floor(self) -> dict[str, int]:
        """The least it can run with."""
        return times(self.unit, self.minimum) if self.elastic else dict(self.target)

    def to_document(self) -> dict[str, Any]:
        """The allocation as JSON-able data; what follows from the plan is left out."""
        return {
            "id": self.id,
            "group": self.group,
            "consumer": self.consumer,
            "unit": ordered(self.unit),
            "minimum": self.minimum,
            "maximum": self.maximum,
            "target": ordered(self.target),
            "priority": self.priority,
            "firm": self.firm,
            "retry": self.retry,
            "seq": self.seq,
            "held": ordered(self.held),
            "state": self.state.value,
            "granted_at": self.granted_at,
            "expires": self.expires,
            "claim": self.claim,
            "reason": self.reason,
        }


def allocation_from_document(document: dict[str, Any]) -> Allocation:
    """The allocation that `to_document` described."""
    return Allocation(**{**document, "state": State(document["state"])})
