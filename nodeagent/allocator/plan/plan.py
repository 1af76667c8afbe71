"""The plan: resource groups, the windows of their week, and the consumer tree of each window."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any

from nodeagent.allocator.plan.consumer import Consumer, Cut, Mode, Order, Rebalance

WEEK = 7 * 24 * 60
"""Minutes of a week; minute 0 is Monday 00:00 in the plan's time zone."""


@dataclass(frozen=True, slots=True)
class Span:
    """Minutes of the week from `start` (included) to `end` (excluded); 0 ≤ start < end ≤ WEEK."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Window:
    """A part of the week and the consumer tree that is in force during it."""

    spans: tuple[Span, ...]
    consumers: tuple[Consumer, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """A disjoint slice of the node and its plan; the windows cover the week exactly once."""

    # `policy` is a name and not the policy: the plan is a value, and plug-ins belong to the node.
    name: str
    windows: tuple[Window, ...]
    mode: Mode = Mode.HYBRID
    rebalance: Rebalance = Rebalance.STICKY
    order: Order = Order.BORROW_FIRST
    cut: Cut = Cut.WATERFILL
    policy: str = "hybrid"
    over_allocate: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole valid plan. `document` is what it was read from, JSON-able, for the journal."""

    # The document is journaled and not the value read from it: a later release reads it by its own
    # rules, and refuses at its start what it cannot read.
    name: str
    zone_name: str
    zone: tzinfo
    groups: tuple[Group, ...]
    document: Mapping[str, Any]

    def group(self, name: str) -> Group | None:
        """The group of that name, or None."""
        return next((group for group in self.groups if group.name == name), None)
