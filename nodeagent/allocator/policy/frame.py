"""The frame for sharing policies: what one is asked, and what it sees of a group.

A policy is found by the entry point group `berth.sharing_policies` (the daemon looks; this package
reads no files) and named by a group's `policy` in the plan. It must be pure: what it returns
follows from the view alone. The allocator checks all of it and falls back to `hybrid` where a
policy raises, takes longer than its deadline or breaks an invariant (semantics 2.13).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from berth.base.quantity import Vector
from nodeagent.allocator.plan.plan import Group

ENTRY_POINTS = "berth.sharing_policies"
DEADLINE = 50
"""Milliseconds one call of a policy may take, by the clock passed in."""


class PolicyTooSlow(BaseException):
    """Raised out of a view, or into a policy that hangs, when its deadline has passed.

    A BaseException, because a policy may well catch Exception around its loop.
    """


# What a policy sees are copies, by name and in base units: nothing in them leads back into the
# allocator, whose numbering of nodes and resources may change.


@dataclass(frozen=True, slots=True)
class Node:
    """A consumer as a policy sees it; amounts by resource, in base units.

    `used` is what it weighs (reserves below it counted), `cap` the most it may use.
    """

    name: str
    parent: str
    leaf: bool
    share: int
    rank: int
    deserved: Vector
    hold: Vector
    cap: Vector
    used: Vector


@dataclass(frozen=True, slots=True)
class Ask:
    """An allocation that waits or claims: what it wants beyond what it holds."""

    id: str
    consumer: str
    vector: Vector
    priority: int
    seq: int
    in_plan: bool


@dataclass(frozen=True, slots=True)
class Holding:
    """A part of an allocation that could be taken back. `key` names the part."""

    key: int
    id: str
    consumer: str
    vector: Vector
    priority: int
    seq: int


@dataclass(frozen=True, slots=True)
class View:
    """What a policy sees.

    Reading it checks the deadline, so that a policy that loops over the view comes to an end.
    """

    group: str
    capacity: Vector
    _nodes: Mapping[str, Node]
    _pending: Sequence[Ask]
    _expired: Callable[[], bool]

    @property
    def nodes(self) -> Mapping[str, Node]:
        """The consumers by name, parents before children; the root is `/`."""
        self.check()
        return self._nodes

    @property
    def pending(self) -> Sequence[Ask]:
        """What waits, in no particular order."""
        self.check()
        return self._pending

    def check(self) -> None:
        """Raise PolicyTooSlow if the deadline has passed."""
        if self._expired():
            raise PolicyTooSlow


@runtime_checkable
class SharingPolicy(Protocol):
    """How a group shares what nobody owns."""

    @property
    def name(self) -> str:
        """The name by which a plan's group asks for it."""

    def validate(self, group: Group) -> Sequence[str]:
        """What of a group's plan this policy cannot do, as texts; empty if it can do all."""

    def targets(
        self, view: View, claim: Ask, short: Sequence[str]
    ) -> Mapping[str, Mapping[str, int]]:
        """Per leaf and short resource what it would hold if the claim were served."""

    def order_pending(self, view: View) -> Sequence[str]:
        """The ids of `view.pending`, each once, in the order in which they are served."""

    def order_victims(self, view: View, claim: Ask, holdings: Sequence[Holding]) -> Sequence[int]:
        """The keys of `holdings`, each once, in the order in which they give back."""
