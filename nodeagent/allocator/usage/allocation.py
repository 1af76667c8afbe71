"""An allocation: what a pod asked for, what it holds, and in which state it is."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from berth.base.quantity import Vector, minus, ordered, times
from nodeagent.allocator.usage.usage import Pairs


class State(Enum):
    """The states of an allocation; which may follow which is in MOVES."""

    PENDING = "PENDING"
    """Holds nothing and waits."""
    RECLAIMING = "RECLAIMING"
    """Holds nothing and has a claim: others are giving back for it."""
    EARMARKED = "EARMARKED"
    """Units are set aside until its client asks again."""
    GRANTED = "GRANTED"
    """Runs with all it asks for; an elastic one with at least its minimum."""
    NOTICED = "NOTICED"
    """Runs and has been asked to give back; the notice may still be cancelled."""
    SQUEEZED = "SQUEEZED"
    """Runs with a part of what it asks for and waits for the rest."""
    STOPPING = "STOPPING"
    """Is being stopped, which nothing cancels; counts as used until its units are free."""
    FREED = "FREED"
    """Has ended; nothing refers to it."""


# What may follow what (semantics 2.8):
#
#    waits                           holds                          gives back
#
#    PENDING ──────── fits ────────► GRANTED ◄───── asked ────────► NOTICED ────► STOPPING
#     │   ▲                           ▲   │        cancelled          ▲ ▲   deadline,  │
#     │   │ claim                fits │   │ a part                    │ │   or it is   │ its units
#     ▼   │ withdrawn                 │   ▼ freed                     │ │   stopped    ▼ are free
#    RECLAIMING                      SQUEEZED ◄───────────────────────┘ │           FREED
#     │                                                                 │
#     └───── others gave back ─────► EARMARKED ◄────────────────────────┘
#                                     (then GRANTED, when its client asks again)
#
# Not drawn, because it may follow everything: FREED, for what is released or given up; and
# PENDING, for what held something, lost all of it and is still asked for (a requeue: no client
# has to ask again). STOPPING returns to a state that holds only when the part under notice has
# been freed and the rest is kept.
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


Shape = tuple[int, tuple[tuple[int, int], ...], bool]
"""All that decides whether something waiting can be served: its leaf, the least vector it takes by
resource index, and whether it is non-preemptible. Those of one shape are served or not alike.
"""


@dataclass(slots=True)
class Allocation:
    """One pod's or job's part of a group (semantics 2.1).

    `unit` is the vector of one unit, of which it asks for `minimum` to `maximum`; `target` is all
    it asks for, `held` what it holds. `firm`: non-preemptible, never taken back. `retry`: its
    client asks again by itself. `seq` orders by age: the operation that asked, first gave it
    something or queued it again. `granted_at` is when it first held something, `expires` when it is
    given up unless its client comes back (milliseconds). `claim` is the id of its open claim.

    The rest follows from the plan in force and is not saved: `leaf`, its consumer's node in the
    tree; `pairs`, what it holds by resource index; `shape`, while it waits.
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
    shape: Shape = (0, (), False)

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
        """Whether it is under notice; meanwhile it does not wait for what it lacks."""
        return self.state is State.STOPPING or self.state is State.NOTICED

    def move(self, state: State) -> None:
        """Go to another state, as MOVES permits."""
        if state is not self.state:
            assert state in MOVES[self.state], f"{self.id}: {self.state} to {state}"
            self.state = state

    def portions(self) -> tuple[dict[str, int], int, int]:
        """What it still asks for: a portion, and the least and the most portions of it.

        An elastic allocation asks in units; one that lacks less than a unit, in one piece.
        """
        missing = self.missing
        if not self.elastic:
            return missing, 1, 1
        steps = [missing.get(name, 0) // amount for name, amount in self.unit.items() if amount]
        count = min(steps, default=0)
        # Less than a unit is missing, as after a squeeze: asked for in one piece.
        if count == 0:
            return missing, 1, 1
        return dict(self.unit), 1 if self.held else min(self.minimum, count), count

    def least_vector(self) -> dict[str, int]:
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
